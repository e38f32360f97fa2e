"""What `fit` trains when teachers are there: the denoiser's batches, with the rows and columns that cross them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..diffusion.batches import BatchConfig, LatentSet
from ..diffusion.denoiser import Denoiser
from ..diffusion.objective import add_noise, losses_of
from ..diffusion.train_denoiser import DenoiserBatch, DenoiserConfig, DenoiserTask
from ..errors import InputError
from ..files import atomic_path, json_digest, parse_json
from .orster import (
    TransferConfig,
    confined,
    target_features,
    temporal_parameters,
    transfer_losses,
    weighted,
)
from .targets import Crossing, crossings
from .teacher import Prior, Teacher
from .whitening import Statistics, Whitening


@dataclass(kw_only=True)
class OrsterBatch(DenoiserBatch):
    """A denoiser's batch with what the teachers are asked: None where no frame has a target."""

    rows: Crossing | None
    columns: Crossing | None


class OrsterTask(DenoiserTask):
    """The denoiser's task, and the losses of transfer at one of its prior blocks.

    Batches, levels and noise are those of a run without teachers from the same seed: what the teachers are asked is drawn from
    a generator that each batch's own noise seeds.
    """

    def __init__(
        self,
        latents: LatentSet,
        config: DenoiserConfig,
        model: Denoiser,
        *,
        out: Path,
        autoencoder: Path | None,
        teachers: dict[Prior, Teacher],
        transfer: TransferConfig,
        clean: dict[Prior, Tensor] | None = None,
    ) -> None:
        """`clean`: the set's frames in the latent space of teachers that have one of their own, row by row. The frozen statistics
        are read from `out`/whitening, where they are named by all that they follow from, or measured and written there."""
        super().__init__(latents, config, model, out=out, autoencoder=autoencoder)
        blocks = tuple(int(i) for i in model.config["priors"])
        if len(blocks) != 1:
            raise InputError(f"transfer: expected a denoiser with priors after one block, got {list(blocks)}")
        if max(transfer.teacher_frames, 2) > latents.count - 1:
            raise InputError(
                f"transfer: rows have {latents.count - 1} views, got {transfer.teacher_frames} teacher frames"
            )
        self.block, self.teachers, self.transfer, self.clean = blocks[0], teachers, transfer, clean or {}
        self.shared = bool(model.config["prior_shared"])
        self.data = f"{latents.identity}-" + "-".join(f"{p}-{t.identity()}" for p, t in sorted(teachers.items()))
        self.where = torch.device("cpu")
        self.whitenings = {prior: self._whitening(prior) for prior in teachers}

    def draw(self, generator: torch.Generator, part: slice) -> OrsterBatch:
        batch, plan = self.draw_planned(generator, part)
        # Of its own, so that what is drawn for teachers leaves the next batch as it would have been.
        own = torch.Generator().manual_seed(int(batch.noise.flatten()[0].view(torch.int32)) & 0x7FFFFFFF)
        found: dict[str, Crossing | None] = {"spatial": None, "temporal": None}
        for prior, teacher in self.teachers.items():
            found[prior] = crossings(
                self.latents,
                batch,
                plan,
                teacher=teacher,
                clean=self.clean.get(prior),
                prediction=str(self.model.config["prediction"]),
                count=self.transfer.crossings,
                frames=self.transfer.teacher_frames,
                generator=own,
            )
        values = {f.name: getattr(batch, f.name) for f in fields(DenoiserBatch)}
        return OrsterBatch(**values, rows=found["spatial"], columns=found["temporal"])

    def loss(self, model: nn.Module, batch: DenoiserBatch, dtype: torch.dtype) -> tuple[Tensor, dict[str, Tensor]]:
        assert isinstance(batch, OrsterBatch)
        self._move(batch.x0.device)
        prediction = self.model.config["prediction"]
        noisy = add_noise(batch.x0, batch.noise, batch.t, prediction)
        asked: dict[Prior, Crossing | None] = {"spatial": batch.rows, "temporal": batch.columns}
        with torch.autocast(noisy.device.type, dtype, enabled=dtype != torch.float32):
            output, held = model(noisy, batch.t, batch.conditions, (self.block,))
            found: dict[Prior, tuple[Crossing, Tensor]] = {
                prior: (crossing, target_features(self.teachers[prior], crossing, self.whitenings[prior]))
                for prior, crossing in asked.items()
                if crossing is not None
            }
        flow, motion = losses_of(
            output,
            batch.x0,
            batch.still,
            batch.conditions,
            batch.reference,
            t=batch.t,
            noise=batch.noise,
            noisy=noisy,
            m_scale=self.latents.m_scale,
            prediction=prediction,
            scored_frames=batch.scored_frames,
        )
        terms = transfer_losses(held, self.block, found, shared=self.shared, beta=self.transfer.nll_beta)
        spatial, temporal = (weighted(terms, self.transfer, prior) for prior in ("spatial", "temporal"))
        total = self.total(flow, motion)
        if spatial is not None:
            total = total + spatial
        if temporal is not None:
            total = total + (temporal if self.shared else confined(temporal, temporal_parameters(self.model)))
        return total, {"flow": flow, "motion": motion} | terms

    def export(self, values: dict[str, Tensor], *, step: int, seconds: float) -> None:
        super().export(values, step=step, seconds=seconds)
        file = self.out / "pipeline.json"
        record: dict[str, Any] = parse_json(file.read_bytes(), source=file)
        record["transfer"] = asdict(self.transfer) | {
            "block": self.block,
            "teachers": {p: {"identity": t.identity(), "licence": t.licence} for p, t in self.teachers.items()},
        }
        with atomic_path(file) as temporary:
            temporary.write_text(json.dumps(record, indent=1))

    def _move(self, device: torch.device) -> None:
        if device != self.where:
            for prior, teacher in self.teachers.items():
                teacher.to(device)
                self.whitenings[prior].to(device)
            self.where = device

    def _whitening(self, prior: Prior) -> Whitening:
        """The frozen statistics of a teacher, from the training set itself at the levels that it is trained at."""
        teacher, dims = self.teachers[prior], int(self.model.config["prior_dims"])
        file = self.out / "whitening" / f"{prior}-{self._statistics_of(prior)}.safetensors"
        if file.is_file():
            return Whitening.load(file)
        generator = torch.Generator().manual_seed(self.config.seed)
        drawn: list[Crossing] = []
        for _ in range(self.transfer.statistics_batches):
            batch = self.draw_for(prior, generator)
            drawn += [] if batch is None else [batch]
        if not drawn:
            raise InputError(
                f"transfer: nothing to ask the {prior} teacher; render the training clips with --rows and --columns above 1"
            )
        levels = torch.cat([c.clip.log_snr for c in drawn])
        inner = torch.linspace(0, 1, self.transfer.statistics_bins + 1)[1:-1]
        statistics = Statistics(width=teacher.width, edges=torch.quantile(levels, inner))
        for crossing in tqdm(drawn, desc=f"{prior} teacher's statistics", leave=False):
            statistics.add(teacher.features(crossing.clip), crossing.clip.log_snr)
        made = statistics.whitening(dims=dims)
        file.parent.mkdir(parents=True, exist_ok=True)
        made.save(file)
        return made

    def _statistics_of(self, prior: Prior) -> str:
        """16 hexadecimal digits that change with the teacher, the data, and how many of what is drawn at which levels."""
        transfer = self.transfer
        made_of = {
            "teacher": self.teachers[prior].identity(),
            "data": self.latents.identity,
            "dims": int(self.model.config["prior_dims"]),
            "prediction": str(self.model.config["prediction"]),
            "batches": transfer.statistics_batches,
            "bins": transfer.statistics_bins,
            "crossings": transfer.crossings,
            "frames": transfer.teacher_frames,
            "drawn": {f.name: getattr(self.config, f.name) for f in fields(BatchConfig)},
            "noise_shift": self.config.noise_shift,
            "seed": self.config.seed,
        }
        return json_digest(made_of)

    def draw_for(self, prior: Prior, generator: torch.Generator) -> Crossing | None:
        """What one teacher is asked about a batch."""
        batch, plan = self.draw_planned(generator, slice(None))
        return crossings(
            self.latents,
            batch,
            plan,
            teacher=self.teachers[prior],
            clean=self.clean.get(prior),
            prediction=str(self.model.config["prediction"]),
            count=self.transfer.crossings,
            frames=self.transfer.teacher_frames,
            generator=generator,
        )
