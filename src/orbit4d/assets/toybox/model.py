"""From clay to the meshes of a glTF file."""

from __future__ import annotations

import numpy as np

from ..glb_writer import Joint, Mesh, Surface
from . import paint, shapes
from .clay import Clay, Part

MAX_WEIGHTS = 4


def skeleton(clay: Clay) -> list[Joint]:
    index = {name: i for i, name in enumerate(clay.names)}
    return [
        Joint(
            name=name,
            parent=index[parent] if parent else -1,
            offset=clay.world[name] - (clay.world[parent] if parent else 0),
        )
        for name, parent in zip(clay.names, clay.parents, strict=True)
    ]


def meshes(clay: Clay) -> list[Mesh]:
    """Parts grouped by what moves them: the skin, the skin and morph targets, or one joint (rigid parts)."""
    look = clay.look
    unit = float(np.ptp(np.concatenate([p.grid.reshape(-1, 3) for p in clay.parts]), axis=0).max()) / 2
    textured = [p for p in clay.parts if p.painted and p.color.ndim == 1 and look.textured and look.pattern != "plain"]
    image = bands = None
    if textured:
        seamed = [(_seam(p.grid), _seam(shapes.normals(p.grid))) for p in textured]
        image = paint.texture(look, [p.color for p in textured], seamed, unit=unit)
        bands = {id(p): i for i, p in enumerate(textured)}
    groups: dict[tuple, dict[bool, list[Part]]] = {}
    for part in clay.parts:
        key = (part.weights[0][0] if part.rigid else None, tuple(sorted(part.morphs)))
        groups.setdefault(key, {}).setdefault(bands is not None and id(part) in bands, []).append(part)
    out = []
    for (joint, targets), kinds in groups.items():
        surfaces = []
        for has_image, parts in kinds.items():
            pieces = [
                _surface(clay, p, targets, unit=unit, band=(bands[id(p)], len(bands)) if has_image and bands else None)
                for p in parts
            ]
            surface = _joined(pieces)
            surface.texture = image if has_image else None
            surfaces.append(surface)
        name = "_".join(["toy", *([joint] if joint else []), *targets])
        index = clay.names.index(joint) if joint else None
        out.append(Mesh(name=name, surfaces=surfaces, joint=index, targets=list(targets)))
    return out


def _seam(grid: np.ndarray) -> np.ndarray:
    return np.concatenate([grid, grid[:, :1]], axis=1)


def _surface(clay: Clay, part: Part, targets: tuple, *, unit: float, band: tuple[int, int] | None) -> Surface:
    grid, normal = part.grid, shapes.normals(part.grid)
    moved = [(part.morphs[t], shapes.normals(part.morphs[t])) for t in targets]
    colors = uvs = None
    if band is None:
        colors = np.broadcast_to(part.color[:, None] if part.color.ndim == 2 else part.color, grid.shape)
        if part.painted:
            colors = paint.vertex_colors(clay.look, colors, grid, normal, unit=unit)
    else:
        grid, normal = _seam(grid), _seam(normal)
        moved = [(_seam(a), _seam(b)) for a, b in moved]
        uvs = paint.texture_uvs(len(grid), grid.shape[1], band[0], band[1]).reshape(-1, 2)
    origin = clay.world[part.weights[0][0]] if part.rigid else np.zeros(3)
    joints = weights = None
    if not part.rigid:
        joints, weights = (np.repeat(a, grid.shape[1], axis=0) for a in _binding(clay, part))
    return Surface(
        positions=grid.reshape(-1, 3) - origin,
        normals=normal.reshape(-1, 3),
        triangles=shapes.grid_triangles(len(grid), grid.shape[1], band is None),
        colors=None if colors is None else colors.reshape(-1, 3),
        uvs=uvs,
        joints=joints,
        weights=weights,
        morphs=[((a - grid).reshape(-1, 3), (b - normal).reshape(-1, 3)) for a, b in moved],
    )


def _binding(clay: Clay, part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Joints and weights (rows, 4): the four strongest of each row."""
    index = {name: i for i, name in enumerate(clay.names)}
    rows = len(part.grid)
    numbers = np.array([index[name] for name, _ in part.weights])
    dense = np.stack([w for _, w in part.weights], axis=1)
    order = np.argsort(-dense, axis=1, kind="stable")[:, :MAX_WEIGHTS]
    weights = np.zeros((rows, MAX_WEIGHTS))
    joints = np.zeros((rows, MAX_WEIGHTS), dtype=int)
    weights[:, : order.shape[1]] = np.take_along_axis(dense, order, axis=1)
    joints[:, : order.shape[1]] = numbers[order]
    weights /= weights.sum(1, keepdims=True)
    return np.where(weights > 0, joints, 0), weights


def _joined(pieces: list[Surface]) -> Surface:
    offsets = np.cumsum([0, *[len(p.positions) for p in pieces]])

    def together(name: str) -> np.ndarray | None:
        values = [getattr(p, name) for p in pieces]
        return None if values[0] is None else np.concatenate(values)

    return Surface(
        positions=np.concatenate([p.positions for p in pieces]),
        normals=np.concatenate([p.normals for p in pieces]),
        triangles=np.concatenate([p.triangles + o for p, o in zip(pieces, offsets, strict=False)]),
        colors=together("colors"),
        uvs=together("uvs"),
        joints=together("joints"),
        weights=together("weights"),
        morphs=[
            (np.concatenate([p.morphs[k][0] for p in pieces]), np.concatenate([p.morphs[k][1] for p in pieces]))
            for k in range(len(pieces[0].morphs))
        ],
    )
