"""Published renderings as samples: Diffusion4D's folders, D-NeRF's, and any folder with a transforms file.

Their cameras lie on no grid of ours. Equal cameras become one view, equal times one time, and every frame is the pair of
the two; which pairs are an orbit, a static orbit and a front clip is said in the sample's metadata, where the folder tells.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from ..cameras import Cameras
from ..clip import OrbitalClip, load_clip, with_foreground
from ..clip_files import load_diffusion4d, load_frames
from ..errors import InputError
from ..files import atomic_path
from .plan import Pair
from .sample import MAX_SIDE, Sample, encode_frame, save_sample
from .selection import measured_motion

SAME_TIME = 1e-4
SAME_CAMERA = 1e-4
"""Largest difference of matrix entries between cameras that are one view; intrinsics are compared by pixel shares."""
MAX_OBJECTS = 10**6
_TRANSFORMS = ("transforms_train.json", "transforms.json")


@dataclass(kw_only=True, frozen=True)
class ImportSummary:
    """What `import_published` did: folders found, samples made now, made before, not readable; frames of those made now."""

    inputs: int
    imported: int
    reused: int
    failed: int
    frames: int


def samples_from_diffusion4d(root: str | Path, *, size: int | None = None) -> Iterator[Sample]:
    """A sample of each folder at or below `root` that holds Diffusion4D's files: `multi_frame*.png` (the orbit), and where
    they are there `multi_static_frame*.png` and `front_frame*.png`; cameras in `multi*.json` or `transforms_*.json`.

    `size`: side in pixels to scale to; None keeps theirs. Raises InputError where there is none, and for a damaged one.
    """
    for folder in _found(root, "multi_frame0.png"):
        yield _diffusion4d_sample(folder, Path(root), size=size)


def samples_from_dnerf(root: str | Path, *, size: int | None = None) -> Iterator[Sample]:
    """A sample of each folder at or below `root` that holds `transforms_train.json` or `transforms.json`: all of its frames,
    each camera a view. D-NeRF's validation and test frames are not read: they are for evaluation.

    Raises InputError where there is none, and for a damaged one.
    """
    for folder in _found(root, *_TRANSFORMS):
        yield _transforms_sample(folder, Path(root), size=size)


def import_published(
    root: str | Path, *, out: str | Path, size: int | None = None, progress: bool = True
) -> ImportSummary:
    """Make a rendered folder (samples, manifest.jsonl) of published folders of either kind, to curate, shard or train on.

    Folders that cannot be read become failed lines of the manifest. Samples that are there already are kept.
    Raises InputError when `root` holds nothing of either kind.
    """
    root, out = Path(root), Path(out)
    if size is not None and not 8 <= size <= MAX_SIDE:
        raise InputError(f"--size: expected 8 to {MAX_SIDE} pixels, got {size}")
    folders = _found(root, "multi_frame0.png", *_TRANSFORMS)
    (out / "samples").mkdir(parents=True, exist_ok=True)
    known = _known_lines(out)
    lines, imported, frames = [], 0, 0
    for folder in tqdm(folders, desc="import", unit="object", disable=not progress):
        key = _key(folder, root)
        file = out / "samples" / f"{key}.tar"
        if key in known and file.is_file() and file.stat().st_size == known[key]["bytes"]:
            lines.append(known[key])
            continue
        try:
            diffusion4d = (folder / "multi_frame0.png").is_file()
            sample = (_diffusion4d_sample if diffusion4d else _transforms_sample)(folder, root, size=size)
        except InputError as error:
            lines.append(_record(folder, root) | {"status": "failed", "cause": "unreadable", "reason": str(error)})
            continue
        save_sample(sample, file)
        imported, frames = imported + 1, frames + len(sample.pairs)
        data = file.read_bytes()
        lines.append(sample.meta["record"] | {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)})
    with atomic_path(out / "manifest.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))
    failed = sum(line["status"] == "failed" for line in lines)
    reused = len(lines) - imported - failed
    return ImportSummary(inputs=len(folders), imported=imported, reused=reused, failed=failed, frames=frames)


def _known_lines(out: Path) -> dict[str, dict[str, Any]]:
    from .sample_set import read_jsonl

    if not (out / "manifest.jsonl").is_file():
        return {}
    return {str(line["key"]): line for line in read_jsonl(out / "manifest.jsonl") if line.get("status") == "rendered"}


def _found(root: str | Path, *names: str) -> list[Path]:
    """The folders at or below `root` that hold one of these files, sorted."""
    root = Path(root)
    if not root.is_dir():
        raise InputError(
            f"{root}: no such folder; expected renderings by Diffusion4D or folders with a transforms file"
        )
    folders: set[Path] = set()
    for name in names:
        for file in root.rglob(name):
            folders.add(file.parent)
            if len(folders) > MAX_OBJECTS:
                raise InputError(f"{root}: holds more than {MAX_OBJECTS} objects; import its parts one by one")
    if not folders:
        raise InputError(f"{root}: expected {' or '.join(names)} in it or below, found none; check the folder")
    return sorted(folders)


def _key(folder: Path, root: Path) -> str:
    """Names a folder by its path below the root; a hash tells apart what is cut or replaced to make a file name."""
    name = _input(folder, root)
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name)
    if plain != name or len(plain) > 60:
        plain = f"{plain[:50]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return f"{plain}__000"


def _input(folder: Path, root: Path) -> str:
    return folder.relative_to(root).as_posix() if folder != root else folder.resolve().name or "root"


def _diffusion4d_sample(folder: Path, root: Path, *, size: int | None) -> Sample:
    orbit = _diffusion4d_clip(folder, "multi")
    clips = {"orbit": orbit}
    for name, prefix in (("front", "front"), ("static", "multi_static")):
        if (folder / f"{prefix}_frame0.png").is_file():
            clips[name] = _diffusion4d_clip(folder, prefix, cameras=orbit.cameras)
    if "static" in clips and not (folder / "transforms_multi_static.json").is_file():
        moment = _moment(clips["static"], clips.get("front"))
        clips["static"] = replace(clips["static"], times=torch.full((len(clips["static"]),), moment))
    return sample_from_clips(_key(folder, root), clips, record=_record(folder, root), size=size)


def _diffusion4d_clip(folder: Path, prefix: str, *, cameras: Cameras | None = None) -> OrbitalClip:
    """One of the three clips; without a transforms file static orbits have the orbit's `cameras`, front clips its first."""
    stated = folder / f"transforms_{prefix}.json"
    if stated.is_file():
        return load_clip(stated)
    if cameras is None:
        frames, cameras = load_diffusion4d(folder)
    else:
        files = sorted(folder.glob(f"{prefix}_frame*.png"), key=lambda file: int("0" + re.sub(r"\D", "", file.stem)))
        frames = load_frames(files, folder)
        if prefix != "front" and len(frames) != len(cameras):
            raise InputError(f"{folder}: {len(frames)} {prefix} frames, its orbit has {len(cameras)}; render again")
        cameras = cameras[[0] * len(frames)] if prefix == "front" else cameras
        if frames.shape[2:] != (cameras.height, cameras.width):
            raise InputError(f"{folder}: {prefix} frames and orbit frames differ in size; render again")
    times = torch.arange(len(frames)) / max(len(frames) - 1, 1)
    clip = OrbitalClip(rgb=frames[:, :3], alpha=frames[:, 3:], cameras=cameras, times=times)
    return with_foreground(clip, source=str(folder))


