"""Gaussians in binary (or text) glTF 2.0: the extension KHR_gaussian_splatting, ours or another program's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..assets.gltf_container import GAUSSIANS, Container
from ..assets.gltf_mesh import TRIANGLE_MODES
from ..errors import InputError
from ..splat.gaussians import Gaussians
from ..splat.turning import turned, world_from
from .checked import check_count, checked

MAX_DRAWN = 10_000
"""Nodes and primitives of a scene: a node may be drawn many times over."""


def has_gaussians(path: str | Path) -> bool:
    """Whether the default scene of a .glb or .gltf holds Gaussians, whatever the lists of its extensions say.

    Raises InputError, one line, for files that are not glTF, and for scenes that hold triangles, too.
    """
    path = Path(path)
    file = Container(path)
    with _one_line(path):
        meshes = file.json.get("meshes", [])
        if not any(GAUSSIANS in p.get("extensions", {}) for mesh in meshes for p in mesh["primitives"]):
            return False  # of meshes only their reader judges
        drawn = [primitive for primitive, _ in _drawn(file)]
    found = any(GAUSSIANS in p.get("extensions", {}) for p in drawn)
    if found and any(p.get("mode", 4) in TRIANGLE_MODES for p in drawn if GAUSSIANS not in p.get("extensions", {})):
        raise InputError(
            f"{path}: holds both a mesh and Gaussians ({GAUSSIANS}); expected one of them, remove the other"
        )
    return found


def read_glb(path: str | Path) -> Gaussians:
    """All Gaussians of the default scene, in world axes (glTF is y up, we are z up).

    Nodes may move, turn and scale them alike in all directions. Colours keep the lowest degree that all primitives have.
    Raises InputError, one line, for damaged files, other kernels, colours that are not sRGB, and files without Gaussians.
    """
    path = Path(path)
    file = Container(path)
    with _one_line(path):
        splats = [(p, matrix) for p, matrix in _drawn(file) if GAUSSIANS in p.get("extensions", {})]
        if not splats:
            raise InputError(
                f"{path}: expected Gaussians ({GAUSSIANS}), found none in its scene; draw a mesh with `orbit4d render`"
            )
        check_count(sum(_count(file, p) for p, _ in splats), path=path)
        parts = [_placed(_primitive(file, p, path), matrix, path) for p, matrix in splats]
    degree = min(g.sh.shape[1] for g in parts)
    columns = {name: torch.cat([getattr(g, name) for g in parts]) for name in vars(parts[0]) if name != "sh"}
    return turned(Gaussians(**columns, sh=torch.cat([g.sh[:, :degree] for g in parts])), world_from("y"))


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """What reading a damaged document raises, as an InputError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: its glTF is not valid ({type(error).__name__}: {' '.join(str(error).split())[:80]}); export it again"
        ) from error


def _drawn(file: Container) -> Iterator[tuple[dict, np.ndarray]]:
    """The primitives of the default scene (of all nodes, where there are no scenes) and the (4, 4) matrices of their nodes."""
    if file.json.get("scenes"):
        roots = file.record("scenes", file.json.get("scene", 0)).get("nodes", [])
    else:
        nodes = [file.record("nodes", i) for i in range(len(file.json.get("nodes", [])))]
        below = {child for node in nodes for child in node.get("children", [])}
        roots = [i for i in range(len(nodes)) if i not in below]
    waiting, seen = [(index, np.eye(4)) for index in roots], 0
    while waiting:
        index, parent = waiting.pop()
        node = file.record("nodes", index)
        primitives = file.record("meshes", node["mesh"])["primitives"] if "mesh" in node else []
        seen += 1 + len(primitives)
        if seen > MAX_DRAWN:
            raise InputError(
                f"{file.path}: draws more than {MAX_DRAWN} nodes and primitives, or nodes in a circle; export it again"
            )
        matrix = parent @ _matrix(node)
        waiting += [(child, matrix) for child in node.get("children", [])]
        yield from ((primitive, matrix) for primitive in primitives)


def _matrix(node: dict) -> np.ndarray:
    if "matrix" in node:
        return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    x, y, z, w = np.array(node.get("rotation", (0, 0, 0, 1)), dtype=np.float64)
    out = np.eye(4)
    out[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    out[:3, :3] *= np.array(node.get("scale", (1, 1, 1)), dtype=np.float64)
    out[:3, 3] = node.get("translation", (0, 0, 0))
    return out


def _count(file: Container, primitive: dict) -> int:
    """How many Gaussians it claims: nothing is read."""
    return max(int(file.record("accessors", index)["count"]) for index in primitive["attributes"].values())


def _primitive(file: Container, primitive: dict, path: Path) -> Gaussians:
    extension, attributes = primitive["extensions"][GAUSSIANS], primitive["attributes"]
    if packed := sorted(name for name in extension.get("extensions", {}) if "compression" in name):
        raise InputError(
            f"{path}: its Gaussians are compressed ({packed[0]:.60}), which is not read; unpack them first "
            "(`splat-transform IN.glb OUT.ply`)"
        )
    for key, known in (("kernel", "ellipse"), ("colorSpace", "srgb_rec709_display")):
        if extension.get(key) != known:
            raise InputError(f"{path}: its Gaussians have the {key} {extension.get(key)!r:.40}, only {known!r} is read")

    def read(name: str, width: int) -> np.ndarray:
        return file.accessor(attributes[name], width=width)

    sh = [read(f"{GAUSSIANS}:SH_DEGREE_0_COEF_0", 3)]
    for degree in (1, 2, 3):
        names = [f"{GAUSSIANS}:SH_DEGREE_{degree}_COEF_{i}" for i in range(2 * degree + 1)]
        if names[0] not in attributes:
            break
        sh += [read(name, 3) for name in names]
    scales, opacities = read(f"{GAUSSIANS}:SCALE", 3), read(f"{GAUSSIANS}:OPACITY", 1)[:, 0].astype(np.float64)
    if bool((scales < 0).any()) or not bool(((opacities >= 0) & (opacities <= 1)).all()):
        raise InputError(f"{path}: expected scales of at least 0 and opacities from 0 to 1; export it again")
    with np.errstate(divide="ignore"):
        return checked(
            path=path,
            means=read("POSITION", 3),
            quats=read(f"{GAUSSIANS}:ROTATION", 4)[:, [3, 0, 1, 2]],
            log_scales=np.log(scales),
            logit_opacities=np.log(opacities) - np.log1p(-opacities),
            sh=np.stack(sh, axis=1),
        )


def _placed(gaussians: Gaussians, matrix: np.ndarray, path: Path) -> Gaussians:
    linear = matrix[:3, :3]
    scale = float(np.cbrt(np.linalg.det(linear)))
    if not scale > 0 or not np.allclose(linear @ linear.T, scale**2 * np.eye(3), rtol=0, atol=1e-4 * scale**2):
        raise InputError(f"{path}: a node mirrors or stretches its Gaussians; apply its transform before exporting")
    out = turned(gaussians, torch.from_numpy(linear / scale))
    shift = torch.from_numpy(matrix[:3, 3]).to(out.means)
    return replace(out, means=out.means * scale + shift, log_scales=out.log_scales + float(np.log(scale)))
