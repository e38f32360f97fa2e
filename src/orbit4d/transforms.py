"""What a transforms file says about its frames, every value checked: such files come from many programs.

Conventions are converted in `clip.py`; here numbers are read, and what this package's pinhole cameras cannot mean
(fisheye, distortion, angles in degrees, shear) is refused.
"""

from __future__ import annotations

import math
import reprlib
from pathlib import Path

import torch
from torch import Tensor

from .errors import InputError

PINHOLE_MODELS = ("PINHOLE", "SIMPLE_PINHOLE", "PERSPECTIVE", "OPENCV", "SIMPLE_RADIAL", "RADIAL", "FULL_OPENCV")
"""Camera models that are a pinhole when their distortion is zero."""
DISTORTION = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
_FOCAL_KEYS = (("fl_x", "camera_angle_x"), ("fl_y", "camera_angle_y"))


def number(record: dict, key: str, *, source: Path) -> float | None:
    """`record[key]`, or None where it is absent or null. Raises InputError for anything but a finite number."""
    value = record.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{source}: expected a finite number for {key!r}, got {reprlib.repr(value)}; correct the file")
    return float(value)


def text(record: dict, key: str) -> str | None:
    """`record[key]` on one line of characters that every file can hold; None where it is no text."""
    value = record.get(key)
    return " ".join(value.encode("utf-8", "replace").decode().split())[:1000] if isinstance(value, str) else None


def angle(record: dict, key: str, *, source: Path) -> float | None:
    """The field of view `record[key]` in radians, or None where it is absent. Raises InputError outside (0, pi)."""
    value = number(record, key, source=source)
    if value is not None and not 0 < value < math.pi:
        hint = "; write it in radians, it looks like degrees" if math.pi <= value < 180 else "; correct the file"
        raise InputError(f"{source}: expected an angle between 0 and pi radians for {key!r}, got {value}{hint}")
    return value


def matrix(value: object, *, source: Path, frame: int) -> Tensor:
    """(4, 4) float32 rigid transform from 4 (or 3) rows of 4 numbers. Raises InputError for anything else."""
    where = f"{source}: frame {frame}"
    try:
        out = torch.tensor(value, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(f"{where} needs a 4 x 4 'transform_matrix' of numbers") from error
    last = torch.tensor([[0.0, 0, 0, 1]])
    if out.shape == (3, 4):
        out = torch.cat([out, last])
    if out.shape != (4, 4) or not torch.isfinite(out).all():
        raise InputError(f"{where} needs a finite 4 x 4 'transform_matrix', got shape {tuple(out.shape)}")
    rotation = out[:3, :3]
    if not torch.allclose(rotation @ rotation.T, torch.eye(3), atol=1e-3) or torch.linalg.det(rotation) < 0:
        raise InputError(f"{where} has a 'transform_matrix' whose 3 x 3 part is not a rotation")
    if not torch.allclose(out[3:], last, atol=1e-4):
        raise InputError(
            f"{where} has a 'transform_matrix' whose last row is {out[3].tolist()}, expected 0 0 0 1; "
            "write camera-to-world matrices by rows"
        )
    return torch.cat([out[:3], last])


def axes_and_centre(record: dict, *, source: Path) -> Tensor:
    """(4, 4) whose columns are Diffusion4D's `x`, `y`, `z` (camera axes) and `origin`. Raises InputError."""
    out = torch.eye(4)
    for j, key in enumerate(("x", "y", "z", "origin")):
        if key not in record:
            raise InputError(f"{source}: expected keys x, y, z, origin (camera axes and centre), {key!r} is missing")
        try:
            column = torch.tensor(record[key], dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            column = torch.empty(0)
        if column.shape != (3,):
            raise InputError(f"{source}: expected 3 numbers for {key!r}, got {reprlib.repr(record[key])}; correct it")
        out[:3, j] = column
    return out


def intrinsics(document: dict, frame: dict, *, width: int, height: int, source: Path) -> Tensor:
    """(3, 3) in pixels; what `frame` states goes before what `document` states for all frames.

    Raises InputError for cameras that are not pinholes, and where no focal length is given.
    """
    record = {**document, **frame}
    for pixels, radians in _FOCAL_KEYS:
        if radians in frame and pixels not in frame:
            record.pop(pixels, None)
    _check_pinhole(record, source=source)
    focal_x = _focal(record, *_FOCAL_KEYS[0], side=width, source=source)
    if focal_x is None:
        raise InputError(f"{source}: expected intrinsics 'fl_x' (pixels) or 'camera_angle_x' (radians), found neither")
    focal_y = _focal(record, *_FOCAL_KEYS[1], side=height, source=source) or focal_x
    cx, cy = number(record, "cx", source=source), number(record, "cy", source=source)
    cx, cy = (width / 2 if cx is None else cx), (height / 2 if cy is None else cy)
    return torch.tensor([[focal_x, 0, cx], [0, focal_y, cy], [0, 0, 1]], dtype=torch.float32)


def times(frames: list[dict], *, static: bool, source: Path) -> Tensor:
    """(t,) in [0, 1] as the frames state. Where none does: evenly from 0 to 1, or all 0 when `static`.

    Raises InputError for times outside [0, 1], and when only some frames have one.
    """
    timed = ["time" in frame for frame in frames]
    if not any(timed):
        return torch.zeros(len(frames)) if static else torch.arange(len(frames)) / max(len(frames) - 1, 1)
    if not all(timed):
        raise InputError(
            f"{source}: frame {timed.index(False)} has no time, others have one; give every frame a time, or none"
        )
    return torch.tensor([_time(frame["time"], i, source) for i, frame in enumerate(frames)], dtype=torch.float32)


def _time(value: object, i: int, source: Path) -> float:
    valid = isinstance(value, int | float) and not isinstance(value, bool) and -1e-6 <= value <= 1 + 1e-6
    if not valid:
        raise InputError(
            f"{source}: frame {i} has time {reprlib.repr(value)}, expected a number in [0, 1]; scale all times alike"
        )
    return min(max(float(value), 0.0), 1.0)  # type: ignore[arg-type]


def _focal(record: dict, pixels: str, radians: str, *, side: int, source: Path) -> float | None:
    value, fov = number(record, pixels, source=source), angle(record, radians, source=source)
    if value is None and fov is not None:
        value = side / (2 * math.tan(fov / 2))
    if value is not None and not 1e-3 < value < 1e9:
        raise InputError(f"{source}: expected a positive focal length {pixels!r} in pixels, got {value:g}; correct it")
    return value


def _check_pinhole(record: dict, *, source: Path) -> None:
    model = record.get("camera_model") or PINHOLE_MODELS[0]
    if record.get("is_fisheye"):
        model = "fisheye"
    if not isinstance(model, str) or model.upper() not in PINHOLE_MODELS:
        raise InputError(
            f"{source}: expected pinhole cameras, got camera model {reprlib.repr(model)}; undistort the frames first"
        )
    for key in DISTORTION:
        value = number(record, key, source=source)
        if value is not None and abs(value) > 1e-6:
            raise InputError(
                f"{source}: expected frames without lens distortion, got {key} = {value}; undistort the frames first"
            )
