"""Compressed geometry: meshopt buffer views and Draco primitives, decoded by the libraries of the extra `compressed`.

Both decoders are native code that reads whatever the file holds. What can be checked from outside is checked first: the
sizes that they will allocate, and the counts in a Draco stream's own header against those of the glTF accessors. What a
damaged payload does inside the decoder cannot be guarded here; whoever reads files from strangers should do so in a process
of its own, as the batch renderer does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .gltf_text import word

if TYPE_CHECKING:
    from .gltf_container import Container

DRACO = "KHR_draco_mesh_compression"
MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")
MAX_DRACO_ELEMENTS = 8_000_000
"""Points or faces of one Draco primitive."""
_FILTER_STRIDES = {"NONE": None, "OCTAHEDRAL": (4, 8), "QUATERNION": (8,), "EXPONENTIAL": None, "COLOR": (4, 8)}


def has_library(extension: str) -> bool:
    """Whether this extension can be decoded here."""
    try:
        _library(extension)
    except ImportError:
        return False
    return True


def _library(extension: str) -> Any:
    if extension == DRACO:
        import DracoPy

        return DracoPy
    import meshopt  # pyright: ignore[reportMissingImports]

    return meshopt


def _require(file: Container, extension: str) -> Any:
    try:
        return _library(extension)
    except ImportError as error:
        name = "Draco" if extension == DRACO else "meshopt"
        raise InputError(
            f"{file.path}: uses {name} compression ({extension}), whose decoder is not installed; "
            "`pip install orbit4d[compressed]`, or decompress it (`gltf-transform copy IN OUT`)"
        ) from error


def meshopt_record(view: dict) -> tuple[str, dict] | None:
    """(extension, its record) of a buffer view, or None."""
    extensions = view.get("extensions", {})
    return next(((name, extensions[name]) for name in MESHOPT if name in extensions), None)


def decode_view(file: Container, extension: str, record: dict, source: memoryview) -> bytes:
    """The plain bytes of a meshopt buffer view: count x byteStride. `source` is the buffer that the extension names.

    Raises InputError for counts, strides, modes or filters that the extension does not allow, and for damaged data.
    """
    library = _require(file, extension)
    start, length = int(record.get("byteOffset", 0)), int(record["byteLength"])
    count, stride = int(record["count"]), int(record["byteStride"])
    mode, kind = record["mode"], record.get("filter", "NONE")
    if start < 0 or length < 0 or start + length > len(source):
        raise InputError(f"{file.path}: meshopt data reaches past its buffer ({start}+{length} > {len(source)})")
    strides = _FILTER_STRIDES.get(kind) if isinstance(kind, str) else ()
    allowed = {
        "ATTRIBUTES": 0 < stride <= 256 and stride % 4 == 0 and (strides is None or stride in strides),
        "TRIANGLES": stride in (2, 4) and count % 3 == 0 and kind == "NONE",
        "INDICES": stride in (2, 4) and kind == "NONE",
    }
    if kind not in _FILTER_STRIDES or not allowed.get(mode, False) or count < 0:
        raise InputError(
            f"{file.path}: meshopt data of {word(count)} elements with byteStride {word(stride)}, mode {word(mode)} and "
            f"filter {word(kind)}; the extension allows no such combination, export the file again"
        )
    file.spend(2 * count * stride, f"meshopt data of {word(count)} elements")
    if not count:
        return b""
    data = np.frombuffer(source, np.uint8)[start : start + length].copy()
    try:
        out = library.decode_gltf_buffer(data, count, stride, mode, kind)
    except (ValueError, RuntimeError, MemoryError) as error:
        raise InputError(f"{file.path}: meshopt data is damaged ({word(error)}); export the file again") from error
    out = np.ascontiguousarray(out)
    if out.nbytes != count * stride:
        raise InputError(f"{file.path}: meshopt data gave {out.nbytes} bytes, expected {count * stride}")
    return out.tobytes()


class DracoMesh:
    """A decoded Draco primitive: `indices` (3 m,) and attributes (n, c) by the name that glTF gives them."""

    def __init__(self, file: Container, record: dict, *, indices: int, points: int) -> None:
        """`indices` and `points` are the counts of the primitive's accessors. Raises InputError for damaged data."""
        library = _require(file, DRACO)
        data, start, length, _ = file.view(record["bufferView"])
        stream = bytes(data[start : start + length])
        faces, vertices = _draco_counts(file, stream)
        if 3 * faces != indices or not 0 <= vertices <= 4 * points + 256 or max(faces, points) > MAX_DRACO_ELEMENTS:
            raise InputError(
                f"{file.path}: Draco data of {faces} faces and {vertices} points in a primitive of {word(indices)} indices and "
                f"{word(points)} vertices; these must agree and be at most {MAX_DRACO_ELEMENTS}"
            )
        wanted = record["attributes"]
        file.spend(64 * (points + vertices) * max(len(wanted), 1) + 24 * indices, "Draco data")
        try:
            mesh = library.decode(stream)
            found = {a["unique_id"]: np.asarray(a["data"]) for a in mesh.attributes}
            self.indices = np.asarray(mesh.faces, dtype=np.int64).reshape(-1)
        except Exception as error:  # DracoPy raises several kinds of its own
            raise InputError(f"{file.path}: Draco data is damaged ({word(error)}); export the file again") from error
        self.attributes = {str(name): found[number] for name, number in wanted.items() if number in found}
        missing = [name for name, number in wanted.items() if number not in found]
        if missing or any(len(a) != points for a in self.attributes.values()) or len(self.indices) != indices:
            raise InputError(
                f"{file.path}: Draco data lacks {word(', '.join(missing)) or 'vertices'} that its primitive names; "
                "export the file again"
            )


def _draco_counts(file: Container, stream: bytes) -> tuple[int, int]:
    """(faces, points or encoded vertices) from the head of a Draco 2.2 triangle mesh, by the published bitstream."""
    if len(stream) < 14 or stream[:7] != b"DRACO\x02\x02" or stream[7] != 1 or stream[8] > 1:
        raise InputError(
            f"{file.path}: expected a Draco 2.2 triangle mesh, got {word(stream[:9].hex())}; export it again"
        )
    if int.from_bytes(stream[9:11], "little") & 0x8000:
        raise InputError(f"{file.path}: its Draco data carries metadata, which glTF does not use; export it again")
    edgebreaker = stream[8] == 1
    first, position = _varint(stream, 11 + edgebreaker)  # Edgebreaker: the kind of traversal comes first
    second, _ = _varint(stream, position)
    return (second, first) if edgebreaker else (first, second)


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for k in range(5):
        if position + k >= len(data):
            break
        value |= (data[position + k] & 0x7F) << 7 * k
        if data[position + k] < 0x80:
            return value, position + k + 1
    return 1 << 40, position
