"""The chunks and accessors of a binary glTF held in memory, from files that nobody vouches for."""

from __future__ import annotations

import math
import struct

import numpy as np

from ..errors import InputError
from ..files import parse_json

COMPONENTS = {5120: "int8", 5121: "uint8", 5122: "<i2", 5123: "<u2", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
MAX_JSON = 4 * 2**20
_MAGIC, _JSON, _BIN = 0x46546C67, 0x4E4F534A, 0x004E4942


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
