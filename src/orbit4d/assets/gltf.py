"""Reading animated glTF 2.0 (.glb, or .gltf with its buffers beside it) and posing it at any time.

Everything comes out as NumPy arrays in orbit4d's world: right-handed, z up; glTF (x, y, z) becomes (x, -z, y), so that
the model's front (+Z in glTF) faces the camera at azimuth 0.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from PIL import Image

from ..errors import InputError
from .gltf_animation import Animation, read_animations, sample

MAX_FILE = 512 * 2**20
MAX_TEXTURE_SIDE = 8192
MAX_ELEMENTS = 50_000_000
_COMPONENTS = {5120: np.int8, 5121: np.uint8, 5122: np.int16, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_SHAPES = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_UNSUPPORTED = {
    "KHR_draco_mesh_compression": "Draco",
    "EXT_meshopt_compression": "meshopt",
    "KHR_texture_basisu": "Basis Universal",
}
WORLD = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=np.float32)


@dataclass(kw_only=True)
class Material:
    """PBR-lite: linear base colour factor (4,), optional sRGB texture (h, w, 4) uint8, alpha mode, flags."""

    color: np.ndarray
    texture: np.ndarray | None = None
    uv_set: int = 0
    uv_transform: np.ndarray = field(default_factory=lambda: np.eye(3, dtype=np.float32))
    wrap: tuple[bool, bool] = (True, True)
    nearest: bool = False
    alpha_mode: str = "OPAQUE"
    alpha_cutoff: float = 0.5
    unlit: bool = False


@dataclass(kw_only=True)
class Primitive:
    """One triangle mesh: rest-pose attributes in glTF object space, its node, and what deforms it."""

    node: int
    name: str
    positions: np.ndarray
    normals: np.ndarray
    indices: np.ndarray
    uvs: np.ndarray
    colors: np.ndarray
    material: Material
    morphs: list[tuple[np.ndarray, np.ndarray | None]]
    morph_weights: np.ndarray
    joints: np.ndarray | None = None
    weights: np.ndarray | None = None
    skin: int | None = None


@dataclass(kw_only=True)
class Node:
    parent: int
    translation: np.ndarray
    rotation: np.ndarray
    scale: np.ndarray
    matrix: np.ndarray | None


@dataclass(kw_only=True)
class Posed:
    """World-space vertices of every primitive at one time: positions and unit normals, each a list of (n, 3) float32."""

    positions: list[np.ndarray]
    normals: list[np.ndarray]


@dataclass(kw_only=True)
class Asset:
    """A loaded file: primitives, node tree, skins and animations. `pose` evaluates it."""

    name: str
    primitives: list[Primitive]
    nodes: list[Node]
    order: list[int]
    skins: list[tuple[list[int], np.ndarray]]
    animations: list[Animation]

    @property
    def triangles(self) -> int:
        return sum(len(p.indices) // 3 for p in self.primitives)

    def pose(self, animation: int | None, seconds: float) -> Posed:
        """Vertices at `seconds` of animation number `animation` (None: the rest pose), in the z-up world."""
        local: dict[tuple[int, str], np.ndarray] = {}
        if animation is not None:
            local = sample(self.animations[animation], seconds)
        matrices = self._world_matrices(local)
        positions, normals = [], []
        for p in self.primitives:
            v, n = _morphed(p, local.get((p.node, "weights")))
            if p.skin is not None and p.joints is not None and p.weights is not None:
                joint_nodes, inverse = self.skins[p.skin]
                palette = matrices[joint_nodes] @ inverse
                blend = np.einsum("vk,vkij->vij", p.weights, palette[p.joints][:, :, :3, :])
                v = np.einsum("vij,vj->vi", blend[:, :, :3], v) + blend[:, :, 3]
                n = np.einsum("vij,vj->vi", blend[:, :, :3], n)
            else:
                m = matrices[p.node]
                v, n = v @ m[:3, :3].T + m[:3, 3], n @ np.linalg.pinv(m[:3, :3])
            n = n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-12)
            positions.append(np.nan_to_num(v @ WORLD.T, posinf=0, neginf=0).astype(np.float32))
            normals.append(np.nan_to_num(n @ WORLD.T).astype(np.float32))
        return Posed(positions=positions, normals=normals)

    def _world_matrices(self, local: dict[tuple[int, str], np.ndarray]) -> np.ndarray:
        out = np.empty((len(self.nodes), 4, 4))
        for i in self.order:
            node = self.nodes[i]
            animated = any((i, k) in local for k in ("translation", "rotation", "scale"))
            if node.matrix is not None and not animated:
                m = node.matrix
            else:
                m = compose(
                    local.get((i, "translation"), node.translation),
                    local.get((i, "rotation"), node.rotation),
                    local.get((i, "scale"), node.scale),
                )
            out[i] = m if node.parent < 0 else out[node.parent] @ m
        return out


def compose(translation: np.ndarray, rotation: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(4, 4) from translation (3,), quaternion xyzw (4,), scale (3,)."""
    x, y, z, w = rotation / max(float(np.linalg.norm(rotation)), 1e-12)
    m = np.eye(4)
    m[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    m[:3, :3] *= scale
    m[:3, 3] = translation
    return m


def _morphed(p: Primitive, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    v, n = p.positions, p.normals
    active = p.morph_weights if weights is None else weights
    for (dv, dn), w in zip(p.morphs, active, strict=False):
        if w:
            v = v + w * dv
            n = n if dn is None else n + w * dn
    return v, n


def load_glb(path: str | Path) -> Asset:
    """Read a .glb or .gltf. Raises InputError (one line) for anything missing, damaged, oversized or unsupported."""
    path = Path(path)
    try:
        return _Reader(path).asset()
    except InputError:
        raise
    except (
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        struct.error,
        RecursionError,
        OverflowError,
        AttributeError,
    ) as error:
        raise InputError(
            f"{path}: damaged glTF ({type(error).__name__}: {str(error)[:120]}); export the file again"
        ) from error


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise InputError(f"{path}: no such file; expected an animated .glb or .gltf")
        if path.stat().st_size > MAX_FILE:
            raise InputError(f"{path}: larger than {MAX_FILE >> 20} MiB; decimate the mesh or its textures")
        data = path.read_bytes()
        self.chunk: bytes | None = None
        if data[:4] == b"glTF":
            self.json = self._parse_glb(data)
        elif path.suffix.lower() == ".gltf":
            self.json = self._parse_json(data)
        else:
            raise InputError(f"{path}: expected a glTF file (.glb or .gltf), but it does not start with 'glTF'")
        if str(self.json.get("asset", {}).get("version", ""))[:1] != "2":
            raise InputError(f"{path}: expected glTF 2.x, got version {self.json.get('asset', {}).get('version')!r}")
        for extension in self.json.get("extensionsRequired", []):
            if extension in _UNSUPPORTED:
                what = _UNSUPPORTED[extension]
                raise InputError(
                    f"{path}: uses {what} compression ({extension}); decompress it first (`gltf-transform copy IN OUT`)"
                )
        self.buffers: dict[int, bytes] = {}

    def _parse_glb(self, data: bytes) -> dict:
        if len(data) < 20:
            raise InputError(f"{self.path}: truncated: {len(data)} bytes, a GLB has at least 20")
        _, version, length = struct.unpack_from("<4sII", data)
        if version != 2 or length > len(data):
            raise InputError(
                f"{self.path}: truncated or wrong version: header says {length} bytes of glTF {version}, file has {len(data)}"
            )
        offset, document = 12, None
        while offset + 8 <= length:
            size, kind = struct.unpack_from("<I4s", data, offset)
            if offset + 8 + size > length:
                raise InputError(f"{self.path}: truncated: a chunk of {size} bytes reaches past the end of the file")
            body = data[offset + 8 : offset + 8 + size]
            if kind == b"JSON" and document is None:
                document = self._parse_json(body)
            elif kind == b"BIN\0" and self.chunk is None:
                self.chunk = body
            offset += 8 + size
        if document is None:
            raise InputError(f"{self.path}: a GLB without a JSON chunk; export the file again")
        return document

    def _parse_json(self, data: bytes) -> dict:
        try:
            document = json.loads(data)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{self.path}: its JSON does not parse ({error}); export the file again") from error
        if not isinstance(document, dict):
            raise InputError(f"{self.path}: expected a JSON object, got {type(document).__name__}")
        return document

    def _uri(self, uri: str) -> bytes:
        if uri.startswith("data:"):
            try:
                return base64.b64decode(uri.partition(",")[2], validate=True)
            except binascii.Error as error:
                raise InputError(f"{self.path}: a data URI is not valid base64; export the file again") from error
        target = (self.path.parent / unquote(uri)).resolve()
        if not target.is_relative_to(self.path.parent.resolve()):
            raise InputError(f"{self.path}: refers to {uri!r} outside its own folder; put the file beside it")
        if not target.is_file() or target.stat().st_size > MAX_FILE:
            raise InputError(
                f"{self.path}: needs {uri!r} beside it, which is missing or larger than {MAX_FILE >> 20} MiB"
            )
        return target.read_bytes()

    def buffer(self, index: int) -> bytes:
        if index not in self.buffers:
            uri = self.json["buffers"][index].get("uri")
            data = self.chunk if uri is None else self._uri(uri)
            if data is None:
                raise InputError(
                    f"{self.path}: has no binary chunk, but buffer {index} needs one; export the file again"
                )
            self.buffers[index] = data
        return self.buffers[index]

    def view(self, index: int) -> tuple[bytes, int, int, int]:
        record = self.json["bufferViews"][index]
        data = self.buffer(int(record["buffer"]))
        start, length = int(record.get("byteOffset", 0)), int(record["byteLength"])
        if start < 0 or length < 0 or start + length > len(data):
            raise InputError(
                f"{self.path}: buffer view {index} reaches past its buffer ({start}+{length} > {len(data)})"
            )
        return data, start, length, int(record.get("byteStride", 0))

    def _raw(self, view: int, offset: int, count: int, width: int, kind: type) -> np.ndarray:
        data, start, length, stride = self.view(view)
        size = np.dtype(kind).itemsize * width
        stride = stride or size
        if offset < 0 or count < 0 or count > MAX_ELEMENTS or (count and offset + stride * (count - 1) + size > length):
            raise InputError(f"{self.path}: an accessor of {count} elements reaches past buffer view {view}")
        flat = np.ndarray((count, width), kind, data, start + offset, (stride, np.dtype(kind).itemsize))
        return flat.copy()

    def accessor(self, index: int, *, integer: bool = False) -> np.ndarray:
        """(count, width): float32 (normalised where the file says so), or the raw integers."""
        record = self.json["accessors"][index]
        kind, width, count = _COMPONENTS[record["componentType"]], _SHAPES[record["type"]], int(record["count"])
        if not 0 <= count <= MAX_ELEMENTS // width:
            raise InputError(
                f"{self.path}: accessor {index} has {count} elements, at most {MAX_ELEMENTS // width} are read"
            )
        if "bufferView" in record:
            out = self._raw(int(record["bufferView"]), int(record.get("byteOffset", 0)), count, width, kind)
        else:
            if count * width > MAX_ELEMENTS // 10:
                raise InputError(f"{self.path}: accessor {index} has {count} implicit elements; that is not plausible")
            out = np.zeros((count, width), kind)
        if "sparse" in record:
            sparse = record["sparse"]
            i, v = sparse["indices"], sparse["values"]
            n = int(sparse["count"])
            where = self._raw(int(i["bufferView"]), int(i.get("byteOffset", 0)), n, 1, _COMPONENTS[i["componentType"]])[
                :, 0
            ]
            if n and int(where.max()) >= count:
                raise InputError(f"{self.path}: sparse accessor {index} writes element {int(where.max())} of {count}")
            out[where] = self._raw(int(v["bufferView"]), int(v.get("byteOffset", 0)), n, width, kind)
        if integer:
            return out
        if record.get("normalized") and np.issubdtype(kind, np.integer):
            return np.maximum(out.astype(np.float32) / np.iinfo(kind).max, -1.0)
        return np.nan_to_num(out.astype(np.float32), posinf=0, neginf=0)

    def asset(self) -> Asset:
        nodes, order = self._nodes()
        skins = [self._skin(s, len(nodes)) for s in self.json.get("skins", [])]
        materials: dict[int | None, Material] = {}
        primitives = []
        for i in order:
            record = self.json["nodes"][i]
            if "mesh" not in record:
                continue
            mesh = self.json["meshes"][record["mesh"]]
            for p in mesh["primitives"]:
                if p.get("mode", 4) in (4, 5, 6) and "POSITION" in p.get("attributes", {}):
                    primitives.append(self._primitive(i, record, mesh, p, materials, skins))
        primitives = [p for p in primitives if len(p.indices)]
        if not primitives:
            raise InputError(f"{self.path}: holds no triangles in its scene; expected a mesh")
        animations = read_animations(self.json.get("animations", []), self.accessor, len(nodes))
        return Asset(
            name=self.path.stem, primitives=primitives, nodes=nodes, order=order, skins=skins, animations=animations
        )

    def _nodes(self) -> tuple[list[Node], list[int]]:
        records = self.json.get("nodes", [])
        parents = [-1] * len(records)
        for i, record in enumerate(records):
            for child in record.get("children", []):
                parents[child] = i
        nodes = []
        for record, parent in zip(records, parents, strict=True):
            matrix = record.get("matrix")
            nodes.append(
                Node(
                    parent=parent,
                    translation=np.array(record.get("translation", (0, 0, 0)), dtype=float),
                    rotation=np.array(record.get("rotation", (0, 0, 0, 1)), dtype=float),
                    scale=np.array(record.get("scale", (1, 1, 1)), dtype=float),
                    matrix=None if matrix is None else np.array(matrix, dtype=float).reshape(4, 4).T,
                )
            )
        scenes = self.json.get("scenes", [])
        roots = (
            scenes[self.json.get("scene", 0)].get("nodes", [])
            if scenes
            else [i for i, p in enumerate(parents) if p < 0]
        )
        everything = [i for i, p in enumerate(parents) if p < 0]
        return nodes, self._walk(records, roots, everything)

    def _walk(self, records: list, roots: list[int], everything: list[int]) -> list[int]:
        """Parents before children. Joints may lie outside the scene; they are evaluated, meshes outside it are not drawn."""
        order, seen = [], set()
        stack = list(reversed(roots))
        in_scene = True
        self.scene_nodes = set()
        while stack or in_scene:
            if not stack:
                in_scene = False
                stack = [i for i in everything if i not in seen]
                continue
            i = stack.pop()
            if i in seen:
                raise InputError(f"{self.path}: node {i} is its own ancestor or has two parents; export the file again")
            seen.add(i)
            order.append(i)
            if in_scene:
                self.scene_nodes.add(i)
            stack.extend(reversed(records[i].get("children", [])))
        if len(order) != len(records):
            raise InputError(f"{self.path}: its node tree has a cycle; export the file again")
        return order

    def _skin(self, record: dict, nodes: int) -> tuple[list[int], np.ndarray]:
        joints = [int(j) for j in record["joints"]]
        if not joints or max(joints) >= nodes or min(joints) < 0:
            raise InputError(f"{self.path}: a skin names joints that do not exist; export the file again")
        inverse = np.tile(np.eye(4), (len(joints), 1, 1))
        if "inverseBindMatrices" in record:
            inverse = self.accessor(record["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1).astype(float)
        return joints, inverse[: len(joints)]

    def _primitive(self, node: int, record: dict, mesh: dict, p: dict, materials: dict, skins: list) -> Primitive:
        attributes = p["attributes"]
        positions = self.accessor(attributes["POSITION"])
        count = len(positions)
        indices = (
            self.accessor(p["indices"], integer=True)[:, 0].astype(np.int64) if "indices" in p else np.arange(count)
        )
        indices = _triangles(indices, p.get("mode", 4))
        if node not in self.scene_nodes:
            indices = indices[:0]
        if len(indices) and int(indices.max()) >= count:
            raise InputError(
                f"{self.path}: mesh {mesh.get('name', '?')!r} indexes vertex {int(indices.max())} of {count}"
            )
        normals = self.accessor(attributes["NORMAL"]) if "NORMAL" in attributes else _smooth_normals(positions, indices)
        index = p.get("material")
        if index not in materials:
            materials[index] = self._material({} if index is None else self.json["materials"][index])
        material = materials[index]
        uvs = np.zeros((count, 2), np.float32)
        key = f"TEXCOORD_{material.uv_set}"
        if material.texture is not None and key in attributes:
            uvs = np.c_[self.accessor(attributes[key]), np.ones(count)] @ material.uv_transform.T
            uvs = uvs[:, :2].astype(np.float32)
        colors = np.ones((count, 4), np.float32)
        if "COLOR_0" in attributes:
            stored = self.accessor(attributes["COLOR_0"])
            colors[:, : stored.shape[1]] = stored
        morphs = []
        for target in p.get("targets", []):
            dv = self.accessor(target["POSITION"]) if "POSITION" in target else np.zeros_like(positions)
            morphs.append((dv, self.accessor(target["NORMAL"]) if "NORMAL" in target else None))
        morph_weights = np.array(record.get("weights", mesh.get("weights", [0.0] * len(morphs))), dtype=np.float32)
        joints = weights = skin = None
        if "skin" in record and "JOINTS_0" in attributes:
            skin = int(record["skin"])
            joints, weights = self._skinning(attributes, len(skins[skin][0]))
        return Primitive(
            node=node,
            name=record.get("name", mesh.get("name", "")),
            positions=positions,
            normals=normals,
            indices=indices,
            uvs=uvs,
            colors=colors,
            material=material,
            morphs=morphs,
            morph_weights=morph_weights,
            joints=joints,
            weights=weights,
            skin=skin,
        )

    def _skinning(self, attributes: dict, joint_count: int) -> tuple[np.ndarray, np.ndarray]:
        joints, weights, k = [], [], 0
        while f"JOINTS_{k}" in attributes and f"WEIGHTS_{k}" in attributes:
            joints.append(self.accessor(attributes[f"JOINTS_{k}"], integer=True).astype(np.int64))
            weights.append(self.accessor(attributes[f"WEIGHTS_{k}"]))
            k += 1
        joint, weight = np.concatenate(joints, 1), np.maximum(np.concatenate(weights, 1), 0)
        total = weight.sum(1, keepdims=True)
        weight = np.where(
            total > 1e-8, weight / np.maximum(total, 1e-8), np.eye(1, weight.shape[1], dtype=weight.dtype)
        )
        if int(np.where(weight > 0, joint, 0).max(initial=0)) >= joint_count:
            raise InputError(
                f"{self.path}: a mesh is bound to a joint that its skin does not have; export the file again"
            )
        return np.minimum(joint, joint_count - 1), weight

    def _material(self, record: dict) -> Material:
        pbr = record.get("pbrMetallicRoughness", {})
        extensions = record.get("extensions", {})
        specular = extensions.get("KHR_materials_pbrSpecularGlossiness", {})
        factor = pbr.get("baseColorFactor", specular.get("diffuseFactor", (1, 1, 1, 1)))
        out = Material(
            color=np.array(factor, dtype=np.float32),
            alpha_mode=record.get("alphaMode", "OPAQUE"),
            alpha_cutoff=float(record.get("alphaCutoff", 0.5)),
            unlit="KHR_materials_unlit" in extensions,
        )
        info = pbr.get("baseColorTexture", specular.get("diffuseTexture"))
        if info is not None:
            self._texture(info, out)
        return out

    def _texture(self, info: dict, out: Material) -> None:
        texture = self.json["textures"][info["index"]]
        if "source" not in texture:
            return
        image = self.json["images"][texture["source"]]
        if "bufferView" in image:
            data, start, length, _ = self.view(image["bufferView"])
            data = data[start : start + length]
        else:
            data = self._uri(image["uri"])
        try:
            with Image.open(io.BytesIO(data)) as picture:
                if max(picture.size) > MAX_TEXTURE_SIDE:
                    raise InputError(
                        f"{self.path}: a texture of {picture.size[0]} x {picture.size[1]} pixels; at most {MAX_TEXTURE_SIDE} a side"
                    )
                out.texture = np.asarray(picture.convert("RGBA"))
        except InputError:
            raise
        except Exception as error:  # Pillow raises many kinds for damaged images
            raise InputError(f"{self.path}: a texture cannot be decoded ({error}); export the file again") from error
        out.uv_set = int(info.get("texCoord", 0))
        sampler = self.json["samplers"][texture["sampler"]] if "sampler" in texture else {}
        out.wrap = (sampler.get("wrapS", 10497) != 33071, sampler.get("wrapT", 10497) != 33071)
        out.nearest = sampler.get("magFilter") == 9728
        transform = info.get("extensions", {}).get("KHR_texture_transform")
        if transform is not None:
            out.uv_set = int(transform.get("texCoord", out.uv_set))
            out.uv_transform = _uv_transform(transform)


def _uv_transform(record: dict) -> np.ndarray:
    (ox, oy), r, (sx, sy) = record.get("offset", (0, 0)), float(record.get("rotation", 0)), record.get("scale", (1, 1))
    c, s = np.cos(r), np.sin(r)
    return np.array([[sx * c, sy * s, ox], [-sx * s, sy * c, oy], [0, 0, 1]], dtype=np.float32)


def _triangles(indices: np.ndarray, mode: int) -> np.ndarray:
    """Flat triangle indices from lists (4), strips (5) and fans (6)."""
    if mode == 4:
        return indices[: len(indices) // 3 * 3]
    if len(indices) < 3:
        return indices[:0]
    i = np.arange(len(indices) - 2)
    if mode == 5:
        odd = i % 2
        return indices[np.stack([i, i + 1 + odd, i + 2 - odd], 1)].ravel()
    return indices[np.stack([np.zeros_like(i), i + 1, i + 2], 1)].ravel()


def _smooth_normals(positions: np.ndarray, indices: np.ndarray) -> np.ndarray:
    triangles = indices.reshape(-1, 3)
    a, b, c = (positions[triangles[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    normals = np.zeros_like(positions)
    for k in range(3):
        np.add.at(normals, triangles[:, k], face)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
