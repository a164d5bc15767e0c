"""Learning a calibration from a run on truth."""
