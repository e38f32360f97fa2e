"""What both training loops share: schedule, EMA, optimisers, checkpoints that resume exactly."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..files import atomic_folder, atomic_path


def learning_rate_factor(step: int, *, steps: int, warmup: int = 100, decay: float = 0.25) -> float:
    """Warm-up, constant, linear decay to zero over the last `decay` share: extending a run keeps its first part valid."""
    if step < warmup:
        return (step + 1) / warmup
    start = steps * (1 - decay)
    return 1.0 if step < start else max(0.0, (steps - step) / max(steps - start, 1))


class EMA:
    """Exponential moving average of parameters and buffers, with a ramped decay min(decay, (1 + n) / (10 + n))."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.values = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for key, value in model.state_dict().items():
            if value.dtype.is_floating_point:
                self.values[key].lerp_(value, 1 - decay)
            else:
                self.values[key].copy_(value)


class Optimizers:
    """Muon for the weight matrices of the transformer blocks, AdamW for everything else, under one learning-rate factor."""

    def __init__(self, model: nn.Module, *, lr: float, muon: bool, weight_decay: float = 0.01) -> None:
        matrices, rest = [], []
        for name, parameter in model.named_parameters():
            hidden = ".blocks." in name and parameter.ndim == 2 and not name.endswith("table")
            (matrices if muon and hidden else rest).append(parameter)
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.99), weight_decay=weight_decay)
        ]
        if matrices:
            if not hasattr(torch.optim, "Muon"):
                raise InputError(
                    f"training with Muon needs torch 2.9 or later, found {torch.__version__}; set muon=False"
                )
            self.parts.append(
                torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw", ns_steps=5)
            )
        self.lr = lr

    def step(self, factor: float) -> None:
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = self.lr * factor
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict]:
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict]) -> None:
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


def save_checkpoint(
    path: Path,
    *,
    model: nn.Module,
    ema: EMA,
    optimizers: Optimizers,
    step: int,
    generator: torch.Generator,
    seconds: float,
) -> None:
    """Everything that an exact resume needs, written beside and then renamed."""
    state = {
        "model": model.state_dict(),
        "ema": ema.values,
        "ema_updates": ema.updates,
        "optimizers": optimizers.state_dict(),
        "step": step,
        "generator": generator.get_state(),
        "torch_rng": torch.get_rng_state(),
        "seconds": seconds,
    }
    try:
        with atomic_path(path) as temporary:
            torch.save(state, temporary)
    except RuntimeError as error:  # what torch makes of a write that fails
        raise InputError(
            f"{path}: cannot be written; is the disk full? Free some room and run the same command"
        ) from error


def load_checkpoint(
    path: Path, *, model: nn.Module, ema: EMA, optimizers: Optimizers, generator: torch.Generator
) -> tuple[int, float]:
    """Restore in place; returns (step, seconds trained so far). Raises InputError when the file does not fit the model."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        ema.values = state["ema"]
        ema.updates = state["ema_updates"]
        optimizers.load_state_dict(state["optimizers"])
        generator.set_state(state["generator"])
        torch.set_rng_state(state["torch_rng"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise InputError(
            f"{path}: not a checkpoint of this configuration ({str(error)[:200]}); choose another --out"
        ) from error
    return int(state["step"]), float(state["seconds"])


class Log:
    """Appends one JSON object a line to `log.jsonl`; losses are averaged between lines. Refuses to go on after a NaN."""

    def __init__(self, path: Path, *, start_seconds: float = 0.0) -> None:
        self.path, self.started = path, time.monotonic() - start_seconds
        self.sums: dict[str, float] = {}
        self.count = 0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def add(self, **losses: Tensor) -> None:
        for key, value in losses.items():
            number = float(value.detach())
            if number != number:
                raise FloatingPointError(
                    f"{key} became NaN; resume from the last checkpoint with a lower learning rate"
                )
            self.sums[key] = self.sums.get(key, 0.0) + number
        self.count += 1

    def write(self, step: int, **extra: float) -> dict[str, float]:
        line = {"step": step, "seconds": round(self.seconds, 1)}
        line |= {k: round(v / max(self.count, 1), 6) for k, v in self.sums.items()} | extra
        with open(self.path, "a") as handle:
            handle.write(json.dumps(line) + "\n")
        self.sums, self.count = {}, 0
        return line


def save_half(model: Any, values: dict[str, Tensor], folder: Path) -> None:
    """Write a diffusers model folder (config.json + fp16 safetensors) with the given weights; the model is left as it was."""
    keep = {k: v.detach().clone() for k, v in model.state_dict().items()}
    model.load_state_dict(values)
    with atomic_folder(folder) as temporary:
        model.half().save_pretrained(temporary, safe_serialization=True, max_shard_size="14MB")
        for file in temporary.iterdir():  # safetensors writes files that only their owner can read
            file.chmod(0o644)
    model.float().load_state_dict(keep)
