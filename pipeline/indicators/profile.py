"""Indicator profiles: the names and the order of somebody else's standard, mapped onto what we compute.

A profile is a YAML file (`config/example_profile.yaml` shows one), so that a national standard of forest carbon indicators
is a file and not code. It says of every indicator of the standard which of ours it is, or why it is absent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.features import Sensors, required, split_name
from pipeline.indicators.registry import INDICATORS, called_here, known_as

STATUSES = {
    "published": "checked against the published text that source names",
    "user": "drawn up by the user",
    "unverified": "not checked against the published text",
}
ENTRY_KEYS = ("code", "name", "indicator", "absent", "unit")
PROFILE_KEYS = ("title", "source", "status", "entries")
LISTED = "profile"
"""The word in `model.predictors` that stands for all predictors of the profile, in its order."""


@dataclass(frozen=True)
class Entry:
    """One indicator of the standard: its code and name there, and ours, or why it is absent."""

    code: str
    name: str
    indicator: str | None = None
    absent: str | None = None
    unit: str | None = None

    @property
    def title(self) -> str:
        return f"{self.code} {self.name}"


@dataclass(frozen=True)
class Profile:
    """A standard's list of indicators, in its order."""

    title: str
    source: str
    status: str
    entries: tuple[Entry, ...]


def load_profile(file: str | Path) -> Profile:
    """The profile that a YAML file describes.

    Raises
    ------
    ValueError
        With every problem found, one sentence a line.
    """
    import yaml

    file = Path(file)
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{file}: the indicator profile does not exist") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        where = f" near line {place.line + 1}" if place else ""
        raise ValueError(f"{file}: this is not readable YAML{where}") from None
    problems = list(_problems(content))
    if problems:
        raise ValueError("\n".join(f"{file}: {problem}" for problem in problems))
    entries = tuple(
        Entry(**{key: str(value).strip() for key, value in entry.items() if value is not None}) for entry in content["entries"]
    )
    return Profile(str(content["title"]), str(content["source"]), content["status"], entries)


def predictors_of(
    profile: Profile, sensors: Sensors, *, metrics: Collection[str] | None = None, resolution_m: float | None = None
) -> dict[str, Entry]:
    """Predictor of a study -> entry of the profile, in the profile's order; what the profile calls absent is left out.

    An entry names a predictor (`s2_ndmi`, `zq95`) or an indicator (`ndmi`), which is then of the first sensor that can
    make it.

    Parameters
    ----------
    sensors : mapping of predictor prefix to roles
    metrics : collection of str, optional
        Lidar metrics on offer; None means all.

    Raises
    ------
    ValueError
        With one line per entry that these sensors and metrics cannot make, or that is another entry's predictor again.
    """
    found: dict[str, Entry] = {}
    problems = []
    for entry in profile.entries:
        if entry.indicator is None:
            continue
        try:
            name = _predictor(entry, sensors, metrics, resolution_m)
            if name in found:
                raise ValueError(f"it is {name}, as is {found[name].code}: write absent: the same as {found[name].code}")
            _same_unit(entry, name, sensors)
        except ValueError as error:
            problems.append(f"{entry.title}: {error}")
            continue
        found[name] = entry
    if problems:
        raise ValueError("\n".join(problems))
    if not found:
        raise ValueError(f"the profile {profile.title!r} offers no predictor at all: every entry is absent")
    return found


def titles(found: Mapping[str, Entry]) -> dict[str, str]:
    """Predictor -> its code and name in the standard, for tables and reports."""
    return {name: entry.title for name, entry in found.items()}


