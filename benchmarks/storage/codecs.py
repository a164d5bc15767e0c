"""Codecs on the layers of a run: bytes a voxel, speed, and error, chunk by chunk.

python -m benchmarks.storage.codecs --run RUN [--slices 32]

RUN has the layers reconstruction, truth, algebraic, measured, spread, sinogram in float32; images
are rounded to uint8 here, as a run rounds them. JPEG XL and pcodec need imagecodecs and pcodec.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from numcodecs import BitRound, Blosc, Zstd

from benchmarks.common import report

CHUNK = 64
IMAGES = "reconstruction", "truth", "algebraic"
FLOATS = "measured", "spread", "sinogram"
NOTES = """
Real EM: 32 slices of 128 x 156 of FIB-25's validation half (z 0 to 32), reconstructed by `ddx`
with `small` (N = 10, two chains, noise 4.1); the grey levels' standard deviation is 29, and the
reconstruction's mean square error 81. Chunks of 64 a side, or what there is; times are of one
core, the better of two. `MSE to truth`: that of the reconstruction as stored, over its own
before.

**What a lossless codec can do**: 0.84 to 0.86 byte a voxel by zstd, 0.44 to 0.59 by JPEG XL,
which no reader of zarr but zarr-python with a plug-in has. Shuffling bytes does nothing to bytes,
and shuffling bits harms: grey levels are numbers of one byte whose lowest bits are noise.

**What is offered**: `output.grey_step`. Images in steps of 4 grey levels take 0.49, 0.54 and 0.56
byte a voxel (reconstruction, truth, algebraic; 0.53 on average), and the reconstruction's MSE
grows by 1.9 %; in steps of 5 they take 0.48 on average, for 2.5 %. Beside the reconstruction
`truth` need not be kept, since it is the source. Stored values are grey levels as ever, so every
reader shows them right; a step of 16 is the greatest that is offered.

**What is not**: blosc with shuffled bytes for floats, which saves 8 to 19 % at a sixth of the
speed; pcodec, which saves 2 to 7 % more, and zarr-python alone reads; floats of 7 or 10 bits of
mantissa, a third to three fifths of the bytes, for one more option. A shard adds 16 bytes of
index and 4 of checksum to a chunk of 64³: nothing.

| codec | zarr 3 | zarr-python, napari | tensorstore | neuroglancer | zarrita |
| --- | --- | --- | --- | --- | --- |
| gzip, blosc, crc32c, sharding | core | yes | yes | yes | yes |
| zstd | registered | yes | yes | yes | yes |
| pcodec, bitround, delta | numcodecs' | yes | no | no | no |
| JPEG XL, JPEG | none | with imagecodecs | no | no | no |

