"""Numbers from files of other programs, made into Gaussians that the rasterisers can draw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..errors import InputError
from ..splat.gaussians import Gaussians

MAX_FILE = 2 * 2**30
MAX_GAUSSIANS = 5_000_000
MAX_DISTANCE = 1e6
LOGIT_LIMIT = 20.0
"""Opacities of exactly 0 or 1 have an infinite logit; in float32 this one gives the same."""
LOG_SCALE_RANGE = (-30.0, 14.0)
"""About 1e-13 to 1e6 world units. Flat Gaussians (scale 0, log -inf) become as thin as this."""


def open_bytes(path: Path, *, kind: str) -> np.ndarray:
    """The bytes of a file. Raises InputError where there is none, or one that is too large or empty."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected {kind}")
    size = path.stat().st_size
    if not 0 < size <= MAX_FILE:
        raise InputError(f"{path}: holds {size} bytes, expected {kind} of at most {MAX_FILE >> 30} GiB")
    try:
        return np.fromfile(
            path, dtype=np.uint8, count=size
        )  # a mapped file that is cut off meanwhile would end the process
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check it, or write it again") from error


def check_count(count: int, *, path: Path) -> None:
    """Raises InputError for no Gaussians and for more than MAX_GAUSSIANS."""
    if not 1 <= count <= MAX_GAUSSIANS:
        raise InputError(f"{path}: holds {count} Gaussians, expected 1 to {MAX_GAUSSIANS}; decimate them first")


def checked(
    *,
    path: Path,
    means: np.ndarray,
    quats: np.ndarray,
    log_scales: np.ndarray,
    logit_opacities: np.ndarray,
    sh: np.ndarray,
) -> Gaussians:
    """Gaussians from float arrays shaped as `Gaussians` says; unit quaternions.

    Infinite opacities and scales of 0 are what formats make of the ends of their ranges, and are kept as the nearest value
    that can be drawn. Raises InputError, naming `path`, for anything else that is not finite or far out of range.
    """
    logit_opacities = np.clip(logit_opacities, -LOGIT_LIMIT, LOGIT_LIMIT)
    log_scales = np.maximum(log_scales, LOG_SCALE_RANGE[0])
    named = {
        "position": (means, MAX_DISTANCE),
        "rotation": (quats, 1e6),
        "log scale": (log_scales, -LOG_SCALE_RANGE[0]),
        "opacity": (logit_opacities, LOGIT_LIMIT),
        "colour": (sh, 1e4),
    }
    for name, (values, limit) in named.items():
        with np.errstate(invalid="ignore"):
            bad = ~(np.abs(values) <= limit)
        if bad.any():
            row = int(np.argmax(bad.reshape(len(bad), -1).any(axis=1)))
            raise InputError(
                f"{path}: Gaussian {row} has a {name} of {values[row].ravel()[:4]}, expected finite values of at most "
                f"{limit:g}; remove such Gaussians first (`splat-transform IN --filter-nan OUT.ply`)"
            )
    if float(log_scales.max()) > LOG_SCALE_RANGE[1]:
        raise InputError(
            f"{path}: has a Gaussian of scale exp({float(log_scales.max()):.3g}); expected a 3DGS file with log scales"
        )
    length = np.linalg.norm(quats, axis=-1, keepdims=True)
    quats = np.where(length > 1e-6, quats / np.maximum(length, 1e-6), np.array([1, 0, 0, 0], dtype=quats.dtype))

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(values, dtype=np.float32, order="C"))

    return Gaussians(
        means=tensor(means),
        quats=tensor(quats),
        log_scales=tensor(log_scales),
        logit_opacities=tensor(logit_opacities),
        sh=tensor(sh),
    )
