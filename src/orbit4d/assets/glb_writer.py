"""Writing one skinned, animated mesh as a binary glTF 2.0 file."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass

import numpy as np


@dataclass(kw_only=True)
class Joint:
    """A joint of the skeleton: rest translation relative to its parent (glTF space, y up)."""

    name: str
    parent: int
    offset: np.ndarray


@dataclass(kw_only=True)
class SkinnedMesh:
    """positions, normals (n, 3), colors (n, 3) linear, joints (n, 4) uint8, weights (n, 4), triangles (m, 3)."""

    positions: np.ndarray
    normals: np.ndarray
    colors: np.ndarray
    joints: np.ndarray
    weights: np.ndarray
    triangles: np.ndarray


@dataclass(kw_only=True)
class Track:
    """Keyframes of one joint: rotations xyzw (k, 4) and, where it moves, translations (k, 3)."""

    joint: int
    rotations: np.ndarray | None = None
    translations: np.ndarray | None = None


class _Buffer:
    def __init__(self) -> None:
        self.data, self.views, self.accessors = bytearray(), [], []

    def add(self, array: np.ndarray, kind: str, *, bounds: bool = False, normalized: bool = False) -> int:
        component = {"float32": 5126, "uint8": 5121, "uint16": 5123}[array.dtype.name]
        self.data += b"\0" * (-len(self.data) % 4)
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": array.nbytes})
        self.data += np.ascontiguousarray(array).tobytes()
        accessor = {"bufferView": len(self.views) - 1, "componentType": component, "count": len(array), "type": kind}
        if bounds:
            flat = array.reshape(len(array), -1)
            accessor |= {"min": flat.min(0).tolist(), "max": flat.max(0).tolist()}
        if normalized:
            accessor["normalized"] = True
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def write_skinned_glb(
    mesh: SkinnedMesh,
    joints: list[Joint],
    tracks: list[Track],
    *,
    times: np.ndarray,
    animation: str,
    name: str,
    extras: dict,
) -> bytes:
    """The bytes of a .glb: one node with mesh and skin, the joints, one animation. Deterministic."""
    buffer = _Buffer()
    world = np.zeros((len(joints), 3))
    for i, joint in enumerate(joints):
        world[i] = joint.offset + (world[joint.parent] if joint.parent >= 0 else 0)
    inverse = np.tile(np.eye(4, dtype=np.float32), (len(joints), 1, 1))
    inverse[:, :3, 3] = -world
    attributes = {
        "POSITION": buffer.add(mesh.positions.astype(np.float32), "VEC3", bounds=True),
        "NORMAL": buffer.add(mesh.normals.astype(np.float32), "VEC3"),
        "COLOR_0": buffer.add(
            np.round(np.c_[mesh.colors, np.ones(len(mesh.colors))] * 65535).astype(np.uint16), "VEC4", normalized=True
        ),
        "JOINTS_0": buffer.add(mesh.joints.astype(np.uint8), "VEC4"),
        "WEIGHTS_0": buffer.add(mesh.weights.astype(np.float32), "VEC4"),
    }
    indices = buffer.add(mesh.triangles.reshape(-1).astype(np.uint16), "SCALAR")
    bind = buffer.add(inverse.transpose(0, 2, 1).reshape(-1, 16).astype(np.float32), "MAT4")
    clock = buffer.add(times.astype(np.float32), "SCALAR", bounds=True)
    samplers, channels = [], []
    for track in tracks:
        for path, values, kind in (("rotation", track.rotations, "VEC4"), ("translation", track.translations, "VEC3")):
            if values is not None:
                samplers.append(
                    {"input": clock, "output": buffer.add(values.astype(np.float32), kind), "interpolation": "LINEAR"}
                )
                channels.append({"sampler": len(samplers) - 1, "target": {"node": track.joint + 1, "path": path}})
    nodes: list[dict] = [{"name": name, "mesh": 0, "skin": 0}]
    for i, joint in enumerate(joints):
        node: dict = {"name": joint.name, "translation": joint.offset.tolist()}
        children = [k + 1 for k, other in enumerate(joints) if other.parent == i]
        nodes.append(node | ({"children": children} if children else {}))
    roots = [i + 1 for i, joint in enumerate(joints) if joint.parent < 0]
    document = {
        "asset": {"version": "2.0", "generator": "orbit4d toybox", "extras": extras},
        "scene": 0,
        "scenes": [{"nodes": [0, *roots]}],
        "nodes": nodes,
        "meshes": [{"name": name, "primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}],
        "materials": [
            {
                "name": "toy",
                "pbrMetallicRoughness": {"baseColorFactor": [1, 1, 1, 1], "metallicFactor": 0, "roughnessFactor": 0.9},
            }
        ],
        "skins": [{"joints": list(range(1, len(joints) + 1)), "inverseBindMatrices": bind}],
        "animations": [{"name": animation, "samplers": samplers, "channels": channels}],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    binary = bytes(buffer.data) + b"\0" * (-len(buffer.data) % 4)
    total = 12 + 8 + len(text) + 8 + len(binary)
    head = struct.pack("<4sII", b"glTF", 2, total)
    return head + struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
