"""A run in Neuroglancer: a server for its voxels, what is shown of it, and a browser."""
