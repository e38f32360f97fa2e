"""Orster: orthogonal spatial-temporal distributional transfer, as losses on what the student's streams hold.

    L = L_diffusion + w_nll (N_s + N_t) + w_bures (B_s + B_t) + w_orth R

N_b: token likelihood of the teacher's whitened features under q_b (`likelihood`); B_b: 2-Wasserstein distance between a frame's
teacher tokens and the mixture of its q_b (`bures`); R: mean squared correlation of z_s and z_t (`decorrelation`). N_s and B_s
have gradients in the spatial stream only, for it never reads the other. z_t reads z_s: the gradients of N_t, B_t and R are
taken with respect to the temporal stream alone (`confined`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..diffusion.priors import Distribution, StreamFeatures
from ..errors import InputError
from .bures import frame_distance
from .decorrelation import cross_correlation
from .likelihood import token_likelihood
from .targets import Crossing
from .teacher import Prior, Teacher
from .whitening import Whitening


@dataclass(kw_only=True)
class TransferConfig:
    """How much of what is asked of the teachers in a step, and what it weighs."""

    crossings: int = 6
    """Rows, and as many columns, a step; each gives the target of one of the student's frames."""
    teacher_frames: int = 4
    """Frames of a row or column, the crossing one and a clean reference included."""
    nll_weight: float = 0.4
    nll_beta: float = 0.5
    """In [0, 1]: how little what can be told exactly outweighs the rest, see `transfer.likelihood`."""
    bures_weight: float = 0.1
    decorrelation_weight: float = 0.1
    statistics_batches: int = 24
    """Batches that the frozen statistics of a teacher's features are taken from."""
    statistics_bins: int = 6
    """Of log-SNR; each has a mean of its own."""

    def __post_init__(self) -> None:
        counts = (self.crossings, self.statistics_batches, self.statistics_bins)
        if min(counts) < 1 or self.teacher_frames < 2:
            raise InputError("transfer: expected crossings, batches and bins from 1 and teacher frames from 2")
        if not 0 <= self.nll_beta <= 1:
            raise InputError(f"transfer: expected nll_beta in [0, 1], got {self.nll_beta}")
        if min(self.nll_weight, self.bures_weight, self.decorrelation_weight) < 0:
            raise InputError("transfer: expected weights from 0")


@torch.no_grad()
def target_features(teacher: Teacher, crossing: Crossing, whitening: Whitening) -> Tensor:
    """(n, p, k): what the teacher's tokens of the crossing frames hold, whitened."""
    found = teacher.features(crossing.clip)
    chosen = found[torch.arange(len(found), device=found.device), crossing.position]
    return whitening(chosen, crossing.clip.log_snr)


def predicted(
    held: StreamFeatures, block: int, crossing: Crossing, *, prior: Prior, on_temporal: bool
) -> tuple[Distribution, Tensor]:
    """What the student's head says of the crossing frames, and which of them (n,) it speaks of: the temporal stream holds active
    samples only."""
    q = held.priors[block].get(prior)
    if q is None or held.active is None:
        return Distribution(mean=crossing.clip.latents.new_zeros(0, 1, 1), deviation=None), crossing.sample[:0]
    kept = torch.arange(len(crossing.sample), device=crossing.sample.device)
    sample = crossing.sample
    if on_temporal:
        place = torch.full((int(torch.cat([held.active, sample]).max()) + 1,), -1, device=sample.device)
        place[held.active] = torch.arange(len(held.active), device=sample.device)
        sample = place[sample]
        kept = (sample >= 0).nonzero()[:, 0]
    return q.at(sample[kept], crossing.frame[kept]), kept


def transfer_losses(
    held: StreamFeatures, block: int, found: dict[Prior, tuple[Crossing, Tensor]], *, shared: bool, beta: float = 0.0
) -> dict[str, Tensor]:
    """nll_spatial, bures_spatial, nll_temporal, bures_temporal (those that there are targets for) and correlation."""
    losses: dict[str, Tensor] = {}
    for prior, (crossing, target) in found.items():
        q, kept = predicted(held, block, crossing, prior=prior, on_temporal=shared or prior == "temporal")
        if not len(kept):
            continue
        losses[f"nll_{prior}"] = token_likelihood(q, target[kept], beta=beta)
        if q.deviation is not None:
            losses[f"bures_{prior}"] = frame_distance(q, target[kept])
    if block in held.temporal and held.active is not None:
        losses["correlation"] = cross_correlation(held.spatial[block][held.active], held.temporal[block])
    return losses


def weighted(losses: dict[str, Tensor], config: TransferConfig, prior: Prior) -> Tensor | None:
    """The part of L that belongs to one stream; None when there is none. R belongs to the temporal one."""
    terms = {f"nll_{prior}": config.nll_weight, f"bures_{prior}": config.bures_weight}
    terms |= {"correlation": config.decorrelation_weight} if prior == "temporal" else {}
    parts = [weight * losses[name] for name, weight in terms.items() if name in losses and weight]
    return torch.stack(parts).sum() if parts else None


def confined(loss: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    """A scalar of the value of `loss` whose gradient reaches these parameters only: those upstream of another stream that is read
    get none. Costs a pass back through what lies between; the graph stays for other losses."""
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    pairs = [(p, g) for p, g in zip(parameters, gradients, strict=True) if g is not None]
    linear = torch.stack([(p * g).sum() for p, g in pairs]).sum() if pairs else loss.new_zeros(())
    return linear - linear.detach() + loss.detach()


def temporal_parameters(model: nn.Module) -> list[nn.Parameter]:
    """All that only the temporal stream is made of: its blocks, the motion condition and its priors."""
    return [p for name, p in model.named_parameters() if is_temporal(name)]


def is_temporal(name: str) -> bool:
    parts = name.removeprefix("module.").removeprefix("_orig_mod.").split(".")
    return parts[0] in ("temporal", "motion") or (parts[0] == "prior_blocks" and parts[2] == "temporal")
