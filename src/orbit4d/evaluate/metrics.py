"""Image metrics and the motion magnitude, as plain torch functions of frames in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

from ..ssim import SSIM_WINDOW, ssim

__all__ = ["SSIM_WINDOW", "composite", "foreground_psnr", "motion_magnitude", "psnr", "ssim"]

FOREGROUND = 0.5
"""Ground-truth alpha above which a pixel counts as foreground."""


def composite(rgb: Tensor, alpha: Tensor, *, background: float = 1.0) -> Tensor:
    """(t, 3, h, w) straight-alpha colours over a uniform background (white by default); alpha (t, 1, h, w)."""
    return rgb * alpha + background * (1 - alpha)


def psnr(prediction: Tensor, target: Tensor) -> Tensor:
    """(t,) peak signal-to-noise ratio in dB over pixels and channels of (t, c, h, w) frames; inf where identical."""
    _check_same(prediction, target)
    return _decibels((prediction - target).square().flatten(1).mean(dim=1))


def foreground_psnr(prediction: Tensor, target: Tensor, alpha: Tensor) -> Tensor:
    """(t,) PSNR in dB over the pixels whose ground-truth `alpha` (t, 1, h, w) exceeds 0.5; NaN where there are none."""
    _check_same(prediction, target)
    mask = (alpha > FOREGROUND).to(target)
    squared = (prediction - target).square().mean(dim=1, keepdim=True) * mask
    return _decibels(squared.flatten(1).sum(dim=1) / mask.flatten(1).sum(dim=1))


def motion_magnitude(orbit: Tensor, static_orbit: Tensor) -> Tensor:
    """m = mean over frames, pixels and channels of (V - V0)^2, a scalar.

    `orbit` and `static_orbit` (t, 3, h, w) are the moving orbit and the orbit of the same cameras with time frozen at
    0, both composited on white. Does not depend on resolution or length. See docs/conventions.md.
    """
    _check_same(orbit, static_orbit)
    return (orbit - static_orbit).square().mean()


def _decibels(mean_squared_error: Tensor) -> Tensor:
    return -10 * torch.log10(mean_squared_error)


def _check_same(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape or a.ndim != 4:
        raise ValueError(f"both inputs must have one shape (t, c, h, w), got {tuple(a.shape)} and {tuple(b.shape)}")
