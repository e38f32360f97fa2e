"""ST-HexPlane: a smooth field over space and time that predicts motion.

Six planes a level (HexPlane / K-Planes factorisation): three spatial (xy, xz, yz) and three temporal (xt, yt, zt), at
several resolutions. The spatial and the temporal part stay apart until they are multiplied:

    s(x)    = P_xy(x, y) * P_xz(x, z) * P_yz(y, z)              does not depend on time: sampled once for all times
    m(x, t) = P_xt(x, t) * P_yt(y, t) * P_zt(z, t)
    h(x, t) = MLP([s * m over levels, optional features])   ->  linear heads, zero at the start

Times in [0, 1] are mapped to the full [-1, 1] of the temporal planes.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from .gaussians import SH_C0, Gaussians
from .native import library, pointers, takes

SPATIAL_AXES = ((0, 1), (0, 2), (1, 2))
BASE_RESOLUTION = 4
"""Spatial planes start as noise of this low resolution, so that neighbouring points begin with similar features."""


class STHexPlane(nn.Module):
    """Motion of points in space: a `Deformation` of Gaussians when called, and the motion field of `ControlNodes`.

    Args:
        center, half_extent: the box (world units) that the planes cover; points outside read the border.
        spatial_resolutions: cells along the box of the xy, xz, yz planes, one number a level.
        temporal_resolutions: knots over time [0, 1] of the xt, yt, zt planes, one number a level.
        channels: features of a plane. hidden: width of the decoder.
        predict_scale, predict_opacity, predict_color: which deltas exist beside position and rotation.
        feature_channels: channels of the per-point `features` that may be passed along (0: none).
        anchor_time: time at which the motion is the identity, so that the canonical Gaussians *are* that moment; None:
            the canonical state is free.
    """

    kind = "st_hexplane"

    def __init__(
        self,
        *,
        center: tuple[float, float, float] = (0.0, 0.0, 0.0),
        half_extent: float = 0.6,
        spatial_resolutions: tuple[int, ...] = (16, 32),
        temporal_resolutions: tuple[int, ...] = (12, 24),
        channels: int = 16,
        hidden: int = 64,
        predict_scale: bool = True,
        predict_opacity: bool = False,
        predict_color: bool = False,
        feature_channels: int = 0,
        anchor_time: float | None = None,
    ) -> None:
        super().__init__()
        if len(spatial_resolutions) != len(temporal_resolutions) or not spatial_resolutions:
            raise ValueError(
                "spatial_resolutions and temporal_resolutions must have one entry a level, got "
                f"{spatial_resolutions} and {temporal_resolutions}"
            )
        for resolution in (*spatial_resolutions, *temporal_resolutions):
            check_whole("resolutions", resolution, least=2)
        for name, width in (("channels", channels), ("hidden", hidden)):
            check_whole(name, width, least=1)
        check_whole("feature_channels", feature_channels, least=0)
        if len(center) != 3 or not all(math.isfinite(c) for c in center) or not 1e-6 <= half_extent <= 1e6:
            raise ValueError(
                f"center must be 3 finite numbers and half_extent positive, got {center} and {half_extent}"
            )
        if anchor_time is not None and not 0 <= anchor_time <= 1:
            raise ValueError(f"anchor_time must lie in [0, 1], got {anchor_time!r}")
        self._config = {
            "center": [float(c) for c in center],
            "half_extent": float(half_extent),
            "spatial_resolutions": list(spatial_resolutions),
            "temporal_resolutions": list(temporal_resolutions),
            "channels": channels,
            "hidden": hidden,
            "predict_scale": predict_scale,
            "predict_opacity": predict_opacity,
            "predict_color": predict_color,
            "feature_channels": feature_channels,
            "anchor_time": anchor_time,
        }
        self.anchor_time, self.feature_channels = anchor_time, feature_channels
        self.center: Tensor
        self.register_buffer("center", torch.tensor(center, dtype=torch.float32), persistent=False)
        self.half_extent = float(half_extent)
        self.spatial = nn.ParameterList(_smooth_noise(channels, r) for r in spatial_resolutions)
        self.temporal = nn.ParameterList(
            _planes(torch.ones(3, channels, knots, cells))
            for knots, cells in zip(temporal_resolutions, spatial_resolutions, strict=True)
        )
        self.decoder = nn.Sequential(
            nn.Linear(channels * len(spatial_resolutions) + feature_channels, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )
        sizes = {"position": 3, "rotation": 3}
        sizes |= {"scale": 3} if predict_scale else {}
        sizes |= {"opacity": 1} if predict_opacity else {}
        sizes |= {"color": 3} if predict_color else {}
        self.heads = nn.ModuleDict({name: nn.Linear(hidden, size) for name, size in sizes.items()})
        for head in self.heads.values():
            assert isinstance(head, nn.Linear)
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def config(self) -> dict:
        """The constructor's arguments as JSON-ready values."""
        return dict(self._config)

    def encode(self, points: Tensor, times: Tensor) -> Tensor:
        """Features (v, n, levels * channels) of world `points` (n, 3) at `times` (v,) in [0, 1].

        On the CPU in float32 the C++ core computes them and their gradients, all but that of the times.
        """
        planes = [plane for level in zip(self.spatial, self.temporal, strict=True) for plane in level]
        if times.requires_grad or not takes(points, *planes):
            return self.encode_reference(points, times)
        unit = (points - self.center) / self.half_extent
        return _Encode.apply(unit, times.to(unit), *planes)  # type: ignore[return-value]

    def encode_reference(self, points: Tensor, times: Tensor) -> Tensor:
        """`encode` with PyTorch's grid_sample: any dtype and device, gradients of everything."""
        unit = ((points - self.center) / self.half_extent).clamp(-1, 1)
        n, v = len(points), len(times)
        spatial_grid = torch.stack([unit[:, list(axes)] for axes in SPATIAL_AXES])[:, None]
        clock = (times.to(unit) * 2 - 1)[None, :, None].expand(3, v, n)
        temporal_grid = torch.stack([unit.T[:, None].expand(3, v, n), clock], dim=-1)
        levels = []
        for space, time in zip(self.spatial, self.temporal, strict=True):
            s = _sample(space, spatial_grid).prod(dim=0)
            m = _sample(time, temporal_grid)
            levels.append(s * (m[0] * m[1] * m[2]))
        return torch.cat(levels, dim=0).permute(1, 2, 0)

    def deltas(self, points: Tensor, times: Tensor, features: Tensor | None = None) -> dict[str, Tensor]:
        """Each head's output (v, n, size) at canonical `points` (n, 3) and `times` (v,).

        `position` in world units, `rotation` as a rotation vector in radians, `scale` as a change of log scale,
        `opacity` of the logit, `color` in RGB. `features` (n, feature_channels) join the decoder's input.
        """
        if (features is not None) != (self.feature_channels > 0):
            raise ValueError(
                f"features must be (n, {self.feature_channels}), got {None if features is None else 'some'}"
            )
        anchored = self.anchor_time is not None
        if anchored:
            times = torch.cat([times, times.new_tensor([self.anchor_time])])
        encoded = self.encode(points, times)
        if features is not None:
            encoded = torch.cat([encoded, features.expand(len(times), *features.shape)], dim=-1)
        hidden = self.decoder(encoded)
        if anchored:
            hidden = hidden[:-1] - hidden[-1:]
        # With an anchor the heads' biases cancel too: the difference of two outputs of one linear map.
        return {
            name: functional.linear(hidden, head.weight, None if anchored else head.bias)
            for name, head in self.heads.items()
            if isinstance(head, nn.Linear)
        }

    def deform_batch(self, gaussians: Gaussians, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means (v, n, 3), quats (v, n, 4) and log scales (v, n, 3) at `times` (v,) in [0, 1]."""
        d = self.deltas(gaussians.means, times)
        means = gaussians.means + d["position"]
        quats = quaternion_multiply(quaternion_exp(d["rotation"]), functional.normalize(gaussians.quats, dim=-1))
        log_scales = gaussians.log_scales + d["scale"] if "scale" in d else gaussians.log_scales.expand_as(means)
        return means, quats, log_scales

    def __call__(self, gaussians: Gaussians, time: float | Tensor) -> Gaussians:
        """The Gaussians at `time`, a scalar in [0, 1]."""
        return super().__call__(gaussians, time)

    def forward(self, gaussians: Gaussians, time: float | Tensor) -> Gaussians:
        times = torch.as_tensor(time, dtype=gaussians.means.dtype, device=gaussians.means.device).reshape(1)
        means, quats, log_scales = self.deform_batch(gaussians, times)
        moved = replace(gaussians, means=means[0], quats=quats[0], log_scales=log_scales[0])
        if "opacity" not in self.heads and "color" not in self.heads:
            return moved
        d = self.deltas(gaussians.means, times)
        if "opacity" in d:
            moved = replace(moved, logit_opacities=moved.logit_opacities + d["opacity"][0, :, 0])
        if "color" in d:
            base = moved.sh[:, :1] + d["color"][0, :, None] / SH_C0
            moved = replace(moved, sh=torch.cat([base, moved.sh[:, 1:]], dim=1))
        return moved

    def total_variation(self) -> tuple[Tensor, Tensor]:
        """Mean squared difference of neighbours along space (all planes), and squared second difference along time."""
        space = [p.diff(dim=-1).square().mean() for p in [*self.spatial, *self.temporal]]
        space += [p.diff(dim=-2).square().mean() for p in self.spatial]
        time = [p.diff(n=2, dim=-2).square().mean() for p in self.temporal if p.shape[-2] > 2]
        zero = self.spatial[0].new_zeros(())
        return torch.stack([zero, *space]).sum(), torch.stack([zero, *time]).sum()

    @torch.no_grad()
    def hold_outside(self, first: float, last: float) -> None:
        """Overwrite the temporal planes before `first` and after `last` with their values there.

        While construction widens the window of times that it has seen, motion outside starts from the nearest
        known moment instead of from rest.
        """
        for plane in self.temporal:
            knots = plane.shape[-2]
            low, high = min(int(first * (knots - 1)), knots - 1), min(-int(-last * (knots - 1) // 1), knots - 1)
            plane[:, :, :low] = plane[:, :, low : low + 1]
            plane[:, :, high + 1 :] = plane[:, :, high : high + 1]


def check_whole(name: str, value: object, *, least: int) -> None:
    """Raises ValueError unless `value` is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be whole numbers of at least {least}, got {value!r}")


def _smooth_noise(channels: int, resolution: int) -> nn.Parameter:
    noise = 0.5 + torch.rand(3, channels, BASE_RESOLUTION, BASE_RESOLUTION)
    return _planes(functional.interpolate(noise, size=resolution, mode="bilinear", align_corners=True))


def _planes(values: Tensor) -> nn.Parameter:
    """(3, c, h, w) with the channels innermost in memory, as the C++ core reads them."""
    return nn.Parameter(values.contiguous(memory_format=torch.channels_last))


class _Encode(torch.autograd.Function):
    """`STHexPlane.encode_reference` in the C++ core: unit (n, 3), times (v,), then each level's two stacks of planes."""

    @staticmethod
    def forward(ctx, unit: Tensor, times: Tensor, *planes: Tensor) -> Tensor:
        unit, times = unit.contiguous(), times.contiguous()
        planes = tuple(x.contiguous(memory_format=torch.channels_last) for x in planes)
        levels, channels = len(planes) // 2, planes[0].shape[1]
        out = torch.empty(len(times), len(unit), levels * channels)
        ctx.sizes = (ctypes.c_int * len(planes))(*[s for x in planes[1::2] for s in (x.shape[3], x.shape[2])])
        ctx.shape = (len(unit), len(times), levels, channels, 0)
        ctx.save_for_backward(unit, times, *planes)
        library().o4d_hexplane(
            *ctx.shape, ctx.sizes, pointers(planes), unit.data_ptr(), times.data_ptr(), out.data_ptr()
        )
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        unit, times, *planes = ctx.saved_tensors
        grad = grad.contiguous()
        grad_planes = [torch.empty_like(x) for x in planes]
        grad_unit = torch.empty_like(unit) if ctx.needs_input_grad[0] else None
        if not library().o4d_hexplane_backward(
            *ctx.shape,
            ctx.sizes,
            pointers(planes),
            unit.data_ptr(),
            times.data_ptr(),
            grad.data_ptr(),
            pointers(grad_planes),
            None if grad_unit is None else grad_unit.data_ptr(),
        ):
            raise MemoryError("ST-HexPlane: no memory for the gradients")
        return grad_unit, None, *grad_planes


def _sample(planes: Tensor, grid: Tensor) -> Tensor:
    return functional.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=True)


def quaternion_exp(rotation: Tensor) -> Tensor:
    """Unit quaternions wxyz (..., 4) of rotation vectors (..., 3) in radians."""
    squared = rotation.square().sum(dim=-1, keepdim=True)
    angle = (squared + 1e-12).sqrt()  # smooth at 0, where the gradient of a plain norm is undefined
    return torch.cat([(angle / 2).cos(), rotation * ((angle / 2).sin() / angle)], dim=-1)


def quaternion_multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product of wxyz quaternions (..., 4): first `b`'s rotation, then `a`'s."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        dim=-1,
    )


def quaternion_matrix(quats: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of unit quaternions wxyz (..., 4)."""
    w, x, y, z = quats.unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], dim=-1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], dim=-1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], dim=-1),
    ]
    return torch.stack(rows, dim=-2)
