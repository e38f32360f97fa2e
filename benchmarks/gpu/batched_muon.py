"""`torch.optim.Muon`, all matrices of one shape at once: a GPU waits for hundreds of tiny kernels otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class BatchedMuon(torch.optim.Optimizer):
    """The update of `torch.optim.Muon` with Nesterov momentum and `match_rms_adamw`. Every matrix needs a gradient each step."""

    def __init__(self, params: Iterable[Tensor], *, lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        del closure
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    shapes.setdefault(p.shape, []).append(p)
            for shape, matrices in shapes.items():
                grads = torch.stack([p.grad for p in matrices])  # type: ignore[arg-type]
                state = self.state[matrices[0]]  # one buffer for all of this shape, kept with the first
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(grads)
                buffer = state["momentum_buffer"]
                buffer.lerp_(grads, 1 - group["momentum"])
                update = orthogonalised(grads.lerp(buffer, group["momentum"])).to(grads.dtype)
                rate = group["lr"] * 0.2 * max(shape) ** 0.5
                for matrix, change in zip(matrices, update.unbind(), strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(change, alpha=-rate)


def orthogonalised(x: Tensor, *, steps: int = 5) -> Tensor:
    """Five Newton-Schulz steps in bf16 towards the nearest orthogonal matrix of each of (n, a, b)."""
    a, b, c = COEFFICIENTS
    tall = x.shape[1] > x.shape[2]
    y = x.bfloat16()
    y = y.transpose(1, 2) if tall else y
    y = y / y.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    for _ in range(steps):
        gram = y @ y.transpose(1, 2)
        y = torch.baddbmm(y, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), y, beta=a)
    return y.transpose(1, 2) if tall else y
