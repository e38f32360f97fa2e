"""Reading the image files that users bring: formats and sizes are bounded before anything is decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

from .errors import InputError

FORMATS = ("PNG", "JPEG", "WEBP")
"""Others are refused whatever their suffix: Pillow hands some (EPS) to other programs."""
MAX_SIDE = 4096


def load_rgba(path: str | Path) -> Tensor:
    """(4, h, w) in [0, 1] from an image file, upright as its EXIF data say; alpha is 1 where the file has none.

    Raises InputError for files that are absent, damaged, too large or of other formats.
    """
    path = Path(path)
    try:
        with Image.open(path, formats=FORMATS) as image:
            if max(image.size) > MAX_SIDE:
                raise InputError(
                    f"{path}: {image.size[0]} x {image.size[1]} pixels, at most {MAX_SIDE} a side are read; "
                    "make it smaller"
                )
            array = _rgba(ImageOps.exif_transpose(image))
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected an image") from error
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise InputError(f"{path}: cannot be read as an image ({error}); expected a PNG, JPEG or WebP") from error
    return torch.from_numpy(array).permute(2, 0, 1)


def limited(rgba: Tensor, *, side: int) -> Tensor:
    """Straight (4, h, w) in [0, 1] at most `side` pixels a side, averaged with premultiplied alpha."""
    scale = side / max(rgba.shape[1:])
    if scale >= 1:
        return rgba
    height, width = (max(1, round(s * scale)) for s in rgba.shape[1:])
    stack = torch.cat([rgba[:3] * rgba[3:], rgba[3:]])[None]
    stack = functional.interpolate(stack, size=(height, width), mode="area")[0]
    return torch.cat([(stack[:3] / stack[3:].clamp_min(1e-6)).clamp(0, 1), stack[3:]])


def _rgba(image: Image.Image) -> np.ndarray:
    """(h, w, 4) float32 in [0, 1]."""
    if image.mode.startswith("I"):  # 16-bit grey, which `convert` would clip at 255
        grey = np.asarray(image).astype(np.float32) / 65535
        return np.stack([grey, grey, grey, np.ones_like(grey)], axis=-1)
    return np.asarray(image.convert("RGBA")).astype(np.float32) / 255
