"""The verb `train`: a thin layer over `orbit4d.diffusion.train`, imported when it is run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from .cli_arguments import Folder, OptionalCount, OptionalFolder, OptionalNumber
from .cli_parse import Verbs

Preset = Positional[Literal["tiny", "xs", "s", "m"]]
Damped = Annotated[tuple[Path, ...], arg(metavar="DIR ...", help_behavior_hint="(none)")]
TeacherName = Annotated[str | None, arg(metavar="DIR_OR_NAME")]


def train(
    preset: Positional[Literal["tiny", "xs", "s", "m"]],
    /,
    out: Folder,
    data: OptionalFolder = None,
    damped: Annotated[tuple[Path, ...], arg(metavar="DIR ...", help_behavior_hint="(none)")] = (),
    stage: Literal["all", "data", "autoencoder", "latents", "captioner", "denoiser"] = "all",
    steps: OptionalCount = None,
    batch: OptionalCount = None,
    learning_rate: OptionalNumber = None,
    seed: int = 0,
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    log: Literal["none", "tensorboard", "wandb"] = "none",
    sample_every: Annotated[int, arg(metavar="N")] = 0,
    compile_: Annotated[FlagCreatePairsOff[bool], arg(name="compile")] = False,
    gradient_checkpointing: FlagCreatePairsOff[bool] = False,
    init: OptionalFolder = None,
    resume: bool = True,
) -> None:
    """Train a model: render clips, train the autoencoder, encode the clips, train captioner and denoiser, collect the weights.

    A run that was stopped continues where it was: the same command gives, on a CPU, the same result as if it had never
    stopped. The result is DIR/weights, for `orbit4d generate --weights`. Needs `pip install 'orbit4d[train]'`.

    For example:
      orbit4d train tiny --out runs/tiny                       minutes, toys only, to see it work
      orbit4d train s --data assets --out runs/s               on a CPU, about a day
      orbit4d train s --data shards --out runs/mine            the same on data of your own, see docs/data.md
      orbit4d train s --out runs/s --stage denoiser --steps 30000 --log tensorboard --sample-every 500
      accelerate launch -m orbit4d train m --data shards --out runs/m       on all GPUs of the machine

    With teachers: orbit4d train teacher --help, orbit4d train orster --help

    Args:
        preset: Size of the denoiser. tiny: to see it work. xs (1.4 million parameters): for experiments. s (6): trains
            on a CPU. m (24): for GPUs. docs/training.md tells what each costs.
        out: The run's folder: clips, checkpoints, logs and weights.
        data: Shards, a rendered folder, or the folder of the GLB assets that the preset names.
        damped: With rendered --data: the same animations rendered with a smaller --amplitude. --motion is learned from them.
        stage: One stage of the line, or all of them in order.
        steps: Optimisation steps of that stage; the preset's when absent.
        batch: Samples of a step, over all processes; the preset's when absent. With --stage.
        learning_rate: Peak learning rate; the preset's when absent. With --stage.
        seed: Seed of the weights and of everything that is drawn; kept for the whole run.
        precision: What the network multiplies in. auto: bf16 where the CPU or GPU multiplies it natively, else fp32.
        log: Curves and samples for TensorBoard (in DIR/STAGE/tensorboard) or Weights & Biases, besides log.jsonl.
        sample_every: Steps between sheets of samples, DIR/STAGE/samples/step_000500.png; 0 draws none.
        compile_: Compile the network first (torch.compile): minutes at the start, faster steps.
        gradient_checkpointing: Compute the denoiser's insides twice instead of keeping them: less memory, more time.
        init: Start from the weights of another model (a folder such as DIR/weights) instead of from nothing.
        resume: Continue from a checkpoint; --no-resume refuses to touch one.
    """
    from .diffusion.train import train as run
    from .outputs import created_parents_removed_on_error

    with created_parents_removed_on_error(out / stage / "checkpoint.pt"):
        weights = run(
            preset,
            out=out,
            data=data,
            damped=damped,
            stage=stage,
            steps=steps,
            batch=batch,
            learning_rate=learning_rate,
            seed=seed,
            precision=precision,
            log=log,
            sample_every=sample_every,
            compile=compile_,
            gradient_checkpointing=gradient_checkpointing,
            init=init,
            resume=resume,
        )
    print(f"weights: {weights}" if stage in ("all", "denoiser") else f"{stage}: done, in {out}")


def teacher(
    preset: Preset,
    /,
    prior: Literal["spatial", "temporal"],
    data: Folder,
    out: Folder,
    autoencoder: OptionalFolder = None,
    damped: Damped = (),
    steps: OptionalCount = None,
    batch: OptionalCount = None,
    learning_rate: OptionalNumber = None,
    seed: int = 0,
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    log: Literal["none", "tensorboard", "wandb"] = "none",
) -> None:
    """Train a teacher for `orbit4d train orster`: a multi-view model on static orbits, or a video model on videos of one view.

    The result is DIR/teacher. A run that was stopped continues where it was.

    For example:
      orbit4d train teacher xs --prior spatial --data wide --out runs/spatial
      orbit4d train teacher xs --prior temporal --data wide --out runs/temporal

    Args:
        preset: Size of the teacher, as of `orbit4d train`.
        prior: spatial is shown rows, all views of one time; temporal columns, all times of one view.
        data: Shards or a rendered folder; what is not a whole row or column of it is not looked at.
        out: The run's folder.
        autoencoder: Model whose autoencoder teachers and student share; the built-in one when absent.
        damped: The same animations rendered with a smaller --amplitude.
        steps: Optimisation steps; the preset's when absent.
        batch: Samples of a step; the preset's when absent.
        learning_rate: Peak learning rate; the preset's when absent.
        seed: Seed of the weights and of everything that is drawn; kept for the whole run.
        precision: What the network multiplies in, as of `orbit4d train`.
        log: Curves for TensorBoard or Weights & Biases, besides log.jsonl.
    """
    from .outputs import created_parents_removed_on_error
    from .transfer.train import train_teacher

    with created_parents_removed_on_error(out / "denoiser" / "checkpoint.pt"):
        made = train_teacher(
            preset,
            prior=prior,
            data=data,
            out=out,
            autoencoder=autoencoder,
            damped=damped,
            steps=steps,
            batch=batch,
            lr=learning_rate,
            seed=seed,
            precision=precision,
            log=log,
        )
    print(f"teacher: {made}")


def orster(
    preset: Preset,
    /,
    data: Folder,
    out: Folder,
    spatial: TeacherName = None,
    temporal: TeacherName = None,
    autoencoder: OptionalFolder = None,
    damped: Damped = (),
    init: OptionalFolder = None,
    init_from_teachers: FlagCreatePairsOff[bool] = False,
    non_commercial: FlagCreatePairsOff[bool] = False,
    block: OptionalCount = None,
    steps: OptionalCount = None,
    batch: OptionalCount = None,
    learning_rate: OptionalNumber = None,
    seed: int = 0,
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    log: Literal["none", "tensorboard", "wandb"] = "none",
    sample_every: Annotated[int, arg(metavar="N")] = 0,
    gradient_checkpointing: FlagCreatePairsOff[bool] = False,
) -> None:
    """Train a model that learns from teachers: what a multi-view and a video model know enters its two streams, see docs/orster.md.

    Teachers are frozen and not needed afterwards. The result is DIR/weights, for `orbit4d generate --weights`. A run that was
    stopped continues where it was.

    For example:
      orbit4d train orster xs --data grid --spatial runs/spatial/teacher --temporal runs/temporal/teacher --out runs/orster
      orbit4d train orster s --data grid --temporal sd15-folder+adapter-folder --non-commercial --out runs/research

    Args:
        preset: Size of the student, as of `orbit4d train`.
        data: Shards or a rendered folder, with several --rows and --columns: those are what the teachers are shown.
        out: The run's folder.
        spatial: What `orbit4d train teacher` wrote, or a public multi-view model (diffusers folder or hub name).
        temporal: What `orbit4d train teacher` wrote, or a public video model; an image model and its motion adapter joined by +.
        autoencoder: Model whose autoencoder teachers and student share; the built-in one when absent.
        damped: The same animations rendered with a smaller --amplitude.
        init: Start from the weights of another model (a folder such as DIR/weights) instead of from nothing.
        init_from_teachers: Start from the streams of own teachers of the same preset.
        non_commercial: Agree that a teacher's licence does not allow every use of what it teaches.
        block: Block of the student that the teachers are compared with; the middle when absent.
        steps: Optimisation steps; the preset's when absent.
        batch: Samples of a step; the preset's when absent.
        learning_rate: Peak learning rate; the preset's when absent.
        seed: Seed of the weights and of everything that is drawn; kept for the whole run.
        precision: What the network multiplies in, as of `orbit4d train`.
        log: Curves and samples for TensorBoard or Weights & Biases, besides log.jsonl.
        sample_every: Steps between sheets of samples; 0 draws none.
        gradient_checkpointing: Less memory, more time.
    """
    from .outputs import created_parents_removed_on_error
    from .transfer.train import train_orster

    with created_parents_removed_on_error(out / "denoiser" / "checkpoint.pt"):
        made = train_orster(
            preset,
            data=data,
            out=out,
            spatial=spatial,
            temporal=temporal,
            autoencoder=autoencoder,
            damped=damped,
            init=init,
            init_from_teachers=init_from_teachers,
            non_commercial=non_commercial,
            block=block,
            steps=steps,
            batch=batch,
            lr=learning_rate,
            seed=seed,
            precision=precision,
            log=log,
            sample_every=sample_every,
            gradient_checkpointing=gradient_checkpointing,
        )
    print(f"weights: {made}")


TRAIN_DESCRIPTION = """Models that learn from teachers; docs/orster.md tells what is done and why.

`orbit4d train VERB --help` explains each verb, `orbit4d train --help` training without teachers."""

TRAIN_VERBS: Verbs = {"teacher": teacher, "orster": orster}
"""Besides the presets of `train`."""
