"""A zarr array whose chunks unpack to their own size at most: zarr and numcodecs have no bound."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any, cast

import zarr
from numcodecs.abc import Codec
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import BloscCodec, GzipCodec, ShardingCodec, ZstdCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer
from zarr.core.metadata import ArrayV2Metadata

from ddgm.pipeline.volumes.limits.unpack import too_large, unpack

BESIDE = 2**16  # bytes that a chunk may have beside its voxels: checksums and the like
# what unpacks to its own size, or to a known multiple of it
PLAIN = (
    *("bytes", "endian", "transpose", "shuffle", "delta", "astype", "packbits"),
    *("bitround", "quantize", "fixedscaleoffset"),
    *("crc32", "crc32c", "adler32", "fletcher32", "jenkins_lookup3"),
)
SIZES: dict[str, Callable[[bytes], int]] = {  # of those whose header has it
    "blosc": lambda content: int.from_bytes(content[4:8], "little"),
    "lz4": lambda content: int.from_bytes(content[:4], "little"),
}
STREAMS = ("gzip", "zlib", "bz2", "lzma", "zstd")
NAMES: dict[type, str] = {BloscCodec: "blosc", GzipCodec: "gzip", ZstdCodec: "zstd"}


class CodecError(NotImplementedError):
    """A codec that cannot be held to a size."""


def bounded(array: zarr.Array) -> zarr.Array:
    """The same array, to be read: a chunk that unpacks to more than its voxels is an error.

    What its chunks raise: `TooLargeError`, or ValueError where they are damaged.

    Raises:
        CodecError: it has a codec that has no bound.
    """
    metadata: Any = array.metadata
    if isinstance(metadata, ArrayV2Metadata):
        most = prod(metadata.chunks) * array.dtype.itemsize
        filters = [_V2(codec, most) for codec in metadata.filters or ()]
        compressor = metadata.compressor and _V2(metadata.compressor, most)
        metadata = replace(metadata, compressor=compressor, filters=filters or None)
    else:
        metadata = replace(metadata, codecs=tuple(map(_v3, metadata.codecs)))
    return zarr.Array(zarr.AsyncArray(metadata, array.async_array.store_path))


def _unpacker(name: str, options: Mapping[str, Any]) -> Callable[[bytes, int], bytes] | None:
    """The function that unpacks a codec's bytes to at most so many; None: it changes no size."""
    if name in STREAMS:
        if name == "lzma":
            kept = {key: options[key] for key in ("format", "filters") if options.get(key)}
            return partial(unpack, name, name="a chunk", **kept)
        return partial(unpack, "zstd frames" if name == "zstd" else name, name="a chunk")
    if name in SIZES:
        return partial(_unpack_sized, name)
    if name not in PLAIN:
        known = ", ".join([*STREAMS, *SIZES])
        raise CodecError(f"its chunks have the codec {name}; compressors that are read: {known}")
    return None


def _unpack_sized(name: str, content: bytes, most: int) -> bytes:
    import numcodecs

    if SIZES[name](content) > most:
        raise too_large("a chunk", most)
    codec: Any = numcodecs.get_codec({"id": name})
    return bytes(codec.decode(content))


class _V2(Codec):
    """A codec of zarr 2, held to a number of bytes."""

    codec_id = "bounded"

    def __init__(self, plain: Any, most: int) -> None:
        self.plain, self.most = plain, most + BESIDE
        self.unpack = _unpacker(plain.codec_id, plain.get_config())

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Unpack a chunk."""
        if self.unpack is None:
            return self.plain.decode(buf, out)
        return self.unpack(bytes(buf), self.most)

    def encode(self, buf: Any) -> Any:
        """Refused: the array is read."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The plain codec's own."""
        return self.plain.get_config()


@dataclass(frozen=True)
class _V3(BytesBytesCodec):
    """A codec of zarr 3, held to the bytes of the chunk that it is given."""

    plain: BytesBytesCodec
    unpack: Callable[[bytes, int], bytes]
    is_fixed_size = False

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        most = prod(chunk_spec.shape) * chunk_spec.dtype.to_native_dtype().itemsize + BESIDE
        data = await asyncio.to_thread(self.unpack, chunk_data.to_bytes(), most)
        return chunk_spec.prototype.buffer.from_bytes(data)

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Not known, as of any compressor."""
        raise NotImplementedError

    def to_dict(self) -> Any:
        """The plain codec's own."""
        return self.plain.to_dict()


def _v3(codec: Any) -> Any:
    if isinstance(codec, ShardingCodec):
        inner, index = (tuple(map(_v3, found)) for found in (codec.codecs, codec.index_codecs))
        return replace(codec, codecs=inner, index_codecs=index)
    said = cast("dict[str, Any]", codec.to_dict())
    name = NAMES.get(type(codec)) or str(said["name"]).removeprefix("numcodecs.")
    found = _unpacker(name, said.get("configuration", {}))
    return codec if found is None else _V3(codec, found)
