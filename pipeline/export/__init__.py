"""A layer of a run as one file, for programs that read no zarr."""
