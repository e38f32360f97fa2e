"""Conditions from the user's files: the object of an image, cut out of its background and centred."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from .errors import InputError
from .foreground import cut_out
from .images import load_rgba

WORKING_SIDE = 512
"""Images are cut out at this size at most: enough for conditions of a few hundred pixels."""
MARGIN = 0.17
"""Empty share of the frame on each side of the object: the mean of the training clips' first frames."""
VISIBLE = 0.1
"""Alpha above which a pixel counts for the object's bounding box."""


def load_condition_image(path: str | Path, *, mask: str | Path | None = None, size: int = 256) -> Tensor:
    """Read an image and return its object as (4, size, size) straight RGBA in [0, 1], centred (see `MARGIN`).

    The foreground is, in this order: `mask` (an image of the same size, white or opaque where the object is), the
    image's own alpha channel, or what differs from a uniform background found along the border.
    Raises InputError when the file cannot be read or the foreground cannot be told; the latter message names --mask.
    """
    rgba = load_rgba(path)
    if mask is not None:
        rgba = _limited(torch.cat([rgba[:3], _load_mask(mask, rgba)]))
        if not bool((rgba[3] > VISIBLE).any()):
            raise InputError(f"--mask: {mask} marks only scattered pixels; expected one white area on the object")
    else:
        rgba = _limited(rgba)
        if not _has_useful_alpha(rgba[3]):
            if float(rgba[3].max()) < 0.5:
                raise InputError(f"{path}: the image is transparent everywhere; expected an object, check the file")
            cut = cut_out(rgba[:3])
            if cut is None:
                raise InputError(
                    f"{path}: cannot tell the object from its background (no alpha channel, no uniform background); "
                    "pass --mask with a black and white image of the same size, or an RGBA image"
                )
            rgba = cut
    return centred(rgba, size=size)


def centred(rgba: Tensor, *, size: int, margin: float = MARGIN) -> Tensor:
    """(4, size, size): the object of straight (4, h, w) `rgba`, bounding box centred, side (1 - 2 margin) size.

    Some alpha must exceed VISIBLE.
    """
    rows = (rgba[3] > VISIBLE).any(dim=1).nonzero().flatten()
    columns = (rgba[3] > VISIBLE).any(dim=0).nonzero().flatten()
    if not len(rows):
        raise ValueError(f"rgba must have some alpha above {VISIBLE}, got at most {float(rgba[3].max())}")
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    side = max(bottom - top, right - left) / (1 - 2 * margin)
    # Output pixel centres -> normalised input coordinates of grid_sample (align_corners=False: edges at -1 and 1).
    offsets = ((torch.arange(size) + 0.5) / size - 0.5) * side
    x = ((left + right) / 2 + offsets) / rgba.shape[2] * 2 - 1
    y = ((top + bottom) / 2 + offsets) / rgba.shape[1] * 2 - 1
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)[None]
    premultiplied = torch.cat([rgba[:3] * rgba[3:], rgba[3:]])[None]
    if side > 2 * size:  # bilinear sampling of a much larger image would alias
        smaller = [max(1, round(s * size / side)) for s in rgba.shape[1:]]
        premultiplied = functional.interpolate(premultiplied, size=smaller, mode="area")
    out = functional.grid_sample(premultiplied, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
    return torch.cat([(out[:3] / out[3:].clamp_min(1e-4)).clamp(0, 1) * (out[3:] > 1e-4), out[3:].clamp(0, 1)])


def _load_mask(path: str | Path, rgba: Tensor) -> Tensor:
    mask = load_rgba(path)
    if mask.shape != rgba.shape:
        raise InputError(
            f"--mask: {path} is {mask.shape[2]} x {mask.shape[1]}, the image is {rgba.shape[2]} x {rgba.shape[1]}; "
            "they must have one size"
        )
    alpha = mask[3:] if _has_useful_alpha(mask[3]) else mask[:3].mean(dim=0, keepdim=True)
    share = float((alpha > 0.5).float().mean())
    if not share > 0.0005:
        raise InputError(f"--mask: {path} marks no object; expected white (or opaque) pixels where the object is")
    if share == 1:
        raise InputError(f"--mask: {path} marks the whole image; expected black pixels where the background is")
    return alpha


def _has_useful_alpha(alpha: Tensor) -> bool:
    return float((alpha < 0.5).float().mean()) > 0.002 and float((alpha > 0.5).float().mean()) > 0.0005


def _limited(rgba: Tensor) -> Tensor:
    """At most WORKING_SIDE pixels a side, averaged with premultiplied alpha."""
    scale = WORKING_SIDE / max(rgba.shape[1:])
    if scale >= 1:
        return rgba
    height, width = (max(1, round(s * scale)) for s in rgba.shape[1:])
    stack = torch.cat([rgba[:3] * rgba[3:], rgba[3:]])[None]
    stack = functional.interpolate(stack, size=(height, width), mode="area")[0]
    return torch.cat([(stack[:3] / stack[3:].clamp_min(1e-6)).clamp(0, 1), stack[3:]])
