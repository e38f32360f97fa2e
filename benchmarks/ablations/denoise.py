"""Train variants of the denoiser on one fixed budget and score each on clips that it has not seen.

python benchmarks/ablations/denoise.py --latents LATENTS --autoencoder AE --out OUT --variants base camera --seeds 0 1

Runs are paired: one seed gives every variant the same batches, noise and initial weights where their shapes agree. One JSON
line per finished run is appended to OUT/rows.jsonl; finished runs are skipped, killed ones resume from their checkpoint.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from held_out import Split, Task, sample_batch, split_clips
from score import baselines, evaluate
from torch import Tensor, nn
from variants import VARIANTS, Variant

from orbit4d.diffusion.autoencoder import RGBAAutoencoder
from orbit4d.diffusion.batches import LatentSet
from orbit4d.diffusion.denoiser import Conditions, Denoiser
from orbit4d.diffusion.objective import SMALLEST_T, clean_estimate, losses
from orbit4d.diffusion.training import EMA, Log, Optimizers, learning_rate_factor, load_checkpoint, save_checkpoint
from orbit4d.errors import InputError

DECAY = 0.4
"""Share of a budget over which the learning rate falls to zero."""


@dataclass(kw_only=True)
class Arguments:
    latents: Path
    autoencoder: Path
    out: Path
    task: Task = "views"
    variants: tuple[str, ...] = ("base",)
    seeds: tuple[int, ...] = (0,)
    steps: int = 500
    threads: int = 2


class AsVelocity(nn.Module):
    """A network of any prediction, asked for the flow velocity at flow noise levels, so that all are scored alike."""

    def __init__(self, network: Denoiser) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, t: Tensor, c: Conditions) -> Tensor:
        prediction = self.network.config["prediction"]
        if prediction == "flow":
            return self.network(x, t, c)
        level = t[:, :, None, None, None]
        if prediction == "x0":
            return (x - self.network(x, t, c)) / level.clamp_min(SMALLEST_T)
        own = torch.atan2(t, 1 - t) * (2 / math.pi)  # the level of equal signal to noise
        scaled = x / (level.square() + (1 - level).square()).sqrt()
        clean = clean_estimate(scaled, self.network(scaled, own, c), own, "v")
        return (x - clean) / level.clamp_min(SMALLEST_T)


def main(a: Arguments) -> None:
    torch.set_num_threads(a.threads)
    if unknown := set(a.variants) - set(VARIANTS):
        raise InputError(f"--variants: expected some of {', '.join(VARIANTS)}; got {', '.join(sorted(unknown))}")
    data = LatentSet(a.latents)
    split = split_clips(data)
    decoder = RGBAAutoencoder.from_pretrained(a.autoencoder).eval().float()
    a.out.mkdir(parents=True, exist_ok=True)
    repeat = a.out / f"baselines_{a.task}.json"
    if not repeat.is_file():
        repeat.write_text(json.dumps(baselines(data, split, a.task, decoder), indent=1))
    for seed in a.seeds:
        for name in a.variants:
            if (a.task, name, seed, a.steps) not in finished(a.out / "rows.jsonl"):
                row = run(name, seed, a, data, split, decoder)
                with open(a.out / "rows.jsonl", "a") as file:
                    file.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)


def finished(rows: Path) -> set[tuple[str, str, int, int]]:
    if not rows.is_file():
        return set()
    done = [json.loads(line) for line in rows.read_text().splitlines()]
    return {(r["task"], r["variant"], r["seed"], r["budget_steps"]) for r in done}


def run(name: str, seed: int, a: Arguments, data: LatentSet, split: Split, decoder: RGBAAutoencoder) -> dict:
    variant = VARIANTS[name]
    torch.manual_seed(seed)
    network = variant.build()
    folder = a.out / f"{a.task}-{name.replace(', ', '_').replace(' ', '_')}-{a.steps}-{seed}"
    folder.mkdir(exist_ok=True)
    seconds = train(network, variant, seed, folder, round(a.steps * variant.step_share), a.task, data, split)
    started = time.monotonic()
    scores = evaluate(AsVelocity(network).eval(), data, split, a.task, decoder)
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    curve = {line["step"]: line["flow"] for line in log}  # a resumed run logs some steps twice: the last line counts
    return {
        "task": a.task,
        "variant": name,
        "seed": seed,
        "budget_steps": a.steps,
        "parameters": sum(p.numel() for p in network.parameters()),
        "train_seconds": round(seconds, 1),
        "score_seconds": round(time.monotonic() - started, 1),
        "recipe": variant.record(),
        **scores,
        "curve": curve,
    }


def train(
    model: Denoiser, variant: Variant, seed: int, folder: Path, steps: int, task: Task, data: LatentSet, split: Split
) -> float:
    """Leaves the EMA weights in `model`; returns the seconds of training."""
    ema, optimizers = EMA(model, 0.99), Optimizers(model, lr=variant.lr, muon=variant.muon)
    batches, noise = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 1000)
    start, seconds, checkpoint = 0, 0.0, folder / "checkpoint.pt"
    if checkpoint.is_file():
        start, seconds = load_checkpoint(checkpoint, model=model, ema=ema, optimizers=optimizers, generator=batches)
        noise.manual_seed(10_000 * seed + start)
    log = Log(folder / "log.jsonl", start_seconds=seconds)
    model.train()
    for step in range(start, steps):
        x0, still, conditions, reference = sample_batch(data, split, variant, task, batches)
        flow, motion = losses(
            model,
            x0,
            still,
            conditions,
            reference,
            noise_shift=variant.noise_shift,
            prediction=model.config["prediction"],
            m_scale=data.m_scale,
            generator=noise,
        )
        (flow + variant.motion_weight * motion).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers.step(learning_rate_factor(step, steps=steps, warmup=50, decay=DECAY))
        ema.update(model)
        log.add(flow=flow, motion=motion)
        if (step + 1) % 25 == 0:
            log.write(step + 1)
        if (step + 1) % 200 == 0 or step + 1 == steps:
            save_checkpoint(
                checkpoint,
                model=model,
                ema=ema,
                optimizers=optimizers,
                step=step + 1,
                generator=batches,
                seconds=log.seconds,
            )
    model.load_state_dict(ema.values)
    return log.seconds


if __name__ == "__main__":
    main(tyro.cli(Arguments))
