"""Which of the items that were found are used: of the place and season, clear, the newest of their kind, of one direction."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from catalogs.footprints import footprint_of, in_words
from catalogs.harmonisation import no_line
from catalogs.radiometry import Sampler
from catalogs.remote import plain_id
from catalogs.search.evidence import with_evidence
from catalogs.search.freezing import frozen_item
from catalogs.search.items import OF_ANOTHER_FORM, check_clear_enough, check_form, cloud_percent, malformed, moment_of
from catalogs.search.places import Place
from catalogs.search.question import Asked, Bounds, first_day, last_day, season_year
from catalogs.sensors import Sensor

log = logging.getLogger(__name__)

SAME_PASS_S = 600
"""Two looks of one platform at one tile within this time are one acquisition: its next orbit is 98 minutes later."""

SAME_PLACE_SHARE = 0.5
"""Another processing repeats an acquisition where it shows at least this share of it: the halves of a granule that was
received in two parts overlap in a seam only, and both are needed."""


class _Wanted(NamedTuple):
    """An item of the area and a year's season; the year is None for what shows every year."""

    item: dict[str, Any]
    year: int | None


class Found:
    """Items kept and left out, and what a sentence about a failed search needs."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.left_out: list[dict[str, Any]] = []
        self.wanted: dict[tuple[str, str], _Wanted] = {}
        self.boxes: list[Bounds] = []
        self.days: list[dt.date] = []
        self.touching = 0

    def leave_out(self, item: Mapping[str, Any], year: int | None, reason: str) -> None:
        self.left_out.append({"id": item["id"], "year": year, "reason": reason})

    def sort_in(self, item: dict[str, Any], sensor: Sensor, asked: Asked) -> None:
        """Keep an item, or note why not; what lies elsewhere or in another season is passed over."""
        item = {**item, "id": plain_id(item.get("id"))}
        try:
            check_form(item)
            footprint, moment = footprint_of(item), moment_of(item)
        except (ValueError, *OF_ANOTHER_FORM) as error:
            return self.leave_out(item, None, malformed(error))
        if footprint is None:
            return self.leave_out(item, None, "no footprint")
        self.boxes.append(footprint.bounds)
        if not footprint.intersects(asked.area.lonlat):
            return None
        self.touching += 1
        if moment is None and not sensor.static:
            return self.leave_out(item, None, "no datetime")
        if moment is not None:
            self.days.append(moment.date())
        year = None if sensor.static else season_year(moment, asked.years, asked.season)
        if year is None and not sensor.static:
            return None
        key = (str(item.get("collection") or ""), item["id"])
        if key in self.wanted:
            return self.leave_out(item, year, "listed more than once: the first is used")
        self.wanted[key] = _Wanted(item, year)
        return None

    def freeze(
        self, sensor: Sensor, asked: Asked, source: Place, look: Sampler | None, check_radiometry: bool, harmonise: str
    ) -> None:
        """Settle the radiometry of what is wanted, clear enough and the newest of its kind."""
        clear = []
        for item, year in self.wanted.values():
            try:
                check_clear_enough(item, asked.max_cloud_percent)
                doubt = frozen_item(item, sensor, year, asked.area, source)
                if why := no_line(doubt.item["platform"], sensor=sensor.name, to=harmonise):
                    raise ValueError(why)
                clear.append((item, doubt))
            except OF_ANOTHER_FORM as error:
                self.leave_out(item, year, malformed(error))
            except ValueError as error:
                self.leave_out(item, year, str(error))
        usable = []
        looked_at = with_evidence([doubt for _, doubt in clear], sensor, look, check_radiometry)
        for (item, doubt), outcome in zip(clear, looked_at, strict=True):
            if isinstance(outcome, ValueError):
                self.leave_out(item, doubt.item["year"], str(outcome))
            else:
                usable.append((item, outcome))
        taken: set[str] = set()
        for item, frozen, reason in _repeated(usable, sensor):
            if not reason and frozen["id"] in taken:  # later steps know a scene by its id alone
                reason = "another collection lists the same id: the first is used"
            if reason:
                self.leave_out(item, frozen["year"], reason)
                continue
            taken.add(frozen["id"])
            self.items.append(frozen)

    def keep_passes(self, orbit: str | None, asked: Asked) -> str:
        """Keep the passes of one direction, which is returned; None decides for the one that shows the area more often.

        The two look at slopes and canopies from either side, in the morning and in the evening: mixed, a pixel's level
        would follow how many of each there are.
        """
        orbit = orbit or self._fuller_direction(asked)
        if orbit == "both":
            return orbit
        items, self.items = self.items, []
        for item in items:
            state = item["orbit_state"]
            if state == orbit:
                self.items.append(item)
                continue
            why = f"an {state} pass" if state == "ascending" else f"a {state} pass" if state else "tells no orbit direction"
            self.leave_out(item, item["year"], f"{why}: {orbit} passes are used (orbit: both would use all)")
        return orbit

    def _fuller_direction(self, asked: Asked) -> str:
        """The direction that shows the study area more often in its worse year; `both` where no scene tells one."""
        shapes = {wanted.item["id"]: footprint_of(wanted.item) for wanted in self.wanted.values()}
        times: dict[str, dict[int, float]] = {}
        for item in self.items:
            if item["orbit_state"]:
                share = shapes[item["id"]].intersection(asked.area.lonlat).area / asked.area.lonlat.area
                by_year = times.setdefault(item["orbit_state"], dict.fromkeys(asked.years, 0.0))
                by_year[item["year"]] += share

        def worth(state: str) -> tuple[float, float, str]:
            return round(min(times[state].values()), 6), round(sum(times[state].values()), 6), state

        return max(times, key=worth) if times else "both"

    def check(self, place: str, asked: Asked, sensor: Sensor) -> None:
        """ValueError for a year without a usable scene: one sentence that says what there is instead."""
        if not self.touching:
            raise ValueError(f"{place}: no scene touches the study area, {asked.area}; {self._extent()}")
        if sensor.static:
            if not self.items:
                raise ValueError(f"{place}: {self._first_reason([wanted.item for wanted in self.wanted.values()])}")
            return
        empty = [year for year in asked.years if not any(item["year"] == year for item in self.items)]
        if empty:
            raise ValueError(f"{place}: " + "; ".join(self._why_empty(year, asked) for year in empty))

    def tell(self, place: str, sensor: Sensor) -> None:
        """Log how many scenes are kept."""
        unknown = sum(item["cloud_percent"] is None for item in self.items) if sensor.kind == "optical" else 0
        log.info("%s: kept %d of %d scenes of the area and season", place, len(self.items), len(self.wanted))
        if unknown:
            log.warning("%s: %d scenes state no cloud cover and are kept", place, unknown)

    def _extent(self) -> str:
        if not self.boxes:
            return "the catalogue's scenes have no footprints"
        west, south, east, north = zip(*self.boxes, strict=True)
        return f"the catalogue's scenes span {in_words((min(west), min(south), max(east), max(north)))}"

    def _why_empty(self, year: int, asked: Asked) -> str:
        mine = [item for item, item_year in self.wanted.values() if item_year == year]
        days = f"{first_day(year, asked.season)} to {last_day(year, asked.season)}"
        if not mine and not self.days:
            return f"{year} has no scene from {days}; {self._first_reason([])}"
        if not mine:
            return f"{year} has no scene from {days} (those of the area date from {min(self.days)} to {max(self.days)})"
        cloudy = [item for item in mine if (cloud_percent(item) or 0) > asked.max_cloud_percent]
        if len(cloudy) == len(mine):
            best = min(mine, key=lambda item: (cloud_percent(item), item["id"]))
            return (
                f"{year} has {len(mine)} scenes from {days}, all above max_cloud_percent {asked.max_cloud_percent:g}; "
                f"the clearest, {best['id']}, has {cloud_percent(best):g} %"
            )
        rest = [item for item in mine if item not in cloudy]
        return f"{year} has {len(mine)} scenes from {days}, none usable; {self._first_reason(rest)}"

    def _first_reason(self, items: Sequence[Mapping[str, Any]]) -> str:
        """Why the first of some items (or of all that are left out) is left out."""
        ids = {item["id"] for item in items}
        entry = next(entry for entry in self.left_out if entry["id"] in ids or not ids)
        return f"{entry['id']}: {entry['reason']}"


def _repeated(
    found: Sequence[tuple[dict[str, Any], dict[str, Any]]], sensor: Sensor
) -> Iterator[tuple[dict[str, Any], dict[str, Any], str | None]]:
    """Each item with None, or with the sentence that another processing of the same acquisition is used in its place."""
    from shapely.ops import unary_union

    passes: dict[tuple, list[tuple]] = {}
    for item, frozen in sorted(found, key=lambda pair: (pair[1]["datetime"] or "", pair[1]["id"])):
        identity, moment = sensor.identify(item), moment_of(item)
        if identity is None:
            yield item, frozen, None
            continue
        when = moment.timestamp() if moment and not sensor.static else 0.0
        mine = passes.setdefault((frozen["platform"], identity.tile), [])
        if not mine or when - mine[-1][0] > SAME_PASS_S:
            mine.append((when, []))
        mine[-1][1].append((identity, item, frozen))
    for looks in passes.values():
        for _, same in looks:
            used: list[tuple] = []
            for identity, item, frozen in sorted(same, key=lambda one: (one[0].generation, one[2]["id"]), reverse=True):
                footprint = footprint_of(item)
                shown = unary_union([other for _, _, other in used])
                if used and footprint.intersection(shown).area >= SAME_PLACE_SHARE * footprint.area:
                    better = used[0]
                    told = f" ({better[0].told})" if better[0].told else ""
                    mine = f" ({identity.told})" if identity.told else ""
                    yield item, frozen, f"another processing{mine} of what {better[1]}{told} shows: the newer one is used"
                    continue
                used.append((identity, item["id"], footprint))
                yield item, frozen, None