def _moment(static: OrbitalClip, front: OrbitalClip | None) -> float:
    """The time that a static orbit shows: of the front frame whose silhouette its first frame has.

    Diffusion4D's script means time 0, but what it rendered shows the next frame.
    """
    if front is None:
        return 0.0
    difference = (front.alpha - static.alpha[:1]).abs().mean((1, 2, 3))
    return float(front.times[int(difference.argmin())])


def _transforms_sample(folder: Path, root: Path, *, size: int | None) -> Sample:
    file = next(folder / name for name in _TRANSFORMS if (folder / name).is_file())
    clip = load_clip(file)
    return sample_from_clips(_key(folder, root), {"frames": clip}, record=_record(folder, root), size=size)


def _record(folder: Path, root: Path) -> dict[str, Any]:
    """The manifest line of a folder, as of a failed one; `import_published` and `sample_from_clips` fill it."""
    return {
        "input": _input(folder, root),
        "animation": 0,
        "animation_name": None,
        "key": _key(folder, root),
        "status": "failed",
        "reason": None,
        "cause": None,
        "sample": None,
        "sha256": None,
        "bytes": 0,
        "frames": 0,
        "seconds": 0.0,
        "captions": [],
        "kind": None,
        "motion_magnitude": None,
        "input_sha256": None,
        "animations": 1,
        "hide": [],
    }


@dataclass
class _Frame:
    rgba: np.ndarray
    depth: np.ndarray | None
    normals: np.ndarray | None = None
    flow: np.ndarray | None = None


