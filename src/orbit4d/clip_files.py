"""The files of a clip, each checked and bounded before it is read: JSON, frames, depths, Diffusion4D's camera files."""

from __future__ import annotations

import logging
import math
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import transforms
from .cameras import OPENGL_FROM_OPENCV, Cameras
from .errors import InputError
from .files import parse_json
from .images import load_rgba

MAX_FRAMES = 4096
MAX_PIXELS = 2**28
"""Pixels of all frames of a clip that are read, at 16 bytes each."""
_LOG = logging.getLogger(__name__)


def read_json(path: Path) -> dict:
    if path.stat().st_size > 64 * 2**20:
        raise InputError(f"{path}: larger than 64 MiB, expected a transforms file; check the path")
    document = parse_json(path.read_bytes(), source=path)
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected a JSON object with 'frames', got a {type(document).__name__}")
    return document


def resolve_frame(base: Path, name: object, source: Path) -> Path:
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
    raise InputError(f"{source}: file {name!r:.80} does not exist; put it beside the JSON file, or take its entry out")


def load_frames(files: list[Path], source: Path) -> Tensor:
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


def frame_records(document: dict, path: Path) -> list[dict]:
    frames = document.get("frames")
    if not isinstance(frames, list) or not frames:
        raise InputError(f"{path}: expected a non-empty list 'frames', got {type(frames).__name__}")
    if len(frames) > MAX_FRAMES:
        raise InputError(f"{path}: {len(frames)} frames, at most {MAX_FRAMES} are read; split the clip")
    for i, frame in enumerate(frames):
        if not isinstance(frame, dict):
            raise InputError(f"{path}: frame {i} is not an object")
    return frames


def load_depths(records: list[dict], path: Path, shape: torch.Size) -> Tensor | None:
    """(t, 1, h, w), or None where no frame has a depth, or (with a warning) only some have."""
    names = [r["depth_file_path"] for r in records if isinstance(r.get("depth_file_path"), str)]
    if not names:
        return None
    if len(names) < len(records):
        _LOG.warning("%s: %d of %d frames have a depth; it is left out for all", path, len(names), len(records))
        return None
    return torch.stack([_depth(resolve_frame(path.parent, name, path), shape[-2:]) for name in names])


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


def load_diffusion4d(folder: Path) -> tuple[Tensor, Cameras]:
    """Frames (t, 4, h, w) and cameras of Diffusion4D's published layout.

    `multi_frame{i}.png` and one `multi{i}.json` a frame (x, y, z, origin, x_fov).
    """
    images = sorted(folder.glob("multi_frame*.png"), key=_frame_number)
    if len(images) > MAX_FRAMES:
        raise InputError(f"{folder}: {len(images)} frames, at most {MAX_FRAMES} are read; split the clip")
    sources = [_diffusion4d_camera_file(folder, image) for image in images]
    frames = load_frames(images, folder)
    height, width = frames.shape[-2:]
    matrices, ks = [], []
    for i, source in enumerate(sources):
        record = read_json(source)
        if "transform_matrix" in record:
            matrices.append(transforms.matrix(record["transform_matrix"], source=source, frame=i))
        else:
            # The authors write the OpenCV-like axes x right, y down, z forward; OpenGL flips y and z.
            pose = transforms.axes_and_centre(record, source=source) @ OPENGL_FROM_OPENCV
            matrices.append(transforms.matrix(pose.tolist(), source=source, frame=i))
        fov = {"camera_angle_x": transforms.angle(record, "x_fov", source=source) or 2 * math.atan(18 / 50)}
        ks.append(transforms.intrinsics(fov, {}, width=width, height=height, source=source))
    return frames, Cameras.from_opengl(torch.stack(matrices), torch.stack(ks), width=width, height=height)


def _diffusion4d_camera_file(folder: Path, image: Path) -> Path:
    number = _frame_number(image)
    candidates = [folder / f"multi{number}.json", folder / f"multi_frame{number}.json"]
    found = next((c for c in candidates if c.is_file()), None)
    if found is None:
        raise InputError(
            f"{folder}: {image.name} has no camera file multi{number}.json; cameras and frames disagree, render again"
        )
    return found
