"""forestsink: from scenes, points and plots to per-stand carbon stocks and sinks."""