tensorstore was tried (0.1.86: it opens arrays of zstd, blosc, gzip and crc32c, and refuses
`numcodecs.pcodec`, `numcodecs.bitround` and JPEG XL); the others are as they document themselves.
JPEG and JPEG XL are codecs of the precomputed format, which neuroglancer reads.
"""


class Codec(NamedTuple):
    """A way to store a chunk: to bytes, and back."""

    encode: Callable[[np.ndarray], bytes]
    decode: Callable[[bytes, np.ndarray], np.ndarray]  # of bytes, as an array like another


def through(codec: Any) -> Codec:
    """One of numcodecs."""
    return Codec(
        lambda a: bytes(codec.encode(np.ascontiguousarray(a))),
        lambda data, like: np.frombuffer(codec.decode(data), like.dtype).reshape(like.shape),
    )


def in_steps(step: int, codec: Any) -> Codec:
    """Grey levels rounded to the nearest of every so many."""

    def rounded(a: np.ndarray) -> np.ndarray:
        wide = np.rint(a.astype(np.float32) / step) * step
        return np.clip(wide, 0, 255).astype(a.dtype)

    inner = through(codec)
    return Codec(lambda a: inner.encode(rounded(a)), inner.decode)


def rounded_floats(bits: int, codec: Any) -> Codec:
    """Floats of so many bits of mantissa."""
    inner, rounding = through(codec), BitRound(bits)

    def rounded(a: np.ndarray) -> np.ndarray:
        return np.asarray(rounding.encode(a.copy())).view(a.dtype)

    return Codec(lambda a: inner.encode(rounded(a)), inner.decode)


def blosc(shuffle: int, level: int = 5, name: str = "zstd") -> Blosc:
    """Blosc, with one of its shuffles."""
    return Blosc(name, level, shuffle)


def image_codecs() -> dict[str, Codec]:
    """Codecs of uint8."""
    found = {f"zstd {n}": through(Zstd(n)) for n in (1, 3, 9, 19)}
    found |= {
        "blosc zstd 5, bytes shuffled": through(blosc(Blosc.SHUFFLE)),
        "blosc zstd 5, bits shuffled": through(blosc(Blosc.BITSHUFFLE)),
        "blosc lz4 5, bits shuffled": through(blosc(Blosc.BITSHUFFLE, name="lz4")),
    }
    found |= {f"steps of {n}, zstd 3": in_steps(n, Zstd(3)) for n in (2, 4, 8, 16)}
    found |= {f"steps of {n}, zstd 19": in_steps(n, Zstd(19)) for n in (4, 8)}
    return found | _pictures()


def float_codecs() -> dict[str, Codec]:
    """Codecs of float32."""
    found = {f"zstd {n}": through(Zstd(n)) for n in (3, 9)}
    found |= {
        "blosc zstd 5, bytes shuffled": through(blosc(Blosc.SHUFFLE)),
        "blosc zstd 5, bits shuffled": through(blosc(Blosc.BITSHUFFLE)),
    }
    for bits in (10, 7):
        kept = rounded_floats(bits, blosc(Blosc.BITSHUFFLE))
        found[f"{bits} bits of mantissa, blosc zstd 5, bits shuffled"] = kept
    try:
        from numcodecs.pcodec import PCodec
    except ImportError:
        return found
    return found | {"pcodec 8": through(PCodec(level=8))}


def _pictures() -> dict[str, Codec]:
    """Codecs of pictures, which see a chunk as one tall picture of its planes."""
    try:
        library: Any = import_module("imagecodecs")
    except ImportError:
        return {}

    def tall(a: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(a.reshape(-1, a.shape[-1]))

    def jpegxl(**options: Any) -> Codec:
        return Codec(
            lambda a: library.jpegxl_encode(tall(a), **options),
            lambda data, like: library.jpegxl_decode(data).reshape(like.shape),
        )

    def jpeg(quality: int) -> Codec:
        return Codec(
            lambda a: library.jpeg8_encode(tall(a), level=quality),
            lambda data, like: library.jpeg8_decode(data).reshape(like.shape),
        )

    found = {f"JPEG XL, lossless, effort {n}": jpegxl(lossless=True, effort=n) for n in (3, 7)}
    found |= {f"JPEG XL, distance {n:g}": jpegxl(distance=n, effort=5) for n in (0.5, 1.0, 2.0)}
    return found | {f"JPEG, quality {n}": jpeg(n) for n in (95, 90, 80)}


def chunks(layer: np.ndarray) -> Iterator[np.ndarray]:
    """The chunks of a layer; of a sinogram each slice's is one."""
    if layer.ndim == 4:
        yield from layer.reshape(-1, *layer.shape[2:])
        return
    for z in range(0, layer.shape[0], CHUNK):
        for y in range(0, layer.shape[1], CHUNK):
            for x in range(0, layer.shape[2], CHUNK):
                yield layer[z : z + CHUNK, y : y + CHUNK, x : x + CHUNK].copy()


def measured(codec: Codec, layer: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
    """Size, speed and error of a codec on a layer, and the errors themselves."""
    parts, size, errors = list(chunks(layer)), 0, []
    encoding = decoding = 0.0
    for part in parts:
        spent, data, back = [], b"", part
        for _ in range(2):
            start = time.thread_time()
            data = codec.encode(part)
            middle = time.thread_time()
            back = codec.decode(data, part)
            spent.append((middle - start, time.thread_time() - middle))
        size += len(data)
        encoding += min(e for e, _ in spent)
        decoding += min(d for _, d in spent)
        errors.append((back.astype(np.float32) - part.astype(np.float32)).ravel())
    all_errors = np.concatenate(errors)
    raw = layer.nbytes / 1e6
    figures = {
        "bytes a voxel": size / layer.size,
        "encode MB/s": raw / max(encoding, 1e-9),
        "decode MB/s": raw / max(decoding, 1e-9),
        "MSE": float(np.mean(all_errors**2)),
        "largest error": float(np.abs(all_errors).max()),
    }
    return figures, all_errors


def main() -> None:
    """Measure every codec on every layer, and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--slices", type=int, default=32, help="of the first axis that are done")
    options = parser.parse_args()

    def layer(name: str) -> np.ndarray:
        array: Any = zarr.open(options.run / "volume.zarr" / name / "0", mode="r")
        done = (slice(None), slice(options.slices)) if array.ndim == 4 else slice(options.slices)
        return np.asarray(array[done])

    images = {name: np.rint(layer(name)).clip(0, 255).astype(np.uint8) for name in IMAGES}
    own = (images["reconstruction"].astype(np.float32) - images["truth"]) ** 2
    rows: list[dict[str, Any]] = []
    for name, data in images.items():
        for codec_name, codec in image_codecs().items():
            figures, errors = measured(codec, data)
            row = {"layer": name, "codec": codec_name, **figures}
            if name == "reconstruction":
                whole = np.concatenate([c.ravel() for c in chunks(images["truth"])])
                kept = np.concatenate([c.ravel() for c in chunks(data)]).astype(np.float32) + errors
                row["MSE to truth"] = float(np.mean((kept - whole) ** 2) / own.mean())
            rows.append(row)
    for name in FLOATS:
        data = layer(name)
        for codec_name, codec in float_codecs().items():
            rows.append({"layer": name, "codec": codec_name, **measured(codec, data)[0]})
    report("codecs", "Codecs", rows, NOTES)


if __name__ == "__main__":
    main()
