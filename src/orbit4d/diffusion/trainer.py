"""The training loop of both networks, on accelerate: a CPU, a GPU, or several of them through `accelerate launch`.

All randomness of a step (which clips, which conditions, which noise) is drawn from one generator before the step. Every process
draws the whole batch and works on its part of it: so a run sees the same data on one process and on many, and a generator's
state is all that a checkpoint has to know of the data. On a CPU a run that was killed and went on is, bit for bit, the run that
was not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..errors import InputError
from .journal import Journal
from .machine import (
    check_training,
    chosen_dtype,
    gathered_rng,
    moved,
    restore_rng,
    shared_values,
    start_accelerator,
)
from .training import (
    EMA,
    Log,
    Optimizers,
    TrainingConfig,
    learning_rate_factor,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)

PATIENCE = 3
"""Steps in a row without a finite loss and gradient that are left out before the run stops; fp16, whose scale has to be found,
is given `FP16_PATIENCE`."""
FP16_PATIENCE = 20


class TrainingDiverged(InputError):
    """Losses or gradients stay NaN or infinite. The last checkpoint is from before, and good."""


Batch = TypeVar("Batch")


class Task(Protocol[Batch]):
    """What is trained, for `fit`."""

    name: str
    samples: int
    """Samples of one batch, over all processes."""
    frames: int
    """Frames of one sample."""

    def draw(self, generator: torch.Generator, part: slice) -> Batch:
        """The samples `part` of one batch, on the CPU, as a dataclass of tensors. Draws the same, whatever `part` is."""
        ...

    def loss(self, model: nn.Module, batch: Batch, dtype: torch.dtype) -> tuple[Tensor, dict[str, Tensor]]:
        """What is minimised, and what is logged; the mean over equal parts of a batch is that of the whole."""
        ...

    def export(self, values: dict[str, Tensor], *, step: int, seconds: float) -> None:
        """Called after every checkpoint, with the averaged weights."""
        ...

    def sheet(self, values: dict[str, Tensor]) -> Tensor | None:
        """A picture (3, h, w) in [0, 1] of what the averaged weights do."""
        ...


def fit(
    model: Any,
    task: Task[Any],
    out: Path,
    *,
    config: TrainingConfig,
    stop_after: int | None = None,
) -> EMA:
    """Train `model` in place up to `config.steps`; `out` receives checkpoint.pt, log.jsonl, samples/ and curves.

    Goes on from `out/checkpoint.pt`. `stop_after` ends the call at that step without changing the schedule. Returns the
    averaged weights. Raises InputError when the checkpoint does not fit, a package or compiler is missing, or the batch does
    not divide over the processes, and TrainingDiverged.
    """
    # 1. Devices and processes
    check_training(precision=config.precision, tracker=config.log, compile=config.compile)
    out.mkdir(parents=True, exist_ok=True)
    accelerator = start_accelerator(config.log, out)
    device, main = accelerator.device, accelerator.is_main_process
    if task.samples % accelerator.num_processes:
        raise InputError(
            f"--batch: {task.samples} samples do not divide over {accelerator.num_processes} processes; choose a multiple"
        )
    dtype = chosen_dtype(config.precision, device)
    scaler = torch.amp.GradScaler(device.type) if dtype == torch.float16 else None

    # 2. Everything that a checkpoint holds
    torch.manual_seed(config.seed)
    model.to(device)
    ema, optimizers = EMA(model, config.ema), Optimizers(model, lr=config.lr, muon=config.muon)
    generator = torch.Generator().manual_seed(config.seed)
    start, seconds, checkpoint, sums = 0, 0.0, out / "checkpoint.pt", {}
    if checkpoint.is_file():
        state = read_checkpoint(checkpoint)
        _check_seed(state, config, checkpoint)
        start, seconds = load_checkpoint(
            checkpoint, model=model, ema=ema, optimizers=optimizers, generator=generator, state=state
        )
        sums = state.get("log", {})
        restore_rng(state.get("rng", []), accelerator)
        if scaler is not None and state.get("scaler"):
            scaler.load_state_dict(state["scaler"])
        del state
    accelerator.wait_for_everyone()  # all have read it before anyone writes

    # 3. The network as it is run
    if config.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    network: Any = accelerator.prepare_model(model.train())
    if config.compile:
        network = torch.compile(network)

    # 4. Where it is written down
    log = Log(out / "log.jsonl", start_seconds=seconds, start_step=start) if main else None
    if log is not None:
        log.sums, log.count = dict(sums.get("sums", {})), int(sums.get("count", 0))
    journal = Journal(accelerator, config, out, start=start, samples=task.samples, frames=task.frames, log=log)
    part = slice(accelerator.process_index, None, accelerator.num_processes)
    stream = Stream(lambda g: task.draw(g, part), generator, ahead=device.type != "cpu")

    # 5. Steps
    end = min(config.steps, stop_after or config.steps)
    bad, due, saved = 0, False, start
    if start >= end and log is not None:  # it may have been killed before the last weights were written
        task.export(ema.values, step=start, seconds=seconds)
    bar = tqdm(range(start, end), initial=start, total=config.steps, desc=task.name, disable=not main)
    for step in bar:
        loss, terms = task.loss(network, moved(stream.next(), device), dtype)
        (loss if scaler is None else scaler.scale(loss)).backward()
        if scaler is not None:
            for optimizer in optimizers.parts:
                scaler.unscale_(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        values = shared_values(terms | {"gradient": norm}, accelerator)
        if all(math.isfinite(value) for value in values.values()):
            optimizers.step(learning_rate_factor(step, steps=config.steps), scaler=scaler)
            ema.update(model)
            bad = 0
        else:
            optimizers.zero_grad()
            bad += 1
            _check_divergence(bad, values, step=step + 1, saved=saved, scaler=scaler, out=out)
        if scaler is not None:
            scaler.update()
        journal.add(values, skipped=bad > 0)
        if (step + 1) % config.log_every == 0 or step + 1 == end:
            bar.set_postfix(journal.write(step + 1, rate=config.lr * learning_rate_factor(step, steps=config.steps)))
        if config.sample_every and (step + 1) % config.sample_every == 0 and main:
            journal.picture(task.sheet(ema.values), step + 1)
        due = due or (step + 1) % config.save_every == 0 or step + 1 == end
        if due and not bad:
            rng = gathered_rng(accelerator)
            if log is not None:
                extra = {"log": {"sums": log.sums, "count": log.count}, "seed": config.seed, "rng": rng}
                extra |= {"scaler": scaler.state_dict()} if scaler is not None else {}
                save_checkpoint(
                    checkpoint,
                    model=model,
                    ema=ema,
                    optimizers=optimizers,
                    step=step + 1,
                    generator=stream.state,
                    seconds=log.seconds,
                    extra=extra,
                )
                task.export(ema.values, step=step + 1, seconds=log.seconds)
            due, saved = False, step + 1
    journal.close()
    stream.close()
    accelerator.wait_for_everyone()
    return ema


class Stream(Generic[Batch]):
    """Batches in their order, and the generator's state after the one that was taken last. `ahead` draws the next one
    meanwhile, for devices that leave the CPU idle."""

    def __init__(self, draw: Callable[[torch.Generator], Batch], generator: torch.Generator, *, ahead: bool) -> None:
        self.draw, self.generator, self.state = draw, generator, generator.get_state()
        self.pool = ThreadPoolExecutor(1) if ahead else None
        self.coming: Future[tuple[Batch, Tensor]] | None = None

    def _one(self) -> tuple[Batch, Tensor]:
        return self.draw(self.generator), self.generator.get_state()

    def next(self) -> Batch:
        batch, self.state = self._one() if self.coming is None else self.coming.result()
        self.coming = self.pool.submit(self._one) if self.pool else None
        return batch

    def close(self) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)


def _check_divergence(
    bad: int, values: dict[str, float], *, step: int, saved: int, scaler: torch.amp.GradScaler | None, out: Path
) -> None:
    if bad < (PATIENCE if scaler is None else FP16_PATIENCE):
        return
    what = ", ".join(f"{name} {value}" for name, value in values.items() if not math.isfinite(value))
    kept = f"{out / 'checkpoint.pt'} is of step {saved} and good" if saved else "nothing was saved yet"
    raise TrainingDiverged(
        f"training diverged: {what} at step {step}, {bad} steps in a row; {kept}: go on with a lower --learning-rate"
    )


def _check_seed(state: dict[str, Any], config: TrainingConfig, checkpoint: Path) -> None:
    if state.get("seed", config.seed) != config.seed:
        raise InputError(
            f"{checkpoint}: was started with seed {state['seed']}, not {config.seed}; leave --seed, or choose another --out"
        )
