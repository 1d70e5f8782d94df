"""One timer on a host: a lock that ends with its process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reports.timer_lock import LockUnusable, timer_lock

HOLDER = """
import fcntl, os, sys, time
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


def test_it_is_ours_once_and_free_again_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "not" / "there" / "timer.lock"
    with timer_lock(path) as ours:
        assert ours
        with timer_lock(path) as second:
            assert not second
    with timer_lock(path) as ours:
        assert ours


def test_it_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "timer.lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with timer_lock(path) as ours:
            assert not ours
        holder.kill()
        holder.wait()
        with timer_lock(path) as ours:
            assert ours


def test_a_path_that_cannot_be_is_said_with_its_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LockUnusable, match="REPORTS_TIMER_LOCK_PATH"), timer_lock(tmp_path / "file" / "timer.lock"):
        pass
    with pytest.raises(LockUnusable, match="REPORTS_TIMER_LOCK_PATH"), timer_lock(tmp_path):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_lock_file_of_another_user_serves_too(tmp_path: Path) -> None:
    path = tmp_path / "timer.lock"
    path.write_text("")
    path.chmod(0o444)
    with timer_lock(path) as ours:
        assert ours
