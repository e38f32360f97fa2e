"""What the Diffusion4D benchmark compares: cases found on disk, their true views, and the generated frames of those views."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ..cameras import Cameras, Orbit
from ..clip import OrbitalClip, load_clip, with_foreground
from ..clip_files import load_frames
from ..errors import InputError
from ..files import parse_json
from .evaluate import render_scene
from .lpips import MIN_SIDE

View = Literal["orbit", "front"]
VIEWS: tuple[View, ...] = ("orbit", "front")
SCENE = "scene.safetensors"
ASSETS = (".glb", ".gltf")
SAME_PLACE = 0.02
"""Distance of two cameras, relative to their distance from the origin, within which they count as one."""
SAME_TIME = 0.02
SAME_FOCAL = 0.02


@dataclass(kw_only=True, frozen=True)
class Case:
    """One thing to score: what was generated, the truth (None: text is all there is), and the text."""

    name: str
    generated: Path
    truth: Path | None
    prompt: str | None


@dataclass(kw_only=True, frozen=True)
class ViewPlan:
    """What is rendered where the truth is an asset, or where there is none: Diffusion4D's orbit and its front view."""

    views: int = 36
    """Orbital views, spread over the time as over the circle; the last one repeats the first camera at time 1."""
    front_frames: int = 24
    size: int = 256
    """Pixels a side."""
    animation: str | None = None
    fit: Literal["swept", "t0"] = "swept"
    loop: Literal["loop", "once", "clamp"] = "loop"

    def __post_init__(self) -> None:
        for name, least, most in (("views", 2, 1024), ("front_frames", 2, 1024), ("size", MIN_SIDE, 1024)):
            if not least <= getattr(self, name) <= most:
                option = name.replace("_", "-")
                raise InputError(f"--{option}: expected {least} to {most}, got {getattr(self, name)}")


def find_cases(
    generated: Sequence[str | Path], *, against: Sequence[str | Path], prompts: Sequence[str], text: bool
) -> list[Case]:
    """Pair what was generated with its truths (by order, or by name where both are one folder of cases) and its texts.

    Raises InputError where something is missing, does not pair, or is no case.
    """
    made, truths = [Path(p) for p in generated], [Path(p) for p in against]
    if not made:
        raise InputError("benchmark: nothing to score; name scenes, clips, or a folder of them")
    for path in (*made, *truths):
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; expected a scene, a clip, an asset or a folder of cases")
    if len(made) == 1 and made[0].is_dir() and not _is_case(made[0]):
        made, truths = _collection(made[0], truths)
    if not text and len(made) != len(truths):
        raise InputError(
            f"--against: expected one truth for each of {len(made)} cases, in their order, got {len(truths)}"
        )
    if text and truths:
        raise InputError("--against: a text has no true frames; leave it out, or score with --condition image")
    if not text and prompts:
        raise InputError("--prompts: texts count with --condition text only; leave them out")
    if prompts and len(prompts) != len(made):
        raise InputError(f"--prompts: expected one for each of {len(made)} cases, in their order, got {len(prompts)}")
    cases = []
    for i, (name, path) in enumerate(zip(_names(made), made, strict=True)):
        prompt = (prompts[i] if prompts else _prompt(path)) if text else None
        cases.append(Case(name=name, generated=path, truth=None if text else truths[i], prompt=prompt))
    return cases


def true_views(path: Path, plan: ViewPlan) -> dict[View, OrbitalClip]:
    """The views that the truth shows: an asset's, rendered; those of a folder with orbit/ and front/; Diffusion4D's files
    (its front view from `transforms_front.json` or `front_frame*.png`); or those of one clip, which is a front view where
    the camera stands still."""
    if path.suffix.lower() in ASSETS:
        from ..data.render import render_clip

        common = {"size": plan.size, "animation": plan.animation, "fit": plan.fit, "loop": plan.loop}
        return {
            "orbit": render_clip(path, trajectory="orbit", frames=plan.views, **common),
            "front": render_clip(path, trajectory="front", frames=plan.front_frames, **common),
        }
    views = _clip_views(path)
    for view, clip in views.items():
        if len(clip) < 2 or min(clip.rgb.shape[-2:]) < MIN_SIDE:
            size = f"{clip.cameras.width} x {clip.cameras.height}"
            raise InputError(
                f"{path}: its {view} view has {len(clip)} frames of {size} pixels, expected 2 or more of {MIN_SIDE} or more"
            )
    return views


