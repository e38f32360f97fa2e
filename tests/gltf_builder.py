"""Building small glTF files by hand, for the tests of the reader."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np

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
        self.document.setdefault("buffers", [{"byteLength": len(self.binary)}])
        text = json.dumps(self.document).encode()
        text += b" " * (-len(text) % 4)
        binary = bytes(self.binary) + b"\0" * (-len(self.binary) % 4)
        head = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(binary))
        path.write_bytes(
            head + struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
        )
        return path


def world(points: np.ndarray) -> np.ndarray:
    return np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=1)
