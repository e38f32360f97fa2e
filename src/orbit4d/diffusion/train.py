"""`orbit4d train`: the whole training line of a model, stage by stage, in one run folder.

    OUT/data/         rendered samples with their manifest and curation, unless --data names some
    OUT/data-0.45/    the same with less motion, where the preset says so
    OUT/autoencoder/  checkpoint, log, trained autoencoder
    OUT/latents/      encoded samples (.safetensors)
    OUT/captioner/    checkpoint, log, EMA weights
    OUT/denoiser/     checkpoint, log, EMA weights
    OUT/weights/      what `Orbit4DPipeline.from_pretrained` loads

Every stage resumes: a run that was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from ..data.sample_set import is_sample_folder, open_samples
from ..data.training_set import render_damped, render_training_set
from ..errors import InputError
from ..files import atomic_folder, atomic_path, ensure_writable_parent, lock_folder, parse_json
from .autoencoder import RGBAAutoencoder
from .captioner import FILE as CAPTIONER
from .denoiser import Denoiser
from .hub import read_settings
from .machine import check_training, first_does_it, first_process, wait_for_everyone
from .presets import PRESETS
from .train_autoencoder import check_side, encode_training_set, train_autoencoder
from .train_captioner import NoWords, train_captioner
from .train_denoiser import train_denoiser
from .training import Precision, Tracker

Stage = Literal["all", "data", "autoencoder", "latents", "captioner", "denoiser"]
_Network = TypeVar("_Network", RGBAAutoencoder, Denoiser)
STAGES: tuple[Stage, ...] = ("data", "autoencoder", "latents", "captioner", "denoiser")
TRAININGS = {"autoencoder", "captioner", "denoiser"}
MEANINGS = ("prediction", "relative")
"""Settings that a denoiser's weights are trained for and that their names and shapes do not tell."""


def train(
    preset: str,
    *,
    out: str | Path,
    data: str | Path | None = None,
    damped: Sequence[str | Path] = (),
    stage: Stage = "all",
    steps: int | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
    precision: Precision = "auto",
    log: Tracker = "none",
    sample_every: int = 0,
    compile: bool = False,
    gradient_checkpointing: bool = False,
    init: str | Path | None = None,
    resume: bool = True,
) -> Path:
    """Run one stage, or all, of a preset's training line in the folder `out`; returns `out/weights`.

    Args:
        preset: one of `presets.PRESETS`. data: what to train on: shards or a rendered folder (your own data), or the folder of
            the vocabulary's GLB files, which the data stage renders; toy-only presets need none. The same for every stage.
        damped: with rendered `data`: folders of the same animations rendered with less amplitude, so that the amount of motion
            is learned apart from its kind.
        stage: "all" or one of STAGES. steps, batch, learning_rate: of the stage's training, the preset's when None; with one
            stage only. The others are those of `TrainingConfig`, for all networks; gradient checkpointing is the denoiser's.
        init: weights of another model (a folder as `out/weights`), which autoencoder and denoiser start from. What the denoiser has
            besides begins as it would without; what does not fit is refused.
        resume: False refuses a folder that already holds a checkpoint of the stage.

    Frames larger than the preset's are reduced. Started by `accelerate launch` all trainings use all processes, and the first
    does the rest. Raises InputError for unknown presets, missing data, data too small or other than the run was started with,
    settings out of range or that need a package, and where another run trains in `out`.
    """
    if preset not in PRESETS:
        raise InputError(f"train: expected a preset of {', '.join(PRESETS)}, got {preset!r}")
    _check_numbers(stage, {"--steps": steps, "--batch": batch, "--learning-rate": learning_rate})
    recipe, out = PRESETS[preset](), Path(out)
    common: dict[str, Any] = {"precision": precision, "log": log, "sample_every": sample_every, "compile": compile}
    chosen_numbers = {k: v for k, v in {"steps": steps, "batch": batch, "lr": learning_rate}.items() if v is not None}
    common |= {"seed": seed} | chosen_numbers
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
    if damped and not ready:
        raise InputError("--damped: goes with rendered --data; the presets render their own")
    for folder in damped:
        if not is_sample_folder(folder):
            raise InputError(f"--damped: {folder}: expected shards or a folder that `orbit4d data render` wrote")
    samples = Path(data) if data is not None and ready else out / "data"
    less = {a: out / f"data-{a}" for a in recipe.amplitudes} if not ready else {}
    chosen = STAGES if stage == "all" else (stage,)
    for name in chosen:
        if not resume and (out / name / "checkpoint.pt").is_file():
            raise InputError(
                f"{out / name}: holds a checkpoint; leave out --no-resume to go on, or choose another --out"
            )
    # Built here, so that a setting out of range is said before hours go by.
    of_autoencoder = replace(recipe.autoencoder, **common)
    of_captioner = replace(recipe.captioner, **common)
    of_denoiser = replace(recipe.denoiser, gradient_checkpointing=gradient_checkpointing, **common)
    networks = recipe.make_autoencoder, recipe.make_denoiser
    if init is not None:
        networks = partial(started, recipe.make_autoencoder, init), partial(started, recipe.make_denoiser, init)
        for network in networks:
            network()
    if TRAININGS & set(chosen):
        check_training(precision=precision, tracker=log, compile=compile)
    ensure_writable_parent(out / "data.json")
    autoencoder, size = out / "autoencoder" / "autoencoder", recipe.plan.size
    with first_does_it(), locked_run(out) if first_process() else nullcontext():
        if ready and first_process():
            _check_data([samples, *map(Path, damped)], out, size=size)
        for name in chosen:
            wait_for_everyone()
            match name:
                case "data":
                    if not ready and first_process():
                        assets = Path(data) if recipe.vocabulary and data is not None else None
                        rendering: dict[str, Any] = {"plan": recipe.plan, "names": recipe.vocabulary}
                        render_training_set(
                            samples, assets=assets, toy_folder=out / "toys", toy_count=recipe.toys, **rendering
                        )
                        for amplitude, folder in less.items():
                            if assets is not None:
                                render_damped(folder, assets=assets, amplitude=amplitude, **rendering)
                case "autoencoder":
                    torch.manual_seed(seed)
                    folder, model = out / "autoencoder", networks[0]()
                    train_autoencoder(samples, folder, config=of_autoencoder, model=model, size=size)
                case "latents":
                    if first_process():
                        folders = [Path(folder) for folder in damped] or list(less.values())
                        encode_training_set(samples, autoencoder, out / "latents", size=size, damped=folders)
                case "captioner":
                    folder = out / "captioner"
                    try:
                        train_captioner(out / "latents", folder, autoencoder=autoencoder, config=of_captioner)
                    except NoWords as error:
                        if stage != "all":
                            raise
                        if first_process():
                            print(f"orbit4d: note: no captioner is trained: {error}", file=sys.stderr)
                    if stage == "captioner" and first_process() and (out / "denoiser" / "pipeline.json").is_file():
                        collect_weights(out)
                case "denoiser":
                    torch.manual_seed(seed)
                    folder, network = out / "denoiser", networks[1]()
                    train_denoiser(out / "latents", folder, config=of_denoiser, model=network, autoencoder=autoencoder)
                    if first_process():
                        collect_weights(out)
    return out / "weights"