def free_views(plan: ViewPlan) -> dict[View, tuple[Cameras, Tensor]]:
    """Cameras and times of the orbit and of the front view where no truth tells them."""
    orbit, front = Orbit(frames=plan.views), Orbit(frames=plan.front_frames)
    still = front.cameras(plan.size)[[0] * plan.front_frames]
    return {"orbit": (orbit.cameras(plan.size), orbit.times), "front": (still, front.times)}


def generated_views(path: Path, wanted: dict[View, tuple[Cameras, Tensor]], *, fixed: bool) -> dict[View, Tensor]:
    """Generated frames (t, 3, h, w) on white of the wanted views: a scene is rendered, a clip must have been made there.

    With `fixed` a clip's frames must have the wanted cameras and times (frames of another size are resized); without, any
    orbit or front clip counts as it is. A view that a clip does not show is left out.
    """
    scene_file = scene_of(path)
    if scene_file is not None:
        from ..splat.io import load_scene

        scene = load_scene(scene_file)
        return {view: render_scene(scene, cameras, times)[0] for view, (cameras, times) in wanted.items()}
    found = {}
    for view, clip in _clip_views(path).items():
        if view not in wanted:
            continue
        if fixed:
            cameras, times = wanted[view]
            _check_same_views(clip, cameras, times, source=f"{path} ({view})")
            clip = clip.resized(max(cameras.width, cameras.height))
        found[view] = clip.on_background()
    if not found:
        raise InputError(
            f"{path}: shows none of the true views ({', '.join(wanted)}); pass the scene, or clips of them"
        )
    return found


def scene_of(path: Path) -> Path | None:
    """The scene file that `path` is or holds, if any: it is scored before the clip that it was constructed from."""
    file = path if path.suffix == ".safetensors" else path / SCENE
    return file if file.is_file() else None


def made_with(path: Path) -> dict | None:
    """Seed, weights, settings and what the captioner said, from the report.json that `generate` and `reconstruct` write beside a
    scene; else None."""
    scene = scene_of(path)
    file = None if scene is None else scene.with_name("report.json")
    if file is None or not file.is_file():
        return None
    document = parse_json(file.read_bytes(), source=file)
    return (
        {key: document.get(key) for key in ("verb", "seed", "weights_hash", "settings", "caption")}
        if isinstance(document, dict)
        else None
    )


def fingerprint(path: Path | None) -> str:
    """A digest of the files that `path` is or holds (names and contents), so that a finished case is known again."""
    whole = hashlib.sha256()
    scene = None if path is None else scene_of(path)
    files = [] if path is None else [scene] if scene else [path] if path.suffix.lower() in ASSETS else _clip_files(path)
    for file in files:
        whole.update(file.name.encode() + b"\0")
        with file.open("rb") as handle:
            whole.update(hashlib.file_digest(handle, "sha256").digest())
    return whole.hexdigest()[:16]


def _clip_files(path: Path) -> list[Path]:
    """What a clip is read from: a transforms file stands for the folder whose frames it names."""
    folder = path if path.is_dir() else path.parent
    return sorted(f for f in folder.rglob("*") if f.suffix in (".png", ".json", ".npy") and f.is_file())


def _clip_views(path: Path) -> dict[View, OrbitalClip]:
    views: dict[View, OrbitalClip] = {}
    if path.is_dir():
        for view in VIEWS:
            if (path / view).is_dir():
                views[view] = load_clip(path / view)
    if views:
        return views
    clip = load_clip(path)
    if _stands_still(clip.cameras):
        return {"front": clip}
    views["orbit"] = clip
    if path.is_dir() and (path / "transforms_front.json").is_file():
        views["front"] = load_clip(path / "transforms_front.json")
    elif path.is_dir() and any(path.glob("front_frame*.png")):
        front = _raw_front(path, clip.cameras)
        views |= {} if front is None else {"front": front}
    return views


