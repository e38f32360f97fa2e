"""`OrbitalClip`: frames with their cameras and times, and how they are read from and written to folders."""

from __future__ import annotations

import json
import logging
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from . import transforms
from .cameras import OPENGL_FROM_OPENCV, Cameras
from .errors import InputError
from .files import atomic_folder, parse_json
from .images import load_rgba
from .outputs import CLIP_FILES, check_replaceable

MAX_FRAMES = 4096
MAX_PIXELS = 2**28
"""Pixels of all frames of a clip that are read, at 16 bytes each."""
_LOG = logging.getLogger(__name__)


@dataclass(kw_only=True)
class SpatioTemporalFeatures:
    """Feature maps of the diffusion model for a set of frames: z_s (t, c_s, h, w), z_t (t, c_t, h, w), their cameras, times."""

    z_s: Tensor
    z_t: Tensor
    cameras: Cameras
    times: Tensor


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
        features: optional transferred diffusion features.
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
    """Read a *clip argument*.

    One of: a folder with `transforms.json`; a transforms JSON file; a folder rendered by Diffusion4D
    (`multi_frame*.png` with `multi*.json` or `transforms_multi.json`). Transforms without times are spread evenly over
    [0, 1]; `static` says that they show one moment, and sets them to 0.
    Raises InputError (one line) for anything missing, damaged or contradictory.
    """
    path = Path(path)
    if path.is_dir():
        candidates = [path / "transforms.json", path / "transforms_multi.json"]
        document = next((c for c in candidates if c.is_file()), None)
        if document is not None:
            return _load_transforms(document, static=static)
        if any(path.glob("multi_frame*.png")):
            return _load_diffusion4d(path)
        raise InputError(
            f"{path}: expected transforms.json or Diffusion4D's multi_frame*.png in this folder, found neither; "
            "pass a folder written by `orbit4d render`, a transforms JSON file, or a Diffusion4D render folder"
        )
    if path.is_file():
        if path.suffix.lower() != ".json":
            raise InputError(
                f"{path}: expected a clip folder or a transforms .json file, got a {path.suffix or 'plain'} file"
            )
        return _load_transforms(path, static=static)
    raise InputError(f"{path}: no such file or folder; expected a clip (folder with transforms.json, or the JSON file)")


def _read_json(path: Path) -> dict:
    if path.stat().st_size > 64 * 2**20:
        raise InputError(f"{path}: larger than 64 MiB, expected a transforms file; check the path")
    document = parse_json(path.read_bytes(), source=path)
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected a JSON object with 'frames', got a {type(document).__name__}")
    return document


def _resolve_frame(base: Path, name: object, source: Path) -> Path:
    """A frame file inside `base`; NeRF files leave out the suffix. Paths that leave the folder are refused."""
    if not isinstance(name, str) or not name:
        raise InputError(f"{source}: every frame needs a 'file_path' string, got {name!r:.80}")
    root = base.resolve()
    for candidate in (base / name, base / f"{name}.png"):
        try:
            resolved = candidate.resolve()
            found = resolved.is_file()
        except (OSError, RuntimeError, ValueError):  # longer than the system allows, a null byte, a loop of links
            continue
        if not resolved.is_relative_to(root):
            raise InputError(
                f"{source}: frame path {name!r:.80} leaves the clip's folder; frames must lie beside the JSON file"
            )
        if found:
            return resolved
    raise InputError(f"{source}: frame {name!r:.80} does not exist; cameras and frames disagree, render the clip again")


def _load_frames(files: list[Path], source: Path) -> Tensor:
    """(t, 4, h, w) RGBA in [0, 1] of images that have one size and, together, at most MAX_PIXELS pixels."""
    frames = torch.empty(0)
    for i, file in enumerate(files):
        image = load_rgba(file)
        _, height, width = image.shape
        if i == 0:
            if len(files) * height * width > MAX_PIXELS:
                raise InputError(
                    f"{source}: {len(files)} frames of {width} x {height} are {len(files) * height * width / 1e6:.0f} "
                    f"million pixels, at most {MAX_PIXELS / 1e6:.0f} million are read; take fewer or smaller frames"
                )
            frames = torch.empty(len(files), *image.shape)
        elif image.shape != frames.shape[1:]:
            raise InputError(
                f"{source}: frame {i} is {width} x {height}, frame 0 is {frames.shape[3]} x {frames.shape[2]}; "
                "all frames must have one size"
            )
        frames[i] = image
    return frames


