"""`orbit4d train teacher` and `orbit4d train orster`: teachers of rows and columns, and a student that learns from both.

    OUT/latents/      the samples, encoded by the autoencoder that teachers and student share
    OUT/clean-PRIOR/  the same in a public teacher's own latent space
    OUT/denoiser/     checkpoint, log, EMA weights; whitening/ holds the frozen statistics of the teachers' features
    OUT/teacher/      denoiser/ and teacher.json: what --spatial and --temporal take        (train teacher)
    OUT/weights/      what `Orbit4DPipeline.from_pretrained` loads; it needs no teacher      (train orster)

Both go on where they were stopped, on the trainer of `orbit4d train`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.sample_set import open_samples
from ..diffusion.batches import LatentSet
from ..diffusion.denoiser import Denoiser
from ..diffusion.hub import BUILT_IN, load_complete
from ..diffusion.machine import check_training, first_does_it, first_process, wait_for_everyone
from ..diffusion.presets import PRESETS
from ..diffusion.train import MEANINGS, locked_run, started
from ..diffusion.train_autoencoder import encode_training_set
from ..diffusion.train_denoiser import DenoiserConfig, DenoiserTask
from ..diffusion.trainer import fit
from ..errors import InputError
from ..files import atomic_folder, digest, ensure_writable_parent
from .encoded import encoded_rows
from .orster import TransferConfig
from .own_teacher import RECORD, OwnTeacher, is_own_teacher
from .public_teacher import PublicTeacher
from .task import OrsterTask
from .teacher import Prior, Teacher, is_permissive

OWN_LICENCE = "apache-2.0"


def train_teacher(
    preset: str,
    *,
    prior: Prior,
    data: str | Path,
    out: str | Path,
    autoencoder: str | Path | None = None,
    damped: Sequence[str | Path] = (),
    stop_after: int | None = None,
    **settings: Any,
) -> Path:
    """Train a teacher of the preset's size on the rows ("spatial") or columns ("temporal") of `data`; returns `out/teacher`.

    Args:
        data: shards or a rendered folder; of each clip only whole rows, or whole columns, are looked at.
        autoencoder: a weights folder whose autoencoder it shares with its students; the built-in model's when None.
        stop_after: ends the call at that step without changing the schedule; the same call without it goes on.
        settings: of `DenoiserConfig`, over the preset's; those that are None are left as they are.
    """
    only = {"spatial": "rows", "temporal": "columns"}[prior]
    recipe, out = _recipe(preset), Path(out)
    config = _config(recipe.denoiser, settings, only=only)
    ensure_writable_parent(out / "latents")
    with first_does_it(), locked_run(out) if first_process() else nullcontext():
        latents, shared = _latents(data, out, autoencoder, size=recipe.plan.size, damped=damped)
        torch.manual_seed(config.seed)
        task = DenoiserTask(latents, config, recipe.make_denoiser(), out=out / "denoiser", autoencoder=shared)
        fit(task.model, task, out / "denoiser", config=config, stop_after=stop_after)
        if first_process():
            collect_teacher(out, latents, prior=prior, autoencoder=shared)
    return out / "teacher"


def train_orster(
    preset: str,
    *,
    data: str | Path,
    out: str | Path,
    spatial: str | Path | None,
    temporal: str | Path | None,
    autoencoder: str | Path | None = None,
    damped: Sequence[str | Path] = (),
    init: str | Path | None = None,
    init_from_teachers: bool = False,
    non_commercial: bool = False,
    block: int | None = None,
    teacher_block: int | None = None,
    transfer: TransferConfig | None = None,
    stop_after: int | None = None,
    **settings: Any,
) -> Path:
    """Train a student of the preset's size on `data` with frozen teachers; returns `out/weights`, which needs no teacher.

    Args:
        data: shards or a rendered folder; rows and columns that were rendered whole (--rows, --columns) are what teachers see.
        spatial, temporal: folders of `train_teacher`, or public models (a diffusers folder or hub name); None goes without one.
        autoencoder, damped, stop_after, settings: as for `train_teacher`. init: a model to start from.
        init_from_teachers: the student's streams start from own teachers'.
        non_commercial: agree to a teacher whose licence does not allow everything; else such a teacher is refused.
        block: after which the student is asked for the teachers' features; the middle when None. teacher_block: of own teachers.

    Raises InputError for no teacher, one that does not fit, or one whose licence was not agreed to, and in a launcher of several
    processes.
    """
    # Crossings are drawn of a process's part of a batch, and averaged there.
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("train orster: expected one process, got a launcher's several; run it without the launcher")
    recipe, out = _recipe(preset), Path(out)
    config = _config(recipe.denoiser, settings)
    if spatial is None and temporal is None:
        raise InputError("--spatial, --temporal: name one teacher at least; `orbit4d train teacher` makes them")
    depth = int(recipe.make_denoiser().config["depth"])
    block = default_block(depth) if block is None else block
    if not 0 <= block < depth:
        raise InputError(f"--block: expected 0 to {depth - 1}, got {block}")
    given: dict[Prior, str | Path | None] = {"spatial": spatial, "temporal": temporal}
    teachers: dict[Prior, Teacher] = {
        prior: load_teacher(
            source,
            prior=prior,
            grid=recipe.make_denoiser().grid,
            block=block if teacher_block is None else teacher_block,
        )
        for prior, source in given.items()
        if source is not None
    }
    for teacher in teachers.values():
        check_licence(teacher, non_commercial=non_commercial)
    ensure_writable_parent(out / "latents")
    with first_does_it(), locked_run(out) if first_process() else nullcontext():
        check_autoencoder(teachers, shared_autoencoder(autoencoder))
        latents, shared = _latents(data, out, autoencoder, size=recipe.plan.size, damped=damped)
        torch.manual_seed(config.seed)
        model = with_priors(recipe.make_denoiser, (block,), init=init)
        if init_from_teachers:
            start_from_teachers(model, teachers)
        task = OrsterTask(
            latents,
            config,
            model,
            out=out / "denoiser",
            autoencoder=shared,
            teachers=teachers,
            transfer=transfer or TransferConfig(),
            clean=clean_frames(teachers, latents, data, out, damped=damped),
        )
        fit(model, task, out / "denoiser", config=config, stop_after=stop_after)
        if first_process():
            _collect_student(out, shared)
    return out / "weights"


def default_block(depth: int) -> int:
    """The last block of attention across frames in the first half: 1 of 4, 3 of 6 and 8."""
    return max(i for i in range(depth) if i % 2 == 1 and i <= max(depth // 2, 1))


def load_teacher(source: str | Path, *, prior: Prior, grid: int, block: int) -> Teacher:
    """An own teacher where there is one, else a public model."""
    if is_own_teacher(source):
        return OwnTeacher(Path(source), prior=prior, block=block)
    return PublicTeacher(str(source), prior=prior, grid=grid)


def check_licence(teacher: Teacher, *, non_commercial: bool) -> None:
    """Prints the teacher's licence. Raises InputError for one that does not allow everything unless that was agreed to."""
    permissive = is_permissive(teacher.licence)
    if first_process():
        note = "" if permissive else ": NOT known to permit every use; what it teaches must not be shipped or sold"
        print(f"{teacher.prior} teacher {teacher.name}: licence {teacher.licence}{note}", flush=True)
    if not permissive and not non_commercial:
        raise InputError(
            f"{teacher.name}: its licence is {teacher.licence!r}, which is not known to permit every use of what it teaches; "
            "pass --non-commercial to go on for research, or choose another"
        )


