"""The verb `train`: a thin layer over `orbit4d.diffusion.train`, imported when it is run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from .cli_arguments import Folder, OptionalCount, OptionalFolder, OptionalNumber


def train(
    preset: Positional[Literal["tiny", "xs", "s", "m"]],
    /,
    out: Folder,
    data: OptionalFolder = None,
    damped: Annotated[tuple[Path, ...], arg(metavar="DIR ...", help_behavior_hint="(none)")] = (),
    stage: Literal["all", "data", "autoencoder", "latents", "denoiser"] = "all",
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
    """Train a model: render clips, train the autoencoder, encode the clips, train the denoiser, collect the weights.

    A run that was stopped continues where it was: the same command gives, on a CPU, the same result as if it had never
    stopped. The result is DIR/weights, for `orbit4d generate --weights`. Needs `pip install 'orbit4d[train]'`.

    For example:
      orbit4d train tiny --out runs/tiny                       minutes, toys only, to see it work
      orbit4d train s --data assets --out runs/s               on a CPU, about a day
      orbit4d train s --data shards --out runs/mine            the same on data of your own, see docs/data.md
      orbit4d train s --out runs/s --stage denoiser --steps 30000 --log tensorboard --sample-every 500
      accelerate launch -m orbit4d train m --data shards --out runs/m       on all GPUs of the machine

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
