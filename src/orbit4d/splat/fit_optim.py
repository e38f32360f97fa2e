"""Canonical Gaussians as trainable parameters: learning rates, and relocation of dead ones to where detail is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .gaussians import Gaussians
from .hexplane import quaternion_matrix

DEAD_OPACITY = 0.02
FINAL_LEARNING_RATE = 0.05
"""Of every learning rate, at the end of an exponential decay."""


@dataclass(kw_only=True)
class LearningRates:
    """Adam's step sizes. `means` is relative to half the object's extent; the others are absolute."""

    means: float = 2e-3
    quats: float = 5e-3
    log_scales: float = 1e-2
    opacities: float = 4e-2
    colors: float = 1e-2
    planes: float = 2e-2
    decoder: float = 5e-3
    trajectories: float = 4e-3
    """Relative to half the object's extent."""
    gains: float = 5e-3


class Canonical(nn.Module):
    """n trainable Gaussians whose number stays the same: dead ones are moved, so the budget is a constant."""

    def __init__(self, gaussians: Gaussians) -> None:
        super().__init__()
        self.means = nn.Parameter(gaussians.means.clone())
        self.quats = nn.Parameter(gaussians.quats.clone())
        self.log_scales = nn.Parameter(gaussians.log_scales.clone())
        self.logit_opacities = nn.Parameter(gaussians.logit_opacities.clone())
        self.sh = nn.Parameter(gaussians.sh.clone())
        # How hard the images have pulled at each Gaussian since the last relocation: large where detail is missing.
        self.demand: Tensor
        self.register_buffer("demand", torch.zeros(len(gaussians)), persistent=False)

    @property
    def gaussians(self) -> Gaussians:
        return Gaussians(
            means=self.means,
            quats=self.quats,
            log_scales=self.log_scales,
            logit_opacities=self.logit_opacities,
            sh=self.sh,
        )

    @torch.no_grad()
    def relocate(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        share: float,
        generator: torch.Generator,
        also: Sequence[nn.Parameter] = (),
    ) -> int:
        """Move dead Gaussians, and up to `share` of all in total, onto those in demand; each target is split in two.

        Targets are drawn without replacement in proportion to demand. Both halves lie one standard deviation apart along
        the longest axis, which shrinks; their optimiser state starts anew. `also`: other parameters with one row a
        Gaussian. Returns how many were moved.
        """
        opacity = self.logit_opacities.sigmoid()
        n = len(opacity)
        dead = (opacity < DEAD_OPACITY).nonzero()[:, 0]
        extra = int(share * n) - len(dead)
        if extra > 0:
            # Beyond the dead: those that add least, small and transparent.
            use = torch.where(opacity < DEAD_OPACITY, torch.inf, opacity * self.log_scales.sum(dim=-1).exp())
            dead = torch.cat([dead, use.topk(extra, largest=False).indices])
        weights = self.demand.clone()
        weights[dead] = 0
        count = min(len(dead), int((weights > 0).sum()))
        self.demand.zero_()
        if count == 0:
            return 0
        dead = dead[:count]
        target = torch.multinomial(weights.cpu(), count, generator=generator).to(weights.device)
        longest = self.log_scales[target].argmax(dim=-1, keepdim=True)
        rotation = quaternion_matrix(nn.functional.normalize(self.quats[target], dim=-1))
        axis = rotation.gather(2, longest[:, None].expand(-1, 3, 1))[..., 0]
        shift = axis * self.log_scales[target].gather(1, longest).exp() / 2
        self.log_scales[target] = self.log_scales[target].scatter_add(
            1, longest, torch.full_like(longest, -0.5, dtype=self.log_scales.dtype)
        )
        for parameter in (self.quats, self.log_scales, self.logit_opacities, self.sh, *also):
            parameter[dead] = parameter[target]
        self.means[dead] = self.means[target] + shift
        self.means[target] -= shift
        touched = torch.cat([dead, target])
        for parameter in (*self.parameters(), *also):
            for value in optimizer.state[parameter].values():
                if value.shape == parameter.shape:
                    value[touched] = 0
        return count


def build_optimizer(
    canonical: Canonical, motion: list[dict], gains: nn.Parameter, rates: LearningRates, *, extent: float
) -> torch.optim.Adam:
    """Adam over everything; each group remembers its starting rate for `set_decay`.

    `motion`: groups {params, rate: name of a learning rate, scale: factor of it} of the deformation.
    """
    groups: list[dict] = [
        {"params": [canonical.means], "lr": rates.means * extent},
        {"params": [canonical.quats], "lr": rates.quats},
        {"params": [canonical.log_scales], "lr": rates.log_scales},
        {"params": [canonical.logit_opacities], "lr": rates.opacities},
        {"params": [canonical.sh], "lr": rates.colors},
        {"params": [gains], "lr": rates.gains},
    ]
    for group in motion:
        rate = getattr(rates, group["rate"]) * group.get("scale", 1.0)
        groups.append({"params": group["params"], "lr": rate})
    for group in groups:
        group["initial_lr"] = group["lr"]
    return torch.optim.Adam(groups, eps=1e-15, foreach=True)


def set_decay(optimizer: torch.optim.Optimizer, progress: float) -> None:
    """Exponential decay of the learning rates; `progress` in [0, 1]."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * FINAL_LEARNING_RATE**progress