def sample_from_clips(
    key: str, clips: dict[str, OrbitalClip], *, record: dict[str, Any] | None = None, size: int | None = None
) -> Sample:
    """One object's clips as a sample. The names `orbit`, `static` and `front` say what a clip is; others are only frames.

    Frames of equal camera and time are stored once: the first clip's, so that name the orbit first. m is measured where
    there are an orbit and the static orbit of its views. Raises InputError where the clips differ in size.
    """
    first = next(iter(clips.values()))
    clips = {name: _resized(clip, size) if size else clip for name, clip in clips.items()}
    sizes = {tuple(clip.rgb.shape[2:]) for clip in clips.values()}
    if len(sizes) > 1:
        raise InputError(
            f"{key}: its clips have frames of sizes {sorted(sizes)}, expected one; pass --size to scale them"
        )
    height, width = sizes.pop()
    times = _distinct_times([float(t) for clip in clips.values() for t in clip.times])
    views = _Views()
    pairs_of: dict[str, list[Pair]] = {}
    has_depth = all(clip.depth is not None for clip in clips.values())
    depth_max = max(float(clip.depth.max()) for clip in clips.values() if clip.depth is not None) if has_depth else 0.0
    members: dict[str, bytes] = {}
    pairs: dict[Pair, None] = {}
    for name, clip in clips.items():
        pairs_of[name] = []
        for i in range(len(clip)):
            pair = views.number(clip.cameras, i), int(np.argmin(np.abs(times - float(clip.times[i]))))
            pairs_of[name].append(pair)
            if pair in pairs:
                continue
            pairs[pair] = None
            rgba = torch.cat([clip.rgb[i], clip.alpha[i]]).permute(1, 2, 0)
            depth = clip.depth[i, 0].numpy() if clip.depth is not None and depth_max > 0 else None
            frame = _Frame((rgba * 255).round().clamp(0, 255).byte().numpy(), depth)
            members |= encode_frame(frame, pair, depth_max=depth_max or 1.0)
    meta: dict[str, Any] = {
        "captions": [first.caption] if first.caption else [],
        "kind": None,
        "times": times.tolist(),
        "pairs": [list(pair) for pair in pairs],
        "camera_to_world": [matrix.tolist() for matrix in views.poses],
        "intrinsics": [matrix.tolist() for matrix in views.intrinsics],
        "width": width,
        "height": height,
        "plan": None,
        "orbits": [[list(pair) for pair in pairs_of["orbit"]]] if "orbit" in pairs_of else [],
        "motion_magnitude": first.motion_magnitude,
        "lighting": {},
        "input": record["input"] if record else key,
        "animation": 0,
        "animation_name": None,
        "license": None,
        "metadata": {},
    }
    if depth_max > 0:
        meta["depth_max"] = depth_max
    if "static" in pairs_of:
        meta["static_time"] = pairs_of["static"][0][1]
    if "front" in pairs_of:
        meta["front_view"] = pairs_of["front"][0][0]
    sample = Sample(key=key, meta=meta, members=members)
    if {"orbit", "static"} <= set(pairs_of) and {(i, meta["static_time"]) for i, _ in pairs_of["orbit"]} <= set(pairs):
        meta["motion_magnitude"] = measured_motion(sample)
    if record:
        filled = {name: meta[name] for name in ("captions", "kind", "motion_magnitude")}
        record = record | filled | {"status": "rendered", "sample": f"samples/{key}.tar", "frames": len(pairs)}
        meta["record"] = {k: v for k, v in record.items() if k not in ("sha256", "bytes", "seconds")}
    return sample


def _distinct_times(values: Sequence[float]) -> np.ndarray:
    """(T,) rising; values that differ by at most SAME_TIME are one."""
    ordered = np.sort(np.array(values))
    return ordered[np.concatenate([[True], np.diff(ordered) > SAME_TIME])]


class _Views:
    """The distinct cameras met so far."""

    def __init__(self) -> None:
        self.poses: list[Tensor] = []
        self.intrinsics: list[Tensor] = []
        self._all = torch.empty(0, 25)

    def number(self, cameras: Cameras, index: int) -> int:
        """The number of a camera, a new one where none is the same."""
        pose, k = cameras.camera_to_world[index], cameras.intrinsics[index]
        row = torch.cat([pose.flatten(), k.flatten() / cameras.width])[None]
        same = ((self._all - row).abs() <= SAME_CAMERA).all(1).nonzero()
        if len(same):
            return int(same[0])
        self._all = torch.cat([self._all, row])
        self.poses.append(pose)
        self.intrinsics.append(k)
        return len(self.poses) - 1


def _resized(clip: OrbitalClip, size: int) -> OrbitalClip:
    """The clip with its larger side at `size`; colours are averaged by their alpha. Depth is left out: it does not average."""
    height, width = clip.rgb.shape[2:]
    scale = size / max(height, width)
    if scale == 1:
        return clip
    shape = (max(round(height * scale), 1), max(round(width * scale), 1))
    whole = torch.cat([clip.rgb * clip.alpha, clip.alpha], dim=1)
    whole = functional.interpolate(whole, shape, mode="bilinear", antialias=True, align_corners=False)
    alpha = whole[:, 3:].clamp(0, 1)
    rgb = (whole[:, :3] / alpha.clamp_min(1e-6)).clamp(0, 1) * (alpha > 0)
    return replace(clip, rgb=rgb, alpha=alpha, depth=None, cameras=clip.cameras.resized(shape[1], shape[0]))
