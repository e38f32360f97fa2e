"""The Gaussian containers every splat module shares."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

SH_C0 = 0.28209479177387814


@dataclass(kw_only=True)
class Gaussians:
    """n 3D Gaussians in world units.

    Attributes:
        means: (n, 3) centres.
        quats: (n, 4) rotations wxyz, not necessarily normalised.
        log_scales: (n, 3) log of the standard deviations along the local axes.
        logit_opacities: (n,) inverse sigmoid of the opacity.
        sh: (n, k, 3) spherical harmonics, k = 1, 4, 9 or 16; colour = 0.5 + SH_C0 * sh[:, 0] + ..., clamped at 0.
    """

    means: Tensor
    quats: Tensor
    log_scales: Tensor
    logit_opacities: Tensor
    sh: Tensor

    def __post_init__(self) -> None:
        n = self.means.shape[0]
        expected = {"means": (n, 3), "quats": (n, 4), "log_scales": (n, 3), "logit_opacities": (n,)}
        for name, shape in expected.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ValueError(f"{name} must have shape {shape}, got {tuple(getattr(self, name).shape)}")
        if self.sh.ndim != 3 or self.sh.shape[0] != n or self.sh.shape[2] != 3 or self.sh.shape[1] not in (1, 4, 9, 16):
            raise ValueError(f"sh must have shape ({n}, 1|4|9|16, 3), got {tuple(self.sh.shape)}")

    def __len__(self) -> int:
        return self.means.shape[0]

    def __getitem__(self, index: Tensor | slice) -> Gaussians:
        return Gaussians(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def detach(self) -> Gaussians:
        return Gaussians(**{f.name: getattr(self, f.name).detach() for f in fields(self)})

    @property
    def base_colors(self) -> Tensor:
        """(n, 3) view-independent colour in [0, inf)."""
        return (0.5 + SH_C0 * self.sh[:, 0]).clamp_min(0)


@dataclass(kw_only=True)
class Moved:
    """n Gaussians at v times.

    Attributes:
        means: (v, n, 3). quats: (v, n, 4). log_scales: (v, n, 3).
        logit_opacities: (v, n), or (n,) where they do not change.
        sh: (v, n, k, 3), or (n, k, 3) where they do not change.
    """

    means: Tensor
    quats: Tensor
    log_scales: Tensor
    logit_opacities: Tensor
    sh: Tensor

    @property
    def colors(self) -> Tensor:
        """(v, n, 3) or (n, 3) view-independent colour."""
        return (0.5 + SH_C0 * self.sh[..., 0, :]).clamp_min(0)

    def at(self, i: int) -> Gaussians:
        """The Gaussians at the i-th time."""
        return Gaussians(
            means=self.means[i],
            quats=self.quats[i],
            log_scales=self.log_scales[i],
            logit_opacities=self.logit_opacities[i] if self.logit_opacities.ndim == 2 else self.logit_opacities,
            sh=self.sh[i] if self.sh.ndim == 4 else self.sh,
        )


@runtime_checkable
class Deformation(Protocol):
    """Moves canonical Gaussians to a time. Implementations are torch modules with a `config` dict and a `kind` tag."""

    kind: str

    def config(self) -> dict: ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def __call__(self, gaussians: Gaussians, time: float | Tensor) -> Gaussians:
        """The Gaussians at `time` in [0, 1] (scalar): new means, quats, log_scales; the rest may change too."""
        ...


@dataclass(kw_only=True)
class Gaussians4D:
    """Canonical Gaussians and a deformation over time in [0, 1]."""

    canonical: Gaussians
    deformation: Deformation | None = None

    def at(self, time: float | Tensor) -> Gaussians:
        """The Gaussians at `time` in [0, 1]; without a deformation the canonical ones."""
        if self.deformation is None:
            return self.canonical
        return self.deformation(self.canonical, time)

    @torch.no_grad()
    def sampled(self, times: Tensor) -> list[Gaussians]:
        """One detached `Gaussians` for each of `times` (t,)."""
        return [self.at(float(t)).detach() for t in times]
