"""One environment told three ways: pyproject.toml, requirements.lock and environment.yml name the same packages."""

from __future__ import annotations

import re
import sys
import tomllib

import pytest
import yaml
from conftest import ROOT

CONDA_NAMES = {"snakemake": "snakemake-minimal"}
"""Packages that conda-forge or bioconda carry under another name than the Python Package Index."""

UNLOCKED = {"gnn"}
"""Extras that a run never needs: who wants one installs it, and its tests skip where it is absent."""


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def declared() -> dict[str, str]:
    """Lowest version by name of everything that pyproject.toml asks for, tests included."""
    extras = project()["optional-dependencies"]
    wanted = [*project()["dependencies"], *(part for name, group in extras.items() if name not in UNLOCKED for part in group)]
    pairs = [re.fullmatch(r"([A-Za-z0-9._-]+)>=([\d.]+)", entry) for entry in wanted]
    assert all(pairs), "every requirement of pyproject.toml reads name>=version"
    return {pair[1]: pair[2] for pair in pairs}


def locked() -> dict[str, tuple[str, list[str]]]:
    """Version and hashes by name."""
    text = re.sub(r"\\\n\s*", " ", (ROOT / "requirements.lock").read_text(encoding="utf-8"))
    found = {}
    for line in text.splitlines():
        if line and not line.lstrip().startswith("#"):
            name, version = re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", line).groups()
            found[name] = (version, re.findall(r"--hash=sha256:([0-9a-f]{64})", line))
    return found


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def test_every_requirement_is_locked_at_a_version_that_it_allows():
    lock = locked()
    for name, lowest in declared().items():
        assert name in lock, f"{name} is not in requirements.lock"
        assert numbers(lock[name][0]) >= numbers(lowest), f"{name} is locked below {lowest}"


def test_every_locked_package_has_a_hash():
    without = [name for name, (_, hashes) in locked().items() if not hashes]
    assert without == [] and len(locked()) > 50


def test_the_lock_names_no_address_and_no_index():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for word in ("http://", "https://", "--index-url", "--extra-index-url", "--find-links", "file://", " @ "):
        assert word not in text


def test_the_lock_serves_other_systems_than_the_one_it_was_made_on():
    command = (ROOT / "requirements.lock").read_text(encoding="utf-8").split("\naffine")[0]
    assert "--universal" in command and "--generate-hashes" in command and "--python-version 3.11" in command


def test_conda_users_get_the_same_packages():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, from_index = environment["dependencies"]
    theirs = dict(entry.split(">=") for entry in [*conda, *from_index["pip"]] if entry != "pip")
    python = theirs.pop("python")
    assert project()["requires-python"] == f">={python}"
    assert theirs == {CONDA_NAMES.get(name, name): lowest for name, lowest in declared().items()}
    assert environment["name"] == project()["name"]
    assert environment["channels"][0] == "conda-forge" and "defaults" not in environment["channels"]


def test_the_project_has_its_name_and_licence():
    about = project()
    assert (about["name"], about["license"]) == ("forestsink", "Apache-2.0")
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")[:400]


@pytest.mark.parametrize("package", ["catalogs", "models", "pipeline"])
def test_packages_come_from_this_checkout(package):
    __import__(package)
    assert sys.modules[package].__file__ == str(ROOT / package / "__init__.py")


def test_no_link_and_no_environment_is_committed():
    """A link to an environment, once committed, replaces the environment of whoever checks it out."""
    import subprocess

    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout of git")
    listed = subprocess.run(["git", "ls-files", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not [line for line in listed.splitlines() if line.startswith("120000") or "\t.venv" in line]
