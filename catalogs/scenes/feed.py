"""Reading ahead along a strip of the grid, so that each tile of a file is decoded once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs.scenes.ahead import Answer, Rows
from catalogs.scenes.looks import SceneError
from catalogs.scenes.profiles import Window

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from catalogs.scenes.reader import SceneReader


class Feed:
    """Reads scenes along a strip of the grid, row of chunks by row of chunks from north to south.

    Tiles of a file seldom end where chunks do. What a tile holds for the next row is kept, so that each tile of the
    strip is decoded once; memory is the strip's width x a tile and a chunk in height x files. Files of a scene that
    shows nothing clear in a row are not read. Where the reader may read many files at a time, `quality` and `bands`
    return at once. What cannot be read is left to be read, and complained of, where it is needed.
    """

    def __init__(self, reader: SceneReader, strip: GeoBox) -> None:
        self._reader, self._strip = reader, strip
        self._last: dict[str, Answer] = {}

    def quality(self, items: Iterable[Mapping[str, Any]], roles: Sequence[str], row: GeoBox) -> dict[str, Answer]:
        """Begin to read the quality layers of a row; answers by href."""
        begun = {}
        for item in items:
            if item["quality"] and self._reader.readable(item, roles):
                href = item["quality"]["href"]
                begun[href] = self._begin(item, href, self._reach(item, roles, row)[href], None)
        return begun

    def bands(self, items: Iterable[Mapping[str, Any]], roles: Sequence[str], row: GeoBox) -> dict[str, Answer]:
        """Begin to read the bands of a row whose quality layers were begun before; answers by href."""
        begun = {}
        for item in items:
            if self._reader.readable(item, roles):
                reach = self._reach(item, roles, row)
                after = self._last[item["quality"]["href"]] if item["quality"] else None
                for href in dict.fromkeys(item["bands"][role]["href"] for role in roles):
                    begun[href] = self._begin(item, href, reach[href], after)
        return begun

    def _reach(self, item: Mapping[str, Any], roles: Sequence[str], row: GeoBox) -> dict[str, Window]:
        """Windows of a scene's files that a row needs: its own rows, the columns of the strip."""
        rows, cols = self._reader.reach(item, roles, row), self._reader.reach(item, roles, self._strip)
        return {href: Window(rows[href].row0, rows[href].row1, cols[href].col0, cols[href].col1) for href in rows}

    def _begin(self, item: Mapping[str, Any], href: str, need: Window, after: Answer | None) -> Answer:
        self._last[href] = self._reader.start(self._advance, item, href, need, self._last.get(href), after)
        return self._last[href]

    def _advance(
        self, item: Mapping[str, Any], href: str, need: Window, last: Answer | None, after: Answer | None
    ) -> Any:
        """The pixels of a window down to the end of its tiles, those of the row before taken over: None, or an answer."""
        if after is not None and (layer := after.result()) is not None and not layer.clear:
            return None
        reader = self._reader
        raster = reader.raster(item, href)
        need = need.clip(raster.height, raster.width)
        end = min(-(-need.row1 // raster.tile_rows) * raster.tile_rows, raster.height)
        before = last.result() if last is not None else None
        parts: list[tuple[int, np.ndarray]] = []
        row0 = need.row0
        if before is not None and before.window[2:] == need[2:] and before.window.row0 <= row0 < before.window.row1:
            parts = [(first, pixels) for first, pixels in before.parts if row0 < first + len(pixels)]
            row0 = before.window.row1
        below = Window(row0, end, need.col0, need.col1)
        window = Window(need.row0, max(row0, end), need.col0, need.col1)
        is_layer = item["quality"] is not None and href == item["quality"]["href"]
        try:
            read = reader.rows_of(item, href, below) if row0 < end and need.size else None
        except SceneError:
            return None
        return Rows(read, tuple(parts), below.row0, window, reader.tables_of if is_layer else None)
