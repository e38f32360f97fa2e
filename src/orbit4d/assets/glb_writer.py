"""Writing an animated model as one binary glTF 2.0 file: joints, skinned and rigid meshes, morph targets, textures.

All three mechanisms of glTF animation can be used together: skins (surfaces with joints and weights), node animation
(rigid meshes that hang on a joint) and morph targets.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field

import numpy as np

_COMPONENTS = {"float32": 5126, "uint8": 5121, "uint16": 5123, "uint32": 5125}
_PATHS = (("rotation", "rotations", "VEC4"), ("translation", "translations", "VEC3"), ("scale", "scales", "VEC3"))


@dataclass(kw_only=True)
class Joint:
    """A joint of the skeleton: rest translation relative to its parent (glTF space, y up), no rest rotation."""

    name: str
    parent: int
    offset: np.ndarray


@dataclass(kw_only=True)
class Surface:
    """One primitive: positions, normals (n, 3), triangles (m, 3), and its looks.

    `colors` (n, 3) are linear; or `uvs` (n, 2) with the PNG bytes `texture`. `joints` (n, 4) and `weights` (n, 4), where
    rows sum to 1, bind it to the skeleton (None: rigid). `morphs` are offsets of positions and of normals, one pair a target.
    """

    positions: np.ndarray
    normals: np.ndarray
    triangles: np.ndarray
    colors: np.ndarray | None = None
    uvs: np.ndarray | None = None
    texture: bytes | None = None
    joints: np.ndarray | None = None
    weights: np.ndarray | None = None
    morphs: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)


@dataclass(kw_only=True)
class Mesh:
    """Surfaces drawn together. `joint`: the joint that carries a rigid mesh (positions relative to it); None: skinned."""

    name: str
    surfaces: list[Surface]
    joint: int | None = None
    targets: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Track:
    """Keyframes of one joint: rotations xyzw (k, 4), translations (k, 3), scales (k, 3), each where it changes."""

    joint: int
    rotations: np.ndarray | None = None
    translations: np.ndarray | None = None
    scales: np.ndarray | None = None


class _Buffer:
    def __init__(self) -> None:
        self.data, self.views, self.accessors = bytearray(), [], []

    def view(self, data: bytes) -> int:
        self.data += b"\0" * (-len(self.data) % 4)
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)})
        self.data += data
        return len(self.views) - 1

    def add(self, array: np.ndarray, kind: str, *, bounds: bool = False, normalized: bool = False) -> int:
        view = self.view(np.ascontiguousarray(array).tobytes())
        component = _COMPONENTS[array.dtype.name]
        accessor = {"bufferView": view, "componentType": component, "count": len(array), "type": kind}
        if bounds:
            flat = array.reshape(len(array), -1)
            accessor |= {"min": flat.min(0).tolist(), "max": flat.max(0).tolist()}
        if normalized:
            accessor["normalized"] = True
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def write_glb(
    joints: list[Joint],
    meshes: list[Mesh],
    tracks: list[Track],
    *,
    times: np.ndarray,
    animation: str,
    extras: dict,
    morph_weights: dict[str, np.ndarray] | None = None,
) -> bytes:
    """The bytes of a .glb with one animation, keyframes at `times` (k,) seconds. The same arguments give the same bytes.

    `morph_weights`: target name -> (k,) weights, for every mesh that has the target.
    """
    buffer = _Buffer()
    nodes: list[dict] = []
    for i, joint in enumerate(joints):
        node: dict = {"name": joint.name, "translation": [round(float(x), 7) for x in joint.offset]}
        children = [k for k, other in enumerate(joints) if other.parent == i]
        nodes.append(node | ({"children": children} if children else {}))
    roots = [i for i, joint in enumerate(joints) if joint.parent < 0]
    document: dict = {
        "asset": {"version": "2.0", "generator": "orbit4d toybox", "extras": extras},
        "scene": 0,
        "scenes": [{"nodes": roots}],
        "nodes": nodes,
        "meshes": [],
        "materials": [],
    }
    clock = buffer.add(times.astype(np.float32), "SCALAR", bounds=True)
    samplers: list[dict] = []
    channels: list[dict] = []

    def animate(node: int, path: str, output: int) -> None:
        samplers.append({"input": clock, "output": output, "interpolation": "LINEAR"})
        channels.append({"sampler": len(samplers) - 1, "target": {"node": node, "path": path}})

    materials: dict[bytes | None, int] = {}
    for mesh in meshes:
        for surface in mesh.surfaces:
            if surface.texture not in materials:
                materials[surface.texture] = _add_material(buffer, surface.texture, document)
        primitives = [_primitive(buffer, s, materials[s.texture]) for s in mesh.surfaces]
        record = {"name": mesh.name, "primitives": primitives}
        if mesh.targets:
            record |= {"weights": [0.0] * len(mesh.targets), "extras": {"targetNames": mesh.targets}}
        document["meshes"].append(record)
        index = len(document["meshes"]) - 1
        if mesh.joint is None:
            nodes.append({"name": mesh.name, "mesh": index, "skin": 0})
            roots.append(node_index := len(nodes) - 1)
        else:
            nodes[node_index := mesh.joint]["mesh"] = index
        if mesh.targets and morph_weights:
            still = np.zeros(len(times))
            weights = np.stack([morph_weights.get(name, still) for name in mesh.targets], axis=1)
            animate(node_index, "weights", buffer.add(weights.reshape(-1).astype(np.float32), "SCALAR"))
    if any(mesh.joint is None for mesh in meshes):
        bind = buffer.add(_inverse_bind(joints), "MAT4")
        document["skins"] = [{"joints": list(range(len(joints))), "inverseBindMatrices": bind}]
    for track in tracks:
        for path, attribute, kind in _PATHS:
            values = getattr(track, attribute)
            if values is not None:
                animate(track.joint, path, buffer.add(values.astype(np.float32), kind))
    document |= {
        "animations": [{"name": animation, "samplers": samplers, "channels": channels}],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }
    return pack_glb(document, bytes(buffer.data))


def _inverse_bind(joints: list[Joint]) -> np.ndarray:
    """(j, 16) column-major; joints are listed parents first."""
    world = np.zeros((len(joints), 3))
    for i, joint in enumerate(joints):
        world[i] = joint.offset + (world[joint.parent] if joint.parent >= 0 else 0)
    inverse = np.tile(np.eye(4, dtype=np.float32), (len(joints), 1, 1))
    inverse[:, :3, 3] = -world
    return np.ascontiguousarray(inverse.transpose(0, 2, 1)).reshape(-1, 16)


def _primitive(buffer: _Buffer, surface: Surface, material: int) -> dict:
    count = len(surface.positions)
    attributes = {
        "POSITION": buffer.add(surface.positions.astype(np.float32), "VEC3", bounds=True),
        "NORMAL": buffer.add(surface.normals.astype(np.float32), "VEC3"),
    }
    if surface.colors is not None:
        rgba = np.round(np.c_[np.clip(surface.colors, 0, 1), np.ones(count)] * 65535).astype(np.uint16)
        attributes["COLOR_0"] = buffer.add(rgba, "VEC4", normalized=True)
    if surface.uvs is not None:
        attributes["TEXCOORD_0"] = buffer.add(surface.uvs.astype(np.float32), "VEC2")
    if surface.joints is not None and surface.weights is not None:
        attributes["JOINTS_0"] = buffer.add(surface.joints.astype(np.uint8), "VEC4")
        attributes["WEIGHTS_0"] = buffer.add(_bytes_that_sum_to_255(surface.weights), "VEC4", normalized=True)
    width = np.uint16 if count < 65536 else np.uint32
    indices = buffer.add(surface.triangles.reshape(-1).astype(width), "SCALAR")
    record: dict = {
        "attributes": attributes,
        "indices": indices,
        "material": material,
    }
    if surface.morphs:
        record["targets"] = [
            {
                "POSITION": buffer.add(position.astype(np.float32), "VEC3", bounds=True),
                "NORMAL": buffer.add(normal.astype(np.float32), "VEC3"),
            }
            for position, normal in surface.morphs
        ]
    return record


def _add_material(buffer: _Buffer, texture: bytes | None, document: dict) -> int:
    """Number of a new matt material: white, times the vertex colours or this PNG."""
    pbr: dict = {"baseColorFactor": [1, 1, 1, 1], "metallicFactor": 0, "roughnessFactor": 0.9}
    if texture is not None:
        document.setdefault("images", []).append({"bufferView": buffer.view(texture), "mimeType": "image/png"})
        document["samplers"] = [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}]
        document.setdefault("textures", []).append({"sampler": 0, "source": len(document["images"]) - 1})
        pbr["baseColorTexture"] = {"index": len(document["textures"]) - 1}
    document["materials"].append({"name": "toy" if texture is None else "pattern", "pbrMetallicRoughness": pbr})
    return len(document["materials"]) - 1


def _bytes_that_sum_to_255(weights: np.ndarray) -> np.ndarray:
    """Normalised bytes; what rounding leaves over goes to the largest weight, as the specification asks."""
    out = np.round(weights * 255).astype(np.int64)
    rows = np.arange(len(out))
    out[rows, out.argmax(1)] += 255 - out.sum(1)
    return out.astype(np.uint8)


def pack_glb(document: dict, binary: bytes) -> bytes:
    """The bytes of a .glb of a JSON document and one binary chunk. Raises ValueError for numbers that are not finite."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    head = struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(binary))
    return head + struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
