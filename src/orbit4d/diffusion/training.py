"""What all networks' training is built of: schedule, EMA, optimisers, checkpoints that resume exactly, the log."""

from __future__ import annotations

import json
import math
import pickle
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..files import atomic_folder, atomic_path, parse_json

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Tracker = Literal["none", "tensorboard", "wandb"]


@dataclass(kw_only=True)
class TrainingConfig:
    """What the loop itself is told. `steps` may be changed on resume: the learning rate decays over the last quarter."""

    steps: int = 6000
    lr: float = 1.5e-3
    muon: bool = True
    """Muon for the matrices of transformer blocks; AdamW for the rest, or for everything."""
    ema: float = 0.998
    seed: int = 0
    save_every: int = 200
    precision: Precision = "auto"
    """What the network multiplies in. auto: bf16 where the device multiplies it natively, else fp32."""
    compile: bool = False
    """torch.compile: a minute or more at the start, faster steps afterwards."""
    gradient_checkpointing: bool = False
    """Less memory, about a third more time; of networks that have it."""
    log: Tracker = "none"
    """Where curves and samples go besides log.jsonl and samples/."""
    log_every: int = 25
    sample_every: int = 0
    """Steps between sample sheets; 0 draws none."""

    def __post_init__(self) -> None:
        if min(self.steps, self.save_every, self.log_every) < 1 or self.sample_every < 0:
            raise InputError(
                "training: expected steps, save_every and log_every from 1 and sample_every (--sample-every) from 0"
            )
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise InputError(f"training: expected a learning rate above 0, got {self.lr}")
        if self.precision not in get_args(Precision):
            raise InputError(f"--precision: expected auto, fp32, bf16 or fp16, got {self.precision!r}")


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

    def load(self, values: dict[str, Tensor], *, updates: int) -> None:
        """Take over saved averages, to the device where these lie. Raises KeyError or RuntimeError when they do not fit."""
        for key, value in self.values.items():
            value.copy_(values[key])
        self.updates = updates


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

    def step(self, factor: float, *, scaler: torch.amp.GradScaler | None = None) -> None:
        """One step of every part at `factor` times the learning rate, through the fp16 scaler where there is one."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = self.lr * factor
            if scaler is None:
                part.step()
            else:
                scaler.step(part)
        self.zero_grad()

    def zero_grad(self) -> None:
        for part in self.parts:
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
    generator: torch.Generator | Tensor,
    seconds: float,
    extra: dict[str, Any] | None = None,
) -> None:
    """Everything that an exact resume needs, written beside and then renamed. `generator` is the data's, or its state."""
    state = {
        "model": model.state_dict(),
        "ema": ema.values,
        "ema_updates": ema.updates,
        "optimizers": optimizers.state_dict(),
        "step": step,
        "generator": generator if isinstance(generator, Tensor) else generator.get_state(),
        "torch_rng": torch.get_rng_state(),
        "seconds": seconds,
    } | (extra or {})
    try:
        with atomic_path(path) as temporary:
            torch.save(state, temporary)
    except RuntimeError as error:  # what torch makes of a write that fails
        raise InputError(
            f"{path}: cannot be written; is the disk full? Free some room and run the same command"
        ) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint's content, in main memory. Raises InputError when it is none."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise InputError(f"{path}: not a checkpoint, or a damaged one; delete it to start again") from error
    if not isinstance(state, dict) or not isinstance(state.get("step"), int):
        raise InputError(f"{path}: not a checkpoint of this program; choose another --out")
    return state


def load_checkpoint(
    path: Path,
    *,
    model: nn.Module,
    ema: EMA,
    optimizers: Optimizers,
    generator: torch.Generator,
    state: dict[str, Any] | None = None,
) -> tuple[int, float]:
    """Restore in place; returns (step, seconds trained so far). `state` is the file's content where it was read already.
    Raises InputError when it does not fit the model."""
    state = read_checkpoint(path) if state is None else state
    try:
        model.load_state_dict(state["model"])
        ema.load(state["ema"], updates=state["ema_updates"])
        optimizers.load_state_dict(state["optimizers"])
        generator.set_state(state["generator"])
        torch.set_rng_state(state["torch_rng"])
        return state["step"], float(state["seconds"])
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: not a checkpoint of this configuration ({str(error)[:200]}); choose another --out"
        ) from error


class Log:
    """Appends one JSON object a line to `log.jsonl`; losses are averaged between lines, each over the steps that had it. Refuses to
    go on after a NaN."""

    def __init__(self, path: Path, *, start_seconds: float = 0.0, start_step: int | None = None) -> None:
        """`start_step`: where the run goes on; lines of later steps, which it will write again, are removed."""
        self.path, self.started = path, time.monotonic() - start_seconds
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        if start_step is not None and path.is_file():
            kept = [line for line in path.read_text().splitlines() if 0 <= _step_of(line) <= start_step]
            with atomic_path(path) as temporary:
                temporary.write_text("".join(f"{line}\n" for line in kept))

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def add(self, **losses: Tensor | float) -> None:
        for key, value in losses.items():
            number = float(value.detach() if isinstance(value, Tensor) else value)
            if number != number:
                raise FloatingPointError(
                    f"{key} became NaN; resume from the last checkpoint with a lower learning rate"
                )
            self.sums[key] = self.sums.get(key, 0.0) + number
            self.counts[key] = self.counts.get(key, 0) + 1

    def write(self, step: int, **extra: float) -> dict[str, float]:
        line = {"step": step, "seconds": round(self.seconds, 1)}
        line |= {k: round(v / self.counts[k], 6) for k, v in self.sums.items()} | extra
        with open(self.path, "a") as handle:
            handle.write(json.dumps(line) + "\n")
        self.sums, self.counts = {}, {}
        return line


def _step_of(line: str) -> int:
    """The step of a line of the log, -1 where it is torn."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return -1


def with_weights(model: Any, values: dict[str, Tensor]) -> Any:
    """Another diffusers model of the same configuration with these weights, on the CPU; no random number is used up."""
    with torch.random.fork_rng(devices=[]):
        copy = type(model).from_config(model.config)
    copy.load_state_dict(values)
    return copy


def save_half(model: Any, values: dict[str, Tensor], folder: Path) -> None:
    """Write a diffusers model folder (config.json + fp16 safetensors) with the given weights; the model is left as it is."""
    with atomic_folder(folder) as temporary:
        with_weights(model, values).half().save_pretrained(temporary, safe_serialization=True, max_shard_size="14MB")
        forget_path(temporary)
        for file in temporary.iterdir():  # safetensors writes files that only their owner can read
            file.chmod(0o644)


def forget_path(folder: Path) -> None:
    """Take the place that a saved model was once loaded from out of its settings: it tells of the machine, not of the model."""
    file = folder / "config.json"
    settings = parse_json(file.read_bytes(), source=file)
    settings.pop("_name_or_path", None)
    file.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
