"""What killed runs left beside the files of reports goes away; what somebody writes, and what is whole, stays."""

import os
import time
from pathlib import Path

import pytest

from reports.report_files import remove_leftovers

NAME = "deliveries_2026-11-20_2026-11-21_3defe82e-b27d-4e6e-a40d-344fe583bb73.csv"
PART = f".{NAME}.{'a' * 32}.part"
REJECTS = f".{NAME.removesuffix('.csv')}.rejects.csv.ab12cd_9"


@pytest.mark.parametrize(
    ("name", "age", "goes"),
    [
        (PART, 61, True),
        (PART, 30, False),
        (REJECTS, 90_000, True),
        (REJECTS, 3_600, False),  # a load may go on for an hour and have had one bad row at its beginning
        (NAME, 90_000, False),
        (NAME.replace(".csv", ".rejects.csv"), 90_000, False),
        (".nfs0000001", 90_000, False),
    ],
)
def test_only_what_was_left_alone_goes(attachments: Path, name: str, age: float, goes: bool) -> None:
    path = attachments / "reports" / name
    path.parent.mkdir(parents=True)
    path.write_text("x")
    os.utime(path, (time.time() - age, time.time() - age))
    assert remove_leftovers(60.0, []) == goes
    assert path.exists() != goes


def test_what_is_collected_just_now_stays(attachments: Path) -> None:
    path = attachments / "reports" / PART
    path.parent.mkdir(parents=True)
    path.write_text("x")
    os.utime(path, (0, 0))
    assert remove_leftovers(60.0, [NAME[-40:-4]]) == 0
    assert path.exists()