def check_autoencoder(teachers: dict[Prior, Teacher], autoencoder: Path) -> None:
    """Raises InputError when an own teacher was trained on latents of another autoencoder."""
    mine = digest(sorted(autoencoder.glob("*.safetensors")))
    for teacher in teachers.values():
        if isinstance(teacher, OwnTeacher) and teacher.autoencoder != mine:
            raise InputError(
                f"{teacher.name}: was trained on latents of autoencoder {teacher.autoencoder}, the student's are of {mine}; "
                "pass the same --autoencoder to both"
            )


def with_priors(make: Any, blocks: tuple[int, ...], *, init: str | Path | None = None, **options: Any) -> Denoiser:
    """The denoiser that `make` builds, with priors after `blocks`; `options` prior_kind, prior_inject, prior_shared, prior_dims."""

    def build() -> Denoiser:
        with torch.random.fork_rng(devices=[]):  # only its settings are wanted: the seed gives the weights below
            settings: dict[str, Any] = {k: v for k, v in dict(make().config).items() if not k.startswith("_")}
        settings |= {"priors": blocks} | options
        return Denoiser(**settings)

    return build() if init is None else started(build, init)


def start_from_teachers(model: Denoiser, teachers: dict[Prior, Teacher]) -> None:
    """The spatial stream and its volumes become the spatial teacher's, the temporal stream and the motion condition the temporal
    teacher's, whole. Raises InputError for public teachers, other sizes and other architectures."""
    own = model.state_dict()
    for prior, teacher in teachers.items():
        if not isinstance(teacher, OwnTeacher):
            raise InputError(f"{teacher.name}: only teachers of our own architecture can be started from")
        parts = ("spatial.", "lifts.") if prior == "spatial" else ("temporal.", "motion.")
        given = {name: v for name, v in teacher.denoiser.state_dict().items() if name.startswith(parts)}
        wanted = {name: v for name, v in own.items() if name.startswith(parts)}
        wrong = [name for name in MEANINGS if teacher.denoiser.config[name] != model.config[name]]
        wrong += [n for n in wanted | given if n not in wanted or n not in given or wanted[n].shape != given[n].shape]
        if wrong:
            raise InputError(f"{teacher.name}: {wrong[0]} does not fit this preset; train a teacher of the same preset")
        own |= given
    model.load_state_dict(own)


