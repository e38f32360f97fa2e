"""The rasteriser once more, as plainly as PyTorch can say it: the oracle that the fast kernels are tested against."""

from __future__ import annotations

import torch
from torch import Tensor

from ..cameras import Cameras

NEAR, LOW_PASS, ALPHA_MIN, ALPHA_MAX, STOP = 0.05, 0.3, 1 / 255, 0.999, 1e-4


def rotation_matrices(quats: Tensor) -> Tensor:
    """(..., 4) quaternions wxyz, normalised here, -> (..., 3, 3)."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    ]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def render_reference(
    *,
    means: Tensor,
    quats: Tensor,
    log_scales: Tensor,
    logit_opacities: Tensor,
    colors: Tensor,
    cameras: Cameras,
    smooth: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """rgb (v, c, h, w) premultiplied, alpha (v, 1, h, w), accumulated depth (v, 1, h, w), radii (v, n).

    Parameters as in `render_batch`, any float dtype. `smooth` leaves out the cut-offs (alpha below 1/255, early stop,
    clamp at 0.999), which makes the function differentiable everywhere, as finite-difference checks need.
    """
    views = []
    for i in range(len(cameras)):
        per_view = [
            x[i] if x.ndim > d else x
            for x, d in ((means, 2), (quats, 2), (log_scales, 2), (logit_opacities, 1), (colors, 2))
        ]
        views.append(_render_view(*per_view, camera=cameras[i : i + 1], smooth=smooth))
    rgb, alpha, depth, radii = (torch.cat(parts) for parts in zip(*views, strict=True))
    return rgb, alpha, depth, radii


def _render_view(
    means: Tensor, quats: Tensor, log_scales: Tensor, logits: Tensor, colors: Tensor, *, camera: Cameras, smooth: bool
) -> tuple[Tensor, ...]:
    h, w = camera.height, camera.width
    w2c, k = camera.world_to_camera[0].to(means), camera.intrinsics[0].to(means)
    in_camera = means @ w2c[:3, :3].T + w2c[:3, 3]
    order = torch.argsort(in_camera[:, 2].detach(), stable=True)
    order = order[in_camera[order, 2] > NEAR]
    in_camera, quats, log_scales = in_camera[order], quats[order], log_scales[order]
    opacity, color = torch.sigmoid(logits[order]), colors[order]

    x, y, z = in_camera.unbind(-1)
    fx, fy, cx, cy = k[0, 0], k[1, 1], k[0, 2], k[1, 2]
    mean2d = torch.stack([fx * x / z + cx, fy * y / z + cy], dim=-1)
    limit_x, limit_y = 0.65 * w / fx, 0.65 * h / fy
    xz, yz = (x / z).clamp(-limit_x, limit_x), (y / z).clamp(-limit_y, limit_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack([fx / z, zero, -fx * xz / z, zero, fy / z, -fy * yz / z], dim=-1).unflatten(-1, (2, 3))
    spread = jacobian @ w2c[:3, :3] @ rotation_matrices(quats) @ torch.diag_embed(log_scales.exp())
    covariance = spread @ spread.transpose(-1, -2) + LOW_PASS * torch.eye(2).to(means)
    conic = torch.linalg.inv(covariance)

    rows = torch.arange(h).to(means) + 0.5
    columns = torch.arange(w).to(means) + 0.5
    pixels = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).reshape(-1, 1, 2)
    d = pixels - mean2d
    power = 0.5 * torch.einsum("pni,nij,pnj->pn", d, conic, d)
    alpha = opacity * torch.exp(-power)
    if not smooth:
        alpha = alpha.clamp_max(ALPHA_MAX)
        alpha = torch.where(alpha >= ALPHA_MIN, alpha, torch.zeros_like(alpha))
    before = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha], dim=1), dim=1)[:, :-1]
    weights = alpha * before
    if not smooth:
        weights = torch.where(before > STOP, weights, torch.zeros_like(weights))
    rgb = (weights @ color).T.reshape(1, -1, h, w)
    total = weights.sum(1).reshape(1, 1, h, w)
    depth = (weights @ z).reshape(1, 1, h, w)
    radii = torch.zeros(1, len(means), dtype=torch.float32)
    radii[0, order] = 3 * torch.linalg.eigvalsh(covariance.detach())[:, -1].clamp_min(0).sqrt().float()
    return rgb, total, depth, radii
