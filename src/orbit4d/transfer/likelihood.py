"""Token likelihood: how well a head's Gaussian covers what the teacher's feature turned out to be.

    L_nll = mean over tokens and dimensions of  1/2 ((f - mu) / s)^2 + log s,      s >= FLOOR

With means alone (s = 1) it is half the squared error: pointwise distillation.
"""

from __future__ import annotations

from torch import Tensor

from ..diffusion.priors import FLOOR, Distribution


def token_likelihood(q: Distribution, target: Tensor) -> Tensor:
    """The mean negative log-likelihood a dimension, without its constant, of whitened features `target` (*b, p, k)."""
    target = target.detach()
    if q.deviation is None:
        return (target - q.mean).square().mean() / 2
    s = q.deviation.clamp_min(FLOOR)
    return (((target - q.mean) / s).square() / 2 + s.log()).mean()
