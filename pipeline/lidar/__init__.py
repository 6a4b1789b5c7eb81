"""From points to heights above ground, and from heights to metrics per cell."""
