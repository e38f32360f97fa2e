"""Structural similarity: one definition for whoever scores frames or selects them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5


def ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """(t,) structural similarity of frames (t, c, h, w), data range 1.

    Wang et al.: 11 x 11 Gaussian window of sigma 1.5 (applied as two 1-D passes), K1 = 0.01, K2 = 0.03, per channel,
    averaged over channels and over all pixels. Windows that reach over the edge of the image see zeros there, as usual
    in work on Gaussian splatting: averaging over whole windows only gives lower figures on objects in empty frames.
    Frames must be 11 pixels a side or more.
    """
    if prediction.shape != target.shape or prediction.ndim != 4:
        raise ValueError(
            f"both inputs must have one shape (t, c, h, w), got {tuple(prediction.shape)} and {tuple(target.shape)}"
        )
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


def _blur(frames: Tensor) -> Tensor:
    channels = frames.shape[1]
    offsets = torch.arange(SSIM_WINDOW, dtype=frames.dtype, device=frames.device) - SSIM_WINDOW // 2
    window = torch.exp(-offsets.square() / (2 * SSIM_SIGMA**2))
    window = (window / window.sum()).expand(channels, 1, SSIM_WINDOW)
    frames = functional.conv2d(frames, window[..., None], padding=(SSIM_WINDOW // 2, 0), groups=channels)
    return functional.conv2d(frames, window[:, :, None], padding=(0, SSIM_WINDOW // 2), groups=channels)
