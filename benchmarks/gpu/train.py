"""Train the denoiser on a pack of latents for so many minutes, on a machine that has PyTorch and little else.

PYTHONPATH=src python benchmarks/gpu/train.py --pack runs/gpu/pack --start runs/gpu/start --out OUT --minutes 9

Everything that should come back lies in OUT: denoiser/ (fp16 averaged weights), state.json, log.jsonl. A later call is given these
by --start. With --scratch, which holds the exact state, a call on the same machine goes on as if it had not stopped; without it the
optimisers start anew from the averaged weights and are warmed up again. The learning rate is constant until the last --decay
minutes of a call.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

STARTED = time.monotonic()
HERE = Path(__file__).resolve().parent
if find_spec("diffusers") is None:
    sys.path.append(str(HERE / "stand_in"))

import torch  # noqa: E402
from batched_muon import BatchedMuon  # noqa: E402
from latent_pack import TextTable, read_pack  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils.data import DataLoader, IterableDataset  # noqa: E402
from weight_files import read_model, write_model  # noqa: E402

from orbit4d.diffusion.batches import BatchConfig, BatchPlan, LatentSet, gather_batch, plan_batch  # noqa: E402
from orbit4d.diffusion.denoiser import Conditions, Denoiser  # noqa: E402
from orbit4d.diffusion.objective import losses_at, noise_levels  # noqa: E402
from orbit4d.diffusion.training import EMA, Log, Optimizers, read_checkpoint, save_checkpoint  # noqa: E402
from orbit4d.errors import InputError  # noqa: E402
from orbit4d.files import atomic_path  # noqa: E402

WARM_UP = 100
LEVELS = (0.2, 0.5, 0.8, 0.95)
"""Noise levels of the evaluation."""


def minutes() -> float:
    """Since the call began, imports and all: what the machine's own limit counts."""
    return (time.monotonic() - STARTED) / 60


class Plans(IterableDataset):
    """Endless (plan, noise levels), as numpy arrays: no shared memory is used up on the way between processes."""

    def __init__(self, data: LatentSet, config: BatchConfig, shifts: tuple[float, ...], seed: int) -> None:
        self.data, self.config, self.shifts, self.seed = data, config, shifts, seed

    def __iter__(self) -> Iterator[dict[str, Any]]:
        info = torch.utils.data.get_worker_info()
        generator = torch.Generator().manual_seed(self.seed * 1000 + (info.id if info else 0))
        while True:
            plan = plan_batch(self.data, self.config, generator)
            t = noise_levels(plan.reference, self.shifts, generator)
            drawn = {f.name: getattr(plan, f.name) for f in fields(plan)} | {"t": t}
            yield {k: v.numpy() if isinstance(v, Tensor) else v for k, v in drawn.items()}


def plans(data: LatentSet, config: BatchConfig, *, shifts: tuple[float, ...], seed: int, workers: int) -> Iterator[Any]:
    """Drawn by `workers` forked processes, or here by none."""
    source = Plans(data, config, shifts, seed)
    if workers == 0:
        return iter(source)
    loader = DataLoader(
        source,
        batch_size=None,
        num_workers=workers,
        collate_fn=_as_it_is,
        prefetch_factor=4,
        multiprocessing_context="fork",
    )
    return iter(loader)


def _as_it_is(x: Any) -> Any:
    return x


def on_device(drawn: dict[str, Any], device: torch.device) -> tuple[BatchPlan, Tensor]:
    values: dict[str, Any] = {
        k: v if isinstance(v, list) else torch.from_numpy(v).to(device, non_blocking=True) for k, v in drawn.items()
    }
    t = values.pop("t")
    return BatchPlan(**values), t


