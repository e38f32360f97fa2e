"""`OrbitalClip`: frames with their cameras and times, and how they are read from and written to folders."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from . import transforms
from .cameras import Cameras
from .clip_files import frame_records, load_depths, load_diffusion4d, load_frames, read_json, resolve_frame
from .errors import InputError
from .files import atomic_folder
from .foreground import cut_out_all
from .outputs import CLIP_FILES, check_replaceable

NERF_FILES = ("transforms_train.json", "transforms_val.json", "transforms_test.json")
"""Names in NeRF-synthetic and D-NeRF folders; without times, such files show one moment."""
ONE_MOMENT = 1e-4
"""Times that differ by at most this are one moment."""
_LOG = logging.getLogger(__name__)


@dataclass(kw_only=True)
class SpatioTemporalFeatures:
    """Feature maps of the diffusion model for a set of frames: z_s (t, c_s, h, w), z_t (t, c_t, h, w), their cameras, times."""

    z_s: Tensor
    z_t: Tensor
    cameras: Cameras
    times: Tensor

    def __getitem__(self, index: slice | list[int] | Tensor) -> SpatioTemporalFeatures:
        return SpatioTemporalFeatures(
            z_s=self.z_s[index], z_t=self.z_t[index], cameras=self.cameras[index], times=self.times[index]
        )


@dataclass(kw_only=True)
class OrbitalClip:
    """Frames of one object: a set of (view, time) pairs.

    Attributes:
        rgb: (t, 3, h, w) in [0, 1], straight (not premultiplied) alpha.
        alpha: (t, 1, h, w) in [0, 1].
        cameras: batch of t cameras, OpenCV axes, z-up world.
        times: (t,) in [0, 1].
        depth: optional (t, 1, h, w) camera-z in world units, 0 where alpha is 0.
        caption: what the clip shows.
        motion_magnitude: m of docs/conventions.md, if known.
        features: optional transferred diffusion features, of these frames or of others of the same object.
    """

    rgb: Tensor
    alpha: Tensor
    cameras: Cameras
    times: Tensor
    depth: Tensor | None = None
    caption: str | None = None
    motion_magnitude: float | None = None
    features: SpatioTemporalFeatures | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        t, _, h, w = self.rgb.shape
        expected = {"rgb": (t, 3, h, w), "alpha": (t, 1, h, w), "times": (t,)}
        if self.depth is not None:
            expected["depth"] = (t, 1, h, w)
        for name, shape in expected.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ValueError(f"{name} must have shape {shape}, got {tuple(getattr(self, name).shape)}")
        if len(self.cameras) != t:
            raise ValueError(f"cameras must hold {t} cameras, one a frame, got {len(self.cameras)}")
        if (self.cameras.height, self.cameras.width) != (h, w):
            raise ValueError(
                f"cameras are for {self.cameras.width} x {self.cameras.height} images, frames are {w} x {h}"
            )

    def __len__(self) -> int:
        return self.rgb.shape[0]

    def __getitem__(self, index: slice | list[int] | Tensor) -> OrbitalClip:
        return OrbitalClip(
            rgb=self.rgb[index],
            alpha=self.alpha[index],
            cameras=self.cameras[index],
            times=self.times[index],
            depth=None if self.depth is None else self.depth[index],
            caption=self.caption,
            motion_magnitude=self.motion_magnitude,
            features=self.features[index] if self.features and len(self.features.times) == len(self) else self.features,
        )

    def on_background(self, value: float = 1.0) -> Tensor:
        """(t, 3, h, w) frames composited on a uniform background (white by default)."""
        return self.rgb * self.alpha + value * (1 - self.alpha)

    def resized(self, size: int) -> OrbitalClip:
        """The clip at `size` pixels on its larger side, area-averaged with premultiplied alpha, depth over what it covers."""
        _, _, h, w = self.rgb.shape
        scale = size / max(h, w)
        new_h, new_w = max(1, round(h * scale)), max(1, round(w * scale))
        if (new_h, new_w) == (h, w):
            return self

        def scaled(images: Tensor) -> Tensor:
            if scale < 1:
                return functional.interpolate(images, size=(new_h, new_w), mode="area")
            return functional.interpolate(images, size=(new_h, new_w), mode="bilinear", align_corners=False)

        stack = scaled(torch.cat([self.rgb * self.alpha, self.alpha], dim=1))
        alpha = stack[:, 3:]
        depth = None
        if self.depth is not None:
            covered = scaled((self.depth > 0).to(self.depth))
            depth = scaled(self.depth) / covered.clamp_min(1e-6) * (covered > 1e-6) * (alpha > 0)
        return OrbitalClip(
            rgb=(stack[:, :3] / alpha.clamp_min(1e-6)).clamp(0, 1) * (alpha > 1e-6),
            alpha=alpha,
            cameras=self.cameras.resized(new_w, new_h),
            times=self.times,
            depth=depth,
            caption=self.caption,
            motion_magnitude=self.motion_magnitude,
            features=self.features,
        )


def save_clip(clip: OrbitalClip, folder: str | Path) -> Path:
    """Write `clip` as RGBA PNG frames and `transforms.json` (nerfstudio style: OpenGL axes, plus `time` per frame).

    Depth, when present, goes to `depth_000.npy` files (float32, camera-z). The folder appears only when it is whole; an
    earlier clip there is replaced. Raises InputError when the folder cannot be written or holds other files.
    """
    folder = Path(folder)
    check_replaceable(folder, files=CLIP_FILES, argument="clip folder")
    c2w = clip.cameras.to_opengl()
    frames = []
    with atomic_folder(folder) as temporary:
        for i, (rgb, alpha) in enumerate(zip(clip.rgb, clip.alpha, strict=True)):
            name = f"frame_{i:03d}.png"
            image = (torch.cat([rgb, alpha]).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
            Image.fromarray(image).save(temporary / name, compress_level=4)
            k = clip.cameras.intrinsics[i].tolist()
            entry = {
                "file_path": name,
                "time": float(clip.times[i]),
                "transform_matrix": c2w[i].tolist(),
                "fl_x": k[0][0],
                "fl_y": k[1][1],
                "cx": k[0][2],
                "cy": k[1][2],
            }
            if clip.depth is not None:
                entry["depth_file_path"] = f"depth_{i:03d}.npy"
                np.save(
                    temporary / entry["depth_file_path"], clip.depth[i, 0].float().cpu().numpy(), allow_pickle=False
                )
            frames.append(entry)
        first = frames[0]
        document = {
            "camera_model": "OPENCV",
            "w": clip.cameras.width,
            "h": clip.cameras.height,
            "fl_x": first["fl_x"],
            "fl_y": first["fl_y"],
            "cx": first["cx"],
            "cy": first["cy"],
            "camera_angle_x": 2 * math.atan(clip.cameras.width / (2 * first["fl_x"])),
            "world_up": "z",
            "caption": clip.caption,
            "motion_magnitude": clip.motion_magnitude,
            "frames": frames,
        }
        (temporary / "transforms.json").write_text(json.dumps(document, indent=1))
    return folder


def load_clip(path: str | Path, *, static: bool = False) -> OrbitalClip:
    """Read a *clip argument*; docs/inputs.md shows each kind.

    One of: a folder with `transforms.json`; a D-NeRF or NeRF-synthetic folder, of which `transforms_train.json` is read;
    a transforms JSON file; a folder rendered by Diffusion4D (`multi_frame*.png` with `multi*.json` or
    `transforms_multi.json`). Transforms without times are spread evenly over [0, 1]; `static`, or a NeRF-synthetic name,
    says that they show one moment, and sets them to 0. Frames without alpha lose their uniform background.
    Raises InputError (one line) for anything missing, damaged or contradictory.
    """
    path = Path(path)
    return with_foreground(_read_clip(path, static=static), source=str(path))


def with_foreground(clip: OrbitalClip, *, source: str = "clip") -> OrbitalClip:
    """The clip with an alpha channel: each frame's own if it has one, else the uniform background is removed.

    Raises InputError when there are frames with neither. What is assumed of the background is logged.
    """
    opaque = torch.tensor([not bool((alpha < 0.5).any()) for alpha in clip.alpha])
    if not opaque.any():
        return clip
    cut, colour = cut_out_all(clip.rgb[opaque], source=source)
    _LOG.warning("%s: no alpha: took the %s background as empty; pass RGBA frames to be exact", source, colour)
    rgb, alpha = clip.rgb.clone(), clip.alpha.clone()
    rgb[opaque], alpha[opaque] = cut[:, :3], cut[:, 3:]
    return replace(clip, rgb=rgb, alpha=alpha, depth=None if clip.depth is None else clip.depth * (alpha > 0))


def moment_of(clip: OrbitalClip, *, argument: str) -> float:
    """The one time that all frames of a static clip have. Raises InputError, naming `argument`, when time passes."""
    first, last = float(clip.times.min()), float(clip.times.max())
    if last - first > ONE_MOMENT:
        raise InputError(
            f"{argument} runs from time {first:.3g} to {last:.3g}, expected one moment (equal times) seen from all "
            "around; pass a static orbit (`orbit4d render --trajectory static`), and clips that move as clips"
        )
    return first


def join_clips(clips: list[OrbitalClip]) -> OrbitalClip:
    """All frames of `clips`, which have one size, in one clip; it keeps the first caption, and depth where all have it."""
    depths = [clip.depth for clip in clips if clip.depth is not None]
    cameras = clips[0].cameras
    return OrbitalClip(
        rgb=torch.cat([clip.rgb for clip in clips]),
        alpha=torch.cat([clip.alpha for clip in clips]),
        cameras=replace(
            cameras,
            camera_to_world=torch.cat([clip.cameras.camera_to_world for clip in clips]),
            intrinsics=torch.cat([clip.cameras.intrinsics for clip in clips]),
        ),
        times=torch.cat([clip.times for clip in clips]),
        depth=torch.cat(depths) if len(depths) == len(clips) else None,
        caption=clips[0].caption,
        motion_magnitude=clips[0].motion_magnitude,
    )


def _read_clip(path: Path, *, static: bool) -> OrbitalClip:
    if path.is_dir():
        candidates = [path / name for name in ("transforms.json", NERF_FILES[0], "transforms_multi.json")]
        document = next((c for c in candidates if c.is_file()), None)
        if document is not None:
            return _load_transforms(document, static=static)
        if any(path.glob("multi_frame*.png")):
            frames, cameras = load_diffusion4d(path)
            times = torch.arange(len(frames)) / max(len(frames) - 1, 1)
            return OrbitalClip(rgb=frames[:, :3], alpha=frames[:, 3:], cameras=cameras, times=times)
        raise InputError(
            f"{path}: expected transforms.json, transforms_train.json or Diffusion4D's multi_frame*.png in this folder, "
            "found none; pass a folder written by `orbit4d render`, a D-NeRF folder, or a transforms JSON file"
        )
    if path.is_file():
        if path.suffix.lower() != ".json":
            raise InputError(
                f"{path}: expected a clip folder or a transforms .json file, got a {path.suffix or 'plain'} file"
            )
        return _load_transforms(path, static=static)
    raise InputError(f"{path}: no such file or folder; expected a clip (folder with transforms.json, or the JSON file)")


def _load_transforms(path: Path, *, static: bool) -> OrbitalClip:
    document = read_json(path)
    records = frame_records(document, path)
    times = transforms.times(records, static=static or path.name in NERF_FILES, source=path)
    matrices = [transforms.matrix(r.get("transform_matrix"), source=path, frame=i) for i, r in enumerate(records)]
    frames = load_frames([resolve_frame(path.parent, r.get("file_path"), path) for r in records], path)
    height, width = frames.shape[-2:]
    stated = (document.get("w", width), document.get("h", height))
    if stated != (width, height):
        raise InputError(
            f"{path}: says {stated[0]!r:.20} x {stated[1]!r:.20} pixels, the frames are {width} x {height}; render again"
        )
    ks = [transforms.intrinsics(document, r, width=width, height=height, source=path) for r in records]
    return OrbitalClip(
        rgb=frames[:, :3],
        alpha=frames[:, 3:],
        cameras=Cameras.from_opengl(torch.stack(matrices), torch.stack(ks), width=width, height=height),
        times=times,
        depth=load_depths(records, path, frames.shape),
        caption=transforms.text(document, "caption"),
        motion_magnitude=transforms.number(document, "motion_magnitude", source=path),
    )
