"""`orbit4d train`: the whole training line of a model, stage by stage, in one run folder.

    OUT/data/         rendered samples with their manifest and curation, unless --data names some
    OUT/autoencoder/  checkpoint, log, trained autoencoder
    OUT/latents/      encoded samples (.safetensors)
    OUT/denoiser/     checkpoint, log, EMA weights
    OUT/weights/      what `Orbit4DPipeline.from_pretrained` loads

Every stage resumes: a run that was killed goes on where it was.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from ..data.plan import RenderPlan
from ..data.sample_set import is_sample_folder, open_samples
from ..data.training_set import PLAN, render_training_set
from ..errors import InputError
from ..files import atomic_folder
from .autoencoder import RGBAAutoencoder
from .denoiser import Denoiser
from .train_autoencoder import AutoencoderConfig, encode_training_set, train_autoencoder
from .train_denoiser import DenoiserConfig, train_denoiser

Stage = Literal["all", "data", "autoencoder", "latents", "denoiser"]
STAGES: tuple[Stage, ...] = ("data", "autoencoder", "latents", "denoiser")


@dataclass(kw_only=True)
class Preset:
    """One recipe: data, both configurations and both networks."""

    toys: int
    vocabulary: bool
    plan: RenderPlan = PLAN
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    make_autoencoder: Callable[[], RGBAAutoencoder] = RGBAAutoencoder
    make_denoiser: Callable[[], Denoiser] = Denoiser


def small() -> Preset:
    """The built-in model: 14 assets with all their animations and 25 toys, 6 M parameters, hours on two cores."""
    return Preset(
        toys=25,
        vocabulary=True,
        autoencoder=AutoencoderConfig(steps=3200),
        denoiser=DenoiserConfig(steps=4200, save_every=100),
    )


def tiny() -> Preset:
    """A few toys and networks of a few thousand parameters: minutes, to see the line work. Its pictures are blurs."""
    return Preset(
        toys=5,
        vocabulary=False,
        autoencoder=AutoencoderConfig(steps=200, batch=8, save_every=100),
        denoiser=DenoiserConfig(steps=100, batch=4, frames=4, save_every=50),
        make_autoencoder=lambda: RGBAAutoencoder(widths=(16, 24, 32)),
        make_denoiser=lambda: Denoiser(spatial_width=64, temporal_width=32, depth=2, spatial_heads=2, temporal_heads=1),
    )


PRESETS: dict[str, Callable[[], Preset]] = {"small": small, "tiny": tiny}


def train(
    preset: str,
    *,
    out: str | Path,
    data: str | Path | None = None,
    stage: Stage = "all",
    steps: int | None = None,
    resume: bool = True,
) -> Path:
    """Run one stage, or all, of a preset's training line in the folder `out`; returns `out/weights`.

    Args:
        preset: "small" or "tiny". data: what to train on: shards or a rendered folder (your own data), or the folder of the
            vocabulary's GLB files, which the data stage renders; toy-only presets need none. The same for every stage.
        stage: "all" or one of STAGES. steps: of the stage's training, the preset's when None (not with "all").
        resume: False refuses a folder that already holds a checkpoint of the stage.

    Raises InputError for unknown presets, missing data, or `steps` below 1.
    """
    if preset not in PRESETS:
        raise InputError(f"train: expected a preset of {', '.join(PRESETS)}, got {preset!r}")
    if steps is not None and (steps < 1 or stage not in ("autoencoder", "denoiser")):
        raise InputError("--steps: expected at least 1, together with --stage autoencoder or denoiser")
    recipe, out = PRESETS[preset](), Path(out)
    if recipe.vocabulary and data is None and stage in ("all", "data"):
        raise InputError(
            f"--data: the preset {preset!r} needs the folder that holds its GLB assets; see the model card"
        )
    ready = data is not None and is_sample_folder(data)
    if data is not None and not ready and not recipe.vocabulary:
        raise InputError(
            f"--data: {data} holds no samples (index.json, manifest.jsonl, samples/*.tar), and the preset {preset!r} renders "
            "only toys; render it first with `orbit4d data render`"
        )
    samples = Path(data) if data is not None and ready else out / "data"
    for name in STAGES if stage == "all" else (stage,):
        if not resume and (out / name / "checkpoint.pt").is_file():
            raise InputError(
                f"{out / name}: holds a checkpoint; leave out --no-resume to go on, or choose another --out"
            )
        match name:
            case "data":
                if ready:
                    open_samples(samples)  # whatever is wrong with them is said now
                    continue
                assets = Path(data) if recipe.vocabulary and data is not None else None
                render_training_set(
                    samples, assets=assets, toy_folder=out / "toys", toy_count=recipe.toys, plan=recipe.plan
                )
            case "autoencoder":
                recipe.autoencoder.steps = steps or recipe.autoencoder.steps
                torch.manual_seed(recipe.autoencoder.seed)
                model = recipe.make_autoencoder()
                train_autoencoder(samples, out / "autoencoder", config=recipe.autoencoder, model=model)
            case "latents":
                encode_training_set(samples, out / "autoencoder" / "autoencoder", out / "latents")
            case "denoiser":
                recipe.denoiser.steps = steps or recipe.denoiser.steps
                torch.manual_seed(recipe.denoiser.seed)
                train_denoiser(out / "latents", out / "denoiser", config=recipe.denoiser, model=recipe.make_denoiser())
                collect_weights(out)
    return out / "weights"


def collect_weights(run: Path) -> Path:
    """Put a run's autoencoder, denoiser and pipeline.json together in `run/weights`, the folder a pipeline loads."""
    parts = {"autoencoder": run / "autoencoder" / "autoencoder", "denoiser": run / "denoiser" / "denoiser"}
    for part in (*parts.values(), run / "denoiser" / "pipeline.json"):
        if not part.exists():
            raise InputError(f"{part}: missing; train the autoencoder and the denoiser first")
    with atomic_folder(run / "weights") as folder:
        for name, source in parts.items():
            shutil.copytree(source, folder / name)
        record = json.loads((run / "denoiser" / "pipeline.json").read_text())
        log = (run / "autoencoder" / "log.jsonl").read_text().splitlines()
        record["autoencoder_training"] = json.loads(log[-1])
        (folder / "pipeline.json").write_text(json.dumps(record, indent=1))
    return run / "weights"