def _frame_records(document: dict, path: Path) -> list[dict]:
    frames = document.get("frames")
    if not isinstance(frames, list) or not frames:
        raise InputError(f"{path}: expected a non-empty list 'frames', got {type(frames).__name__}")
    if len(frames) > MAX_FRAMES:
        raise InputError(f"{path}: {len(frames)} frames, at most {MAX_FRAMES} are read; split the clip")
    for i, frame in enumerate(frames):
        if not isinstance(frame, dict):
            raise InputError(f"{path}: frame {i} is not an object")
    return frames


def _load_transforms(path: Path, *, static: bool) -> OrbitalClip:
    document = _read_json(path)
    records = _frame_records(document, path)
    times = transforms.times(records, static=static, source=path)
    matrices = [transforms.matrix(r.get("transform_matrix"), source=path, frame=i) for i, r in enumerate(records)]
    frames = _load_frames([_resolve_frame(path.parent, r.get("file_path"), path) for r in records], path)
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
        depth=_load_depths(records, path, frames.shape),
        caption=transforms.text(document, "caption"),
        motion_magnitude=transforms.number(document, "motion_magnitude", source=path),
    )


def _load_depths(records: list[dict], path: Path, shape: torch.Size) -> Tensor | None:
    """(t, 1, h, w), or None where no frame has a depth, or (with a warning) only some have."""
    names = [r["depth_file_path"] for r in records if isinstance(r.get("depth_file_path"), str)]
    if not names:
        return None
    if len(names) < len(records):
        _LOG.warning("%s: %d of %d frames have a depth; it is left out for all", path, len(names), len(records))
        return None
    return torch.stack([_depth(_resolve_frame(path.parent, name, path), shape[-2:]) for name in names])


def _depth(path: Path, shape: torch.Size) -> Tensor:
    if path.stat().st_size > 8 * shape.numel() + 2**16:
        raise InputError(f"{path}: larger than a depth array of {tuple(shape)}; render the clip again")
    try:
        depth = torch.from_numpy(np.load(path, allow_pickle=False).astype(np.float32))
    except Exception as error:
        raise InputError(f"{path}: cannot be read as a float depth array ({error})") from error
    if depth.shape != shape:
        raise InputError(f"{path}: depth is {tuple(depth.shape)}, its frame is {tuple(shape)}")
    return depth[None]


def _frame_number(path: Path) -> int:
    match = re.search(r"(\d+)$", path.stem)
    return int(match.group(1)) if match else -1


def _load_diffusion4d(folder: Path) -> OrbitalClip:
    """Diffusion4D's published layout: `multi_frame{i}.png` and one `multi{i}.json` a frame (x, y, z, origin, x_fov)."""
    images = sorted(folder.glob("multi_frame*.png"), key=_frame_number)
    if len(images) > MAX_FRAMES:
        raise InputError(f"{folder}: {len(images)} frames, at most {MAX_FRAMES} are read; split the clip")
    sources = [_diffusion4d_camera_file(folder, image) for image in images]
    frames = _load_frames(images, folder)
    height, width = frames.shape[-2:]
    matrices, ks = [], []
    for i, source in enumerate(sources):
        record = _read_json(source)
        if "transform_matrix" in record:
            matrices.append(transforms.matrix(record["transform_matrix"], source=source, frame=i))
        else:
            # The authors write the OpenCV-like axes x right, y down, z forward; OpenGL flips y and z.
            pose = transforms.axes_and_centre(record, source=source) @ OPENGL_FROM_OPENCV
            matrices.append(transforms.matrix(pose.tolist(), source=source, frame=i))
        fov = {"camera_angle_x": transforms.angle(record, "x_fov", source=source) or 2 * math.atan(18 / 50)}
        ks.append(transforms.intrinsics(fov, {}, width=width, height=height, source=source))
    cameras = Cameras.from_opengl(torch.stack(matrices), torch.stack(ks), width=width, height=height)
    times = torch.arange(len(frames)) / max(len(frames) - 1, 1)
    return OrbitalClip(rgb=frames[:, :3], alpha=frames[:, 3:], cameras=cameras, times=times)


def _diffusion4d_camera_file(folder: Path, image: Path) -> Path:
    number = _frame_number(image)
    candidates = [folder / f"multi{number}.json", folder / f"multi_frame{number}.json"]
    found = next((c for c in candidates if c.is_file()), None)
    if found is None:
        raise InputError(
            f"{folder}: {image.name} has no camera file multi{number}.json; cameras and frames disagree, render again"
        )
    return found
