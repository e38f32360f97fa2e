"""What a student keeps of its teachers: the distribution of a teacher's features for every token, and how it is put to use.

    q_b(f | z_b, sigma) = N(mu_b, diag(s_b^2)),    s_b >= FLOOR,    b in {spatial, temporal}
    z_b <- z_b + g_b ( a_b * norm(z_b) + c_b ),    (a_b, c_b) linear in (mu_b, s_b),    g_b = 0 at the start

f is whitened and has a few dimensions (`transfer.whitening`). The heads are trained by `transfer`; at inference they stand
in for the teachers. Each reads and changes one stream only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FLOOR = 0.05
"""Least standard deviation that a head may predict: whitened features have 1, and a likelihood has no upper bound without."""
KINDS = ("distribution", "means")
STREAMS = ("spatial", "temporal")


@dataclass(kw_only=True)
class Distribution:
    """A Gaussian a token: mean (b, f, p, k) and deviation (b, f, p, k) >= FLOOR; None where only means are modelled."""

    mean: Tensor
    deviation: Tensor | None

    def at(self, sample: Tensor, frame: Tensor) -> Distribution:
        """Those of the frames (n,) of the samples (n,): (n, p, k)."""
        deviation = None if self.deviation is None else self.deviation[sample, frame]
        return Distribution(mean=self.mean[sample, frame], deviation=deviation)


@dataclass(kw_only=True)
class StreamFeatures:
    """What the streams hold after the asked-for blocks, and the priors' distributions there.

    Attributes:
        spatial: block -> z_s (b, f, p, d_s). temporal: block -> z_t (b', f, p, d_t) of the samples `active` (b',).
        priors: block -> {"spatial", "temporal"} -> Distribution, of all samples or of the active ones: as the stream's.
    """

    spatial: dict[int, Tensor] = field(default_factory=dict)
    temporal: dict[int, Tensor] = field(default_factory=dict)
    active: Tensor | None = None
    priors: dict[int, dict[str, Distribution]] = field(default_factory=dict)


class DistributionHead(nn.Module):
    """q(f | z, sigma): mean and deviation of k features for every token."""

    def __init__(self, width: int, *, dims: int, noise: int, kind: str) -> None:
        super().__init__()
        self.dims, self.kind = dims, kind
        hidden = max(width // 2, 2 * dims)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.inside = nn.Linear(width, hidden)
        self.level = nn.Linear(noise, hidden)
        self.outside = nn.Linear(hidden, dims * (2 if kind == "distribution" else 1))

    def forward(self, z: Tensor, noise: Tensor) -> Distribution:
        """z (b, f, p, d); noise (b, f, n) features of the frames' noise levels."""
        hidden = F.silu(self.inside(self.norm(z)) + self.level(noise)[:, :, None])
        out = self.outside(hidden).float()
        if self.kind == "means":
            return Distribution(mean=out, deviation=None)
        mean, raw = out.split(self.dims, dim=-1)
        return Distribution(mean=mean, deviation=FLOOR + F.softplus(raw))


class StreamPrior(nn.Module):
    """A head on one stream and the modulation by what it says; `inject` False leaves the stream as it is."""

    def __init__(self, width: int, *, dims: int, noise: int, kind: str, inject: bool) -> None:
        super().__init__()
        self.head = DistributionHead(width, dims=dims, noise=noise, kind=kind)
        self.modulation = self.gate = None
        if inject:
            self.norm = nn.LayerNorm(width, elementwise_affine=False)
            self.modulation = nn.Linear(dims * (2 if kind == "distribution" else 1), 2 * width)
            self.gate = nn.Parameter(torch.zeros(width))

    def forward(self, z: Tensor, noise: Tensor) -> tuple[Tensor, Distribution]:
        """z (b, f, p, d) -> the modulated stream, and the distribution that modulated it."""
        q = self.head(z, noise)
        if self.modulation is None or self.gate is None:
            return z, q
        parts = [q.mean] if q.deviation is None else [q.mean, q.deviation]
        scale, shift = self.modulation(torch.cat(parts, dim=-1).to(z.dtype)).chunk(2, dim=-1)
        return z + (self.gate * (scale * self.norm(z) + shift)).to(z.dtype), q


class Priors(nn.Module):
    """The priors after one block of a denoiser. `shared` attaches both to the temporal stream: an ablation, which gives up that
    what comes from one teacher stays out of the other's stream."""

    def __init__(
        self, widths: tuple[int, int], *, dims: int, noise: int, kind: str, inject: bool, shared: bool
    ) -> None:
        super().__init__()
        spatial, temporal = widths
        self.shared, self.inject = shared, inject
        options = {"dims": dims, "noise": noise, "kind": kind, "inject": inject}
        self.spatial = StreamPrior(temporal if shared else spatial, **options)
        self.temporal = StreamPrior(temporal, **options)

    def on_spatial(self, z: Tensor, noise: Tensor, said: dict[str, Distribution]) -> Tensor:
        if not self.shared:
            z, said["spatial"] = self.spatial(z, noise)
        return z

    def on_temporal(self, z: Tensor, noise: Tensor, said: dict[str, Distribution]) -> Tensor:
        if self.shared:
            z, said["spatial"] = self.spatial(z, noise)
        z, said["temporal"] = self.temporal(z, noise)
        return z


def check_priors(stages: tuple[int, ...], *, depth: int, dims: int, kind: str) -> None:
    """Raises ValueError for settings that no denoiser has."""
    if kind not in KINDS:
        raise ValueError(f'prior_kind must be "distribution" or "means", got {kind!r}')
    if any(not 0 <= stage < depth for stage in stages) or len(set(stages)) != len(stages):
        raise ValueError(f"priors must be different blocks from 0 to {depth - 1}, got {list(stages)}")
    if stages and dims < 1:
        raise ValueError(f"prior_dims must be at least 1, got {dims}")
