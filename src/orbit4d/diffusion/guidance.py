"""Guidance: plain and 3D-aware classifier-free guidance as pure functions of the branches' predictions."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(kw_only=True, frozen=True)
class Guidance:
    """How strongly the branches push, and at which steps they are asked."""

    scale: float = 2.0
    """Diffusers convention: 1 is none."""
    weight_3d: float = 0.5
    interval: tuple[float, float] = (0.0, 1.0)
    """Noise levels within which there is guidance; outside, the conditional prediction stands alone."""
    every: int = 1
    """The guidance term is computed at every so-manieth step and kept in between."""

    def __post_init__(self) -> None:
        low, high = self.interval
        if not 0 <= low <= high <= 1 or self.every < 1:
            raise ValueError(f"interval within [0, 1] and every >= 1, got {self.interval} and {self.every}")

    def active(self, t: float) -> bool:
        """Whether there is guidance at noise level t."""
        # The first level may lie a rounding error beyond 1.
        return self.interval[0] <= min(t, 1.0) <= self.interval[1] and (self.scale != 1 or self.weight_3d != 0)


def guide(conditional: Tensor, null: Tensor, static: Tensor, *, guidance_scale: float, guidance_3d: float) -> Tensor:
    """Diffusion4D's 3D-aware classifier-free guidance.

        e = e(y, m) + w1 [e(y, m) - e(null)] + w2 [e(y, m) - e_3D(y)],   w1 = guidance_scale - 1, w2 = guidance_3d

    `guidance_scale` follows the diffusers convention: 1 means no guidance. All tensors have one shape; e_3D is the
    prediction with the temporal gate closed.
    """
    return conditional + (guidance_scale - 1) * (conditional - null) + guidance_3d * (conditional - static)
