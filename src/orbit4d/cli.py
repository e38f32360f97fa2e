"""The commands: each verb is a thin layer over one public function. Imports happen inside, so that help is instant."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from .cli_arguments import Folder, Names, OptionalCount, OptionalFile, OptionalFolder, OptionalNumber, OptionalText
from .cli_studio import doctor, studio, view
from .cli_train import TRAIN_DESCRIPTION, TRAIN_VERBS, train
from .errors import InputError

OptionalClip = Annotated[Path | None, arg(metavar="CLIP")]
Clip = Annotated[Path, arg(metavar="CLIP")]
Clips = Annotated[Positional[tuple[Path, ...]], arg(metavar="CLIP ...", help_behavior_hint="(required)")]
Scene = Annotated[Path, arg(metavar="SCENE")]

Weights = Annotated[Path | None, arg(metavar="DIR_OR_NAME")]
Scheduler = Literal["euler", "heun", "dpm++", "unipc", "ddim"] | None

DESCRIPTION = """Text, an image, a video or a static 3D asset in; a dynamic 3D Gaussian model that plays in any browser out.

Start with:
  orbit4d generate --prompt "a fox running" --out out/fox      then open out/fox/scene.html

From your own animated asset:
  orbit4d render fox.glb --trajectory orbit --out out/clip
  orbit4d reconstruct out/clip --out out/fox
  orbit4d render fox.glb --trajectory front --out out/front
  orbit4d evaluate out/fox/scene.safetensors --against out/front

In the browser: orbit4d studio, orbit4d view out/fox. What works on this machine: orbit4d doctor

Training data and models of your own: orbit4d data --help, orbit4d train --help