class Trainer:
    """All that changes from step to step, on one device."""

    def __init__(self, data: LatentSet, head: dict[str, Any], a: argparse.Namespace) -> None:
        self.device, self.data = torch.device(a.device), data
        preset = head["recipe"]["presets"][a.preset]
        recipe = preset["training"]
        self.network = preset["network"] | {"lift_blocks": tuple(preset["network"]["lift_blocks"])}
        known = {f.name for f in fields(BatchConfig)}
        self.config = replace(BatchConfig(**{k: v for k, v in recipe.items() if k in known}), batch=a.batch)
        self.config = self.config if a.frames is None else replace(self.config, frames=a.frames)
        self.shifts, self.motion_weight = tuple(recipe["noise_shift"]), recipe["motion_weight"]
        self.lr = recipe["lr"] if a.lr is None else a.lr
        self.static = round(self.config.static_share * self.config.batch)
        torch.manual_seed(a.seed)
        self.model = Denoiser(**self.network)
        self.step, self.warm, self.seconds = 0, 0, 0.0
        if a.start is not None:
            self._start_from(a.start)
        self.model.train().to(self.device)  # type: ignore[arg-type]
        self.ema = EMA(self.model, recipe["ema"] if a.ema is None else a.ema)
        self.optimizers = Optimizers(self.model, lr=self.lr, muon=recipe["muon"])
        if recipe["muon"]:
            matrices = self.optimizers.parts[1].param_groups[0]["params"]
            self.optimizers.parts[1] = BatchedMuon(matrices, lr=self.lr, weight_decay=0.01)
        self.noise = torch.Generator(device=self.device).manual_seed(a.seed)
        self.forward: Callable[..., Tensor] = self.model
        self.dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32

    def _start_from(self, folder: Path) -> None:
        """A model's folder, or what a call left in its --out. Parts of the network that start as the identity may be new."""
        state = folder / "state.json"
        inner = folder / "denoiser"
        _, weights = read_model(inner if inner.is_dir() else folder)
        try:
            missing, unexpected = self.model.load_state_dict(weights, strict=False)
        except RuntimeError as error:
            raise InputError(
                f"{folder}: weights of another size; choose another --preset ({str(error)[:160]})"
            ) from error
        wrong = [*unexpected, *(name for name in missing if not name.startswith("lifts."))]
        if wrong:
            raise InputError(f"{folder}: {wrong[0]} and {len(wrong) - 1} more do not fit --preset; choose another")
        if state.is_file():
            record = json.loads(state.read_text())
            self.step, self.seconds = int(record["step"]), float(record["seconds"])

    def restore(self, scratch: Path) -> bool:
        """Go on from the exact state in `scratch`, unless --start has come further. True when it did."""
        file = scratch / "checkpoint.pt"
        if not file.is_file():
            return False
        state = read_checkpoint(file)
        if state["step"] < self.step or state.get("network") != json.dumps(self.network):
            print(f"{file}: of another network or older than --start; not used", flush=True)
            return False
        self.model.load_state_dict(state["model"])
        self.ema.load(state["ema"], updates=state["ema_updates"])
        self.optimizers.load_state_dict(state["optimizers"])
        self.noise.set_state(state["generator"])
        self.step, self.warm, self.seconds = state["step"], WARM_UP, float(state["seconds"])
        return True

    def factor(self, a: argparse.Namespace) -> float:
        """Of the learning rate: warm-up, constant, and linear to zero over the last minutes of this call."""
        left = a.minutes - minutes()
        if a.steps is not None:  # counted in steps: what tests do
            left = a.minutes * (a.steps - self.count) / a.steps
        return min((self.warm + 1) / WARM_UP, 1.0, max(left, 0.0) / a.decay if a.decay else 1.0)

    def losses(self, forward: Any, plan: BatchPlan, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        x0, still, conditions, reference = gather_batch(self.data, plan)
        active = torch.arange(self.static, len(x0), device=self.device)  # the first of a batch are the static ones
        conditions: Conditions = replace(conditions, active=active)
        return losses_at(
            forward,
            x0,
            still,
            conditions,
            reference,
            t=t,
            noise=noise,
            m_scale=self.data.m_scale,
            prediction=self.network["prediction"],
            dtype=self.dtype,
        )

    def drawn_noise(self, plan: BatchPlan) -> Tensor:
        shape = (*plan.x0.shape, *self.data.latents.shape[1:])
        return torch.randn(shape, generator=self.noise, device=self.device)

    count = 0
    """Steps of this call."""

    def advance(self, drawn: dict[str, Any], a: argparse.Namespace) -> dict[str, Tensor]:
        plan, t = on_device(drawn, self.device)
        flow, motion = self.losses(self.forward, plan, t, self.drawn_noise(plan))
        (flow + self.motion_weight * motion).backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizers.step(self.factor(a))
        self.ema.update(self.model)
        self.step, self.warm, self.count = self.step + 1, self.warm + 1, self.count + 1
        return {"flow": flow.detach(), "motion": motion.detach(), "gradient": norm.detach()}

    def compile(self, drawn: dict[str, Any]) -> None:
        """Take the compiled network if one pass through it works, the plain one otherwise. Changes nothing that is trained."""
        compiled: Any = torch.compile(self.model)
        plan, t = on_device(drawn, self.device)
        began = time.monotonic()
        try:
            noise = torch.zeros((*plan.x0.shape, *self.data.latents.shape[1:]), device=self.device)
            sum(self.losses(compiled, plan, t, noise)).backward()  # type: ignore[union-attr]
        except Exception as error:
            print(f"not compiled: {type(error).__name__}: {str(error)[:300]}", flush=True)
        else:
            self.forward = compiled
            print(f"compiled in {time.monotonic() - began:.0f} s", flush=True)
        self.optimizers.zero_grad()

    @torch.no_grad()
    def evaluate(self, batches: list[dict[str, Any]]) -> dict[str, float]:
        """Loss of the averaged weights at fixed levels, on fixed batches with fixed noise."""
        kept = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.ema.values)
        generator = torch.Generator(device=self.device).manual_seed(0)
        found = {f"eval_{level}": 0.0 for level in LEVELS}
        for drawn in batches:
            plan, t = on_device(drawn, self.device)
            noise = torch.randn((*plan.x0.shape, *self.data.latents.shape[1:]), generator=generator, device=self.device)
            for level in LEVELS:
                at = torch.where(plan.reference, 0.0, torch.full_like(t, level))
                found[f"eval_{level}"] += float(self.losses(self.model, plan, at, noise)[0]) / len(batches)
        self.model.load_state_dict(kept)
        return {k: round(v, 5) for k, v in found.items()}

    def save(self, a: argparse.Namespace, head: dict[str, Any], *, evaluation: dict[str, float]) -> None:
        seconds = self.seconds + minutes() * 60
        write_model(a.out / "denoiser", self.network, {k: v.cpu() for k, v in self.ema.values.items()})
        device = torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu"
        training = {"preset": a.preset, "batch": self.config.batch, "frames": self.config.frames, "lr": self.lr}
        training |= {"step": self.step, "hours": round(seconds / 3600, 3), "device": device, "torch": torch.__version__}
        record = {"step": self.step, "seconds": seconds, "evaluation": evaluation, "pipeline": head["recipe"]["record"]}
        record["autoencoder"] = head["recipe"]["autoencoder"]
        with atomic_path(a.out / "state.json") as temporary:
            temporary.write_text(json.dumps(record | {"training": training}, indent=1))
        if a.scratch is not None:
            a.scratch.mkdir(parents=True, exist_ok=True)
            save_checkpoint(
                a.scratch / "checkpoint.pt",
                model=self.model,
                ema=self.ema,
                optimizers=self.optimizers,
                step=self.step,
                generator=self.noise,
                seconds=seconds,
                extra={"network": json.dumps(self.network)},
            )


