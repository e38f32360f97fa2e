"""Training of the STD-4D denoiser on cached latents: random subsets of (view, time) pairs, orbits and static orbits.

    L = || v_hat - (eps - x_0) ||^2 + w (1 - t) ( m_latent(x0_hat) - m_latent(x_0) )^2 / scale^2      (L_mr, Diffusion4D)

with x0_hat = x_t - t v_hat and m_latent the mean squared difference to the same views frozen at time 0.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from ..files import atomic_path
from .batches import BatchConfig, LatentSet, sample_batch
from .denoiser import Denoiser
from .objective import losses
from .training import EMA, Log, Optimizers, learning_rate_factor, load_checkpoint, save_checkpoint, save_half


@dataclass(kw_only=True)
class DenoiserConfig(BatchConfig):
    """Settings of one run; `steps` may be changed on resume (the learning rate decays over the last quarter)."""

    steps: int = 6000
    lr: float = 1.5e-3
    muon: bool = True
    ema: float = 0.998
    seed: int = 0
    noise_shift: tuple[float, ...] = (0.8, 3.0)
    """t = sigmoid(N(shift, 1)), each sample with one of these shifts: the first for detail, the second for viewpoint, which
    is decided where almost nothing but noise is seen."""
    motion_weight: float = 0.05
    """w of L_mr."""
    save_every: int = 200
    bf16: bool = True


def train_denoiser(
    data: Path,
    out: Path,
    *,
    config: DenoiserConfig | None = None,
    model: Denoiser | None = None,
    stop_after: int | None = None,
) -> Path:
    """Train on the latents in `data` (`encode_training_set`); checkpoint, log and EMA weights in `out`.

    Resumes from `out/checkpoint.pt`. `stop_after` ends the call at that step without changing the schedule (for tests and
    for sharing a machine). The result is the folder `out/denoiser` (config.json + fp16 EMA weights) and `out/pipeline.json`.
    """
    config = config or DenoiserConfig()
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    model = model or Denoiser()
    latents = LatentSet(data)
    ema, optimizers = EMA(model, config.ema), Optimizers(model, lr=config.lr, muon=config.muon)
    generator = torch.Generator().manual_seed(config.seed)
    start, seconds, checkpoint = 0, 0.0, out / "checkpoint.pt"
    if checkpoint.is_file():
        start, seconds = load_checkpoint(checkpoint, model=model, ema=ema, optimizers=optimizers, generator=generator)
    log = Log(out / "log.jsonl", start_seconds=seconds)
    end = min(config.steps, stop_after or config.steps)
    bar = tqdm(range(start, end), initial=start, total=config.steps, desc="denoiser")
    for step in bar:
        x0, still, conditions, reference = sample_batch(latents, config, generator)
        flow, motion = losses(
            model,
            x0,
            still,
            conditions,
            reference,
            noise_shift=config.noise_shift,
            m_scale=latents.m_scale,
            generator=generator,
            prediction=model.config["prediction"],
            bf16=config.bf16,
        )
        (flow + config.motion_weight * motion).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers.step(learning_rate_factor(step, steps=config.steps))
        ema.update(model)
        log.add(flow=flow, motion=motion)
        if (step + 1) % 25 == 0 or step + 1 == end:
            line = log.write(step + 1)
            bar.set_postfix(flow=line["flow"], motion=line["motion"])
        if (step + 1) % config.save_every == 0 or step + 1 == end:
            save_checkpoint(
                checkpoint,
                model=model,
                ema=ema,
                optimizers=optimizers,
                step=step + 1,
                generator=generator,
                seconds=log.seconds,
            )
            _export(model, ema, latents, config, out, step=step + 1, seconds=log.seconds)
    return out


def _export(
    model: Denoiser, ema: EMA, latents: LatentSet, config: DenoiserConfig, out: Path, *, step: int, seconds: float
) -> None:
    save_half(model, ema.values, out / "denoiser")
    record = {
        "log_m_mean": latents.log_m_mean,
        "log_m_std": latents.log_m_std,
        "log_m_quantiles": latents.log_m_quantiles,
        "vocabulary": latents.vocabulary,
        "prompts": latents.prompts,
        "clips": len(latents.clips),
        "training": asdict(config) | {"step": step, "hours": round(seconds / 3600, 3)},
    }
    with atomic_path(out / "pipeline.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1))
