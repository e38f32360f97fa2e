"""Distance between the tokens of a frame as a whole: Gaussian 2-Wasserstein (Bures).

    W^2 = |m_1 - m_2|^2 + tr(C_1 + C_2 - 2 (C_1^(1/2) C_2 C_1^(1/2))^(1/2))

C_1 and m_1 are those of the teacher's tokens; m_2 = mean(mu), C_2 = Cov(mu) + diag(mean(s^2)) those of the mixture of the
predicted Gaussians. The trace of the root needs eigenvalues only, whose gradient has no differences of eigenvalues below the
line; eps I on both covariances keeps it finite where tokens span fewer dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..diffusion.priors import Distribution

EPS = 1e-3
"""Of whitened variance, 1."""


def bures(
    mean: Tensor, covariance: Tensor, wanted_mean: Tensor, wanted_covariance: Tensor, *, eps: float = EPS
) -> Tensor:
    """Squared distances (*b,) of Gaussians with means (*b, k) and covariances (*b, k, k). The wanted ones are constants."""
    with torch.autocast(mean.device.type, enabled=False):
        identity = eps * torch.eye(mean.shape[-1], device=mean.device, dtype=torch.float32)
        c, wanted = covariance.float() + identity, wanted_covariance.detach().float() + identity
        values, vectors = torch.linalg.eigh(wanted)
        root = (vectors * values.clamp_min(eps).sqrt()[..., None, :]) @ vectors.mT
        middle = root @ c @ root
        cross = torch.linalg.eigvalsh((middle + middle.mT) / 2).clamp_min(eps**2).sqrt().sum(-1)
        traces = (c + wanted).diagonal(dim1=-2, dim2=-1).sum(-1)
        return (mean.float() - wanted_mean.detach().float()).square().sum(-1) + traces - 2 * cross


def moments(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (*b, k) and covariance (*b, k, k) of tokens (*b, p, k), divided by p."""
    mean = tokens.mean(-2)
    centred = tokens - mean[..., None, :]
    return mean, centred.mT @ centred / tokens.shape[-2]


def frame_distance(q: Distribution, target: Tensor) -> Tensor:
    """The mean over frames, a dimension, of the distance between the predicted mixture (*b, p, k) and the teacher's tokens."""
    if q.deviation is None:
        raise ValueError("the distance between distributions needs deviations, not means alone")
    mean, covariance = moments(q.mean)
    spread = torch.diag_embed(q.deviation.square().mean(-2))
    return bures(mean, covariance + spread, *moments(target.detach().float())).mean() / target.shape[-1]
