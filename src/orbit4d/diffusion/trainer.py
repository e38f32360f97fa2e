"""The training loop of all networks, on accelerate: a CPU, a GPU, or several of them through `accelerate launch`.

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
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

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

if TYPE_CHECKING:
    from accelerate import Accelerator

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
    data: str
    """Names what is trained on; a checkpoint of other data is refused. Empty: whatever is there."""

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
    if task.samples % accelerator.num_processes:
        raise InputError(
            f"--batch: {task.samples} samples do not divide over {accelerator.num_processes} processes; choose a multiple"
        )

    # 2. Everything that a checkpoint holds, and the network as it is run
    run = _Run(model, config, accelerator, data=task.data)
    if (out / "checkpoint.pt").is_file():
        run.restore(out / "checkpoint.pt")
    accelerator.wait_for_everyone()  # all have read it before anyone writes
    if config.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    network: Any = accelerator.prepare_model(model.train())
    if config.compile:
        network = torch.compile(network)

    # 3. Where it is written down, and what it reads
    log = None
    if accelerator.is_main_process:
        log = Log(out / "log.jsonl", start_seconds=run.seconds, start_step=run.step)
        log.sums, log.counts = run.log_sums, run.log_counts
    journal = Journal(accelerator, config, out, start=run.step, samples=task.samples, frames=task.frames, log=log)
    part = slice(accelerator.process_index, None, accelerator.num_processes)
    ahead = accelerator.device.type != "cpu"
    stream = Stream(lambda generator: task.draw(generator, part), run.generator, ahead=ahead)

    # 4. Steps
    end, bad, due, saved = min(config.steps, stop_after or config.steps), 0, False, run.step
    if run.step >= end and log is not None:  # it may have been killed before the last weights were written
        task.export(run.ema.values, step=run.step, seconds=run.seconds)
    bar = tqdm(total=config.steps, initial=run.step, desc=task.name, disable=log is None)
    while run.step < end:
        loss, terms = task.loss(network, moved(stream.next(), accelerator.device), run.dtype)
        values = run.advance(loss, terms)
        bad = 0 if _finite(values) else bad + 1
        if bad:
            _check_divergence(bad, values, step=run.step, saved=saved, patience=run.patience, out=out)
        journal.add(values, skipped=bad > 0)
        bar.update()
        if run.step % config.log_every == 0 or run.step == end:
            bar.set_postfix(journal.write(run.step, rate=run.rate))
        if config.sample_every and run.step % config.sample_every == 0 and log is not None:
            journal.picture(task.sheet(run.ema.values), run.step)
        due = due or run.step % config.save_every == 0
        if (due and not bad) or run.step == end:
            run.save(out / "checkpoint.pt", stream, log)
            if log is not None:
                task.export(run.ema.values, step=run.step, seconds=log.seconds)
            due, saved = False, run.step
    bar.close()
    journal.close()
    stream.close()
    accelerator.wait_for_everyone()
    return run.ema


class _Run:
    """All that changes from step to step, and how it is saved and restored."""

    def __init__(self, model: nn.Module, config: TrainingConfig, accelerator: Accelerator, *, data: str) -> None:
        device, self.data = accelerator.device, data
        torch.manual_seed(config.seed)
        self.model, self.config, self.accelerator = model.to(device), config, accelerator
        self.ema, self.optimizers = EMA(model, config.ema), Optimizers(model, lr=config.lr, muon=config.muon)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.dtype = chosen_dtype(config.precision, device)
        self.scaler = torch.amp.GradScaler(device.type) if self.dtype == torch.float16 else None
        self.patience = PATIENCE if self.scaler is None else FP16_PATIENCE
        self.step, self.seconds, self.log_sums, self.log_counts, self.rate = 0, 0.0, {}, {}, 0.0

    def advance(self, loss: Tensor, terms: dict[str, Tensor]) -> dict[str, float]:
        """One step down the gradient, unless something is not finite in any process. Returns `terms` and the gradient's norm,
        averaged over the processes."""
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()
        if self.scaler is not None:
            for part in self.optimizers.parts:
                self.scaler.unscale_(part)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        values = shared_values(terms | {"gradient": norm}, self.accelerator)
        factor = learning_rate_factor(self.step, steps=self.config.steps)
        if _finite(values):
            self.optimizers.step(factor, scaler=self.scaler)
            self.ema.update(self.model)
        else:
            self.optimizers.zero_grad()
        if self.scaler is not None:
            self.scaler.update()
        self.step, self.rate = self.step + 1, self.config.lr * factor
        return values

    def save(self, path: Path, stream: Stream[Any], log: Log | None) -> None:
        """By the first process, which has the log; the others tell it their part."""
        extra: dict[str, Any] = {"seed": self.config.seed, "data": self.data, "rng": gathered_rng(self.accelerator)}
        if log is None:
            return
        # `count`: for readers from before each name had one of its own.
        extra["log"] = {"sums": log.sums, "count": max(log.counts.values(), default=0), "counts": log.counts}
        extra |= {"scaler": self.scaler.state_dict()} if self.scaler is not None else {}
        save_checkpoint(
            path,
            model=self.model,
            ema=self.ema,
            optimizers=self.optimizers,
            step=self.step,
            generator=stream.state,
            seconds=log.seconds,
            extra=extra,
        )

    def restore(self, path: Path) -> None:
        """In place. Checkpoints of the first trainer, which lack the log's sums, the seed and the data, are read, too."""
        state = read_checkpoint(path)
        if state.get("seed", self.config.seed) != self.config.seed:
            raise InputError(
                f"{path}: was started with seed {state['seed']}, not {self.config.seed}; give that --seed, or another --out"
            )
        if state.get("data", self.data) != self.data:
            raise InputError(
                f"{path}: was trained on other data than is there now; put that back, or choose another --out"
            )
        parts: dict[str, Any] = {"model": self.model, "ema": self.ema, "optimizers": self.optimizers}
        self.step, self.seconds = load_checkpoint(path, **parts, generator=self.generator, state=state)
        log = state.get("log", {})
        self.log_sums = dict(log.get("sums", {}))
        self.log_counts = dict(log.get("counts", dict.fromkeys(self.log_sums, int(log.get("count", 0)))))
        restore_rng(state.get("rng", []), self.accelerator)
        if self.scaler is not None and state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])


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


def _finite(values: dict[str, float]) -> bool:
    return all(math.isfinite(value) for value in values.values())


def _check_divergence(bad: int, values: dict[str, float], *, step: int, saved: int, patience: int, out: Path) -> None:
    if bad < patience:
        return
    what = ", ".join(f"{name} {value}" for name, value in values.items() if not math.isfinite(value))
    kept = f"{out / 'checkpoint.pt'} is of step {saved} and good" if saved else "nothing was saved yet"
    raise TrainingDiverged(
        f"training diverged: {what} at step {step}, {bad} steps in a row; {kept}: go on with a lower --learning-rate"
    )
