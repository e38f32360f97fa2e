"""3DGS PLY files of any program, read as data: header bounded, every count checked against the file's size."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..splat.gaussians import Gaussians
from ..splat.turning import Up, check_up, turned, world_from
from .checked import check_count, checked, open_bytes

UP_COMMENT = "orbit4d up "
"""What our own files say about their axes; others say nothing, and are taken as z up unless the caller knows better."""
MAX_HEADER = 2**16
MAX_TEXT = 512 * 2**20
_KIND = "a .ply of 3D Gaussians"
_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4", "float32": "f4"},
    **{"double": "f8", "float64": "f8"},
}
_FORMATS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}
_REST = {0: 1, 9: 4, 24: 9, 45: 16}
"""Number of f_rest properties -> coefficients a channel."""


@dataclass(kw_only=True)
class _Element:
    name: str
    count: int
    properties: list[tuple[str, str]]
    """(name, numpy type); the type of a list is ""."""


@dataclass(kw_only=True)
class _Header:
    order: str
    elements: list[_Element]
    size: int
    up: Up


def read_ply(path: str | Path, *, up: Up | None = None) -> Gaussians:
    """Read a 3DGS PLY (binary or text) into world axes: z up.

    Spherical harmonics of degree 0 to 3 are kept. `up` is the axis that points up in the file; None takes what the file
    says (ours do), else z. Raises InputError, one line, for anything that is not a whole file of finite Gaussians.
    """
    path = Path(path)
    data = open_bytes(path, kind=_KIND)
    header = _parse_header(data, path)
    table = _vertices(data, header, path)
    names = table.dtype.names or ()
    rest = sum(name.startswith("f_rest_") for name in names)
    wanted = ["x", "y", "z", *[f"f_dc_{i}" for i in range(3)], "opacity"]
    wanted += [
        *[f"scale_{i}" for i in range(3)],
        *[f"rot_{i}" for i in range(4)],
        *[f"f_rest_{i}" for i in range(rest)],
    ]
    missing = [name for name in wanted if name not in names]
    if missing or rest not in _REST:
        raise InputError(f"{path}: expected {_KIND}, {_what_else(names, missing, rest)}")

    def stack(first: str, count: int) -> np.ndarray:
        return np.stack([table[f"{first}_{i}"].astype(np.float32) for i in range(count)], axis=-1)

    dc = stack("f_dc", 3)[:, None]
    if rest:
        higher = stack("f_rest", rest).reshape(len(table), 3, -1).transpose(0, 2, 1)
        dc = np.concatenate([dc, higher], axis=1)
    with np.errstate(over="ignore"):  # what overflows float32 is refused below
        gaussians = checked(
            path=path,
            means=np.stack([table[axis].astype(np.float32) for axis in "xyz"], axis=-1),
            quats=stack("rot", 4),
            log_scales=stack("scale", 3),
            logit_opacities=table["opacity"].astype(np.float32),
            sh=dc,
        )
    return turned(gaussians, world_from(up or header.up))


def _what_else(names: tuple[str, ...], missing: list[str], rest: int) -> str:
    if "packed_position" in names:
        return "got a compressed one; unpack it first (`splat-transform IN.compressed.ply OUT.ply`)"
    if not missing:
        return f"got {rest} f_rest properties, expected 0, 9, 24 or 45"
    if "f_dc_0" not in names:
        return f"got points or a mesh: it has no {', '.join(missing[:3])}; convert it to Gaussians first"
    return f"it has no {', '.join(missing[:4])}; export it again in the 3DGS convention"


def _parse_header(data: np.ndarray, path: Path) -> _Header:
    head = bytes(data[:MAX_HEADER])
    end = head.find(b"end_header")
    stop = head.find(b"\n", end)
    if not head.startswith((b"ply\n", b"ply\r")) or end < 0 or stop < 0:
        raise InputError(f"{path}: expected {_KIND}, but it has no PLY header; check the file")
    out = _Header(order="?", elements=[], size=stop + 1, up="z")
    for line in head[:end].decode("latin-1").splitlines()[1:]:
        words = line.split()
        match words:
            case ["format", name, _] if name in _FORMATS:
                out.order = _FORMATS[name]
            case ["element", name, count] if count.isdecimal() and len(count) < 13 and len(out.elements) < 64:
                out.elements.append(_Element(name=name, count=int(count), properties=[]))
            case ["property", "list", _, _, name] if out.elements:
                out.elements[-1].properties.append((name, ""))
            case ["property", kind, name] if kind in _TYPES and out.elements:
                out.elements[-1].properties.append((name, _TYPES[kind]))
            case ["comment" | "obj_info", *_] | []:
                if line.startswith(f"comment {UP_COMMENT}"):
                    out.up = check_up(
                        line.removeprefix(f"comment {UP_COMMENT}").strip(), argument=f"{path}: its header"
                    )
            case _:
                raise InputError(f"{path}: its PLY header has a line that cannot be read: {line.strip()!r:.60}")
    if out.order == "?":
        raise InputError(f"{path}: its PLY header names no known format; expected {', '.join(_FORMATS)}")
    return out


def _vertices(data: np.ndarray, header: _Header, path: Path) -> np.ndarray:
    """The table of the element `vertex`, a field for each property."""
    offset = header.size
    for element in header.elements:
        names = [name for name, _ in element.properties]
        lists = any(not kind for _, kind in element.properties)
        if element.name == "vertex":
            check_count(element.count, path=path)
            if lists or len(set(names)) < len(names) or not names:
                raise InputError(f"{path}: expected {_KIND}, got lists (or one name twice) among its properties")
            return _table(data[offset:], header, element, path)
        if lists or not header.order:
            break
        offset += element.count * sum(np.dtype(kind).itemsize for _, kind in element.properties)
    raise InputError(f"{path}: expected {_KIND}, got a PLY without an element 'vertex' that can be found")


def _table(body: np.ndarray, header: _Header, element: _Element, path: Path) -> np.ndarray:
    count, dtype = element.count, np.dtype([(name, header.order + kind) for name, kind in element.properties])
    if header.order:
        if len(body) < count * dtype.itemsize:
            raise InputError(
                f"{path}: truncated: its header promises {count} Gaussians of {dtype.itemsize} bytes, "
                f"{len(body)} bytes follow; copy or export it again"
            )
        return np.frombuffer(body[: count * dtype.itemsize], dtype=dtype)
    if len(body) > MAX_TEXT:
        raise InputError(f"{path}: a text PLY of more than {MAX_TEXT >> 20} MiB; export it as binary")
    try:
        values = np.loadtxt(io.BytesIO(body.tobytes()), dtype=np.float64, max_rows=count, ndmin=2, comments=None)
    except ValueError as error:
        raise InputError(f"{path}: its rows are not numbers ({str(error)[:80]}); export it again") from error
    if values.shape != (count, len(dtype.names or ())):
        raise InputError(
            f"{path}: truncated: its header promises {count} rows of {len(element.properties)} numbers, got "
            f"{' x '.join(map(str, values.shape))}; export it again"
        )
    table = np.empty(count, dtype=[(name, "f8") for name, _ in element.properties])
    for (name, _), column in zip(element.properties, values.T, strict=True):
        table[name] = column
    return table
