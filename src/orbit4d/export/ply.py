"""3DGS-convention PLY: what SuperSplat and most splat viewers read. One file a time step makes a sequence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from plyfile import PlyData, PlyElement

from ..errors import InputError
from ..files import atomic_folder, atomic_path
from ..splat.gaussians import Gaussians, Gaussians4D

MAX_FILE = 2 * 2**30


def write_ply(gaussians: Gaussians, path: str | Path) -> Path:
    """Write one set: x y z, normals (zero), f_dc, f_rest (channel-major), opacity (logit), scale (log), rot (wxyz, unit)."""
    path = Path(path)
    g = gaussians.detach()
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
    with atomic_path(path) as temporary:
        PlyData([PlyElement.describe(table, "vertex")], byte_order="<").write(str(temporary))
    return path


def write_ply_sequence(scene: Gaussians4D, folder: str | Path, *, frames: int = 24) -> Path:
    """`frame_000.ply`... at times i / (frames - 1), motion applied. The folder appears only when it is whole."""
    if frames < 1:
        raise InputError(f"--frames: expected at least 1, got {frames}")
    folder = Path(folder)
    with atomic_folder(folder) as temporary:
        for i, gaussians in enumerate(scene.sampled(torch.linspace(0, 1, frames))):
            write_ply(gaussians, temporary / f"frame_{i:03d}.ply")
    return folder


def read_ply(path: str | Path) -> Gaussians:
    """Read a 3DGS PLY. Raises InputError when it is not one."""
    path = Path(path)
    if not path.is_file() or path.stat().st_size > MAX_FILE:
        raise InputError(f"{path}: no such file, or larger than {MAX_FILE >> 30} GiB; expected a 3DGS .ply")
    try:
        vertex = PlyData.read(str(path))["vertex"]
        names = {p.name for p in vertex.properties}

        def stack(*keys: str) -> torch.Tensor:
            return torch.from_numpy(np.stack([np.asarray(vertex[key], dtype=np.float32) for key in keys], axis=-1))

        means = stack("x", "y", "z")
        rest_count = sum(name.startswith("f_rest_") for name in names)
        dc = stack("f_dc_0", "f_dc_1", "f_dc_2")[:, None]
        if rest_count:
            rest = stack(*[f"f_rest_{i}" for i in range(rest_count)]).reshape(len(means), 3, -1).transpose(1, 2)
            dc = torch.cat([dc, rest], dim=1)
        g = Gaussians(
            means=means,
            quats=stack(*[f"rot_{i}" for i in range(4)]),
            log_scales=stack("scale_0", "scale_1", "scale_2"),
            logit_opacities=stack("opacity")[:, 0],
            sh=dc.contiguous(),
        )
        for name, values in vars(g).items():
            if not torch.isfinite(values).all():
                raise ValueError(f"{name} holds values that are not finite")
        return g
    except Exception as error:  # plyfile raises many kinds for damaged files
        raise InputError(
            f"{path}: cannot be read as a 3DGS PLY ({type(error).__name__}: {str(error)[:120]})"
        ) from error