`orbit4d VERB --help` explains each verb."""


def generate(
    out: Folder,
    prompt: OptionalText = None,
    image: OptionalFile = None,
    caption: bool = True,
    video: Annotated[Path | None, arg(metavar="VIDEO_OR_FOLDER_OR_CLIP")] = None,
    mask: Annotated[Path | None, arg(metavar="FILE_OR_FOLDER")] = None,
    azimuth: OptionalNumber = None,
    static: Annotated[Path | None, arg(metavar="GLB_OR_SPLATS_OR_CLIP")] = None,
    static_up: Literal["z", "y", "y-down"] | None = None,
    motion: OptionalNumber = None,
    guidance_scale: float = 2.0,
    guidance_3d: float = 0.5,
    seed: int = 0,
    scheduler: Scheduler = None,
    steps: OptionalCount = None,
    size: int = 128,
    orbits: int = 1,
    shared_frames: int = 0,
    fit_steps: OptionalCount = None,
    sample_static: bool = True,
    match_motion: bool = True,
    weights: Weights = None,
) -> None:
    """Make a 4D asset from a prompt, an image, a video or a static 3D asset.

    DIR receives scene.html (open it in a browser), scene.safetensors, orbit.mp4, clip/ and report.json.
    The same seed on the same machine gives the same result.

    For example:
      orbit4d generate --prompt "a fox running" --out out/fox
      orbit4d generate --image cat.png --prompt "a cat" --motion 0.8 --out out/cat
      orbit4d generate --video robot.mp4 --out out/robot
      orbit4d generate --static statue.glb --seed 3 --out out/statue

    Args:
        out: Folder to write; new, empty, or an earlier output.
        prompt: What to make, e.g. "a fox running"; `orbit4d vocabulary` lists what the model knows. Combines with --image,
            --video or --static.
        image: Picture of the object, cut out (RGBA) or on a uniform background.
        caption: Where there is an image and no prompt, tell the model in words what the image looks like, if it is a known kind.
        video: The object moving, before a camera that stands still, cut out or on a uniform background: .mp4, .gif, .webp,
            a folder of pictures, or a clip.
        mask: Black and white picture (or video, folder) of the same size, white on the object, where the background is not
            uniform.
        azimuth: Where image or video was taken from, in degrees around the object; 0 is its front.
        static: A GLB (its pose at time 0), Gaussians (.ply, .splat, scene.safetensors) or a clip of a static orbit: the
            object that is to move.
        static_up: Axis that points up in the Gaussians of --static, where the file does not say; z when absent.
        motion: Amount of motion, 0 (least) to 1 (most); when absent what training clips of that kind and motion have.
        guidance_scale: Classifier-free guidance; 1 is none, more follows the conditions more closely.
        guidance_3d: Weight of the 3D-aware guidance term; 0 is none.
        seed: Seed of the noise.
        scheduler: How the steps are made; the model's own when absent.
        steps: Sampling steps; when absent, as many as give the quality of many more.
        size: Side of the clip's frames in pixels: 64, 96 or 128.
        orbits: Orbits, 1 to 4: more views of every moment, and more time.
        shared_frames: 0 samples the orbits together; else one by one, each later one shown so many frames of the first.
        fit_steps: Optimisation steps of the 4D construction; 800 when absent.
        sample_static: Also sample the object frozen, for the construction to start from.
        match_motion: With --motion: widen or narrow the finished asset's motion towards the amount asked for.
        weights: Folder with another model, or its name on the Hugging Face hub; the built-in one when absent.
    """
    from .pipeline import generate as run

    report = run(
        out=out,
        prompt=prompt,
        image=image,
        caption=caption,
        video=video,
        mask=mask,
        azimuth=azimuth,
        static=static,
        static_up=static_up,
        motion=motion,
        guidance_scale=guidance_scale,
        guidance_3d=guidance_3d,
        seed=seed,
        scheduler=scheduler,
        steps=steps,
        size=size,
        orbits=orbits,
        shared_frames=shared_frames,
        fit_steps=fit_steps,
        sample_static=sample_static,
        match_motion=match_motion,
        weights=weights,
    )
    _print_result(out, report)


def vocabulary(weights: Weights = None, json_: Annotated[FlagCreatePairsOff[bool], arg(name="json")] = False) -> None:
    """List what a model knows: the kinds of objects and, of newer models, the motions of each.

    For example:
      orbit4d vocabulary
      orbit4d vocabulary --weights runs/mine/weights --json

    Args:
        weights: Folder with another model, or its name on the Hugging Face hub; the built-in one when absent.
        json_: Print JSON instead of a list.
    """
    from .diffusion.hub import load_vocabulary

    known = load_vocabulary(weights)
    print(json.dumps(known.as_dict(), indent=2) if json_ else known.as_text())


def reconstruct(
    clips: Clips,
    /,
    out: Folder,
    static_clip: OptionalClip = None,
    steps: OptionalCount = None,
    size: OptionalCount = None,
    seed: int = 0,
) -> None:
    """Fit a 4D asset to existing clips of one object; the files are those of `generate`.

    A clip is a folder with transforms.json (nerfstudio layout, with a `time` per frame), a transforms JSON file, a D-NeRF
    folder (transforms_train.json), or a folder rendered by Diffusion4D (multi_frame*.png). Cameras may circle, stand
    still or jump; frames at one time are used as such. Frames need an alpha channel or a uniform background.
    If it is killed, the same command goes on where it was, up to ten seconds earlier (from a hidden file beside --out,
    removed at the end).

    For example:
      orbit4d reconstruct out/clip --out out/fox                          one moving orbit
      orbit4d reconstruct orbit --static-clip still --out out/elk         with time frozen, too
      orbit4d reconstruct orbit_a orbit_b orbit_c --out out/elk           several orbits of one motion
      orbit4d reconstruct rig/transforms.json --out out/dancer            fixed cameras, a frame per (camera, time)
      orbit4d reconstruct cam0 cam1 cam2 cam3 --out out/dancer            the same, a clip per camera
      orbit4d reconstruct jumpingjacks --size 400 --out out/jacks         a D-NeRF scene
      orbit4d evaluate out/jacks --against jumpingjacks/transforms_test.json

    Args:
        clips: The clip to fit, or several of one object on one clock.
        out: Folder to write; new, empty, or an earlier output.
        static_clip: The same object with time frozen, seen from all around, if there is one.
        steps: Optimisation steps; 800 up to 160 pixels, 1,200 above when absent.
        size: Larger image side to fit at, in pixels; the clip's own, at most 512, when absent.
        seed: Seed of the optimisation.
    """
    from .pipeline import reconstruct as run

    _print_result(out, run(clips, out=out, static_clip=static_clip, steps=steps, size=size, seed=seed))


def render(
    asset: Annotated[Positional[Path], arg(metavar="ASSET")],
    /,
    out: Folder,
    trajectory: Literal["orbit", "static", "front"] = "orbit",
    frames: int = 24,
    size: int = 128,
    azimuth: float = 0.0,
    elevation: float = 0.0,
    animation: OptionalText = None,
    fit: Literal["swept", "t0"] = "swept",
    loop: Literal["loop", "once", "clamp"] = "loop",
    hide: Names = (),
) -> None:
    """Render an animated GLB to a clip: RGBA frames, depth and transforms.json.

    orbit: view and time advance together. static: the orbit with time frozen at 0. front: one view, time runs.

    For example:
      orbit4d render fox.glb --trajectory orbit --out out/clip
      orbit4d render fox.glb --trajectory front --animation Run --size 256 --out out/front

    Args:
        asset: A .glb (or .gltf) file.
        out: Clip folder to write; new, empty, or an earlier clip.
        trajectory: Path of the camera and of time.
        frames: Number of frames.
        size: Side of the frames in pixels.
        azimuth: First view in degrees, counter-clockwise seen from above; 0 looks at the asset's front.
        elevation: Height of the camera in degrees above the horizon.
        animation: Name or number of the animation; the first when absent. A wrong name lists what there is.
        fit: swept: the sphere that the whole motion sweeps fills the frame. t0: the largest side at time 0 is 1.
        loop: loop: whole repetitions of a short animation. once: exactly one. clamp: 23/24 s at its own speed, last
            pose held.
        hide: Meshes to leave out, by name (* and ? allowed). @alternatives keeps one of the accessories that hang on
            the same joint.
    """
    from .pipeline import render_asset

    clip = render_asset(
        asset,
        out=out,
        trajectory=trajectory,
        frames=frames,
        size=size,
        azimuth=azimuth,
        elevation=elevation,
        animation=animation,
        fit=fit,
        loop=loop,
        hide=hide,
    )
    print(f"{len(clip)} frames of {clip.cameras.width} x {clip.cameras.height} in {out}")


def evaluate(
    scene: Positional[Scene],
    /,
    against: Clip,
    frames: OptionalText = None,
    save_frames: OptionalFolder = None,
    json_: Annotated[FlagCreatePairsOff[bool], arg(name="json")] = False,
) -> None:
    """Score a scene against a clip: PSNR and SSIM on white, and PSNR on the foreground.

    The scene is rendered with the clip's cameras at the clip's times and resolution. The foreground is where the clip's
    alpha exceeds 0.5.

    For example:
      orbit4d evaluate out/elk/scene.safetensors --against elk/transforms_front.json --frames 2-22
      orbit4d evaluate out/fox/scene.safetensors --against out/front --save-frames out/frames --json

    Args:
        scene: scene.safetensors, or the folder it lies in.
        against: The clip with the true frames.
        frames: Frames that count, e.g. 2-22 (inclusive) or 0,4-7; all when absent.
        save_frames: Folder for pred_000.png, gt_000.png and so on, on white.
        json_: Print JSON instead of a table.
    """
    from .clip import load_clip
    from .evaluate.evaluate import evaluate_scene, format_scores
    from .imports.scenes import scene_file
    from .splat.io import load_scene

    clip = load_clip(against)
    report = evaluate_scene(load_scene(scene_file(scene)), clip, frames=frames, save_frames=save_frames)
    report = {"scene": str(scene), "against": str(against), **report}
    print(json.dumps(report, indent=2) if json_ else format_scores(report))


def export(
    scene: Annotated[Positional[Path], arg(metavar="IN")],
    out: Annotated[Positional[Path], arg(metavar="OUT")],
    /,
    frames: int = 24,
    size: int = 256,
    time: float = 0.0,
    transparent: Annotated[FlagCreatePairsOff[bool], arg()] = False,
    up: Literal["z", "y", "y-down"] = "z",
    source_up: Literal["z", "y", "y-down"] | None = None,
) -> None:
    """Write a scene for other programs: a page that plays, a video, Gaussians in open formats, frames with cameras.

    For example:
      orbit4d export out/fox fox.html                       plays in any browser
      orbit4d export out/fox fox.webp --transparent         turntable; also .mp4, .gif, .webm, .mov
      orbit4d export out/fox fox_ply --up y-down            one 3DGS PLY per time, upright in SuperSplat
      orbit4d export out/fox fox.glb --time 0.5             one moment, KHR_gaussian_splatting; also .ply
      orbit4d export out/fox fox.glb.gz                     compact 4D: what the page holds
      orbit4d export out/fox fox.4dgs                       motion in the 4dgs container
      orbit4d export out/fox fox_frames/transforms.json     RGBA frames and cameras, as `reconstruct` reads them
      orbit4d export captured.ply captured.html --source-up y-down

    Args:
        scene: scene.safetensors or the folder it lies in, a 3DGS .ply, a .splat, a .glb of Gaussians, or a folder of
            one .ply per time.
        out: What to write; its suffix decides. None is a folder of PLY files.
        frames: Times in the result.
        size: Side of a video's frames in pixels.
        time: The moment that .glb and .ply hold, 0 to 1.
        transparent: Leave a video's background empty (.webp, .webm, .mov; in .gif a pixel is empty or not).
        up: Axis that points up in PLY files; SuperSplat and most web viewers expect y-down, Blender z.
        source_up: Axis that points up in IN, where it does not say; captures are mostly y-down, ours say z.
    """
    from .export.by_suffix import export_scene

    values = {"frames": frames, "size": size, "time": time, "transparent": transparent, "up": up}
    export_scene(scene, out, **values, source_up=source_up)
    print(f"wrote {out}")


def data() -> None:
    """Make training data: toybox, render, curate, shard and more; `orbit4d data --help` lists them."""


def benchmark() -> None:
    """Score results by a published protocol; `orbit4d benchmark --help` lists them."""


VERBS: dict[str, Callable[..., None]] = {
    "generate": generate,
    "vocabulary": vocabulary,
    "reconstruct": reconstruct,
    "render": render,
    "evaluate": evaluate,
    "export": export,
    "train": train,
    "studio": studio,
    "view": view,
    "doctor": doctor,
}


GROUPS: dict[str, Callable[..., None]] = {"data": data, "benchmark": benchmark}
"""Verbs with verbs of their own, listed here for the help."""


def main(argv: list[str] | None = None) -> int:
    """Run one verb. Returns the exit code: 0, 2 for bad input or usage (one line on stderr), 130 when interrupted."""
    from .cli_benchmark import BENCHMARK_DESCRIPTION, BENCHMARK_VERBS
    from .cli_data import DATA_DESCRIPTION, DATA_VERBS
    from .cli_parse import parse

    arguments = sys.argv[1:] if argv is None else argv
    if arguments == ["--version"]:
        from .report import versions

        print("orbit4d", versions()["orbit4d"])
        return 0
    try:
        match arguments[:1]:
            case ["data"]:
                call = parse(DATA_VERBS, arguments[1:], prog="orbit4d data", description=DATA_DESCRIPTION)
            case ["benchmark"]:
                described = BENCHMARK_DESCRIPTION
                call = parse(BENCHMARK_VERBS, arguments[1:], prog="orbit4d benchmark", description=described)
            case ["train"] if arguments[1:2] and arguments[1] in TRAIN_VERBS:
                call = parse(TRAIN_VERBS, arguments[1:], prog="orbit4d train", description=TRAIN_DESCRIPTION)
            case _:
                call = parse(VERBS | GROUPS, arguments, prog="orbit4d", description=DESCRIPTION)
        call()
        sys.stdout.flush()
    except InputError as error:
        return _fail(str(error))
    except BrokenPipeError:  # `orbit4d vocabulary | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = f"{error.filename}: " if error.filename else ""
            return _fail(f"{where}{os.strerror(error.errno)}; free some room and run the same command again")
        if error.filename is None or error.strerror is None:
            raise
        return _fail(f"{error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        print("orbit4d: interrupted", file=sys.stderr)
        return 130
    except SystemExit as error:  # after --help
        return error.code if isinstance(error.code, int) else 2
    return 0


def _fail(message: str) -> int:
    print(f"orbit4d: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _print_result(out: Path, report: dict) -> None:
    print(f"{report['gaussians']} Gaussians in {report['seconds_total']:.0f} s; open {out / 'scene.html'} in a browser")
