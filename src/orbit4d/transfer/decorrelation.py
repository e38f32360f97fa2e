"""Orthogonality of the streams in the statistical sense: what one holds is not to be told from the other linearly.

    R = E[ zs^ zt^^T ],    L_orth = mean of R_ij^2,       ^: centred and divided by the deviation, over all tokens of the batch

The streams are disjoint channels by construction, but z_t reads z_s. z_s is a constant here: the temporal stream is to hold
what the spatial one does not, and no loss about time reaches z_s.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-5


def cross_correlation(z_s: Tensor, z_t: Tensor) -> Tensor:
    """Squared correlations of the channels of z_s (*n, d_s) and z_t (*n, d_t), their mean. 0 when they are uncorrelated."""
    with torch.autocast(z_s.device.type, enabled=False):
        a, b = (_standardised(z.float().flatten(0, -2)) for z in (z_s.detach(), z_t))
        return (a.T @ b / len(a)).square().mean()


def _standardised(z: Tensor) -> Tensor:
    centred = z - z.mean(0)
    return centred * (centred.square().mean(0) + EPS).rsqrt()
