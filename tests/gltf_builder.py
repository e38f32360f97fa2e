"""Building small glTF files by hand, for the tests of the reader."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float32)
CUBE_FACES = np.array(
    [0, 1, 3, 0, 3, 2, 4, 6, 7, 4, 7, 5, 0, 4, 5, 0, 5, 1, 2, 3, 7, 2, 7, 6, 0, 2, 6, 0, 6, 4, 1, 5, 7, 1, 7, 3],
    np.uint16,
)


class Glb:
    """A minimal GLB builder."""

    def __init__(self) -> None:
        self.binary = bytearray()
        self.document: dict = {
            "asset": {"version": "2.0"},
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0}],
            "meshes": [{"primitives": [{"attributes": {}}]}],
            "accessors": [],
            "bufferViews": [],
        }

    def view(self, data: bytes) -> int:
        self.binary += b"\0" * (-len(self.binary) % 4)
        self.document["bufferViews"].append({"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data)})
        self.binary += data
        return len(self.document["bufferViews"]) - 1

    def accessor(self, array: np.ndarray, kind: str, **extra) -> int:
        component = {"float32": 5126, "uint8": 5121, "uint16": 5123, "int16": 5122, "uint32": 5125}[array.dtype.name]
        record = {
            "bufferView": self.view(array.tobytes()),
            "componentType": component,
            "count": len(array),
            "type": kind,
        }
        self.document["accessors"].append(record | extra)
        return len(self.document["accessors"]) - 1

    @property
    def primitive(self) -> dict:
        return self.document["meshes"][0]["primitives"][0]

    def cube(self, scale: float = 1.0) -> Glb:
        self.primitive["attributes"]["POSITION"] = self.accessor(CUBE * np.float32(scale), "VEC3")
        self.primitive["attributes"]["NORMAL"] = self.accessor(CUBE / np.float32(3**0.5), "VEC3")
        self.primitive["indices"] = self.accessor(CUBE_FACES, "SCALAR")
        return self

    def animate(
        self, path: str, times: list[float], values: np.ndarray, kind: str, interpolation: str = "LINEAR", node: int = 0
    ) -> Glb:
        clock = self.accessor(np.array(times, np.float32), "SCALAR")
        sampler = {
            "input": clock,
            "output": self.accessor(values.astype(np.float32), kind),
            "interpolation": interpolation,
        }
        self.document["animations"] = [
            {
                "name": "Rig|Move",
                "samplers": [sampler],
                "channels": [{"sampler": 0, "target": {"node": node, "path": path}}],
            }
        ]
        return self

    def skin(self) -> Glb:
        """Every vertex follows node 1, beside the mesh."""
        self.primitive["attributes"] |= {
            "JOINTS_0": self.accessor(np.zeros((8, 4), np.uint8), "VEC4"),
            "WEIGHTS_0": self.accessor(np.tile(np.float32([1, 0, 0, 0]), (8, 1)), "VEC4"),
        }
        self.document["nodes"] = [{"mesh": 0, "skin": 0}, {"name": "joint"}]
        self.document["skins"] = [{"joints": [1]}]
        return self

    def picture(self, data: bytes) -> Glb:
        """A base colour texture from the bytes of an image file."""
        if "TEXCOORD_0" not in self.primitive["attributes"]:
            uvs = np.tile(np.float32([0.25, 0.25]), (8, 1))
            self.primitive["attributes"]["TEXCOORD_0"] = self.accessor(uvs, "VEC2")
        self.document |= {"images": [{"bufferView": self.view(data)}], "textures": [{"source": 0}]}
        self.document["materials"] = [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}]
        self.primitive["material"] = 0
        return self

    def save(self, path: Path) -> Path:
        path.write_bytes(self.data())
        return path

    def data(self) -> bytes:
        """The GLB's bytes."""
        self.document.setdefault("buffers", [{"byteLength": len(self.binary)}])
        return pack(self.document, bytes(self.binary))


def world(points: np.ndarray) -> np.ndarray:
    return np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=1)


def parse(data: bytes) -> tuple[dict, bytes]:
    """(JSON, binary chunk) of a sound GLB."""
    (size,) = struct.unpack_from("<I", data, 12)
    return json.loads(data[20 : 20 + size]), data[28 + size :]


