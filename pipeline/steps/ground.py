"""Points whose ground is classified here, square by square, because their tiles came without."""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from catalogs.lidar import Bounds, PointReader, Points, Tile
from pipeline.lidar.ground import cloth_ground
from pipeline.lidar.heights import of_classes

log = logging.getLogger(__name__)

SQUARE_M = 250.0  # counted from the CRS's origin, so that blocks, plots and tiles get the same ground
MARGIN_M = 25.0  # of points around a square that its cloth covers too
KEPT_SQUARES = 64
GROUND, UNCLASSIFIED = 2, 1


@dataclass
class ClothReader:
    """Reads points as `PointReader` does, with the ground class of a cloth simulation in place of the tiles' own.

    The cloth is laid over squares of 250 m counted from the CRS's origin, each with 25 m around it; so a point's class
    depends neither on the window nor on the tiles, and a seam can lie only between two squares.
    """

    reader: PointReader
    cloth: Mapping
    _ground: OrderedDict[tuple[int, int], np.ndarray] = field(default_factory=OrderedDict, init=False, repr=False)

    def __post_init__(self) -> None:
        log.warning("%s", cloth_note(self.cloth))

    def touching(self, bounds: Bounds) -> list[Tile]:
        """The tiles whose header boxes touch `bounds`."""
        return self.reader.touching(bounds)

    def bounds_of(self, tile: Tile) -> Bounds:
        """A tile's header box in the study's CRS."""
        return self.reader.bounds_of(tile)

    def points(self, bounds: Bounds, *, extra: Sequence[str] = ()) -> Points:
        """All points in `bounds` as `PointReader.points` gives them, of class 2 where the cloth lies and 1 elsewhere.

        What was left out is counted over the squares that were read, somewhat beyond `bounds`.
        """
        squares = list(_squares(bounds))
        boxes = [_box(square, 0.0 if square in self._ground else MARGIN_M) for square in squares]
        west, south, east, north = np.array(boxes).T
        every = self.reader.points((west.min(), south.min(), east.max(), north.max()), extra=extra)
        classification = np.full(len(every), UNCLASSIFIED, np.uint8)
        for square in squares:
            own = np.flatnonzero(every.inside(_box(square, 0.0)))
            if len(own):
                classification[own[self._ground_of(square, every, own)]] = GROUND
        while len(self._ground) > KEPT_SQUARES:  # not before: squares of this window are read without their margin
            self._ground.popitem(last=False)
        return replace(
            replace(every, classification=classification).select(every.inside(bounds)),
            withheld=every.withheld, noise=every.noise, overlap=every.overlap, thinned=every.thinned, twins=every.twins,
        )  # fmt: skip

    def ground(self, bounds: Bounds, classes: Sequence[int]) -> Points:
        """The points of some classes in `bounds`."""
        every = self.points(bounds)
        return every.select(of_classes(every.classification, classes))

    def hold(self, boxes: Sequence[Bounds], far: Sequence[Bounds], classes: Sequence[int]) -> None:
        """As `PointReader.hold`; the cloth needs all points of all squares that are touched, and of their margin."""
        reach = SQUARE_M + MARGIN_M
        self.reader.hold([(w - reach, s - reach, e + reach, n + reach) for w, s, e, n in far or boxes], (), ())

    def begin(self, number: int) -> None:
        """As `PointReader.begin`."""
        self.reader.begin(number)

    def _ground_of(self, square: tuple[int, int], every: Points, own: np.ndarray) -> np.ndarray:
        """Which points of a square are ground; remembered, for windows that share it read it in the same order."""
        if square not in self._ground:
            last = every.return_number >= every.number_of_returns
            of_cloth = np.flatnonzero(every.inside(_box(square, MARGIN_M)) & last)
            ground = np.zeros(len(every), bool)
            ground[of_cloth] = cloth_ground(every.x[of_cloth], every.y[of_cloth], every.z[of_cloth], **self.cloth)
            self._ground[square] = ground[own]
        return self._ground[square]


def cloth_note(cloth: Mapping) -> str:
    """What every product made from such ground has to say."""
    return (
        f"ground was classified here by cloth simulation (cloth {cloth['resolution_m']:g} m, rigidness {cloth['rigidness']}, "
        f"threshold {cloth['threshold_m']:g} m), not by the supplier: an error of its surface, some decimetres, is in every "
        "height"
    )


def _squares(bounds: Bounds) -> Iterator[tuple[int, int]]:
    """Numbers of the squares that touch `bounds`, half open as pixels are, from the north-west."""
    west, south, east, north = bounds
    for row in range(math.ceil(north / SQUARE_M), math.floor(south / SQUARE_M), -1):
        for column in range(math.floor(west / SQUARE_M), math.ceil(east / SQUARE_M)):
            yield column, row


def _box(square: tuple[int, int], margin_m: float) -> Bounds:
    column, row = square
    west, north = column * SQUARE_M, row * SQUARE_M
    return west - margin_m, north - SQUARE_M - margin_m, west + SQUARE_M + margin_m, north + margin_m
