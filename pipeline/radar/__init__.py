"""Radar imagery as arrays: backscatter in linear power, its speckle, and many dates to one image."""