def train(a: argparse.Namespace) -> None:
    a.out.mkdir(parents=True, exist_ok=True)
    data, head = read_pack(a.pack, workers=max(a.workers, 1))
    print(f"{len(data.clips)} clips, {len(data.latents)} latents in {minutes() * 60:.0f} s", flush=True)
    run = Trainer(data, head, a)
    exact = a.scratch is not None and run.restore(a.scratch)
    print(f"{'goes on exactly' if exact else 'starts'} at step {run.step}", flush=True)

    # 1. Processes are forked before anything lies on the GPU; what they draw from stays in main memory
    drawn = plans(data, run.config, shifts=run.shifts, seed=a.seed + 1 + run.step, workers=a.workers)
    first = next(drawn)
    fixed = iter(Plans(data, run.config, run.shifts, seed=0))
    batches = [next(fixed) for _ in range(a.eval_batches)]
    for name in ("latents", "camera_rays", "times"):
        setattr(data, name, getattr(data, name).to(run.device))
    if isinstance(data.encode, TextTable):
        data.encode.to(run.device)
    torch.set_float32_matmul_precision("high")
    if a.compile:
        run.compile(first)

    # 2. Steps until the time is up; the numbers stay on the GPU until they are written down
    log = Log(a.out / "log.jsonl", start_seconds=run.seconds + minutes() * 60)
    sums: dict[str, Tensor] = {}
    saved, began, counted = minutes(), time.monotonic(), 0
    while minutes() < a.minutes - a.reserve and (a.steps is None or run.count < a.steps):
        for name, value in run.advance(next(drawn), a).items():
            sums[name] = sums.get(name, torch.zeros((), device=run.device)) + value
        if run.count % a.log_every == 0:
            log.add(**{k: float(v) / (run.count - counted) for k, v in sums.items()})  # raises where one is NaN
            spent = time.monotonic() - began
            rate = {"steps_s": round((run.count - counted) / spent, 2), "lr": run.lr * run.factor(a)}
            rate["samples_s"] = round(rate["steps_s"] * run.config.batch, 1)
            print(json.dumps(log.write(run.step, **rate)), flush=True)
            sums, began, counted = {}, time.monotonic(), run.count
        if minutes() - saved > a.save_every:
            run.save(a, head, evaluation={})
            saved, began, counted, sums = minutes(), time.monotonic(), run.count, {}

    # 3. What it has come to
    if sums:
        log.add(**{k: float(v) / max(run.count - counted, 1) for k, v in sums.items()})
    evaluation = run.evaluate(batches)
    log.write(run.step, **evaluation)
    run.save(a, head, evaluation=evaluation)
    print(json.dumps({"step": run.step, "minutes": round(minutes(), 2)} | evaluation), flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, required=True, help="folder that pack_latents.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="what comes back")
    parser.add_argument("--start", type=Path, help="weights to start from: a denoiser's folder, or an earlier --out")
    parser.add_argument("--scratch", type=Path, help="exact state, for the next call on this machine")
    parser.add_argument("--preset", default="s")
    parser.add_argument("--minutes", type=float, default=9.0, help="of this call, from its first second")
    parser.add_argument("--reserve", type=float, default=0.4, help="minutes kept for the last evaluation and save")
    parser.add_argument(
        "--decay", type=float, default=0.0, help="last minutes over which the learning rate falls to zero"
    )
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--frames", type=int)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--ema", type=float)
    parser.add_argument("--steps", type=int, help="stop after so many steps of this call")
    parser.add_argument("--workers", type=int, default=12, help="processes that draw batches")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log-every", type=int, default=50)
    parser.add_argument("--save-every", type=float, default=2.0, help="minutes")
    parser.add_argument("--eval-batches", type=int, default=4)
    return parser.parse_args()


if __name__ == "__main__":
    try:
        train(arguments())
    except InputError as error:
        sys.exit(f"error: {error}")
