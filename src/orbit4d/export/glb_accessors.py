"""Numbers in a binary glTF: appending vertex attributes, and reading them back from files that nobody vouches for."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field

import numpy as np

from ..assets.glb_writer import pack_glb
from ..errors import InputError
from ..files import parse_json

COMPONENTS = {5120: "int8", 5121: "uint8", 5122: "<i2", 5123: "<u2", 5126: "<f4"}
_CODES = {np.dtype(name).name: code for code, name in COMPONENTS.items()}
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
MAX_JSON = 4 * 2**20
_MAGIC, _JSON, _BIN = 0x46546C67, 0x4E4F534A, 0x004E4942


@dataclass
class Buffer:
    """Accessors and the bytes behind them, in the order of adding."""

    data: bytearray = field(default_factory=bytearray)
    views: list[dict] = field(default_factory=list)
    accessors: list[dict] = field(default_factory=list)

    def attribute(self, values: np.ndarray, *, normalized: bool = False, bounds: bool = False) -> int:
        """The accessor of per-vertex `values` (n, c), each element padded to four bytes as glTF asks."""
        n, width = values.shape
        stride = -(-width * values.itemsize // 4) * 4
        padded = np.zeros((n, stride // values.itemsize), dtype=values.dtype)
        padded[:, :width] = values
        accessor = self._accessor(values, padded.tobytes(), {"byteStride": stride, "target": 34962})
        if normalized:
            accessor["normalized"] = True
        if bounds:
            accessor |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def samples(self, values: np.ndarray) -> int:
        """The accessor of an animation's `values` (m, 1), tightly packed."""
        accessor = self._accessor(values, values.tobytes(), {})
        self.accessors.append(accessor | {"min": values.min(0).tolist(), "max": values.max(0).tolist()})
        return len(self.accessors) - 1

    def zeros(self, count: int, width: int, dtype: type, *, bounds: bool = False) -> int:
        """An accessor of zeros, which takes no bytes."""
        kind = next(name for name, w in WIDTHS.items() if w == width)
        accessor = {"componentType": _CODES[np.dtype(dtype).name], "count": count, "type": kind}
        self.accessors.append(accessor | ({"min": [0] * width, "max": [0] * width} if bounds else {}))
        return len(self.accessors) - 1

    def _accessor(self, values: np.ndarray, data: bytes, layout: dict) -> dict:
        self.data += b"\0" * (-len(self.data) % 4)
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)} | layout)
        self.data += data
        kind = next(name for name, width in WIDTHS.items() if width == values.shape[1])
        code = _CODES[values.dtype.name]
        return {"bufferView": len(self.views) - 1, "componentType": code, "count": len(values), "type": kind}


def write_glb(document: dict, buffer: Buffer) -> bytes:
    """The bytes of a .glb: `document` with the buffer's views and accessors, and the buffer itself."""
    whole = document | {
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }
    return pack_glb(whole, bytes(buffer.data))


def read_glb(data: bytes, *, source: str) -> tuple[dict, bytes]:
    """The JSON document and the binary chunk. Raises InputError for anything that is not a whole .glb."""
    if len(data) < 28:
        raise InputError(f"{source}: {len(data)} bytes, too few for a .glb; the file is damaged or something else")
    magic, version, length, size, kind = struct.unpack_from("<IIIII", data)
    if (magic, version, kind) != (_MAGIC, 2, _JSON) or length != len(data) or size > min(MAX_JSON, len(data) - 28):
        raise InputError(f"{source}: expected a whole binary glTF 2.0 (.glb), got something else or a damaged one")
    document = parse_json(data[20 : 20 + size], source=f"{source}, JSON chunk")
    size_bin, kind_bin = struct.unpack_from("<II", data, 20 + size)
    if kind_bin != _BIN or 28 + size + size_bin != len(data) or not isinstance(document, dict):
        raise InputError(f"{source}: its chunks do not fill the file; it is damaged, write it again")
    return document, data[28 + size :]


def read_accessor(document: dict, binary: bytes, index: object, *, shape: tuple[int, int], name: str) -> np.ndarray:
    """The values of accessor `index` as float32 of `shape` (n, c). Raises ValueError or LookupError where it cannot be that."""
    accessor = _entry(document, "accessors", index)
    kind = COMPONENTS[accessor["componentType"]]
    if accessor["count"] != shape[0] or WIDTHS[accessor["type"]] != shape[1] or "sparse" in accessor:
        raise ValueError(f"{name} must have {shape[0]} elements of {shape[1]} components")
    if "bufferView" not in accessor:
        return np.zeros(shape, np.float32)
    view = _entry(document, "bufferViews", accessor["bufferView"])
    item = np.dtype(kind).itemsize
    stride = view.get("byteStride", shape[1] * item)
    start, size = view.get("byteOffset", 0), view["byteLength"]
    whole = all(type(x) is int and x >= 0 for x in (stride, start, size))
    if not whole or stride < shape[1] * item or stride > 252 or accessor.get("byteOffset", 0) != 0:
        raise ValueError(f"{name} has a layout that is not read")
    if start + size > len(binary) or (shape[0] - 1) * stride + shape[1] * item > size:
        raise ValueError(f"{name} reaches beyond the data")
    values = np.ndarray(shape, kind, binary, start, (stride, item)).astype(np.float32)
    if accessor.get("normalized"):
        values = np.maximum(values / np.iinfo(kind).max, -1)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds values that are not finite")
    return values


def _entry(document: dict, name: str, index: object) -> dict:
    items = document.get(name)
    if type(index) is not int or not isinstance(items, list) or not 0 <= index < len(items):
        raise ValueError(f"{name} has no entry {index}")
    if not isinstance(items[index], dict):
        raise ValueError(f"{name}[{index}] must be an object")
    return items[index]


def numbers(values: object, count: int, *, name: str, largest: float = 1e9) -> list[float]:
    """`values` as `count` finite floats. Raises ValueError otherwise."""
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"{name} must be {count} numbers")
    if not all(type(v) in (int, float) and math.isfinite(v) and abs(v) <= largest for v in values):
        raise ValueError(f"{name} must be finite numbers of at most {largest:g}")
    return [float(v) for v in values]
