"""Small assets for the renderer's tests, built as arrays: balls and sheets that move rigidly."""

from __future__ import annotations

import numpy as np

from orbit4d.assets.gltf import Asset
from orbit4d.assets.gltf_animation import Animation, Channels
from orbit4d.assets.gltf_materials import Material
from orbit4d.assets.gltf_scene import Node, Primitive
from orbit4d.data.placement import Placement

STILL = Placement(scale=1.0, centre=np.zeros(3), drift=np.zeros(3))
"""World = the asset's own coordinates."""


def to_gltf(world: np.ndarray) -> np.ndarray:
    """World (x, y, z), z up -> glTF (x, z, -y), y up: the inverse of what posing does."""
    return np.stack([world[..., 0], world[..., 2], -world[..., 1]], axis=-1)


def material(color=(1.0, 1.0, 1.0, 1.0), **others) -> Material:
    return Material(color=np.array(color, np.float32), **others)


def primitive(positions, triangles, normals, *, node: int = 0, look: Material | None = None, uvs=None) -> Primitive:
    """Of world-frame arrays."""
    n = len(positions)
    return Primitive(
        node=node,
        name=f"part {node}",
        positions=to_gltf(np.asarray(positions, np.float32)),
        normals=to_gltf(np.asarray(normals, np.float32)),
        indices=np.asarray(triangles, np.int64).reshape(-1),
        uvs=np.zeros((n, 2), np.float32) if uvs is None else np.asarray(uvs, np.float32),
        colors=np.ones((n, 4), np.float32),
        material=look or material(),
        morphs=[],
        morph_weights=np.zeros(0, np.float32),
    )


def ball(radius: float = 0.5, *, node: int = 0, look: Material | None = None, rings: int = 48) -> Primitive:
    theta, phi = np.meshgrid(np.linspace(0, np.pi, rings + 1), np.linspace(0, 2 * np.pi, 2 * rings + 1), indexing="ij")
    unit = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(rings), np.arange(2 * rings), indexing="ij")
    a = (i * (2 * rings + 1) + j).ravel()
    b = a + 2 * rings + 1
    return primitive(
        unit * radius, np.concatenate([np.c_[a, b, a + 1], np.c_[a + 1, b, b + 1]]), unit, node=node, look=look
    )


def sheet(
    y: float, *, half: float = 0.5, node: int = 0, look: Material | None = None, turned: bool = False
) -> Primitive:
    """A square across the view of azimuth 0, at distance 2 + y; counter-clockwise seen from there unless `turned`."""
    corners = half * np.array([[-1, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]]) + np.array([0, y, 0])
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    uvs = np.array([[0, 1], [1, 1], [1, 0], [0, 0]])
    return primitive(
        corners, triangles[:, ::-1] if turned else triangles, np.tile([0, -1, 0], (4, 1)), node=node, look=look, uvs=uvs
    )


def asset(*primitives: Primitive, move=None, turn: float = 0.0, matrices=None) -> Asset:
    """One node a primitive. Over one second node 0 moves by `move` (world) and turns about world z by `turn` radians."""
    nodes = [
        Node(
            name=f"node {k}",
            parent=-1,
            translation=np.zeros(3),
            rotation=np.array([0.0, 0, 0, 1]),
            scale=np.ones(3),
            matrix=None if matrices is None else matrices[k],
        )
        for k in range(len(primitives))
    ]
    channels = []
    if move is not None:
        path = to_gltf(np.array([np.zeros(3), move], float))
        channels.append(_channels("translation", path))
    if turn:
        ends = np.array([[0, np.sin(a / 2), 0, np.cos(a / 2)] for a in (0.0, turn)])  # about glTF y, which is world z
        channels.append(_channels("rotation", ends))
    animations = [Animation(name="motion", channels=channels, start=0.0, duration=1.0)] if channels else []
    return Asset(
        name="test",
        primitives=list(primitives),
        nodes=nodes,
        order=list(range(len(nodes))),
        skins=[],
        animations=animations,
    )


def _channels(path: str, values: np.ndarray) -> Channels:
    return Channels(
        path=path, nodes=np.array([0]), times=np.array([0.0, 1.0]), values=values[:, None], interpolation="LINEAR"
    )
