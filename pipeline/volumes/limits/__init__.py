"""Bounds on what the files of a source unpack to: a few kilobytes can hold gigabytes."""
