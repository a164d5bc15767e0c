"""Compressed streams, unpacked to no more than what is allowed."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from io import BytesIO


class TooLargeError(Exception):
    """A file that is larger, as it comes or unpacked, than can be right."""


def unpack(encoding: str, content: bytes, most: int, name: str, **options: object) -> bytes:
    """Unpack a file's content.

    Args:
        encoding: one of `UNPACK`.
        content: the file, as it is stored.
        most: bytes that it may have once it is unpacked.
        name: of the file, for messages.
        options: what else the encoding takes; of lzma, `format` and `filters`.

    Raises:
        TooLargeError: it has more.
        ValueError: it is damaged.
    """
    try:
        data = UNPACK[encoding](content, most + 1, **options)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:  # not of network or disk
        raise ValueError(f"{name} cannot be unpacked: {error}") from error
    if len(data) > most:
        raise too_large(name, most)
    return data


def too_large(name: str, most: int) -> TooLargeError:
    """The error of a file that unpacks to more bytes than it may."""
    size = f"{most / 1e6:.1f} MB" if most >= 10**5 else f"{most} bytes"
    return TooLargeError(f"{name} unpacks to more than {size}")


def _gunzip(content: bytes, most: int) -> bytes:
    return gzip.GzipFile(fileobj=BytesIO(content)).read(most)


def _bunzip(content: bytes, most: int) -> bytes:
    return bz2.BZ2File(BytesIO(content)).read(most)


def _inflate(content: bytes, most: int) -> bytes:
    stream = zlib.decompressobj()
    data = stream.decompress(content, most)
    if len(data) < most and not stream.eof:
        raise EOFError("it is cut short")
    return data


def _unxz(content: bytes, most: int, **options: object) -> bytes:
    return lzma.LZMAFile(BytesIO(content), **options).read(most)  # type: ignore[arg-type]


def _unzstd(content: bytes, most: int) -> bytes:
    import zstandard

    if zstandard.frame_content_size(content) > most:
        return bytes(most)
    return zstandard.ZstdDecompressor().decompress(content, max_output_size=most)


def _unzstd_frames(content: bytes, most: int) -> bytes:
    import zstandard

    reader = zstandard.ZstdDecompressor().stream_reader(BytesIO(content), read_across_frames=True)
    return reader.read(most)


def _unbrotli(content: bytes, most: int) -> bytes:
    import brotli

    unpacker = brotli.Decompressor()
    data = unpacker.process(content, output_buffer_limit=most)
    if len(data) < most and not unpacker.is_finished():
        raise EOFError("it is cut short")
    return data


UNPACK: dict[str, Callable[..., bytes]] = {
    "gzip": _gunzip,
    "zlib": _inflate,
    "br": _unbrotli,
    "zstd": _unzstd,
    "zstd frames": _unzstd_frames,  # any number of them, which need not say their size
    "bz2": _bunzip,
    "bzip2": _bunzip,
    "xz": _unxz,
    "lzma": _unxz,
}