def started(make: Callable[[], _Network], init: str | Path) -> _Network:
    """The network that `make` builds, with the weights of its part of the model in `init`. Its parameters that are not there
    keep their first values. Raises InputError when there are none, when some do not fit, and when they mean something else."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    network = make()
    folder = Path(init) / ("autoencoder" if isinstance(network, RGBAAutoencoder) else "denoiser")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InputError(
            f"--init: {folder} holds no weights (*.safetensors); expected a model's folder such as OUT/weights"
        )
    own = network.state_dict()
    try:
        given = {name: value.float() for file in files for name, value in load_file(file).items()}
    except (OSError, SafetensorError) as error:
        raise InputError(f"--init: {folder}: cannot be read ({' '.join(str(error).split())[:120]})") from error
    wrong = [name for name, value in given.items() if name not in own or own[name].shape != value.shape]
    if wrong:
        raise InputError(
            f"--init: {folder}: {wrong[0]} and {len(wrong) - 1} more do not fit this preset; choose another"
        )
    settings = read_settings(type(network), folder)
    for name in MEANINGS:
        if settings.get(name) != network.config.get(name):
            raise InputError(
                f"--init: {folder}: has {name} {settings[name]!r}, this preset {network.config[name]!r}; choose another"
            )
    network.load_state_dict(own | given)
    return network


def _check_numbers(stage: Stage, numbers: dict[str, int | float | None]) -> None:
    for name, value in numbers.items():
        if value is None:
            continue
        if stage not in TRAININGS:
            raise InputError(f"{name}: of which training? Give it together with --stage {', '.join(sorted(TRAININGS))}")
        if not value > 0 or (isinstance(value, float) and not isfinite(value)):
            raise InputError(f"{name}: expected a number above 0, got {value}")


@contextmanager
def locked_run(out: Path) -> Iterator[None]:
    """One run at a time trains in `out`; a run that writes nothing leaves nothing."""
    with lock_folder(out):
        try:
            yield
        finally:
            if [file.name for file in out.rglob("*") if file.is_file()] == [".lock"]:
                (out / ".lock").unlink()


def _check_data(folders: Sequence[Path], out: Path, *, size: int) -> None:
    """That the samples fit the model and are those that the run was started with, said before hours go by."""
    lines, folder = [], folders[0]
    for number, source in enumerate(folders):
        samples = open_samples(source)
        if not len(samples):
            raise InputError(f"--data: {source} holds no samples that are kept; see its curation report")
        check_side(samples[0], size)
        lines += [f"{number or ''}{entry.identity()}" for entry in samples.entries]
    identity = hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]
    record = out / "data.json"
    if record.is_file():
        known = parse_json(record.read_bytes(), source=record)
        if not isinstance(known, dict) or known.get("identity") != identity:
            raise InputError(
                f"{out}: was started with other data than {folder} holds now; put that back, or choose another --out"
            )
        return
    with atomic_path(record) as temporary:
        temporary.write_text(json.dumps({"source": str(folder), "samples": len(lines), "identity": identity}))


def collect_weights(run: Path) -> Path:
    """Put a run's autoencoder, denoiser, pipeline.json and, if there is one, captioner together in `run/weights`, the folder a
    pipeline loads."""
    parts = {"autoencoder": run / "autoencoder" / "autoencoder", "denoiser": run / "denoiser" / "denoiser"}
    for part in (*parts.values(), run / "denoiser" / "pipeline.json"):
        if not part.exists():
            raise InputError(f"{part}: missing; train the autoencoder and the denoiser first")
    with atomic_folder(run / "weights") as folder:
        for name, source in parts.items():
            shutil.copytree(source, folder / name)
        if (captioner := run / "captioner" / CAPTIONER).is_file():
            shutil.copy(captioner, folder / CAPTIONER)
        record = json.loads((run / "denoiser" / "pipeline.json").read_text())
        log = (run / "autoencoder" / "log.jsonl").read_text().splitlines()
        record["autoencoder_training"] = json.loads(log[-1])
        (folder / "pipeline.json").write_text(json.dumps(record, indent=1))
    return run / "weights"