def clean_frames(
    teachers: dict[Prior, Teacher],
    latents: LatentSet,
    data: str | Path,
    out: Path,
    *,
    damped: Sequence[str | Path] = (),
) -> dict[Prior, Tensor]:
    """The set's frames in the latent spaces of teachers with one of their own."""
    return {
        prior: encoded_rows(teacher, latents, [open_samples(f) for f in (data, *damped)], out / f"clean-{prior}")
        for prior, teacher in teachers.items()
        if isinstance(teacher, PublicTeacher)
    }


def collect_teacher(run: Path, latents: LatentSet, *, prior: Prior, autoencoder: Path) -> Path:
    """Put a teacher together in `run/teacher`."""
    weights = run / "denoiser" / "denoiser"
    load_complete(Denoiser, weights)
    record = {
        "prior": prior,
        "licence": OWN_LICENCE,
        "autoencoder": digest(sorted(autoencoder.glob("*.safetensors"))),
        "log_m_mean": latents.log_m_mean,
        "log_m_std": latents.log_m_std,
        "clips": len(latents.clips),
        "training": json.loads((run / "denoiser" / "pipeline.json").read_text())["training"],
    }
    with atomic_folder(run / "teacher") as folder:
        shutil.copytree(weights, folder / "denoiser")
        (folder / RECORD).write_text(json.dumps(record, indent=1))
    return run / "teacher"


def _collect_student(run: Path, autoencoder: Path) -> None:
    with atomic_folder(run / "weights") as folder:
        shutil.copytree(autoencoder, folder / "autoencoder")
        shutil.copytree(run / "denoiser" / "denoiser", folder / "denoiser")
        shutil.copy(run / "denoiser" / "pipeline.json", folder / "pipeline.json")


def _recipe(preset: str) -> Any:
    if preset not in PRESETS:
        raise InputError(f"train: expected a preset of {', '.join(PRESETS)}, got {preset!r}")
    return PRESETS[preset]()


def _config(base: DenoiserConfig, settings: dict[str, Any], **more: Any) -> DenoiserConfig:
    """The preset's settings with those that were given, checked before hours go by."""
    config = replace(base, **{k: v for k, v in settings.items() if v is not None}, **more)
    check_training(precision=config.precision, tracker=config.log, compile=config.compile)
    if config.compile and more.get("only") is None:
        raise InputError("--compile: not offered with teachers, whose losses go back through the network on their own")
    return config


def shared_autoencoder(model: str | Path | None) -> Path:
    """The autoencoder's folder of a model, the built-in one when None. Raises InputError when there is none."""
    folder = (BUILT_IN if model is None else Path(model)) / "autoencoder"
    if not (folder / "config.json").is_file():
        raise InputError(f"--autoencoder: {folder}: no such autoencoder; expected a model's folder such as OUT/weights")
    return folder


def _latents(
    data: str | Path, out: Path, autoencoder: str | Path | None, *, size: int, damped: Sequence[str | Path]
) -> tuple[LatentSet, Path]:
    """The samples, encoded by the shared autoencoder, and that autoencoder's folder."""
    folder = shared_autoencoder(autoencoder)
    if first_process():
        encode_training_set(Path(data), folder, out / "latents", size=size, damped=[Path(d) for d in damped])
    wait_for_everyone()
    return LatentSet(out / "latents"), folder
