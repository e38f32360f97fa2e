"""Frozen statistics of a teacher's features: whitened, and projected to the few directions that vary most.

    y = clip(D^(-1/2) U^T (f - m(l)), -BOUND, BOUND),    Cov(f - m) = U' D' U'^T,    U, D = the k largest of U', D'

m(l) is the mean over the dataset at log-SNR l, in bins: the level of noise moves all features of a network together and would
otherwise take up the first directions, which say nothing of the object. Over the dataset y has mean 0 and covariance I, but for
what is clipped.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..files import atomic_path

BOUND = 5.0
"""Standard deviations. Once in some hundred rows or columns a small teacher is asked of what it was not trained for and its
features are twenty times as long as usual; one such target would outweigh all others of its step."""
RELATIVE_EPS = 1e-5
"""Of the largest variance: added to all before they are divided by."""


class Whitening(nn.Module):
    """y = clip((f - mean[bin]) @ projection); nothing here is trained."""

    edges: Tensor
    mean: Tensor
    projection: Tensor
    explained: Tensor

    def __init__(self, *, width: int, dims: int, bins: int = 1) -> None:
        super().__init__()
        self.register_buffer("edges", torch.zeros(bins - 1))
        self.register_buffer("mean", torch.zeros(bins, width))
        self.register_buffer("projection", torch.zeros(width, dims))
        self.register_buffer("explained", torch.zeros(()))

    @torch.no_grad()
    def forward(self, features: Tensor, log_snr: Tensor) -> Tensor:
        """features (n, ..., width) at log-SNR (n,) -> (n, ..., dims), multiplied in float32 under autocast, too."""
        mean = self.mean[torch.bucketize(log_snr, self.edges)]
        centred = features.float() - mean.view(len(mean), *[1] * (features.ndim - 2), -1)
        with torch.autocast(features.device.type, enabled=False):  # as the statistics were measured
            return (centred @ self.projection).clamp(-BOUND, BOUND)

    def save(self, path: Path) -> None:
        from safetensors.torch import save_file

        with atomic_path(path) as temporary:
            save_file({k: v.contiguous() for k, v in self.state_dict().items()}, temporary)

    @classmethod
    def load(cls, path: Path) -> Whitening:
        """Raises InputError when the file is damaged or something else."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            state = load_file(path)
            (width, dims), bins = state["projection"].shape, len(state["mean"])
            made = cls(width=width, dims=dims, bins=bins)
            made.load_state_dict(state)
            return made
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:100]
            raise InputError(f"{path}: not a teacher's statistics ({reason}); delete it and start again") from error


class Statistics:
    """Sums of features as they come, so that none are kept; `whitening` is what they come to."""

    def __init__(self, *, width: int, edges: Tensor) -> None:
        bins = len(edges) + 1
        self.edges = edges
        self.count = torch.zeros(bins, dtype=torch.float64)
        self.sum = torch.zeros(bins, width, dtype=torch.float64)
        self.square = torch.zeros(width, width, dtype=torch.float64)

    def add(self, features: Tensor, log_snr: Tensor) -> None:
        """features (n, ..., width) at log-SNR (n,)."""
        bins = torch.bucketize(log_snr.cpu(), self.edges)
        for row, which in zip(features.detach().double().cpu().flatten(1, -2), bins.tolist(), strict=True):
            self.count[which] += len(row)
            self.sum[which] += row.sum(0)
            self.square += row.T @ row

    def whitening(self, *, dims: int) -> Whitening:
        """Raises InputError when too little was added or the features do not vary in `dims` directions."""
        width, total = self.square.shape[0], float(self.count.sum())
        if dims > width or total < 2 * dims:
            raise InputError(
                f"whitening to {dims} dimensions: got {total:.0f} features of {width}; use fewer dimensions"
            )
        overall = self.sum.sum(0) / total
        seen = self.count[:, None].clamp_min(1)
        mean = torch.where(self.count[:, None] > 0, self.sum / seen, overall)
        covariance = (self.square - mean.T @ (self.count[:, None] * mean)) / total
        values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
        top = values[-dims:].flip(0)
        if not bool(torch.isfinite(values).all()) or float(top[-1]) <= RELATIVE_EPS * float(top[0]):
            raise InputError(
                f"whitening: a teacher's features vary in fewer than {dims} directions; use fewer dimensions"
            )
        made = Whitening(width=width, dims=dims, bins=len(mean))
        made.edges.copy_(self.edges)
        made.mean.copy_(mean)
        made.projection.copy_(vectors[:, -dims:].flip(1) / (top + RELATIVE_EPS * top[0]).sqrt())
        made.explained.copy_(top.sum() / values.clamp_min(0).sum())
        return made
