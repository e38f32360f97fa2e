"""`orbit4d train`: the whole training line of a model, stage by stage, in one run folder.

    OUT/data/         rendered samples with their manifest and curation, unless --data names some
    OUT/autoencoder/  checkpoint, log, trained autoencoder
    OUT/latents/      encoded samples (.safetensors)
    OUT/denoiser/     checkpoint, log, EMA weights
    OUT/weights/      what `Orbit4DPipeline.from_pretrained` loads

Every stage resumes: a run that was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from ..data.plan import RenderPlan
from ..data.sample_set import is_sample_folder, open_samples
from ..data.training_set import PLAN, render_training_set
from ..errors import InputError
from ..files import atomic_folder, atomic_path, ensure_writable_parent, lock_folder, parse_json
from .autoencoder import RGBAAutoencoder
from .denoiser import Denoiser
from .train_autoencoder import AutoencoderConfig, check_side, encode_training_set, train_autoencoder
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

    Frames larger than the preset's are reduced. Raises InputError for unknown presets, missing data, data too small or other
    than the run was started with, `steps` below 1, and where another run trains in `out`.
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
    if data is not None and not Path(data).exists():
        raise InputError(f"--data: {data}: no such folder; expected shards, a rendered folder or the preset's assets")
    if data is not None and not ready and not recipe.vocabulary:
        raise InputError(
            f"--data: {data} is no training data: expected shards or a folder that `orbit4d data render` wrote; render the "
            "assets in it first"
        )
    samples = Path(data) if data is not None and ready else out / "data"
    chosen = STAGES if stage == "all" else (stage,)
    for name in chosen:
        if not resume and (out / name / "checkpoint.pt").is_file():
            raise InputError(
                f"{out / name}: holds a checkpoint; leave out --no-resume to go on, or choose another --out"
            )
    ensure_writable_parent(out / "data.json")
    with _locked(out):
        if ready:
            _check_data(samples, out, size=recipe.plan.size)
        for name in chosen:
            match name:
                case "data":
                    if not ready:
                        assets = Path(data) if recipe.vocabulary and data is not None else None
                        render_training_set(
                            samples, assets=assets, toy_folder=out / "toys", toy_count=recipe.toys, plan=recipe.plan
                        )
                case "autoencoder":
                    recipe.autoencoder.steps = steps or recipe.autoencoder.steps
                    torch.manual_seed(recipe.autoencoder.seed)
                    model, config = recipe.make_autoencoder(), recipe.autoencoder
                    train_autoencoder(samples, out / "autoencoder", config=config, model=model, size=recipe.plan.size)
                case "latents":
                    autoencoder = out / "autoencoder" / "autoencoder"
                    encode_training_set(samples, autoencoder, out / "latents", size=recipe.plan.size)
                case "denoiser":
                    recipe.denoiser.steps = steps or recipe.denoiser.steps
                    torch.manual_seed(recipe.denoiser.seed)
                    train_denoiser(
                        out / "latents", out / "denoiser", config=recipe.denoiser, model=recipe.make_denoiser()
                    )
                    collect_weights(out)
    return out / "weights"


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """One run at a time trains in `out`; a run that writes nothing leaves nothing."""
    with lock_folder(out):
        try:
            yield
        finally:
            if [file.name for file in out.rglob("*") if file.is_file()] == [".lock"]:
                (out / ".lock").unlink()


def _check_data(folder: Path, out: Path, *, size: int) -> None:
    """That the samples fit the model and are those that the run was started with, said before hours go by."""
    samples = open_samples(folder)
    if not len(samples):
        raise InputError(f"--data: {folder} holds no samples that are kept; see its curation report")
    check_side(samples[0], size)
    identity = hashlib.sha256("\n".join(sorted(e.identity() for e in samples.entries)).encode()).hexdigest()[:16]
    record = out / "data.json"
    if record.is_file():
        known = parse_json(record.read_bytes(), source=record)
        if not isinstance(known, dict) or known.get("identity") != identity:
            raise InputError(
                f"{out}: was started with other data than {folder} holds now; put that back, or choose another --out"
            )
        return
    with atomic_path(record) as temporary:
        temporary.write_text(json.dumps({"source": str(folder), "samples": len(samples), "identity": identity}))


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
