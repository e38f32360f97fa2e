"""Training of the STD-4D denoiser on cached latents: random subsets of (view, time) pairs, orbits and static orbits.

    L = || v_hat - (eps - x_0) ||^2 + w (1 - t) ( m_latent(x0_hat) - m_latent(x_0) )^2 / scale^2      (L_mr, Diffusion4D)

with x0_hat = x_t - t v_hat and m_latent the mean squared difference to the same views frozen at time 0.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..files import atomic_path
from .batches import BatchConfig, BatchPlan, LatentSet, gather_batch, pipeline_record, plan_batch
from .denoiser import Conditions, Denoiser
from .objective import draw_noise, losses_at
from .preview import Preview
from .trainer import fit
from .training import TrainingConfig, save_half


@dataclass(kw_only=True)
class DenoiserConfig(BatchConfig, TrainingConfig):
    """Settings of one run."""

    noise_shift: tuple[float, ...] = (0.8, 3.0, 3.0, 4.0)
    """t = sigmoid(N(shift, 1)), each sample with one of these shifts: the first for detail, the others for viewpoint and
    motion, which are decided where almost nothing but noise is seen."""
    motion_weight: float = 0.0
    """w of L_mr: 0.05 changed nothing that was measured (benchmarks/ablations)."""

    def __post_init__(self) -> None:
        BatchConfig.__post_init__(self)
        TrainingConfig.__post_init__(self)


def train_denoiser(
    data: Path | LatentSet,
    out: Path,
    *,
    config: DenoiserConfig | None = None,
    model: Denoiser | None = None,
    autoencoder: Path | None = None,
    stop_after: int | None = None,
) -> Path:
    """Train on the latents in `data` (a folder of `encode_training_set`, or what was read from one); `out` receives checkpoint,
    log and EMA weights.

    Resumes from `out/checkpoint.pt`. `stop_after` ends the call at that step without changing the schedule (for tests and
    for sharing a machine). `autoencoder` is the folder of the one that made the latents; `config.sample_every` needs it, to
    draw sample sheets. The result is the folder `out/denoiser` (config.json + fp16 EMA weights) and `out/pipeline.json`.
    """
    config = config or DenoiserConfig()
    if config.sample_every and autoencoder is None:
        raise InputError("--sample-every: needs the autoencoder that the latents were made with")
    torch.manual_seed(config.seed)
    latents = data if isinstance(data, LatentSet) else LatentSet(data)
    task = DenoiserTask(latents, config, model or Denoiser(), out=out, autoencoder=autoencoder)
    fit(task.model, task, out, config=config, stop_after=stop_after)
    return out


@dataclass(kw_only=True)
class DenoiserBatch:
    """`x0`, `still` and `noise` (b, f, c, h, w), levels `t` (b, f), what the network is told, and the `reference` frames."""

    x0: Tensor
    still: Tensor
    conditions: Conditions
    reference: Tensor
    t: Tensor
    noise: Tensor
    scored_frames: float
    """Frames of the whole batch that the loss counts, divided by the number of parts."""


class DenoiserTask:
    """What `fit` trains: one batch, its loss, and what becomes of the weights."""

    name = "denoiser"

    def __init__(
        self, latents: LatentSet, config: DenoiserConfig, model: Denoiser, *, out: Path, autoencoder: Path | None
    ) -> None:
        if config.frames > latents.count:
            raise InputError(
                f"the clips have {latents.count} frames, and a training sample is to have {config.frames}: "
                f"render longer clips, or take {latents.count} frames a sample or fewer"
            )
        self.latents, self.config, self.model, self.out = latents, config, model, out
        self.data = latents.identity
        self.samples, self.frames = config.batch, config.frames
        self.preview = None
        if config.sample_every and autoencoder is not None:
            self.preview = Preview(latents, autoencoder)

    def draw(self, generator: torch.Generator, part: slice) -> DenoiserBatch:
        return self.draw_planned(generator, part)[0]

    def draw_planned(self, generator: torch.Generator, part: slice) -> tuple[DenoiserBatch, BatchPlan]:
        """The samples `part` of one batch, and what was drawn for them."""
        plan = plan_batch(self.latents, self.config, generator)
        x0, still, conditions, reference = gather_batch(self.latents, plan)
        t, noise = draw_noise(x0, reference, noise_shift=self.config.noise_shift, generator=generator)
        scored = float((~reference).sum())
        if len(range(*part.indices(len(x0)))) < len(x0):
            scored *= len(range(*part.indices(len(x0)))) / len(x0)
            x0, still, reference, t, noise = (x[part] for x in (x0, still, reference, t, noise))
            conditions, plan = _part(conditions, part), _part(plan, part)
        if conditions.static_mode is not None:
            conditions = replace(conditions, active=(~conditions.static_mode).nonzero()[:, 0])
        batch = DenoiserBatch(
            x0=x0, still=still, conditions=conditions, reference=reference, t=t, noise=noise, scored_frames=scored
        )
        return batch, plan

    def loss(self, model: nn.Module, batch: DenoiserBatch, dtype: torch.dtype) -> tuple[Tensor, dict[str, Tensor]]:
        flow, motion = losses_at(
            model,
            batch.x0,
            batch.still,
            batch.conditions,
            batch.reference,
            t=batch.t,
            noise=batch.noise,
            m_scale=self.latents.m_scale,
            prediction=self.model.config["prediction"],
            dtype=dtype,
            scored_frames=batch.scored_frames,
        )
        return self.total(flow, motion), {"flow": flow, "motion": motion}

    def total(self, flow: Tensor, motion: Tensor) -> Tensor:
        """L_flow + w L_mr; without a weight L_mr is only reported, and its gradient is not worth its time."""
        return flow + self.config.motion_weight * motion if self.config.motion_weight else flow

    def export(self, values: dict[str, Tensor], *, step: int, seconds: float) -> None:
        save_half(self.model, values, self.out / "denoiser")
        record = pipeline_record(self.latents) | {
            "training": asdict(self.config) | {"step": step, "hours": round(seconds / 3600, 3)}
        }
        with atomic_path(self.out / "pipeline.json") as temporary:
            temporary.write_text(json.dumps(record, indent=1))

    def sheet(self, values: dict[str, Tensor]) -> Tensor | None:
        return None if self.preview is None else self.preview.sheet(self.model, values)


_Parts = TypeVar("_Parts", Conditions, BatchPlan)


def _part(whole: _Parts, part: slice) -> _Parts:
    """The samples `part` of a dataclass whose fields have one entry a sample, or are None."""
    values: dict[str, Any] = {f.name: getattr(whole, f.name) for f in fields(whole)}
    return replace(whole, **{k: v[part] for k, v in values.items() if v is not None})
