"""What the predictors that are shares in strata of stands are called; a leaf, so that who asks for a name runs on no model."""

from __future__ import annotations

PREFIX = "stratum:"
NO_STRATUM = "(none)"
"""The stratum of places outside every stand, or in a stand that has none; it has a level where there are plots enough."""


def is_stratum(name: str) -> bool:
    return name.startswith(PREFIX)
