"""3DGS-convention PLY: what SuperSplat and most splat viewers read. One file a time step makes a sequence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from plyfile import PlyData, PlyElement

from ..errors import InputError
from ..files import atomic_folder, atomic_path
from ..imports.ply import UP_COMMENT
from ..splat.gaussians import Gaussians, Gaussians4D
from ..splat.turning import Up, turned, world_from


def write_ply(gaussians: Gaussians, path: str | Path, *, up: Up = "z") -> Path:
    """Write one set: x y z, normals (zero), f_dc, f_rest (channel-major), opacity (logit), scale (log), rot (wxyz, unit).

    `up`: the axis that points up in the file, which a comment in it says; our world is z up.
    """
    path = Path(path)
    g = turned(gaussians.detach(), world_from(up).T)
    n, k = len(g), g.sh.shape[1]
    columns = {name: g.means[:, i] for i, name in enumerate("xyz")}
    columns |= {name: torch.zeros(n) for name in ("nx", "ny", "nz")}
    columns |= {f"f_dc_{i}": g.sh[:, 0, i] for i in range(3)}
    rest = g.sh[:, 1:].transpose(1, 2).reshape(n, 3 * (k - 1))
    columns |= {f"f_rest_{i}": rest[:, i] for i in range(rest.shape[1])}
    columns["opacity"] = g.logit_opacities
    columns |= {f"scale_{i}": g.log_scales[:, i] for i in range(3)}
    quats = torch.nn.functional.normalize(g.quats, dim=-1)
    columns |= {f"rot_{i}": quats[:, i] for i in range(4)}
    table = np.empty(n, dtype=[(name, "<f4") for name in columns])
    for name, values in columns.items():
        table[name] = values.cpu().numpy()
    element = PlyElement.describe(table, "vertex")
    with atomic_path(path) as temporary:
        PlyData([element], byte_order="<", comments=[UP_COMMENT + up]).write(str(temporary))
    return path


def write_ply_sequence(scene: Gaussians4D, folder: str | Path, *, frames: int = 24, up: Up = "z") -> Path:
    """`frame_000.ply`... at times i / (frames - 1), motion applied. The folder appears only when it is whole."""
    if frames < 1:
        raise InputError(f"--frames: expected at least 1, got {frames}")
    folder = Path(folder)
    with atomic_folder(folder) as temporary:
        for i, time in enumerate(torch.linspace(0, 1, frames)):
            write_ply(scene.at(float(time)), temporary / f"frame_{i:03d}.ply", up=up)
    return folder
