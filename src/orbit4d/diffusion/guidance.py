"""Guidance: plain and 3D-aware classifier-free guidance as pure functions of the branches' predictions."""

from __future__ import annotations

from torch import Tensor


def guide(conditional: Tensor, null: Tensor, static: Tensor, *, guidance_scale: float, guidance_3d: float) -> Tensor:
    """Diffusion4D's 3D-aware classifier-free guidance.

        e = e(y, m) + w1 [e(y, m) - e(null)] + w2 [e(y, m) - e_3D(y)],   w1 = guidance_scale - 1, w2 = guidance_3d

    `guidance_scale` follows the diffusers convention: 1 means no guidance. All tensors have one shape; e_3D is the
    prediction with the temporal gate closed.
    """
    return conditional + (guidance_scale - 1) * (conditional - null) + guidance_3d * (conditional - static)
