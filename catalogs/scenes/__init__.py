"""Scenes on the study's grid: digital numbers read, masked at the source and brought onto its pixels.

A pixel's value depends on the scene and on the pixel's own place, never on the window that is read with it.
"""

from catalogs.scenes.ahead import Kept
from catalogs.scenes.feed import Feed
from catalogs.scenes.looks import Look, SceneError, observations_of
from catalogs.scenes.placing import MIN_CLEAR_SHARE
from catalogs.scenes.reader import FAR_FROM_CLOUD_M, REMOTE_READS, SceneReader, read_scene

__all__ = [
    "FAR_FROM_CLOUD_M", "MIN_CLEAR_SHARE", "REMOTE_READS", "Feed", "Kept", "Look", "SceneError", "SceneReader",
    "observations_of", "read_scene",
]  # fmt: skip
