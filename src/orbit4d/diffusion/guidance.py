"""Guidance: plain and 3D-aware classifier-free guidance as pure functions of the branches' predictions."""

from __future__ import annotations

from torch import Tensor


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
