"""The verbs of `orbit4d benchmark`: published protocols of evaluation, each one command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from .cli_parse import Verbs

Generated = Annotated[Positional[tuple[Path, ...]], arg(metavar="GENERATED ...", help_behavior_hint="(required)")]
Files = Annotated[tuple[Path, ...], arg(metavar="FILE ...", help_behavior_hint="(none)")]
Texts = Annotated[tuple[str, ...], arg(metavar="TEXT ...", help_behavior_hint="(none)")]
Truths = Annotated[tuple[Path, ...], arg(metavar="TRUTH ...", help_behavior_hint="(none)")]
OptionalText = Annotated[str | None, arg(metavar="NAME_OR_DIR")]
OptionalFolder = Annotated[Path | None, arg(metavar="DIR")]
OptionalName = Annotated[str | None, arg(metavar="TEXT")]

BENCHMARK_DESCRIPTION = """Published protocols of evaluation. docs/evaluation.md says what is measured and how.

`orbit4d benchmark VERB --help` explains each verb."""


def diffusion4d(
    generated: Generated,
    /,
    against: Truths = (),
    condition: Literal["image", "text"] = "image",
    prompts: Texts = (),
    clip: OptionalText = None,
    lpips: Files = (),
    fvd: OptionalText = None,
    run_fvd_code: Annotated[bool, FlagCreatePairsOff] = False,
    skip_input_view: Annotated[bool, FlagCreatePairsOff] = False,
    views: int = 36,
    front_frames: int = 24,
    size: int = 256,
    animation: OptionalName = None,
    fit: Literal["swept", "t0"] = "swept",
    loop: Literal["loop", "once", "clamp"] = "loop",
    out: OptionalFolder = None,
    json_: Annotated[FlagCreatePairsOff[bool], arg(name="json")] = False,
) -> None:
    """Score generated scenes or clips by Diffusion4D's protocol: CLIP-F, CLIP-O, SSIM, PSNR, LPIPS, FVD.

    Metrics whose weights are not given are reported as not measured. With --out, an interrupted run is taken up by the same
    command.

    For example:
      orbit4d benchmark diffusion4d out/fox --against fox.glb --clip openai/clip-vit-base-patch32
      orbit4d benchmark diffusion4d results/ --against truths/ --lpips alexnet.pth lin.pth --out scores
      orbit4d benchmark diffusion4d out/fox --condition text --prompts "a fox running" --clip clip-folder

    Args:
        generated: Scenes or clips, or one folder of them.
        against: The truth of each, in order: an animated GLB, Diffusion4D's renders, clips (orbit/ and front/), or one
            folder with truths of the same names.
        condition: What they were generated from; with text there is no truth to compare with.
        prompts: The texts, one each; those in the reports beside the scenes when absent.
        clip: CLIP model, by its name at Hugging Face or as a folder.
        lpips: LPIPS weights: one file, or the backbone's and the linear layers'.
        fvd: Video network, by name or folder, or the I3D TorchScript file.
        run_fvd_code: Open --fvd's TorchScript file, which is a program; only if you trust its source.
        skip_input_view: Leave out the first frame, which an image condition shows as it is.
        views: Orbital views of CLIP-O and of the image metrics.
        front_frames: Frames of the front view.
        size: Side of the frames in pixels.
        animation: Animation of the true assets, by name or number; the first when absent.
        fit: How the true assets were framed: swept, or Diffusion4D's t0.
        loop: How their animations are played.
        out: Folder for report.json, table.txt and each case's scores.
        json_: Print JSON instead of a table.
    """
    from .evaluate.diffusion4d import format_benchmark, run_benchmark
    from .evaluate.diffusion4d_cases import ViewPlan

    plan = ViewPlan(views=views, front_frames=front_frames, size=size, animation=animation, fit=fit, loop=loop)
    report = run_benchmark(
        generated,
        against=against,
        out=out,
        condition=condition,
        prompts=prompts,
        clip=clip,
        lpips=lpips or None,
        fvd=fvd,
        run_fvd_code=run_fvd_code,
        skip_input_view=skip_input_view,
        plan=plan,
    )
    print(json.dumps(report, indent=2) if json_ else format_benchmark(report))


BENCHMARK_VERBS: Verbs = {"diffusion4d": diffusion4d}
