"""One finished study for all workflow tests, copied for each."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

import pytest

from workflow.runs import run, small_content, write_study


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory, worker_id) -> Path:
    """The small planted study in four blocks, run once for all tests and workers by two cores; not to be touched."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "finished"
    folder.mkdir(exist_ok=True)
    with open(folder / ".once", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "first.txt").exists():
            write_study(folder, small_content())
            done = run(folder, "--cores", "2")
            (folder / "first.txt").write_text(f"{done.returncode}\n{done.stdout}{done.stderr}", encoding="utf-8")
    return folder


@pytest.fixture
def finished(finished_once, tmp_path) -> Path:
    """A copy of the finished study, times and all, to do with as a test likes."""
    assert (finished_once / "first.txt").read_text(encoding="utf-8").startswith("0\n")
    return Path(shutil.copytree(finished_once, tmp_path / "study"))
