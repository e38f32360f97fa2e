"""Telling an object from the uniform background that it stands before, where an image has no alpha channel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .errors import InputError

KEY = 0.05
"""Largest channel difference from the background colour up to which a pixel counts as background."""
UNIFORM_SHARE = 0.85
"""Share of the border that must have the background colour; the object may touch the rest."""


def cut_out(rgb: Tensor) -> Tensor | None:
    """(4, h, w) RGBA of what stands before the uniform background of (3, h, w) `rgb`; None when there is none.

    Only pixels of the background's colour that are connected to the border are removed, so that a white cat on white
    paper keeps its belly. Edge pixels get a soft alpha and lose the background's share of their colour. Specks are
    dropped.
    """
    background, share = background_colour(rgb[None])
    if share < UNIFORM_SHARE:
        return None
    rgba = keyed(rgb, background)
    rgba = rgba * without_specks(rgba[3] > 0)
    return rgba if 0.002 < float((rgba[3] > 0.5).float().mean()) < 0.95 else None


def cut_out_all(rgb: Tensor, *, source: str) -> tuple[Tensor, str]:
    """(f, 4, h, w) RGBA of (f, 3, h, w) frames before one uniform background, and the name of its colour.

    The background is what most of the border of all frames shows: in some of them the object may reach it.
    Raises InputError, naming `source`, when there is no such colour, or nothing before it.
    """
    background, share = background_colour(rgb)
    if share < UNIFORM_SHARE:
        raise InputError(
            f"{source}: the frames have no alpha channel and no uniform background (one colour fills only "
            f"{100 * share:.0f} % of their borders), so the object cannot be told; cut it out and pass RGBA frames"
        )
    rgba = torch.empty(len(rgb), 4, *rgb.shape[2:])
    for i, frame in enumerate(rgb):
        rgba[i] = keyed(frame, background)
    if not bool((rgba[:, 3] > 0.5).any()):
        raise InputError(f"{source}: the frames show nothing but a uniform background; pass frames that show an object")
    return rgba, _name(background)


def background_colour(rgb: Tensor) -> tuple[Tensor, float]:
    """The median colour (3,) of the borders of (f, 3, h, w) frames, and the share of the borders that has it."""
    edges = [rgb[:, :, 0], rgb[:, :, -1], rgb[..., 0], rgb[..., -1]]
    border = torch.cat([edge.permute(1, 0, 2).flatten(1) for edge in edges], dim=1)
    background = border.median(dim=1).values
    return background, float((_difference(border, background[:, None]) < KEY).float().mean())


def keyed(rgb: Tensor, background: Tensor) -> Tensor:
    """(4, h, w) straight RGBA of (3, h, w) `rgb`, from which a `background` colour (3,) is removed, from the border on.

    Alpha is soft in the ring of pixels beside the background: there a pixel c is a mixture of the background b and the
    object o, taken as the mean of what lies further inside, so alpha = <c - b, o - b> / |o - b|^2.
    """
    base = background[:, None, None]
    difference = _difference(rgb, base)
    outside = _from_border(difference < KEY)
    ring = _dilate(outside, 3) & ~outside
    inside = (~outside & ~ring).float()
    count = functional.avg_pool2d(inside[None], 5, stride=1, padding=2)[0]
    contrast = functional.avg_pool2d(rgb * inside, 5, stride=1, padding=2) / count.clamp_min(1e-6) - base
    mixed = ((rgb - base) * contrast).sum(dim=0) / contrast.square().sum(dim=0).clamp_min(1e-6)
    # Thin parts have no inside: what differs most from the background nearby counts as object.
    strongest = functional.max_pool2d(difference[None], 5, stride=1, padding=2)[0]
    thin = difference / strongest.clamp_min(1e-6)
    soft = torch.where(count > 0, mixed, thin).clamp(0, 1)
    alpha = torch.where(ring, soft, torch.ones_like(soft)) * ~outside
    colour = (rgb - (1 - alpha) * base) / alpha.clamp_min(1e-3)
    return torch.cat([colour.clamp(0, 1) * (alpha > 0), alpha[None]])


def _name(colour: Tensor) -> str:
    if float(colour.min()) > 1 - KEY:
        return "white"
    if float(colour.max()) < KEY:
        return "black"
    return "#" + "".join(f"{round(255 * float(c)):02x}" for c in colour)


def _difference(colours: Tensor, background: Tensor) -> Tensor:
    return (colours - background).abs().amax(dim=0)


def _dilate(mask: Tensor, window: int) -> Tensor:
    return functional.max_pool2d(mask[None].float(), window, stride=1, padding=window // 2)[0] > 0


def _from_border(mask: Tensor) -> Tensor:
    """The pixels of (h, w) `mask` that are connected (4 neighbours) to the image's border inside it.

    Whole runs of a row or column at a time: a large background takes a few rounds, not one for every pixel of its depth.
    """
    runs = [(~mask).cumsum(dim=d) for d in (0, 1)]
    reached = mask.clone()
    reached[1:-1, 1:-1] = False
    while True:
        before = reached.sum()
        for d, run in enumerate(runs):
            size = [n + (i == d) for i, n in enumerate(mask.shape)]
            seeds = torch.zeros(size).scatter_add(d, run, reached.float())
            reached = mask & (seeds.gather(d, run) > 0)
        if reached.sum() == before:
            return reached


def _reconstruct(seed: Tensor, mask: Tensor) -> Tensor:
    """The pixels of (h, w) `mask` that are connected (8 neighbours) to `seed` inside it."""
    current, allowed = (seed & mask).float(), mask.float()
    while True:
        before = current.sum()
        for _ in range(16):
            current = functional.max_pool2d(current[None], 3, stride=1, padding=1)[0] * allowed
        if current.sum() == before:
            return current > 0


def without_specks(mask: Tensor) -> Tensor:
    """`mask` less the components that nowhere contain a 5 x 5 block; the mask itself if nothing would be left."""
    eroded = ~_dilate(~mask, 5)
    return _reconstruct(eroded, mask) if bool(eroded.any()) else mask
