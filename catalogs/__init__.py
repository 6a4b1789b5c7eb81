"""The outside world, delivered harmonised: scenes, lidar tiles, plots, stands, parameter tables."""
