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
    weight_motion: float = 0.0
    """Of the amount of motion alone; needs a branch without it."""
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
        inside = self.interval[0] <= min(t, 1.0) <= self.interval[1]
        return inside and (self.scale != 1 or self.weight_3d != 0 or self.weight_motion != 0)


def guide(
    conditional: Tensor,
    null: Tensor,
    static: Tensor,
    *,
    guidance_scale: float,
    guidance_3d: float,
    guidance_motion: float = 0.0,
    motionless: Tensor | None = None,
) -> Tensor:
    """Diffusion4D's 3D-aware classifier-free guidance, and a term for the amount of motion alone.

        e = e(y, m) + w1 [e(y, m) - e(null)] + w2 [e(y, m) - e_3D(y)] + w_m [e(y, m) - e(y)]

    with w1 = guidance_scale - 1, w2 = guidance_3d, w_m = guidance_motion. `guidance_scale` follows the diffusers convention:
    1 means no guidance. All tensors have one shape; e_3D is the prediction with the temporal gate closed, `motionless` = e(y)
    the one without a motion magnitude, needed where w_m is not 0 (ValueError).
    """
    guided = conditional + (guidance_scale - 1) * (conditional - null) + guidance_3d * (conditional - static)
    if guidance_motion == 0:
        return guided
    if motionless is None:
        raise ValueError("guidance_motion needs the prediction without a motion magnitude (motionless)")
    return guided + guidance_motion * (conditional - motionless)