def rows(
    profile: Profile,
    sensors: Sensors,
    *,
    metrics: Collection[str] | None = None,
    resolution_m: float = 10.0,
    of_study: bool = False,
) -> list[tuple[str, ...]]:
    """The standard's table: code, name, ours, unit, and what ours is or why it is absent.

    `ours` is what the profile names; `of_study`: the predictor that serves it with these sensors and metrics.

    Raises
    ------
    ValueError
        With one line per entry that names nothing we know.
    """
    found = predictors_of(profile, sensors, metrics=metrics, resolution_m=resolution_m)
    made = {entry.code: name for name, entry in found.items()}
    table = []
    for entry in profile.entries:
        if entry.indicator is None:
            table.append((entry.code, entry.name, "-", entry.unit or "", f"absent: {entry.absent}"))
            continue
        units, title = _about(made[entry.code], sensors)
        table.append((entry.code, entry.name, made[entry.code] if of_study else entry.indicator, units, title))
    return table


def _predictor(entry: Entry, sensors: Sensors, metrics: Collection[str] | None, resolution_m: float | None) -> str:
    """The predictor that an entry names, or the first sensor's that makes its indicator."""
    name = entry.indicator or ""
    if name in INDICATORS:
        made = [prefix for prefix, roles in sensors.items() if INDICATORS[name].possible(prefix, roles)]
        if not made:
            needs = ", ".join(INDICATORS[name].bands)
            raise ValueError(f"no sensor of the study makes {name}, which needs {needs}: add one, or write absent: and why")
        return f"{made[0]}_{name}"
    if answer := called_here(name):
        hint = f": write indicator: {known_as(name)}" if known_as(name) else ""
        raise ValueError(f"{answer}{hint}")
    required([name], sensors, metrics=metrics, resolution_m=resolution_m)
    return name


def _same_unit(entry: Entry, name: str, sensors: Sensors) -> None:
    units, _ = _about(name, sensors)
    if entry.unit is not None and units and entry.unit != units:
        raise ValueError(f"its unit is {entry.unit!r}, but {name} is in {units!r}: values are not converted, so write ours")


def _about(name: str, sensors: Sensors) -> tuple[str, str]:
    """Unit and title of a predictor; a band has neither declared."""
    from pipeline.lidar.metrics import METRICS

    if name in METRICS:
        return METRICS[name].units, METRICS[name].title
    _, what = split_name(name, sensors)
    if what in INDICATORS:
        return INDICATORS[what].units, INDICATORS[what].title
    return "", f"Band {what}."


def _problems(content: Any) -> Iterable[str]:
    """A sentence for everything that is wrong with the shape of a profile."""
    if not isinstance(content, dict):
        yield f"a profile is a mapping with {', '.join(PROFILE_KEYS)}"
        return
    yield from _unknown_keys(content, PROFILE_KEYS, "the profile")
    for key in ("title", "source"):
        if not isinstance(content.get(key), str) or not content[key].strip():
            yield f"{key} is missing: " + ("what the list is called" if key == "title" else "where the list comes from")
    if content.get("status") not in STATUSES:
        about = "; ".join(f"{status} ({meaning})" for status, meaning in STATUSES.items())
        yield f"status is {content.get('status')!r}, but must be one of {about}"
    entries = content.get("entries")
    if not isinstance(entries, list) or not entries:
        yield "entries is missing: a list with code, name, and indicator or absent"
        return
    seen: set[str] = set()
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            yield f"entry {number} must be a mapping with {', '.join(ENTRY_KEYS)}, got {entry!r}"
            continue
        place = f"entry {number}" + (f" ({entry['code']})" if entry.get("code") else "")
        yield from _unknown_keys(entry, ENTRY_KEYS, place)
        for key in ("code", "name"):
            if not str(entry.get(key) or "").strip():
                yield f"{place}: {key} is missing"
        for key, value in entry.items():
            if isinstance(value, list | dict):
                yield f"{place}: {key} must be a text, got {value!r}"
        if (entry.get("indicator") is None) == (entry.get("absent") is None):
            yield f"{place}: give either indicator (ours) or absent (why we have none), not both or none"
        code = str(entry.get("code"))
        if entry.get("code") and code in seen:
            yield f"{place}: the code {code} stands twice"
        seen.add(code)


def _unknown_keys(content: Mapping, known: Collection[str], place: str) -> Iterable[str]:
    for key in content:
        if key not in known:
            yield f"{place}: {key} is not a setting; known: {', '.join(known)}"
