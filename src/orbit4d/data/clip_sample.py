"""Clips of one object as one `Sample`: equal cameras become one view, equal times one time, every frame the pair of the two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..cameras import Cameras
from ..clip import OrbitalClip
from ..errors import InputError
from .plan import Pair
from .sample import Sample, encode_frame
from .selection import measured_motion

SAME_TIME = 1e-4
SAME_CAMERA = 1e-4
"""Largest difference of matrix entries between cameras that are one view; intrinsics are compared by pixel shares."""


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
