"""Token likelihood: how well a head's Gaussian covers what the teacher's feature turned out to be.

    L_nll = mean over tokens and dimensions of  [s^(2 beta)] (1/2 ((f - mu) / s)^2 + log s),      s >= FLOOR

The bracket holds no gradient. With beta 0 it is the likelihood itself, whose gradient in mu grows as 1 / s^2: at low noise, where
features can be told almost exactly, it outweighs what the student is there for. With beta 1 mu learns as by squared error,
and s besides (Seitzer et al., "On the Pitfalls of Heteroscedastic Uncertainty Estimation", ICLR 2022). With means alone (s = 1)
it is half the squared error: pointwise distillation.
"""

from __future__ import annotations

from torch import Tensor

from ..diffusion.priors import FLOOR, Distribution


def token_likelihood(q: Distribution, target: Tensor, *, beta: float = 0.0) -> Tensor:
    """The mean negative log-likelihood a dimension, without its constant, of whitened features `target` (*b, p, k); each weighed by
    s^(2 beta), beta in [0, 1]."""
    target = target.detach()
    if q.deviation is None:
        return (target - q.mean).square().mean() / 2
    s = q.deviation.clamp_min(FLOOR)
    return (s.detach() ** (2 * beta) * (((target - q.mean) / s).square() / 2 + s.log())).mean()
