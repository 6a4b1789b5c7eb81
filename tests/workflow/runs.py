"""Real runs of the real Snakefile, each in a folder of its own: never in the checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import chain
import yaml

ROOT = Path(__file__).resolve().parents[2]
EXACT = ("stands.parquet", "stands.gpkg", "project.csv", "estimates.csv", "ledger.csv")
"""Tables that have the same bytes however a study was run; so have all maps."""


def environment(checkout: Path = ROOT) -> dict[str, str]:
    """What a user's shell has. Compiled code is shared by all runs, or each would compile for itself."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FORESTSINK_RUN", "FORESTSINK_MAIN"))}
    kept["NUMBA_CACHE_DIR"] = str(ROOT / ".numba_cache")
    if kept.pop("PYTHONDONTWRITEBYTECODE", ""):
        kept["PYTHONPYCACHEPREFIX"] = str(checkout / ".numba_cache/bytecode")
    return kept


def snakemake(*arguments: str, checkout: Path = ROOT) -> list[str]:
    """The command that a user types, with the study of the working folder."""
    return [sys.executable, "-m", "snakemake", *arguments, "-s", str(checkout / "Snakefile"), "--configfile", "study.yaml"]


def run(folder: Path, *arguments: str, checkout: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """One run of the workflow in a folder; its words are in `stderr`."""
    return subprocess.run(
        snakemake(*arguments, checkout=checkout),
        cwd=folder,
        env=environment(checkout),
        capture_output=True,
        text=True,
        timeout=300,
    )


def pipeline(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m pipeline VERB ...` in a folder."""
    command = [sys.executable, "-m", "pipeline", *arguments]
    env = environment() | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)


def planned(folder: Path, *arguments: str, checkout: Path = ROOT) -> Counter:
    """How many jobs of each rule a run would run, by a dry run."""
    done = run(folder, "--dry-run", *arguments, checkout=checkout)
    assert done.returncode == 0, done.stderr
    table = re.search(r"^job +count\n[- ]+\n(.*?)^total\s", done.stdout + done.stderr, flags=re.M | re.S)
    rows = (line.split() for line in table[1].splitlines() if line.strip()) if table else ()
    return Counter({rule: int(count) for rule, count in rows if rule != "all"})


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines of a process' words that are not empty."""
    return [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]


def assert_one_sentence(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """The run failed as a user's mistake should: exit code 1, no traceback, and the sentence last."""
    lines = said(done)
    assert done.returncode == 1, lines
    assert not any("Traceback" in line for line in lines), lines
    for part in parts:
        assert part in lines[-1], lines[-5:]


def write_study(folder: Path, content: dict) -> None:
    (folder / "study.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def read_study(folder: Path) -> dict:
    return yaml.safe_load((folder / "study.yaml").read_text(encoding="utf-8"))


def small_content(*, block_chunks: int = 1) -> dict:
    """The small planted study as a configuration file holds it, with paths from the folder it runs in."""
    content = json.loads(chain.small_study(Path()).model_dump_json())
    content["area"]["block_chunks"] = block_chunks
    content["planted"]["lidar_tile_m"] = 300.0  # so that some blocks lie out of a tile's reach
    return content


def exact_bytes(results: Path) -> dict[str, bytes]:
    """Every map and table of a study, by name."""
    files = [results / name for name in EXACT] + sorted((results / "maps").glob("*"))
    return {file.name: file.read_bytes() for file in files}
