"""`.splat` files: 32 bytes a Gaussian, as the first web players read them.

position 3 x f32, scale 3 x f32 (linear), rgba 4 x u8, rotation 4 x u8 (wxyz, (value - 128) / 128)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError
from ..splat.gaussians import SH_C0, Gaussians
from ..splat.turning import Up, turned, world_from
from .checked import check_count, checked, open_bytes

LAYOUT = np.dtype([("position", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rotation", "u1", 4)])


def read_splat(path: str | Path, *, up: Up | None = None) -> Gaussians:
    """Read a `.splat` file into world axes: z up; `up` is the axis that points up in the file (None: z).

    Colour and opacity have 8 bits, rotations 7 and a sign. Raises InputError for anything else than whole records of
    finite numbers.
    """
    path = Path(path)
    data = open_bytes(path, kind="a .splat file")
    if len(data) % LAYOUT.itemsize:
        raise InputError(
            f"{path}: holds {len(data)} bytes, expected a multiple of {LAYOUT.itemsize}; not a .splat file, or truncated"
        )
    table = np.frombuffer(data, dtype=LAYOUT)
    check_count(len(table), path=path)
    scales, rgba = table["scale"], table["rgba"].astype(np.float64) / 255
    if bool((scales < 0).any()):
        raise InputError(f"{path}: has negative scales; not a .splat file, or damaged")
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        gaussians = checked(
            path=path,
            means=table["position"],
            quats=(table["rotation"].astype(np.float32) - 128) / 128,
            log_scales=np.log(scales),
            logit_opacities=np.log(rgba[:, 3]) - np.log1p(-rgba[:, 3]),
            sh=((rgba[:, :3] - 0.5) / SH_C0)[:, None],
        )
    return turned(gaussians, world_from(up or "z"))
