"""The container of a glTF 2.0 file: chunks, buffers, views and accessors, every byte range checked before it is read."""

from __future__ import annotations

import base64
import binascii
import struct
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from ..errors import InputError
from ..files import parse_json
from .gltf_compressed import DRACO, MESHOPT, decode_view, has_library, meshopt_record
from .gltf_text import word

MAX_FILE = 512 * 2**20
MAX_JSON = 64 * 2**20
MAX_JSON_VALUES = 3_000_000
"""Each value of a parsed document takes 30 to 100 bytes and some time, however short its text."""
MAX_DECODED = 1536 * 2**20
"""Bytes of decoded accessors and textures of one file: many accessors may name the same few bytes."""
_COMPONENTS = {5120: np.int8, 5121: np.uint8, 5122: np.int16, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_SHAPES = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
GAUSSIANS = "KHR_gaussian_splatting"
_UNDERSTOOD = {
    GAUSSIANS,
    "KHR_mesh_quantization",
    "KHR_texture_transform",
    "KHR_node_visibility",
    "EXT_mesh_gpu_instancing",
    "EXT_texture_webp",
    "EXT_texture_avif",
    "KHR_lights_punctual",
    "KHR_animation_pointer",
    "KHR_xmp_json_ld",
    "EXT_lights_image_based",
    DRACO,
    *MESHOPT,
}
"""Required extensions that are read, or that leave the geometry as it is; so do all KHR_materials_*. Gaussians are read by
`imports.glb`; who draws meshes refuses files that are to be read with them."""


class Container:
    """A parsed .glb or .gltf: its JSON and, on demand, the arrays it names.

    Raises InputError (one line, with the path) for whatever is missing, truncated, too large or outside its buffer.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise InputError(f"{path}: no such file; expected an animated .glb or .gltf")
        if path.stat().st_size > MAX_FILE:
            raise InputError(f"{path}: larger than {MAX_FILE >> 20} MiB; decimate the mesh or its textures")
        data = path.read_bytes()
        self.chunk: memoryview | None = None
        if data[:4] == b"glTF":
            self.json = self._parse_glb(data)
        elif path.suffix.lower() == ".gltf":
            self.json = self._parse_json(data)
        else:
            raise InputError(f"{path}: expected a glTF file (.glb or .gltf), but it does not start with 'glTF'")
        asset = self.json.get("asset", {})
        version, least = word(asset.get("version", "none")), word(asset.get("minVersion", "2.0"))
        if version[:1] != "2" or least != "2.0":
            raise InputError(
                f"{path}: expected glTF 2.0, got version {version!r} that needs {least!r}; export it as glTF 2.0"
            )
        self.required = [word(name) for name in self.json.get("extensionsRequired", [])]
        self._check_extensions()
        self.buffers: dict[int, memoryview] = {}
        self._unpacked: dict[int, memoryview] = {}
        self.decoded = 0

    def _check_extensions(self) -> None:
        for extension in self.required:
            if extension == "KHR_texture_basisu":
                raise InputError(
                    f"{self.path}: its textures use Basis Universal ({extension}), which is not read; "
                    "convert them to PNG or JPEG first (`gltf-transform png IN OUT`)"
                )
            if extension not in _UNDERSTOOD and not extension.startswith("KHR_materials_"):
                raise InputError(
                    f"{self.path}: requires the extension {extension!r}, which is not read; export without it"
                )

    def decodes(self, extension: str) -> bool:
        """Whether compressed data is to be decoded, rather than read from the file's uncompressed fallback."""
        return extension in self.required or has_library(extension)

    def _parse_glb(self, data: bytes) -> dict:
        if len(data) < 20:
            raise InputError(f"{self.path}: truncated: {len(data)} bytes, a GLB has at least 20")
        _, version, length = struct.unpack_from("<4sII", data)
        if version != 2 or length > len(data):
            raise InputError(
                f"{self.path}: truncated or wrong version: header says {length} bytes of glTF {version}, "
                f"file has {len(data)}; export the file again"
            )
        offset, document, whole = 12, None, memoryview(data)
        while offset + 8 <= length:
            size, kind = struct.unpack_from("<I4s", data, offset)
            if offset + 8 + size > length:
                raise InputError(f"{self.path}: truncated: a chunk of {size} bytes reaches past the end of the file")
            body = whole[offset + 8 : offset + 8 + size]
            if kind == b"JSON" and document is None:
                document = self._parse_json(bytes(body))
            elif kind == b"BIN\0" and self.chunk is None:
                self.chunk = body
            offset += 8 + size
        if document is None:
            raise InputError(f"{self.path}: a GLB without a JSON chunk; export the file again")
        return document

    def _parse_json(self, data: bytes) -> dict:
        if len(data) > MAX_JSON:
            raise InputError(f"{self.path}: {len(data) >> 20} MiB of JSON, at most {MAX_JSON >> 20} are read; use .glb")
        if data.count(b",") + data.count(b"[") + data.count(b"{") > MAX_JSON_VALUES:
            raise InputError(
                f"{self.path}: its JSON holds more than {MAX_JSON_VALUES} values; use accessors for arrays"
            )
        document = parse_json(data, source=self.path)
        if not isinstance(document, dict):
            raise InputError(f"{self.path}: expected a JSON object, got {type(document).__name__}")
        return document

    def spend(self, size: int, what: str) -> None:
        """Count `size` decoded bytes. Raises InputError when the file would take more than MAX_DECODED in memory."""
        self.decoded += size
        if self.decoded > MAX_DECODED:
            raise InputError(
                f"{self.path}: needs more than {MAX_DECODED >> 20} MiB of memory (at {what}); decimate the mesh or its textures"
            )

    def record(self, kind: str, index: Any) -> dict:
        """Entry `index` of the document's list `kind`. Raises InputError when there is none."""
        records = self.json.get(kind, [])
        if not isinstance(records, list) or not isinstance(index, int) or not 0 <= index < len(records):
            raise InputError(
                f"{self.path}: refers to {kind}[{word(index)}], of {len(records)}; the file is damaged, export it again"
            )
        if not isinstance(records[index], dict):
            raise InputError(
                f"{self.path}: {kind}[{index}] is {word(records[index])}, expected an object; export it again"
            )
        return records[index]

    def uri(self, uri: Any) -> bytes:
        """The bytes of a data URI, or of a file in the same folder. Nothing is fetched from anywhere."""
        if not isinstance(uri, str):
            raise InputError(f"{self.path}: a URI is {word(uri)}, expected a file name; export the file again")
        if uri[:5].lower() == "data:":
            self.spend(len(uri), "a data URI")
            try:
                return base64.b64decode(uri[uri.find(",") + 1 :], validate=True)
            except (binascii.Error, ValueError) as error:
                raise InputError(f"{self.path}: a data URI is not valid base64; export the file again") from error
        shown = word(uri)
        if "://" in uri[:40]:
            raise InputError(f"{self.path}: refers to {shown!r}; nothing is downloaded, put the file beside it")
        try:
            target, folder = (self.path.parent / unquote(uri)).resolve(), self.path.parent.resolve()
            inside = target.is_relative_to(folder)
            found = inside and target.is_file() and target.stat().st_size <= MAX_FILE
        except (OSError, RuntimeError, ValueError) as error:  # too long, a loop of links, a null byte
            raise InputError(
                f"{self.path}: {shown!r} cannot be a file name ({word(error)}); export it again"
            ) from error
        if not inside:
            raise InputError(f"{self.path}: refers to {shown!r} outside its own folder; put the file beside it")
        if not found:
            raise InputError(
                f"{self.path}: needs {shown!r} beside it, which is missing or larger than {MAX_FILE >> 20} MiB"
            )
        self.spend(target.stat().st_size, shown)
        return target.read_bytes()

    def _buffer(self, index: int) -> memoryview:
        if index not in self.buffers:
            uri = self.record("buffers", index).get("uri")
            data = (self.chunk if index == 0 else None) if uri is None else memoryview(self.uri(uri))
            if data is None:
                raise InputError(f"{self.path}: buffer {index} has no data; export the file again")
            self.buffers[index] = data
        return self.buffers[index]

    def view(self, index: Any) -> tuple[memoryview, int, int, int]:
        """(buffer, start, length, stride) of a buffer view that lies inside its buffer; stride 0 means packed."""
        record = self.record("bufferViews", index)
        compressed = meshopt_record(record)
        stride = int(record.get("byteStride", 0))
        if not 0 <= stride <= 256:
            raise InputError(f"{self.path}: buffer view {index} has a byteStride of {word(stride)}, expected 4 to 252")
        if compressed is not None and self.decodes(compressed[0]):
            if index not in self._unpacked:
                source = self._buffer(compressed[1]["buffer"])
                self._unpacked[index] = memoryview(decode_view(self, *compressed, source))
            return self._unpacked[index], 0, len(self._unpacked[index]), stride
        if compressed is not None and not self._has_data(record["buffer"]):
            decode_view(self, *compressed, self._buffer(compressed[1]["buffer"]))  # names the library that is missing
        data = self._buffer(record["buffer"])
        start, length = int(record.get("byteOffset", 0)), int(record["byteLength"])
        if start < 0 or length < 0 or start + length > len(data):
            raise InputError(
                f"{self.path}: buffer view {index} reaches past its buffer ({word(start)}+{word(length)} > {len(data)}); "
                "the file is truncated"
            )
        return data, start, length, stride

    def _has_data(self, buffer: Any) -> bool:
        return "uri" in self.record("buffers", buffer) or (buffer == 0 and self.chunk is not None)

    def _raw(self, view: int, offset: int, shape: tuple[int, int], kind: type) -> np.ndarray:
        data, start, length, stride = self.view(view)
        count, width = shape
        size = np.dtype(kind).itemsize * width
        stride = stride or size
        if offset < 0 or count < 0 or (count and offset + stride * (count - 1) + size > length):
            raise InputError(f"{self.path}: an accessor of {word(count)} elements reaches past buffer view {view}")
        self.spend(count * size, f"an accessor of {count} elements")
        return np.ndarray(shape, kind, data, start + offset, (stride, np.dtype(kind).itemsize)).copy()

    def accessor(
        self,
        index: Any,
        *,
        integer: bool = False,
        width: int | None = None,
        normalized: bool = False,
        decoded: np.ndarray | None = None,
    ) -> np.ndarray:
        """(count, width): float32 (normalised where the file says so, or always), or the raw integers.

        `width` demands that many components and `integer` an integer component type; `decoded` (count, components) stands
        in for the buffer's data. Raises InputError otherwise.
        """
        record = self.record("accessors", index)
        kind, components, count = _COMPONENTS[record["componentType"]], _SHAPES[record["type"]], int(record["count"])
        if width not in (None, components) or (integer and kind is np.float32):
            raise InputError(
                f"{self.path}: accessor {index} holds {record['type']} of component type {record['componentType']}, "
                f"expected {width} {'integers' if integer else 'numbers'} an element; export the file again"
            )
        if decoded is not None:
            out = self._decoded(decoded, (count, components), kind, index)
        elif "bufferView" in record:
            out = self._raw(record["bufferView"], int(record.get("byteOffset", 0)), (count, components), kind)
        else:
            self.spend(max(count, 0) * components * 4, f"an accessor of {word(count)} elements")
            out = np.zeros((count, components), kind)
        if "sparse" in record:
            self._apply_sparse(out, record["sparse"], index)
        if integer:
            return out
        self.spend(out.size * 4, f"an accessor of {count} elements")
        if (normalized or record.get("normalized")) and np.issubdtype(kind, np.integer):
            return np.maximum(out.astype(np.float32) / np.float32(np.iinfo(kind).max), np.float32(-1.0))
        return np.nan_to_num(out.astype(np.float32), posinf=0, neginf=0)

    def _decoded(self, data: np.ndarray, shape: tuple[int, int], kind: type, index: Any) -> np.ndarray:
        """Draco's numbers in the accessor's own component type."""
        if data.shape != shape:
            raise InputError(
                f"{self.path}: Draco data {data.shape} for accessor {index} of {shape}; export the file again"
            )
        if np.issubdtype(kind, np.integer):
            limits = np.iinfo(kind)
            return np.clip(np.nan_to_num(data), limits.min, limits.max).astype(kind)
        with np.errstate(over="ignore"):
            return data.astype(kind)

    def _apply_sparse(self, out: np.ndarray, sparse: dict, index: int) -> None:
        i, v, n = sparse["indices"], sparse["values"], int(sparse["count"])
        if n > len(out):
            raise InputError(f"{self.path}: sparse accessor {index} writes {word(n)} of {len(out)} elements")
        where = self._raw(i["bufferView"], int(i.get("byteOffset", 0)), (n, 1), _COMPONENTS[i["componentType"]])[:, 0]
        if n and not 0 <= int(where.min()) <= int(where.max()) < len(out):
            raise InputError(f"{self.path}: sparse accessor {index} writes element {int(where.max())} of {len(out)}")
        out[where] = self._raw(v["bufferView"], int(v.get("byteOffset", 0)), (n, out.shape[1]), out.dtype.type)
