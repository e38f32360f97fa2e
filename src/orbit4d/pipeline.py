"""The whole line as readable functions: conditions -> orbital clip -> dynamic Gaussians -> files that play."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from .clip import OrbitalClip, join_clips, load_clip, moment_of, save_clip, with_foreground
from .conditions import (
    check_conditions,
    is_gaussians,
    load_condition_gaussians,
    load_condition_image,
    load_condition_video,
)
from .diffusion.notes import check_orbits
from .errors import InputError
from .files import ensure_writable_parent
from .outputs import (
    CLIP_FILES,
    check_pixels,
    check_replaceable,
    created_parents_removed_on_error,
    output_folder,
    resume_file,
    write_report,
)
from .report import StageTimer, hardware, peak_memory_mib, versions
from .watch import Watcher, sampling_watcher

if TYPE_CHECKING:
    from .splat.amount import MatchedMotion
    from .splat.gaussians import Gaussians4D

SIZES = (64, 96, 128)
"""Frame sizes `generate` offers: the built-in model samples 128 pixels a side, smaller ones are averaged from it."""
MAX_RECONSTRUCT_SIZE = 512
PLAYBACK_FPS = 12

Trajectory = Literal["orbit", "static", "front"]
Fit = Literal["swept", "t0"]
Loop = Literal["loop", "once", "clamp"]
ClipArgument = str | Path | OrbitalClip


def generate(
    *,
    out: str | Path,
    prompt: str | None = None,
    image: str | Path | None = None,
    caption: bool = True,
    video: str | Path | None = None,
    mask: str | Path | None = None,
    azimuth: float | None = None,
    static: str | Path | None = None,
    static_up: str | None = None,
    motion: float | None = None,
    guidance_scale: float = 2.0,
    guidance_3d: float = 0.5,
    seed: int = 0,
    scheduler: str | None = None,
    steps: int | None = None,
    size: int = 128,
    orbits: int = 1,
    shared_frames: int = 0,
    fit_steps: int | None = None,
    sample_static: bool = True,
    match_motion: bool = True,
    weights: str | Path | None = None,
    progress: bool = True,
    watch: Watcher | None = None,
) -> dict:
    """Make a 4D asset from a prompt, an image, a video or a static 3D asset; write it to the folder `out`.

    Args:
        out: receives clip/, orbit.mp4, scene.safetensors, scene.html and report.json, all or nothing.
        prompt: what to make; combines with `image`, `video` or `static`.
        image: file that shows the object at time 0. caption: of an image without a prompt, the model is told what its captioner
            sees in it (`Orbit4DPipeline.caption`), if anything. video: file, folder of pictures, or clip of one camera that
            shows all of the motion (`conditions.load_condition_video`). mask: their foreground, where they do not tell.
        azimuth: degrees around the object, from its front, where image or video was taken; None: the front, or the
            camera of a clip.
        static: a GLB (its pose at time 0 is used), Gaussians (`.ply`, `.splat`, a scene of ours at time 0) or a clip argument
            of a static orbit. static_up: the axis that points up in the Gaussians' file: z, y, y-down; None: what it says, else z.
        motion: amount of motion as a quantile in [0, 1] of the training set's; None is what a video shows, else what
            training clips of the prompt's kind and motion have (`Orbit4DPipeline.usual_motion_of`).
        guidance_scale: diffusers convention, 1 = none. guidance_3d: weight of the 3D-aware term.
        seed: the same seed on the same machine gives the same result.
        scheduler: one of `diffusion.schedulers.NAMES`; None is the model's own. steps: its steps; None is enough for it.
        fit_steps: optimisation steps of the 4D construction; None chooses by size.
        size: side of the clip's frames in pixels, one of SIZES.
        orbits: 1 to 4 orbits, evenly shifted in phase: more views of every moment, more time. shared_frames: 0 samples
            them together; else one by one, each later one shown so many frames of the first.
        sample_static: sample a static orbit too (same seed, temporal stream closed) for the construction to start from;
            not needed when `static` is given.
        match_motion: where `motion` is given, measure how much the finished asset moves and widen or narrow its motion towards
            what was asked for, at most 1.5 times (`splat.amount`); the report says by how much.
        weights: folder or hub name ("owner/name", "owner/name@revision") of another model; None is the one inside the package.
        watch: is shown every stage and step; what it raises ends the run, and nothing is left behind.

    Returns: the report, as written to report.json. Raises InputError for bad input, before anything is computed.
    """
    # 1. Inputs
    check_conditions(
        prompt=prompt,
        image=image,
        video=video,
        mask=mask,
        static=static,
        static_up=static_up,
        motion=motion,
        azimuth=azimuth,
    )
    _check_settings(guidance_scale=guidance_scale, guidance_3d=guidance_3d, seed=seed, steps=steps, fit_steps=fit_steps)
    check_orbits(orbits, shared_frames)
    if shared_frames and orbits == 1:
        raise InputError("--shared-frames: it says how much further orbits see of the first; give --orbits 2 to 4 too")
    if size not in SIZES:
        raise InputError(f"--size: expected one of {', '.join(map(str, SIZES))}, got {size}")
    settings = _settings(locals())
    timer = StageTimer(None if watch is None else watch.stage)
    with output_folder(out) as folder, _seeded(seed):
        # 2. Conditions
        with timer("conditions"):
            reference = None if image is None else load_condition_image(image, mask=mask)
            filmed = None if video is None else load_condition_video(video, mask=mask, azimuth=azimuth)
            static_clip = None if static is None else load_static(static, up=static_up)

        # 3. Sample the orbital clip, and a static orbit of the same object
        with timer("load_model"):
            from .diffusion.pipeline import Orbit4DPipeline

            pipe = Orbit4DPipeline.from_pretrained(weights)
        told: dict[str, Any] = {
            "image": reference,
            "references": filmed,
            "static_clip": static_clip,
            "orbits": orbits,
            "shared_frames": shared_frames,
        }
        # What the user shows need not have a name that the model knows.
        shown = image is not None or video is not None or static is not None
        strange = None if shown else pipe.vocabulary_warning(prompt)
        warnings: list[str] = []

        def note(warning: str) -> None:
            warnings.append(warning)
            print(f"orbit4d: note: {warning}", file=sys.stderr)
            if watch is not None:
                watch.warning(warning)

        seen = pipe.caption(reference) if caption and reference is not None and prompt is None else None
        if seen is not None:
            note(
                f"{Path(image or '').name} looks like {seen.text!r}{' (the motion is a guess)' if seen.is_guess else ''}, and that "
                "is what the model is told; say what it shows with --prompt, or nothing with --no-caption"
            )
        for warning in (strange, *pipe.condition_warnings(**told, prompt=prompt)):
            if warning:
                note(warning)

        def sample(frozen: bool) -> OrbitalClip:
            clip = pipe(
                **told,
                prompt=prompt if seen is None else seen.text,
                caption=False,
                azimuth=azimuth or 0.0,
                motion=None if frozen else "usual" if motion is None else motion,
                guidance_scale=guidance_scale,
                guidance_3d=guidance_3d,
                scheduler=scheduler,
                steps=steps,
                seed=seed,
                static=frozen,
                progress=progress,
                on_step=None if watch is None else sampling_watcher(watch, pipe.decode, frozen=frozen),
            )
            return replace(clip.resized(size), caption=prompt)  # what was guessed is no caption

        with timer("sample"):
            clip = sample(False)
            if static_clip is not None:
                static_clip = static_clip.resized(size)
            elif sample_static:
                static_clip = sample(True)

        # 4. Construct the dynamic Gaussians
        scene, fit_report = _construct(
            [clip],
            static_clip,
            out=out,
            size=size,
            steps=fit_steps,
            seed=seed,
            progress=progress,
            timer=timer,
            watch=watch,
        )
        matched = None
        if match_motion and motion is not None:
            with timer("match_motion"):
                scene, matched = _match_motion(scene, clip, asked=pipe.asked_magnitude(motion))
            if matched is not None and matched.reached < 0.5 * matched.asked:
                note(
                    f"--motion {motion:g} stands for a motion magnitude of {matched.asked:.2g}; the asset's is "
                    f"{matched.reached:.2g}, widened {matched.gain:.2g} times: the model moves this less than was asked for"
                )

        # 5. Write
        title = prompt or Path(image or video or static or "orbit4d").stem
        with timer("write"):
            _write_asset(scene, clip, folder, title=title)
        report = _report("generate", settings, timer, scene, clip, fit_report, weights_hash=pipe.weights_hash)
        report["warnings"] = warnings
        report["caption"] = None if seen is None else asdict(seen) | {"captioner": pipe.captioner_hash}
        report["matched_motion"] = None if matched is None else asdict(matched)
        write_report(report, folder)
    resume_file(out).unlink(missing_ok=True)
    return report


def reconstruct(
    clip: ClipArgument | Sequence[ClipArgument],
    *,
    out: str | Path,
    static_clip: ClipArgument | None = None,
    steps: int | None = None,
    size: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> dict:
    """Fit dynamic Gaussians to an existing clip; write the same files as `generate` to the folder `out`.

    Args:
        clip: an OrbitalClip or a clip argument (docs/inputs.md), or several of one object, whose times agree. Frames need
            an alpha channel or a uniform background.
        static_clip: the same object with time frozen, if there is one.
        steps: optimisation steps; None chooses by size. size: larger image side to fit at; None keeps the clip's.

    Returns: the report, as written to report.json. Raises InputError for bad input, before anything is computed.
    """
    # 1. Inputs
    _check_settings(seed=seed, steps=steps)
    if size is not None and not 16 <= size <= MAX_RECONSTRUCT_SIZE:
        raise InputError(f"--size: expected 16 to {MAX_RECONSTRUCT_SIZE} pixels, got {size}")
    settings = _settings(locals())
    timer = StageTimer()
    with output_folder(out) as folder, _seeded(seed):
        with timer("read"):
            clips = [_read(c) for c in ([clip] if isinstance(clip, ClipArgument) else clip)]
            if not clips:
                raise InputError("reconstruct: expected at least one clip, got none; name a clip folder")
            size = size or min(max(max(c.rgb.shape[-2:]) for c in clips), MAX_RECONSTRUCT_SIZE)
            clips = [c.resized(size) for c in clips]
            if static_clip is not None:
                static_clip = _read(static_clip, static=True).resized(size)
                moment_of(static_clip, argument="--static-clip")

        # 2. Construct the dynamic Gaussians
        scene, fit_report = _construct(
            clips, static_clip, out=out, size=size, steps=steps, seed=seed, progress=progress, timer=timer
        )
        moving = join_clips(clips)

        # 3. Write
        first = clip if isinstance(clip, ClipArgument) else clip[0]
        title = moving.caption or (Path(first).resolve().stem if isinstance(first, str | Path) else "orbit4d")
        with timer("write"):
            _write_asset(scene, moving, folder, title=title)
        report = _report("reconstruct", settings, timer, scene, moving, fit_report)
        write_report(report, folder)
    resume_file(out).unlink(missing_ok=True)
    return report


def render_asset(
    asset: str | Path,
    *,
    out: str | Path,
    trajectory: Trajectory = "orbit",
    frames: int = 24,
    size: int = 128,
    azimuth: float = 0.0,
    elevation: float = 0.0,
    animation: str | None = None,
    fit: Fit = "swept",
    loop: Loop = "loop",
    hide: Sequence[str] = (),
) -> OrbitalClip:
    """Render an animated GLB to a clip folder (RGBA frames, depth, transforms.json) and return the clip.

    The arguments are those of `orbit4d.data.render.render_clip`. Raises InputError before rendering when `out` cannot
    be written or holds anything but an earlier clip.
    """
    from .data.render import render_clip

    if not 2 <= frames <= 1024:
        raise InputError(f"--frames: expected 2 to 1024, got {frames}")
    if not 16 <= size <= 2048:
        raise InputError(f"--size: expected 16 to 2048 pixels, got {size}")
    if not -360 <= azimuth <= 360:
        raise InputError(f"--azimuth: expected -360 to 360 degrees, got {azimuth}")
    if not -89 <= elevation <= 89:
        raise InputError(f"--elevation: expected -89 to 89 degrees, got {elevation}")
    check_pixels(frames=frames, size=size)
    folder = check_replaceable(out, files=CLIP_FILES)
    with created_parents_removed_on_error(folder):
        ensure_writable_parent(folder)
        clip = render_clip(
            asset,
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
        save_clip(clip, folder)
    return clip


def load_static(path: str | Path, *, up: str | None = None) -> OrbitalClip:
    """A static orbit from a GLB or Gaussians (at time 0, rendered) or from a clip argument, whose frames show one moment.

    Raises InputError for bad files and for clips in which time passes.
    """
    path = Path(path)
    if path.suffix.lower() in (".glb", ".gltf"):
        from .data.render import render_clip
        from .imports.glb import has_gaussians

        if has_gaussians(path):
            return load_condition_gaussians(path)

        return render_clip(path, trajectory="static", frames=24, size=128)
    if is_gaussians(path):
        return load_condition_gaussians(path, up=up)
    try:
        clip = load_clip(path, static=True)
    except InputError as error:
        raise InputError(f"--static: {error} (or a .glb, .ply or .splat file, or a scene)") from error
    moment_of(clip, argument=f"--static: {path}")
    return replace(clip, times=torch.zeros_like(clip.times))


def _check_settings(
    *,
    seed: int,
    steps: int | None,
    fit_steps: int | None = None,
    guidance_scale: float = 1.0,
    guidance_3d: float = 0.0,
) -> None:
    if not 0 <= seed < 2**63:
        raise InputError(f"--seed: expected a number from 0 to 2^63 - 1, got {seed}")
    for name, value in (("--steps", steps), ("--fit-steps", fit_steps)):
        if value is not None and value < 1:
            raise InputError(f"{name}: expected at least 1, got {value}")
    for name, number in (("--guidance-scale", guidance_scale), ("--guidance-3d", guidance_3d)):
        if not 0 <= number <= 100:
            raise InputError(f"{name}: expected a number from 0 to 100, got {number}")


def _read(clip: ClipArgument, *, static: bool = False) -> OrbitalClip:
    return with_foreground(clip) if isinstance(clip, OrbitalClip) else load_clip(clip, static=static)


def _construct(
    clips: list[OrbitalClip],
    static_clip: OrbitalClip | None,
    *,
    out: str | Path,
    size: int,
    steps: int | None,
    seed: int,
    progress: bool,
    timer: StageTimer,
    watch: Watcher | None = None,
) -> tuple[Gaussians4D, dict]:
    from .splat.fit import FitConfig, fit

    config = replace(FitConfig.for_size(size, steps), seed=seed)
    with timer("construct"):
        result = fit(
            clips,
            static_clip=static_clip,
            config=config,
            checkpoint=resume_file(out),
            keep_checkpoint=True,  # until all is written: see `resume_file`
            progress=progress,
            on_step=None if watch is None else watch.fitted,
        )
    return result.scene, {"seconds": result.seconds, "history": result.history}


def _match_motion(scene: Gaussians4D, clip: OrbitalClip, *, asked: float) -> tuple[Gaussians4D, MatchedMotion | None]:
    """The asset with the amount of motion that was asked for, as far as that goes, over the clip's first orbit."""
    from .evaluate.motion import scene_magnitude
    from .splat.amount import can_be_amplified, match_motion

    if not can_be_amplified(scene):
        return scene, None
    first = list(range(len(clip.times.unique())))
    return match_motion(scene, asked, magnitude=lambda s: scene_magnitude(s, clip.cameras[first], clip.times[first]))


