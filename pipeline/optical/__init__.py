"""Optical imagery as arrays: many clear observations to one image."""
