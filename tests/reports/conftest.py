"""Where the files of reports lie in a test."""

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def attachments(tmp_path: Path, settings: Any) -> Path:
    settings.ATTACHMENTS_ROOT = tmp_path / "attachments"
    return Path(settings.ATTACHMENTS_ROOT)
