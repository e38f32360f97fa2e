"""Image metrics and the motion magnitude, as plain torch functions of frames in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
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


def ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """(t,) structural similarity of frames (t, c, h, w), data range 1.

    Wang et al.: 11 x 11 Gaussian window of sigma 1.5 (applied as two 1-D passes), K1 = 0.01, K2 = 0.03, per channel,
    averaged over channels and over all pixels. Windows that reach over the edge of the image see zeros there, as usual
    in work on Gaussian splatting: averaging over whole windows only gives lower figures on objects in empty frames.
    Frames must be 11 pixels a side or more.
    """
    _check_same(prediction, target)
    if min(prediction.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(
            f"ssim needs frames of at least {SSIM_WINDOW} pixels a side, got {tuple(prediction.shape[-2:])}"
        )
    c1, c2 = 0.01**2, 0.03**2
    mean_x, mean_y = _blur(prediction), _blur(target)
    variance_x = _blur(prediction.square()) - mean_x.square()
    variance_y = _blur(target.square()) - mean_y.square()
    covariance = _blur(prediction * target) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + c1) / (mean_x.square() + mean_y.square() + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return (luminance * structure).flatten(1).mean(dim=1)


def motion_magnitude(orbit: Tensor, static_orbit: Tensor) -> Tensor:
    """m = mean over frames, pixels and channels of (V - V0)^2, a scalar.

    `orbit` and `static_orbit` (t, 3, h, w) are the moving orbit and the orbit of the same cameras with time frozen at
    0, both composited on white. Does not depend on resolution or length. See docs/conventions.md.
    """
    _check_same(orbit, static_orbit)
    return (orbit - static_orbit).square().mean()


def _decibels(mean_squared_error: Tensor) -> Tensor:
    return -10 * torch.log10(mean_squared_error)


def _blur(frames: Tensor) -> Tensor:
    channels = frames.shape[1]
    offsets = torch.arange(SSIM_WINDOW, dtype=frames.dtype, device=frames.device) - SSIM_WINDOW // 2
    window = torch.exp(-offsets.square() / (2 * SSIM_SIGMA**2))
    window = (window / window.sum()).expand(channels, 1, SSIM_WINDOW)
    frames = functional.conv2d(frames, window[..., None], padding=(SSIM_WINDOW // 2, 0), groups=channels)
    return functional.conv2d(frames, window[:, :, None], padding=(0, SSIM_WINDOW // 2), groups=channels)


def _check_same(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape or a.ndim != 4:
        raise ValueError(f"both inputs must have one shape (t, c, h, w), got {tuple(a.shape)} and {tuple(b.shape)}")
