"""PNG files for the page: strips of equal tiles, one below the other, and pictures with few colours; as text for `src`."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = 256  # of a picture after shrinking; a plot has fewer, a picture grid loses shades that nobody sees
LEVELS = 64  # of grey and of the map: noise in the last bits is what does not compress


def data_uri(png: bytes) -> str:
    """The file as a `data:` address: nothing is fetched."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def levels(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """uint8 0 .. LEVELS - 1, same shape: low and below become the first, high and above the last; NaN the first."""
    share = (np.nan_to_num(values, nan=low) - low) / (high - low)
    return (np.clip(share, 0, 1) * (LEVELS - 1)).round().astype(np.uint8)


def reduced(tiles: np.ndarray, pixels: int) -> np.ndarray:
    """float32 (n, h, w) with sides of at most `pixels`: means over areas. Tiles that fit are returned as they are."""
    height, width = tiles.shape[1:]
    shrink = max(height, width) / pixels
    if shrink <= 1:
        return np.asarray(tiles, np.float32)
    size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    images = (Image.fromarray(np.asarray(tile, np.float32)) for tile in tiles)
    return np.stack([np.asarray(image.resize(size, Image.Resampling.BOX)) for image in images])


def strip(indices: np.ndarray, colours: Sequence[Sequence[int]]) -> bytes:
    """A palette PNG of (n, h, w) tiles, n h high and w wide. colours: red, green, blue and, if wanted, opacity, 0..255."""
    image = Image.fromarray(np.ascontiguousarray(indices.reshape(-1, indices.shape[2]), np.uint8))
    palette = np.asarray(colours, np.uint8)
    image.putpalette(palette[:, :3].tobytes())
    options = {"transparency": bytes(palette[:, 3].tolist())} if palette.shape[1] == 4 else {}
    return _encoded(image, **options)


def greys() -> np.ndarray:
    """uint8 (LEVELS, 3), black to white."""
    return np.repeat(np.linspace(0, 255, LEVELS).round()[:, None], 3, 1).astype(np.uint8)


def shrunk(path: Path) -> tuple[bytes, tuple[int, int]]:
    """The picture with at most COLOURS colours on white, and its (width, height) in pixels."""
    with Image.open(path) as found:
        opaque = Image.new("RGBA", found.size, "white")
        opaque.alpha_composite(found.convert("RGBA"))
    few = opaque.convert("RGB").quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    return _encoded(few), few.size


def _encoded(image: Image.Image, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, "PNG", compress_level=9, **options)
    return stream.getvalue()