def pack(document: dict | bytes, binary: bytes) -> bytes:
    """A GLB of this JSON, given as it is or as text, and this binary chunk."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    head = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(binary))
    return head + struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary


def png(width: int, height: int, *, side: int | None = None) -> bytes:
    """A red PNG; with `side`, its header claims side x side pixels."""
    out = io.BytesIO()
    Image.new("RGB", (width, height), (255, 0, 0)).save(out, format="PNG")
    data = bytearray(out.getvalue())
    if side is not None:
        struct.pack_into(">II", data, 16, side, side)
        struct.pack_into(">I", data, 29, zlib.crc32(bytes(data[12:29])))
    return bytes(data)


def meshopt_compressed(data: bytes, *, filters: bool = False, fallback: bool = False) -> bytes:
    """A GLB whose vertex, index and key views are compressed by the library's own encoder.

    `filters` stores unit quaternions and float triples through the extension's filters (with a small loss); `fallback`
    marks the extension as not required and keeps the plain buffer.
    """
    import meshopt

    document, plain = parse(data)
    packed = bytearray()
    by_view = {a["bufferView"]: a for a in document["accessors"] if "bufferView" in a and "sparse" not in a}
    triangles = {p["indices"] for m in document["meshes"] for p in m["primitives"] if "indices" in p}
    rotations = {
        a["samplers"][c["sampler"]]["output"]
        for a in document.get("animations", [])
        for c in a["channels"]
        if c["target"]["path"] == "rotation"
    }
    for number, view in enumerate(document["bufferViews"]):
        accessor = by_view.get(number)
        if accessor is None:
            continue
        index = document["accessors"].index(accessor)
        array = np.frombuffer(plain, np.uint8, view["byteLength"], view["byteOffset"]).reshape(accessor["count"], -1)
        record: dict = {"buffer": 1, "byteOffset": len(packed), "count": accessor["count"], "mode": "ATTRIBUTES"}
        if index in triangles:
            kind = {5121: None, 5123: np.uint16, 5125: np.uint32}[accessor["componentType"]]
            if kind is None or accessor["count"] % 3:
                continue
            record |= {"mode": "TRIANGLES", "byteStride": np.dtype(kind).itemsize}
            encoded = meshopt.encode_gltf_buffer(array.reshape(-1).view(kind), "TRIANGLES")
        elif array.shape[1] % 4:
            continue
        elif filters and index in rotations:
            record |= {"byteStride": 8, "filter": "QUATERNION"}
            encoded = meshopt.encode_gltf_buffer(
                meshopt.encode_filter_quat(array.view(np.float32), 8, 16), "ATTRIBUTES"
            )
            accessor |= {"componentType": 5122, "normalized": True}
        elif filters and accessor["componentType"] == 5126 and accessor["type"] == "VEC3":
            record |= {"byteStride": 12, "filter": "EXPONENTIAL"}
            encoded = meshopt.encode_gltf_buffer(meshopt.encode_filter_exp(array.view(np.float32), 20), "ATTRIBUTES")
        else:
            record |= {"byteStride": array.shape[1]}
            encoded = meshopt.encode_gltf_buffer(array, "ATTRIBUTES")
        record["byteLength"] = len(encoded)
        packed += encoded + b"\0" * (-len(encoded) % 4)
        view["extensions"] = {"EXT_meshopt_compression": record}
        if not fallback:
            view |= {"buffer": 0 if number not in by_view else 2, "byteOffset": 0}
    document["extensionsUsed"] = ["EXT_meshopt_compression"]
    if not fallback:
        document["extensionsRequired"] = ["EXT_meshopt_compression"]
    uri = "data:application/octet-stream;base64," + base64.b64encode(packed).decode()
    spare = {"byteLength": len(plain), "extensions": {"EXT_meshopt_compression": {"fallback": True}}}
    document["buffers"] = [{"byteLength": len(plain)}, {"byteLength": len(packed), "uri": uri}, spare]
    return pack(document, plain)


def draco_compressed(data: bytes, *, fallback: bool = False) -> bytes:
    """A GLB whose triangle meshes are Draco streams by the library's own encoder; `fallback` keeps the plain arrays too."""
    import DracoPy

    document, plain = parse(data)
    binary = bytearray(plain)

    def array(index: int) -> np.ndarray:
        a = document["accessors"][index]
        view = document["bufferViews"][a["bufferView"]]
        kind = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}[a["componentType"]]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[a["type"]]
        return np.frombuffer(plain, kind, a["count"] * width, view["byteOffset"]).reshape(-1, width)

    for mesh in document["meshes"]:
        for p in mesh["primitives"]:
            others = {k: name for k, name in enumerate(p["attributes"]) if name != "POSITION"}
            generic = {k: np.ascontiguousarray(array(p["attributes"][name])) for k, name in others.items()}
            stream = DracoPy.encode(
                np.ascontiguousarray(array(p["attributes"]["POSITION"])),
                array(p["indices"]).reshape(-1, 3).astype(np.uint32),
                preserve_order=True,
                quantization_bits=16,
                generic_attributes=generic or None,
            )
            decoded = DracoPy.decode(stream)
            position = next(a["unique_id"] for a in decoded.attributes if a["attribute_type"] == 0)
            binary += b"\0" * (-len(binary) % 4)
            view = {"buffer": 0, "byteOffset": len(binary), "byteLength": len(stream)}
            document["bufferViews"].append(view)
            binary += stream
            names = {name: k for k, name in others.items()} | {"POSITION": position}
            record = {"bufferView": len(document["bufferViews"]) - 1, "attributes": names}
            p["extensions"] = {"KHR_draco_mesh_compression": record}
            if not fallback:
                for index in (*p["attributes"].values(), p["indices"]):
                    document["accessors"][index].pop("bufferView", None)
    document["extensionsUsed"] = ["KHR_draco_mesh_compression"]
    if not fallback:
        document["extensionsRequired"] = ["KHR_draco_mesh_compression"]
    document["buffers"] = [{"byteLength": len(binary)}]
    return pack(document, bytes(binary))
