"""`OrbitalClip`: frames with their cameras and times, and how they are read from and written to folders."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .cameras import Cameras
from .errors import InputError
from .files import atomic_folder

MAX_FRAMES = 4096
MAX_SIDE = 4096


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
        """The clip at `size` pixels on its larger side, area-averaged with premultiplied alpha."""
        _, _, h, w = self.rgb.shape
        scale = size / max(h, w)
        new_h, new_w = max(1, round(h * scale)), max(1, round(w * scale))
        if (new_h, new_w) == (h, w):
            return self
        stack = torch.cat([self.rgb * self.alpha, self.alpha], dim=1)
        if scale < 1:
            stack = torch.nn.functional.interpolate(stack, size=(new_h, new_w), mode="area")
        else:
            stack = torch.nn.functional.interpolate(stack, size=(new_h, new_w), mode="bilinear", align_corners=False)
        alpha = stack[:, 3:]
        return OrbitalClip(
            rgb=(stack[:, :3] / alpha.clamp_min(1e-6)).clamp(0, 1) * (alpha > 1e-6),
            alpha=alpha,
            cameras=self.cameras.resized(new_w, new_h),
            times=self.times,
            caption=self.caption,
            motion_magnitude=self.motion_magnitude,
        )


def save_clip(clip: OrbitalClip, folder: str | Path) -> Path:
    """Write `clip` as RGBA PNG frames and `transforms.json` (nerfstudio style: OpenGL axes, plus `time` per frame).

    Depth, when present, goes to `depth_000.npy` files (float32, camera-z). The folder appears only when it is whole.
    """
    folder = Path(folder)
    c2w = clip.cameras.to_opengl()
    frames = []
    with atomic_folder(folder) as temporary:
        rgba = torch.cat([clip.rgb, clip.alpha], dim=1).clamp(0, 1)
        array = (rgba * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        for i, image in enumerate(array):
            name = f"frame_{i:03d}.png"
            Image.fromarray(image, mode="RGBA").save(temporary / name, compress_level=4)
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


def load_clip(path: str | Path) -> OrbitalClip:
    """Read a *clip argument*.

    One of: a folder with `transforms.json`; a transforms JSON file; a folder rendered by Diffusion4D
    (`multi_frame*.png` with `multi*.json` or `transforms_multi.json`).
    Raises InputError (one line) for anything missing, damaged or contradictory.
    """
    path = Path(path)
    if path.is_dir():
        candidates = [path / "transforms.json", path / "transforms_multi.json"]
        document = next((c for c in candidates if c.is_file()), None)
        if document is not None:
            return _load_transforms(document)
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
        return _load_transforms(path)
    raise InputError(f"{path}: no such file or folder; expected a clip (folder with transforms.json, or the JSON file)")


def _read_json(path: Path) -> dict:
    if path.stat().st_size > 64 * 2**20:
        raise InputError(f"{path}: larger than 64 MiB, expected a transforms file; check the path")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected JSON, but it does not parse ({error}); write it again") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected a JSON object with 'frames', got a {type(document).__name__}")
    return document


def _resolve_frame(base: Path, name: object, source: Path) -> Path:
    """A frame file inside `base`; NeRF files leave out the suffix. Paths that leave the folder are refused."""
    if not isinstance(name, str) or not name:
        raise InputError(f"{source}: every frame needs a 'file_path' string, got {name!r}")
    root = base.resolve()
    for candidate in (base / name, base / f"{name}.png"):
        resolved = candidate.resolve()
        if not resolved.is_relative_to(root):
            raise InputError(
                f"{source}: frame path {name!r} leaves the clip's folder; frames must lie beside the JSON file"
            )
        if resolved.is_file():
            return resolved
    raise InputError(f"{source}: frame {name!r} does not exist; cameras and frames disagree, render the clip again")


def load_rgba(path: str | Path) -> Tensor:
    """(4, h, w) in [0, 1] from an image file; alpha is 1 where the file has none. Raises InputError."""
    path = Path(path)
    try:
        with Image.open(path) as image:
            if max(image.size) > MAX_SIDE:
                raise InputError(
                    f"{path}: {image.size[0]} x {image.size[1]} pixels, at most {MAX_SIDE} a side are read"
                )
            array = np.asarray(image.convert("RGBA"))
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected an image") from error
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise InputError(f"{path}: cannot be read as an image ({error}); expected a PNG, JPEG or WebP") from error
    return torch.from_numpy(array.copy()).permute(2, 0, 1).float() / 255


def _load_transforms(path: Path) -> OrbitalClip:
    document = _read_json(path)
    frames = document.get("frames")
    if not isinstance(frames, list) or not frames:
        raise InputError(f"{path}: expected a non-empty list 'frames', got {type(frames).__name__}")
    if len(frames) > MAX_FRAMES:
        raise InputError(f"{path}: {len(frames)} frames, at most {MAX_FRAMES} are read; split the clip")
    images, matrices, ks, times, depths = [], [], [], [], []
    for i, frame in enumerate(frames):
        if not isinstance(frame, dict):
            raise InputError(f"{path}: frame {i} is not an object")
        image = load_rgba(_resolve_frame(path.parent, frame.get("file_path"), path))
        if images and image.shape != images[0].shape:
            raise InputError(
                f"{path}: frame {i} is {image.shape[2]} x {image.shape[1]}, frame 0 is "
                f"{images[0].shape[2]} x {images[0].shape[1]}; all frames must have one size"
            )
        images.append(image)
        matrices.append(_matrix(frame.get("transform_matrix"), path, i))
        ks.append(_intrinsics({**document, **frame}, image.shape[2], image.shape[1], path))
        times.append(_time(frame, i, len(frames), path))
        if isinstance(frame.get("depth_file_path"), str):
            depths.append(_depth(_resolve_frame(path.parent, frame["depth_file_path"], path), image.shape))
    rgba = torch.stack(images)
    height, width = rgba.shape[-2:]
    stated = (document.get("w", width), document.get("h", height))
    if stated != (width, height):
        raise InputError(
            f"{path}: says {stated[0]} x {stated[1]} pixels, the frames are {width} x {height}; render again"
        )
    cameras = Cameras.from_opengl(torch.stack(matrices), torch.stack(ks), width=width, height=height)
    caption, m = document.get("caption"), document.get("motion_magnitude")
    return OrbitalClip(
        rgb=rgba[:, :3],
        alpha=rgba[:, 3:],
        cameras=cameras,
        times=torch.tensor(times, dtype=torch.float32),
        depth=torch.stack(depths) if len(depths) == len(frames) else None,
        caption=caption if isinstance(caption, str) else None,
        motion_magnitude=float(m) if isinstance(m, int | float) else None,
    )


def _matrix(value: object, path: Path, i: int) -> Tensor:
    try:
        matrix = torch.tensor(value, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: frame {i} needs a 4 x 4 'transform_matrix' of numbers") from error
    if matrix.shape == (3, 4):
        matrix = torch.cat([matrix, torch.tensor([[0.0, 0, 0, 1]])])
    if matrix.shape != (4, 4) or not torch.isfinite(matrix).all():
        raise InputError(f"{path}: frame {i} needs a finite 4 x 4 'transform_matrix', got shape {tuple(matrix.shape)}")
    rotation = matrix[:3, :3]
    if not torch.allclose(rotation @ rotation.T, torch.eye(3), atol=1e-3) or torch.linalg.det(rotation) < 0:
        raise InputError(f"{path}: frame {i} has a 'transform_matrix' whose 3 x 3 part is not a rotation")
    return matrix


def _number(record: dict, key: str) -> float | None:
    value = record.get(key)
    return (
        float(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        else None
    )


def _intrinsics(record: dict, width: int, height: int, path: Path) -> Tensor:
    focal_x = _number(record, "fl_x")
    angle = _number(record, "camera_angle_x")
    if focal_x is None and angle is not None and 0 < angle < math.pi:
        focal_x = width / (2 * math.tan(angle / 2))
    if focal_x is None or focal_x <= 0:
        raise InputError(f"{path}: expected intrinsics 'fl_x' (pixels) or 'camera_angle_x' (radians), found neither")
    focal_y = _number(record, "fl_y") or focal_x
    cx, cy = _number(record, "cx"), _number(record, "cy")
    cx, cy = (width / 2 if cx is None else cx), (height / 2 if cy is None else cy)
    return torch.tensor([[focal_x, 0, cx], [0, focal_y, cy], [0, 0, 1]], dtype=torch.float32)


def _time(frame: dict, i: int, count: int, path: Path) -> float:
    if "time" not in frame:
        return i / max(count - 1, 1)
    time = _number(frame, "time")
    if time is None or not -1e-6 <= time <= 1 + 1e-6:
        raise InputError(f"{path}: frame {i} has time {frame['time']!r}, expected a number in [0, 1]")
    return min(max(time, 0.0), 1.0)


def _depth(path: Path, shape: torch.Size) -> Tensor:
    try:
        depth = torch.from_numpy(np.load(path, allow_pickle=False).astype(np.float32))
    except Exception as error:
        raise InputError(f"{path}: cannot be read as a float depth array ({error})") from error
    if depth.shape != shape[1:]:
        raise InputError(f"{path}: depth is {tuple(depth.shape)}, its frame is {tuple(shape[1:])}")
    return depth[None]


def _frame_number(path: Path) -> int:
    match = re.search(r"(\d+)$", path.stem)
    return int(match.group(1)) if match else -1


def _load_diffusion4d(folder: Path) -> OrbitalClip:
    """Diffusion4D's published layout: `multi_frame{i}.png` and one `multi{i}.json` a frame (x, y, z, origin, x_fov)."""
    images = sorted(folder.glob("multi_frame*.png"), key=_frame_number)
    rgba, matrices, ks = [], [], []
    for i, image_path in enumerate(images):
        number = _frame_number(image_path)
        candidates = [folder / f"multi{number}.json", folder / f"multi_frame{number}.json"]
        source = next((c for c in candidates if c.is_file()), None)
        if source is None:
            raise InputError(
                f"{folder}: {image_path.name} has no camera file multi{number}.json; cameras and frames disagree"
            )
        record = _read_json(source)
        image = load_rgba(image_path)
        if rgba and image.shape != rgba[0].shape:
            raise InputError(f"{image_path}: its size differs from the first frame's; all frames must have one size")
        rgba.append(image)
        if "transform_matrix" in record:
            matrices.append(_matrix(record["transform_matrix"], source, i))
        else:
            try:
                columns = [record[k] for k in ("x", "y", "z", "origin")]
            except KeyError as error:
                raise InputError(
                    f"{source}: expected keys x, y, z, origin (camera axes and centre), {error} is missing"
                ) from error
            # The authors write the OpenCV-like axes x right, y down, z forward; OpenGL flips y and z.
            m = torch.eye(4)
            for j, column in enumerate(columns):
                m[:3, j] = torch.tensor(column, dtype=torch.float32)
            matrices.append(_matrix((m @ torch.diag(torch.tensor([1.0, -1, -1, 1]))).tolist(), source, i))
        fov = _number(record, "x_fov") or 2 * math.atan(18 / 50)
        focal = image.shape[2] / (2 * math.tan(fov / 2))
        ks.append(torch.tensor([[focal, 0, image.shape[2] / 2], [0, focal, image.shape[1] / 2], [0, 0, 1]]))
    frames = torch.stack(rgba)
    cameras = Cameras.from_opengl(torch.stack(matrices), torch.stack(ks), width=frames.shape[3], height=frames.shape[2])
    times = torch.arange(len(frames)) / max(len(frames) - 1, 1)
    return OrbitalClip(rgb=frames[:, :3], alpha=frames[:, 3:], cameras=cameras, times=times)