def _raw_front(path: Path, cameras: Cameras) -> OrbitalClip | None:
    """Diffusion4D's front frames: the orbit's first camera, but always at height 0, so not that of a raised orbit."""
    if abs(float(cameras.positions[0, 2])) > 1e-3:
        return None
    files = sorted(path.glob("front_frame*.png"), key=lambda f: int("0" + re.sub(r"\D", "", f.stem)))
    frames = load_frames(files, path)
    still = cameras[[0] * len(files)]
    times = torch.arange(len(files)) / max(len(files) - 1, 1)
    clip = OrbitalClip(rgb=frames[:, :3], alpha=frames[:, 3:], cameras=still, times=times)
    return with_foreground(clip, source=str(path))


def _stands_still(cameras: Cameras) -> bool:
    first = cameras.camera_to_world[:1]
    return len(cameras) > 1 and bool((cameras.camera_to_world - first).abs().max() < 1e-4)


def _check_same_views(clip: OrbitalClip, cameras: Cameras, times: Tensor, *, source: str) -> None:
    if len(clip) != len(cameras):
        raise InputError(
            f"{source}: has {len(clip)} frames, the truth {len(cameras)}; generate with the truth's cameras and times"
        )
    radius = cameras.positions.norm(dim=-1).clamp_min(1e-6)
    apart = float(((clip.cameras.positions - cameras.positions).norm(dim=-1) / radius).max())
    late = float((clip.times - times).abs().max())
    turned = float((clip.cameras.camera_to_world[:, :3, :3] - cameras.camera_to_world[:, :3, :3]).abs().max())
    focal = [c.intrinsics[:, 0, 0] / c.width for c in (clip.cameras, cameras)]
    zoomed = float((focal[0] / focal[1] - 1).abs().max())
    for what, value, most in (
        ("cameras stand", apart, SAME_PLACE),
        ("cameras are turned", turned, SAME_PLACE),
        ("focal lengths are", zoomed, SAME_FOCAL),
        ("times are", late, SAME_TIME),
    ):
        if value > most:
            raise InputError(
                f"{source}: its {what} {value:.3g} from the truth's, at most {most} is one view; "
                "generate with the truth's cameras and times, or pass the scene"
            )
    aspect = clip.cameras.width / clip.cameras.height
    if abs(aspect - cameras.width / cameras.height) > 1e-3:
        raise InputError(
            f"{source}: frames of another shape than the truth's; expected {cameras.width} x {cameras.height}"
        )


def _is_case(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() in (".safetensors", ".json", *ASSETS)
    return (
        scene_of(path) is not None
        or any((path / view).is_dir() for view in VIEWS)
        or any(path.glob("transforms*.json"))
        or any(path.glob("multi_frame*.png"))
    )


def _collection(folder: Path, truths: list[Path]) -> tuple[list[Path], list[Path]]:
    made = sorted(p for p in folder.iterdir() if not p.name.startswith(".") and _is_case(p))
    if not made:
        raise InputError(f"{folder}: holds no scene and no clip; expected a case or a folder of cases")
    if not truths:
        return made, []
    if len(truths) != 1 or not truths[0].is_dir():
        raise InputError(
            f"--against: {folder} is a folder of cases; pass the folder that holds their truths, of the same names"
        )
    pairs = []
    for path in made:
        stem = path.name if path.is_dir() else path.stem
        candidates = [truths[0] / stem, *(truths[0] / f"{stem}{suffix}" for suffix in (*ASSETS, ".json"))]
        found = next((c for c in candidates if c.exists()), None)
        if found is None:
            raise InputError(f"--against: {truths[0]} has no {stem}, {stem}.glb or {stem}.json for the case {path}")
        pairs.append(found)
    return made, pairs


def _names(paths: list[Path]) -> list[str]:
    """A distinct file name for each case: the folder's, or the file's without its suffix."""
    names: list[str] = []
    for path in paths:
        own = path.resolve()
        stem = own.parent.name if own.name == SCENE else own.name if own.is_dir() else own.stem
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip(".") or "case"
        name, number = stem, 2
        while name in names:
            name, number = f"{stem}-{number}", number + 1
        names.append(name)
    return names


def _prompt(path: Path) -> str:
    """The text that a case was generated from: its report's, or its clip's caption."""
    prompt = ((made_with(path) or {}).get("settings") or {}).get("prompt")
    if prompt is None and scene_of(path) is None:
        prompt = next(iter(_clip_views(path).values())).caption
    if not isinstance(prompt, str) or not prompt.strip():
        raise InputError(f"{path}: no report.json beside it tells its prompt; pass --prompts, one for each case")
    return prompt
