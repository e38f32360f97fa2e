"""Losses of the construction, each a plain function that returns a scalar."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .hexplane import PointMotion
from .native import library, takes

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5


def dssim(prediction: Tensor, target: Tensor) -> Tensor:
    """(1 - SSIM) / 2 of frames (v, c, h, w) in [0, 1], averaged; 0 where they are equal.

    11 x 11 Gaussian window of sigma 1.5, zeros outside the image. On the CPU in float32 the C++ core computes value and
    gradient (with respect to the prediction alone); `dssim_reference` is the same in PyTorch.
    """
    if prediction.shape != target.shape:
        raise ValueError(f"prediction and target must have one shape, got {prediction.shape} and {target.shape}")
    if not takes(prediction, target) or target.requires_grad or not prediction.numel():
        return dssim_reference(prediction, target)
    return _Dssim.apply(prediction, target)  # type: ignore[return-value]


class _Dssim(torch.autograd.Function):
    @staticmethod
    def forward(ctx, prediction: Tensor, target: Tensor) -> Tensor:
        prediction, target = prediction.detach().contiguous(), target.detach().contiguous()
        height, width = prediction.shape[-2:]
        planes = prediction.numel() // (height * width)
        sums = torch.empty(planes, dtype=torch.float64)
        gradient = torch.empty_like(prediction) if ctx.needs_input_grad[0] else None
        library().o4d_similarity(
            planes,
            height,
            width,
            0,
            prediction.data_ptr(),
            target.data_ptr(),
            -0.5 / prediction.numel(),
            sums.data_ptr(),
            None if gradient is None else gradient.data_ptr(),
        )
        ctx.gradient = gradient
        return (0.5 - 0.5 * sums.sum() / prediction.numel()).float()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return ctx.gradient * grad, None


def dssim_reference(prediction: Tensor, target: Tensor) -> Tensor:
    """`dssim` as two 1-D depthwise passes over both images and their products at once, in any dtype."""
    c1, c2 = 0.01**2, 0.03**2
    channels = prediction.shape[1]
    stack = torch.cat([prediction, target, prediction.square(), target.square(), prediction * target], dim=1)
    blurred = _blur(stack)
    mx, my, xx, yy, xy = blurred.split(channels, dim=1)
    similarity = (2 * mx * my + c1) * (2 * (xy - mx * my) + c2)
    similarity = similarity / ((mx.square() + my.square() + c1) * (xx - mx.square() + yy - my.square() + c2))
    return (1 - similarity).mean() / 2


def _blur(frames: Tensor) -> Tensor:
    channels, pad = frames.shape[1], SSIM_WINDOW // 2
    offsets = torch.arange(SSIM_WINDOW, dtype=frames.dtype, device=frames.device) - pad
    window = torch.exp(-offsets.square() / (2 * SSIM_SIGMA**2))
    window = (window / window.sum()).expand(channels, 1, SSIM_WINDOW)
    frames = functional.conv2d(frames, window[..., None], groups=channels, padding=(pad, 0))
    return functional.conv2d(frames, window[:, :, None], groups=channels, padding=(0, pad))


def rigidity(canonical: Tensor, motion: PointMotion, graph: Tensor) -> Tensor:
    """As-rigid-as-possible energy of nodes (m, 3) whose neighbours are `graph` (m, k), over the v times of `motion`.

    |p'_k - p'_j - R_j (p_k - p_j)| / |p_k - p_j|, averaged. Not squared: it tolerates a few bent edges (joints) and keeps
    the rest stiff, where squares would spread the bending over the whole body.
    """
    rest = canonical[graph] - canonical[:, None]
    moved = motion.positions[:, graph] - motion.positions[:, :, None]
    turned = (motion.rotations[:, :, None] @ rest[..., None])[..., 0]
    length = rest.norm(dim=-1).clamp_min(1e-6)
    return ((moved - turned).square().sum(-1) + (0.01 * length).square()).sqrt().div(length).mean() - 0.01


def acceleration(before: Tensor, now: Tensor, after: Tensor, *, knee: float) -> Tensor:
    """How unevenly nodes move: pseudo-Huber of the second difference a of positions (v, m, 3) at t - d, t, t + d.

    mean 2 k^2 (sqrt(1 + |a|^2 / k^2) - 1): |a|^2 below the `knee` k (world units), 2 k |a| far above it. A square alone
    that calms a slow motion flattens a fast one.
    """
    a = (before - 2 * now + after).square().sum(-1)
    return (2 * a / (1 + (1 + a / knee**2).sqrt())).mean()


def anisotropy(log_scales: Tensor, *, limit: float = 4.0) -> Tensor:
    """How far the longest axis of log scales (n, 3) exceeds `limit` times the middle one: needles look wrong unseen."""
    ordered = log_scales.sort(dim=-1).values
    ratio = ordered[:, 2] - ordered[:, 1]
    return (ratio - torch.log(torch.tensor(limit))).clamp_min(0).mean()