def _write_asset(scene: Gaussians4D, clip: OrbitalClip, folder: Path, *, title: str) -> None:
    from .export.html import write_html
    from .export.video import render_turntable, write_video
    from .splat.io import save_scene

    save_clip(clip, folder / "clip")
    save_scene(scene, folder / "scene.safetensors")
    size = max(256, clip.cameras.height)
    write_video(render_turntable(scene, frames=48, size=size), folder / "orbit.mp4", fps=2 * PLAYBACK_FPS)
    write_html(scene, folder / "scene.html", frames=24, title=title)


def _report(
    verb: str,
    settings: dict,
    timer: StageTimer,
    scene: Gaussians4D,
    clip: OrbitalClip,
    fit_report: dict,
    *,
    weights_hash: str | None = None,
) -> dict:
    from .evaluate.evaluate import input_scores

    with timer("score"):
        scores = input_scores(scene, clip)
    return {
        "verb": verb,
        "settings": settings,
        "seed": settings["seed"],
        "weights_hash": weights_hash,
        "frames": len(clip),
        "resolution": [clip.cameras.width, clip.cameras.height],
        "gaussians": len(scene.canonical),
        "scores": scores,
        "seconds": timer.seconds,
        "seconds_total": timer.total,
        "peak_memory_mib": peak_memory_mib(),
        "fit": fit_report,
        "versions": versions(),
        "hardware": hardware(),
    }


def _settings(arguments: dict) -> dict:
    """The arguments of a public function, JSON-ready; clips given as objects are named by their type."""

    def described(value: object) -> object:
        if isinstance(value, list | tuple):
            return [described(v) for v in value]
        plain = value is None or isinstance(value, str | int | float | bool)
        return value if plain else str(value) if isinstance(value, Path) else type(value).__name__

    return {k: described(v) for k, v in arguments.items() if k not in ("out", "progress", "watch")}


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draws in the block depend on `seed` alone; the caller's random state is untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
