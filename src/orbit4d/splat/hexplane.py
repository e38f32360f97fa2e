"""ST-HexPlane: a smooth field over space and time that predicts motion.

Six planes a level (HexPlane / K-Planes factorisation): three spatial (xy, xz, yz) and three temporal (xt, yt, zt), at
several resolutions. The spatial and the temporal part stay apart until they are multiplied:

    s(x)    = P_xy(x, y) * P_xz(x, z) * P_yz(y, z)              does not depend on time: sampled once for all times
    m(x, t) = P_xt(x, t) * P_yt(y, t) * P_zt(z, t)
    h(x, t) = MLP([s * m over levels])   ->  linear heads, zero at the start

Features of a diffusion model, lifted to the points, join each part apart: z_s gates the spatial planes, z_t the temporal
ones, s (1 + A z_s) and m (1 + B z_t) with learned matrices A and B.

Times in [0, 1] are mapped to the full [-1, 1] of the temporal planes; those of a periodic field close into a ring.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .gaussians import SH_C0, Gaussians, Moved
from .native import library, pointers, takes

SPATIAL_AXES = ((0, 1), (0, 2), (1, 2))
BASE_RESOLUTION = 4
"""Spatial planes start as noise of this low resolution, so that neighbouring points begin with similar features."""


@dataclass(kw_only=True)
class PointMotion:
    """State of m points at v times: positions (v, m, 3), quats (v, m, 4) wxyz, rotations (v, m, 3, 3)."""

    positions: Tensor
    quats: Tensor
    rotations: Tensor

    def __getitem__(self, index: slice) -> PointMotion:
        return PointMotion(**{name: value[index] for name, value in vars(self).items()})


@dataclass(kw_only=True)
class PointFeatures:
    """Diffusion features of n points: z_s (n, c_s), and z_t (k, n, c_t) at k increasing `times` (k,) in [0, 1]."""

    z_s: Tensor
    z_t: Tensor
    times: Tensor

    def temporal(self, times: Tensor, *, periodic: bool = False) -> Tensor:
        """(v, n, c_t) at `times` (v,), linear between the known ones and constant beyond them.

        `periodic`: time 1 is time 0 again, so between the last known time before it and the first one after it too.
        """
        if periodic:
            once = self.times < 1 - 1e-6 if float(self.times[0]) < 1 - 1e-6 else self.times >= 0
            known, z_t, times = self.times[once], self.z_t[once], times % 1
            known = torch.cat([known[-1:] - 1, known, known[:1] + 1])
            z_t = torch.cat([z_t[-1:], z_t, z_t[:1]])
            return PointFeatures(z_s=self.z_s, z_t=z_t, times=known).temporal(times)
        times = times.to(self.times)
        upper = torch.searchsorted(self.times, times.contiguous()).clamp(1, max(len(self.times) - 1, 1))
        upper = upper.clamp_max(len(self.times) - 1)
        lower = (upper - 1).clamp_min(0)
        gap = (self.times[upper] - self.times[lower]).clamp_min(1e-9)
        share = ((times - self.times[lower]) / gap).clamp(0, 1)[:, None, None]
        return torch.lerp(self.z_t[lower], self.z_t[upper], share)


class STHexPlane(nn.Module):
    """Motion of points in space: a `Deformation` of Gaussians when called, and the motion field of `ControlNodes`.

    Args:
        center, half_extent: the box (world units) that the planes cover; points outside read the border.
        spatial_resolutions: cells along the box of the xy, xz, yz planes, one number a level.
        temporal_resolutions: knots over time [0, 1] of the xt, yt, zt planes, one number a level.
        channels: features of a plane. hidden: width of the decoder.
        predict_scale, predict_opacity, predict_color: which deltas exist beside position and rotation.
        feature_channels: channels (c_s, c_t) of the points' diffusion features; (0, 0): none.
        periodic: the motion repeats: time 1 is time 0 again, and the temporal planes close into a ring.
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
        feature_channels: tuple[int, int] = (0, 0),
        periodic: bool = False,
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
        for width in feature_channels:
            check_whole("feature_channels", width, least=0)
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
            "feature_channels": list(feature_channels),
            "periodic": periodic,
            "anchor_time": anchor_time,
        }
        self.periodic = periodic
        self.anchor_time = anchor_time
        self.center: Tensor
        self.register_buffer("center", torch.tensor(center, dtype=torch.float32), persistent=False)
        self.half_extent = float(half_extent)
        self.spatial = nn.ParameterList(_smooth_noise(channels, r) for r in spatial_resolutions)
        self.temporal = nn.ParameterList(
            _planes(torch.ones(3, channels, knots, cells))
            for knots, cells in zip(temporal_resolutions, spatial_resolutions, strict=True)
        )
        width = channels * len(spatial_resolutions)
        self.gates = nn.ModuleDict(
            {
                name: nn.Linear(count, width, bias=False)
                for name, count in zip(("z_s", "z_t"), feature_channels, strict=True)
                if count
            }
        )
        self.decoder = nn.Sequential(
            nn.Linear(width, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )
        sizes = {"position": 3, "rotation": 3}
        sizes |= {"scale": 3} if predict_scale else {}
        sizes |= {"opacity": 1} if predict_opacity else {}
        sizes |= {"color": 3} if predict_color else {}
        self.heads = nn.ModuleDict({name: nn.Linear(hidden, size) for name, size in sizes.items()})
        for head in [*self.heads.values(), *self.gates.values()]:
            assert isinstance(head, nn.Linear)
            nn.init.zeros_(head.weight)
            if head.bias is not None:
                nn.init.zeros_(head.bias)

    def config(self) -> dict:
        """The constructor's arguments as JSON-ready values."""
        return dict(self._config)

    def encode(self, points: Tensor, times: Tensor) -> Tensor:
        """Features (v, n, levels * channels) of world `points` (n, 3) at `times` (v,) in [0, 1].

        On the CPU in float32 the C++ core computes them and their gradients, all but that of the times.
        """
        planes = [plane for level in zip(self.spatial, self._around_the_clock(), strict=True) for plane in level]
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
        for space, time in zip(self.spatial, self._around_the_clock(), strict=True):
            s = _sample(space, spatial_grid).prod(dim=0)
            m = _sample(time, temporal_grid)
            levels.append(s * (m[0] * m[1] * m[2]))
        return torch.cat(levels, dim=0).permute(1, 2, 0)

    def _around_the_clock(self) -> list[Tensor]:
        """The temporal planes from time 0 to time 1, where those of a periodic field are back at their first knot."""
        return [torch.cat([p, p[:, :, :1]], dim=2) if self.periodic else p for p in self.temporal]

    def deltas(self, points: Tensor, times: Tensor, features: PointFeatures | None = None) -> dict[str, Tensor]:
        """Each head's output (v, n, size) at canonical `points` (n, 3) and `times` (v,).

        `position` in world units, `rotation` as a rotation vector in radians, `scale` as a change of log scale,
        `opacity` of the logit, `color` in RGB. `features` are those of the points, where the field has channels for them.
        """
        if (features is not None) != (len(self.gates) > 0):
            raise ValueError(
                f"features: the field was built {'with' if self.gates else 'without'} them, got "
                f"{'none' if features is None else 'some'}"
            )
        anchored = self.anchor_time is not None
        if anchored:
            times = torch.cat([times, times.new_tensor([self.anchor_time])])
        encoded = self.encode(points, times)
        if features is not None:
            for name, gate in self.gates.items():
                encoded = encoded * (
                    1 + gate(features.z_s if name == "z_s" else features.temporal(times, periodic=self.periodic))
                )
        hidden = self.decoder(encoded)
        if anchored:
            hidden = hidden[:-1] - hidden[-1:]
        # With an anchor the heads' biases cancel too: the difference of two outputs of one linear map.
        return {
            name: functional.linear(hidden, head.weight, None if anchored else head.bias)
            for name, head in self.heads.items()
            if isinstance(head, nn.Linear)
        }

    def motion(self, points: Tensor, times: Tensor, features: PointFeatures | None = None) -> PointMotion:
        """How canonical `points` (m, 3) move at `times` (v,)."""
        d = self.deltas(points, times, features)
        quats = quaternion_exp(d["rotation"])
        return PointMotion(positions=points + d["position"], quats=quats, rotations=quaternion_matrix(quats))

    def deform_batch(self, gaussians: Gaussians, times: Tensor) -> Moved:
        """The Gaussians at `times` (v,) in [0, 1]."""
        quats = functional.normalize(gaussians.quats, dim=-1).expand(len(times), -1, -1)
        still = Moved(**{**vars(gaussians), "means": gaussians.means.expand(len(times), -1, -1), "quats": quats})
        return self.displace(gaussians, still, times)

    def displace(self, gaussians: Gaussians, moved: Moved, times: Tensor) -> Moved:
        """`moved` with the deltas of the canonical `gaussians` at `times` (v,) added on top."""
        d = self.deltas(gaussians.means, times)
        opacities, sh = moved.logit_opacities, moved.sh
        if "opacity" in d:
            opacities = opacities + d["opacity"][..., 0]
        if "color" in d:
            base = sh[..., :1, :] + d["color"][..., None, :] / SH_C0
            sh = torch.cat([base, sh[..., 1:, :].expand(*base.shape[:-2], -1, 3)], dim=-2)
        return Moved(
            means=moved.means + d["position"],
            quats=quaternion_multiply(quaternion_exp(d["rotation"]), moved.quats),
            log_scales=moved.log_scales + d["scale"] if "scale" in d else moved.log_scales.expand_as(d["position"]),
            logit_opacities=opacities,
            sh=sh,
        )

    def __call__(self, gaussians: Gaussians, time: float | Tensor) -> Gaussians:
        """The Gaussians at `time`, a scalar in [0, 1]."""
        return super().__call__(gaussians, time)

    def forward(self, gaussians: Gaussians, time: float | Tensor) -> Gaussians:
        return self.deform_batch(gaussians, one_time(gaussians, time)).at(0)

    def total_variation(self) -> tuple[Tensor, Tensor]:
        """Mean squared difference of neighbours along space (all planes), and squared second difference along time."""
        space = [p.diff(dim=-1).square().mean() for p in [*self.spatial, *self.temporal]]
        space += [p.diff(dim=-2).square().mean() for p in self.spatial]
        around = [torch.cat([p, p[:, :, :2]], dim=2) if self.periodic else p for p in self.temporal]
        time = [p.diff(n=2, dim=-2).square().mean() for p in around if p.shape[-2] > 2]
        zero = self.spatial[0].new_zeros(())
        return torch.stack([zero, *space]).sum(), torch.stack([zero, *time]).sum()

    @torch.no_grad()
    def hold_outside(self, middle: float, reach: float) -> None:
        """Overwrite the temporal planes further than `reach` from the time `middle` with their values at that distance.

        While construction widens the window of times that it has seen, motion outside starts from the nearest
        known moment instead of from rest.
        """
        for plane in self.temporal:
            outside, source = held_knots(plane.shape[-2], middle, reach, periodic=self.periodic)
            plane[:, :, outside] = plane[:, :, source]


def held_knots(knots: int, middle: float, reach: float, *, periodic: bool) -> tuple[list[int], list[int]]:
    """Which of evenly spaced knots lie further than `reach` from the time `middle`, and for each the last one within."""
    cells = knots if periodic else knots - 1
    low = max(math.floor((middle - reach) * cells + 1e-6), 0)
    high = min(math.ceil((middle + reach) * cells - 1e-6), knots - 1)
    outside = [k for k in range(knots) if not low <= k <= high]
    return outside, [low if k < low else high for k in outside]


def one_time(gaussians: Gaussians, time: float | Tensor) -> Tensor:
    """A scalar time as (1,), of the Gaussians' type and device."""
    return torch.as_tensor(time, dtype=gaussians.means.dtype, device=gaussians.means.device).reshape(1)


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
        if not library().o4d_hexplane(
            *ctx.shape, ctx.sizes, pointers(planes), unit.data_ptr(), times.data_ptr(), out.data_ptr()
        ):
            raise MemoryError("ST-HexPlane: no memory")
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
