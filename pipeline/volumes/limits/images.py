"""The size of a chunk that is stored as a picture, by its header."""

from __future__ import annotations

from ddgm.pipeline.volumes.limits.unpack import TooLargeError


def check_pixels(content: bytes, encoding: str, voxels: int) -> None:
    """Refuse a JPEG or PNG of more pixels than its chunk has voxels.

    Raises:
        TooLargeError: it has more.
        ValueError: it has no header.
    """
    if encoding == "jpeg":
        import simplejpeg

        height, width = map(int, simplejpeg.decode_jpeg_header(content)[:2])
    elif encoding == "png":  # its first chunk is a header: signature, length, name, width, height
        width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    else:
        return
    if width * height > voxels:
        size = f"{width} x {height} pixels in place of {voxels} voxels"
        raise TooLargeError(f"a chunk unpacks to {size}")
