"""Reconstruct tilt series at volume scale with a denoising prior (DDGM)."""
