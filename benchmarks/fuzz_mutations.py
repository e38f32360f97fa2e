"""Hostile glTF files for `fuzz_assets.py`: number i of a seed is always the same bytes.

Every family damages another layer: the container, the JSON, the numbers inside the buffers, the images, the links to other
files, the compressed payloads, or it is well formed and absurdly large.
"""

from __future__ import annotations

import base64
import copy
import json
import struct
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_originals import Rng, original, variant
from gltf_builder import Glb, pack, parse, png

Files = dict[str, bytes]
"""File names and contents; the first is the one to open. A content that starts with b'->' is a symbolic link."""
_WEIRD: tuple[Any, ...] = (
    0, 1, -1, 2, 3, 7, 255, 65535, 65536, 2**31 - 1, -(2**31), 2**32, 2**53, 2**63, 2**64, 10**18, 10**80, 10**400, -(10**30),
    0.5, -0.0, 1e-300, 1e-38, 3.4e38, 1e39, -1e308, 1e308, float("nan"), float("inf"), float("-inf"), True, False, None, "", "0",
    "1", "NaN", "\x00", "\n\x1b[31m", "\ud800", "é" * 50, "A" * 5000, [], {}, [[]], [0], [1, 2, 3], [-1], ["a"], {"a": 1},
    [None] * 3, [[0, 0], [0, 0]],
    [1e38] * 3, [0] * 16, [1e200] * 16, "../../../etc/passwd", "LINEAR", "CUBICSPLINE", "MAT4", "SCALAR", 5120,
    5121, 5125, 5126, "weights", "scale", "BLEND", [0] * 1000,
)  # fmt: skip


def mutated(seed: int, number: int, assets: list[Path]) -> tuple[str, Files]:
    """(family, files) of one case. `assets` are further originals, used for a part of the cases."""
    rng = np.random.default_rng([seed, number])
    family = str(rng.choice(list(FAMILIES), p=_SHARES))
    return family, FAMILIES[family](rng, assets)


def _flip(rng: Rng, assets: list[Path]) -> Files:
    data = bytearray(original(rng, assets))
    end = len(data) if rng.random() < 0.5 else min(len(data), 4096)
    for position in rng.integers(0, end, rng.integers(1, 40)):
        data[position] ^= 1 << rng.integers(8)
    return {"a.glb": bytes(data)}


def _range(rng: Rng, assets: list[Path]) -> Files:
    """A run of bytes overwritten, zeroed, deleted or doubled."""
    data = bytearray(original(rng, assets))
    start, size = int(rng.integers(len(data))), int(rng.integers(1, 3000))
    match rng.integers(4):
        case 0:
            data[start : start + size] = rng.integers(0, 256, len(data[start : start + size]), dtype=np.uint8).tobytes()
        case 1:
            data[start : start + size] = bytes([int(rng.choice([0, 255, 127]))]) * len(data[start : start + size])
        case 2:
            del data[start : start + size]
        case _:
            data[start:start] = data[start : start + size]
    return {"a.glb": bytes(data)}


def _truncate(rng: Rng, assets: list[Path]) -> Files:
    data = original(rng, assets)
    cut = int(rng.integers(0, 64)) if rng.random() < 0.3 else int(rng.integers(len(data)))
    return {"a.glb": data[:cut]}


def _header(rng: Rng, assets: list[Path]) -> Files:
    """Lies in the words of the header and of the chunks."""
    data = bytearray(original(rng, assets))
    (size,) = struct.unpack_from("<I", data, 12)
    places = [4, 8, 12, 16, min(20 + size, len(data) - 8), min(24 + size, len(data) - 4)]
    for place in rng.choice(places, rng.integers(1, 3)):
        word = int(
            rng.choice([0, 1, 2, 3, 8, 2**31, 2**32 - 1, size, size + 4, size - 1, len(data), 0x4E4F534A, 0x004E4942])
        )
        struct.pack_into("<I", data, int(place), word)
    return {"a.glb": bytes(data)}


def _paths(value: Any, path: tuple = ()) -> list[tuple]:
    """Paths to all values of a JSON document."""
    found = [path] if path else []
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        found += _paths(entry, (*path, key))
    return found


def _parent(document: Any, path: tuple) -> Any:
    for key in path[:-1]:
        document = document[key]
    return document


def _json(rng: Rng, assets: list[Path]) -> Files:
    """Values replaced, deleted, doubled, exchanged or nested. Names of sections weigh as much as long arrays."""
    document, binary = parse(original(rng, assets))
    document = copy.deepcopy(document)
    for _ in range(int(rng.choice([1, 1, 1, 2, 4, 10]))):
        paths = _paths(document)
        heads = sorted({p[0] for p in paths}, key=str)
        head = heads[rng.integers(len(heads))]
        below = [p for p in paths if p[0] == head]
        path = below[rng.integers(len(below))]
        parent = _parent(document, path)
        _damage(rng, document, parent, path, paths)
    return {"a.glb": pack(_dump(document), binary)}


def _damage(rng: Rng, document: Any, parent: Any, path: tuple, paths: list[tuple]) -> None:
    key = path[-1]
    match rng.integers(10):
        case 0 | 1 | 2 | 3:
            parent[key] = copy.deepcopy(_WEIRD[rng.integers(len(_WEIRD))])
        case 4:
            del parent[key]
        case 5 if (
            isinstance(parent[key], int | float) and not isinstance(parent[key], bool) and abs(parent[key]) < 1e300
        ):
            factor = float(rng.choice([-1, 0.5, 2, 1e3, 1e9, 1e30, 1e300]))
            parent[key] = parent[key] * factor if rng.random() < 0.5 else int(parent[key]) + int(rng.integers(-3, 4))
        case 6 if isinstance(parent, list):
            parent.extend([copy.deepcopy(parent[key])] * int(rng.choice([1, 5, 300])))
        case 7:
            nested: Any = parent[key]
            for _ in range(int(rng.choice([1, 20, 150]))):
                nested = [nested] if rng.random() < 0.5 else {"x": nested}
            parent[key] = nested
        case 8 if isinstance(parent, dict):
            parent[
                str(rng.choice(["extensions", "sparse", "matrix", "children", "skin", "mesh", "uri", "weights"]))
            ] = copy.deepcopy(_WEIRD[rng.integers(len(_WEIRD))])
        case _:
            other = paths[rng.integers(len(paths))]
            parent[key] = copy.deepcopy(_parent(document, other)[other[-1]])


def _dump(document: Any) -> bytes:
    """JSON with NaN, endless integers and lone surrogates as they come."""
    sys.set_int_max_str_digits(0)
    return json.dumps(document).encode("utf-8", "surrogatepass")


def _numbers(rng: Rng, assets: list[Path]) -> Files:
    """NaN, infinity and enormous numbers inside the buffers: vertices, weights, matrices, keyframes, indices."""
    document, binary = parse(original(rng, assets))
    data = bytearray(binary)
    views = document.get("bufferViews", [])
    for _ in range(int(rng.integers(1, 6))):
        view = views[rng.integers(len(views))]
        start, size = view.get("byteOffset", 0), view["byteLength"]
        if view.get("buffer", 0) or size < 8 or start + size > len(data):
            continue
        bits = rng.choice(
            [0x7FC00000, 0x7F800000, 0xFF800000, 0x7F7FFFFF, 0x60000000, 0xDF000000, 0x00000001, 0xFFFFFFFF]
        )
        for k in rng.integers(0, size // 4, rng.integers(1, 60)):
            struct.pack_into("<I", data, start + 4 * int(k), int(bits))
    return {"a.glb": pack(document, bytes(data))}


def _payload(rng: Rng, assets: list[Path]) -> Files:
    """Damage inside Draco and meshopt streams only, heads and bodies."""
    if rng.random() < 0.5:
        document, binary = parse(variant("draco", int(rng.integers(12))))
        view = document["bufferViews"][-1]
        data = bytearray(binary)
        _spoil(rng, data, view["byteOffset"], view["byteLength"])
        return {"a.glb": pack(document, bytes(data))}
    document, binary = parse(variant("meshopt", int(rng.integers(12))))
    document = copy.deepcopy(document)
    head, _, text = document["buffers"][1]["uri"].partition(",")
    data = bytearray(base64.b64decode(text))
    records = [v["extensions"]["EXT_meshopt_compression"] for v in document["bufferViews"] if "extensions" in v]
    for record in rng.choice(np.array(records, dtype=object), rng.integers(1, 4)):
        _spoil(rng, data, record["byteOffset"], record["byteLength"])
        if rng.random() < 0.3:
            record[str(rng.choice(["count", "byteLength", "byteStride", "byteOffset"]))] = int(
                rng.choice([0, 1, 2, 3, 4, 8, 12, 16, 255, 256, 260, 1000, 99999, 10**6, 3 * 10**7, 2**31, 2**40])
            )
        if rng.random() < 0.1:
            record["mode"] = str(rng.choice(["ATTRIBUTES", "TRIANGLES", "INDICES"]))
            record["filter"] = str(rng.choice(["NONE", "OCTAHEDRAL", "QUATERNION", "EXPONENTIAL", "COLOR"]))
    document["buffers"][1]["uri"] = head + "," + base64.b64encode(data).decode()
    return {"a.glb": pack(document, binary)}


def _spoil(rng: Rng, data: bytearray, start: int, size: int) -> None:
    end = max(min(size, 64) if rng.random() < 0.4 else size, 1)
    for k in rng.integers(0, end, rng.integers(1, 20)):
        if start + int(k) < len(data):
            data[start + int(k)] = int(rng.integers(256)) if rng.random() < 0.7 else 255


def _images(rng: Rng, assets: list[Path]) -> Files:
    """Decompression bombs, images that lie about their size, damaged and foreign images."""
    g = Glb().cube()
    match rng.integers(6) if rng.random() < 0.995 else 6:
        case 0:
            g.picture(png(8, 8, side=int(rng.choice([0, 1, 20000, 65535, 2**31 - 1, 8192]))))
        case 6:  # seconds each: seldom
            g.picture(_large_png(int(rng.choice([2048, 4096]))))
            g.document["images"] *= int(rng.integers(1, 60))
            g.document["textures"] = [{"source": i} for i in range(len(g.document["images"]))]
            g.document["materials"] = [
                {"pbrMetallicRoughness": {"baseColorTexture": {"index": i}}} for i in range(len(g.document["images"]))
            ]
            g.document["meshes"][0]["primitives"] = [
                g.primitive | {"material": i} for i in range(len(g.document["images"]))
            ]
        case 2:
            data = bytearray(png(64, 64))
            _spoil(rng, data, 0, len(data))
            g.picture(bytes(data))
        case 3:
            g.picture(bytes(rng.integers(0, 256, 200, dtype=np.uint8)))
        case 4:
            heads = [
                b"BM",
                b"II*\0",
                b"GIF89a",
                b"%PDF-1.4",
                b"%!PS-Adobe",
                b"\xabKTX 20\xbb",
                b"\xff\xd8\xff",
                b"RIFF\0\0\0\0WEBP",
            ]
            g.picture(heads[rng.integers(len(heads))] + bytes(500))
        case _:
            g.picture(png(16, 16)[: int(rng.integers(8, 80))])
    return {"a.glb": g.data()}


@cache
def _large_png(side: int) -> bytes:
    return png(side, side)


_URIS = (
    "../a.bin", "../../../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "http://127.0.0.1:9/a.bin", "https://example.com/a.png",
    "//host/share", "\\\\host\\share", "link.bin", "loop.bin", "folder", "", ".", "..", "%2e%2e/%2e%2e/etc/passwd", "a%00.bin",
    "a\0.bin", "a" * 5000, "a/" * 2000, "data:", "data:,", "data:application/octet-stream;base64,@@@", "data:;base64," + "A" * 4001,
    "/dev/zero", "/dev/stdin", "/proc/self/mem", "a.gltf", "fifo", "~/.bashrc", "C:\\windows",
    "con", "\ud800.bin", "a.bin?x#y", 5, None, [], {},
)  # fmt: skip


def _links(rng: Rng, assets: list[Path]) -> Files:
    """A .gltf whose buffers and images point anywhere."""
    document, binary = parse(variant(str(rng.choice(["toy", "rich"])), int(rng.integers(12))))
    document = copy.deepcopy(document)
    document["buffers"][0]["uri"] = "a.bin"
    uri = _URIS[rng.integers(len(_URIS))]
    if rng.random() < 0.6 or "images" not in document:
        document["buffers"][0]["uri"] = uri
    else:
        document["images"] = [{"uri": uri}]
    return {"a.gltf": _dump(document), "a.bin": binary, "link.bin": b"->/etc/passwd", "loop.bin": b"->loop.bin"}


def _absurd(rng: Rng, assets: list[Path]) -> Files:
    """Sound in form, endless in size: counts, fan-out, depth, many accessors over the same bytes."""
    g = Glb().cube().skin()
    big = int(rng.choice([1000, 20_000, 200_000, 3_000_000]))
    match rng.integers(14):
        case 0:
            g.document["nodes"] = [{"mesh": 0, "children": [i + 1]} for i in range(min(big, 60_000))] + [{}]
        case 1:
            g.document["nodes"] = [{"mesh": 0} for _ in range(min(big, 60_000))]
            g.document["scenes"] = [{"nodes": list(range(len(g.document["nodes"])))}]
        case 2:
            cycle = int(rng.integers(1, 5))
            g.document["nodes"] = [{"mesh": 0, "children": [(i + 1) % cycle]} for i in range(cycle)]
        case 3:
            g.document["accessors"][0] = {"componentType": 5126, "count": big * 100, "type": "VEC3"}
        case 4:
            target = len(g.document["accessors"])
            g.document["accessors"].append({"componentType": 5126, "count": 8, "type": "VEC3"})
            g.primitive["targets"] = [{"POSITION": target, "NORMAL": target}] * min(big, 200_000)
        case 5:
            g.document["meshes"][0]["primitives"] = [g.primitive] * min(big, 100_000)
        case 6:
            count = min(big, 200_000)
            g.animate("translation", [0, 1], np.zeros((2, 3)), "VEC3", node=1)
            g.document["animations"][0]["channels"] *= count
        case 7:
            g.animate("translation", [0, 1], np.zeros((2, 3)), "VEC3", node=1)
            g.document["animations"] *= min(big, 30_000)
        case 8:
            g.document["skins"] = [{"joints": [1] * min(big, 300_000)}]
        case 9:
            text = b'{"asset":{"version":"2.0"},"x":' + b"[" * big + b"]" * big + b"}"
            return {"a.glb": pack(text, b"")}
        case 10:
            copies = g.accessor(np.zeros((min(big, 200_000), 3), np.float32), "VEC3")
            g.document["nodes"] = [
                {"mesh": 0, "extensions": {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": copies}}}}
            ]
        case 11:
            sparse = {"count": big, "indices": {"bufferView": 0, "componentType": 5121}, "values": {"bufferView": 0}}
            g.document["accessors"][0] |= {"sparse": sparse, "count": big}
            del g.document["accessors"][0]["bufferView"]
        case 12:
            grid = int(min(big, 200_000) ** 0.5)
            points = np.random.default_rng(0).random((grid * grid, 3)).astype(np.float32)
            g.primitive["attributes"] = {"POSITION": g.accessor(points, "VEC3")}
            faces = np.random.default_rng(1).integers(0, grid * grid, 3 * grid * grid).astype(np.uint32)
            g.primitive["indices"] = g.accessor(faces, "SCALAR")
            target = g.accessor(points, "VEC3")
            g.primitive["targets"] = [{"POSITION": target}] * int(rng.integers(1, 400))
            g.document["meshes"][0]["weights"] = [1] * 400
        case _:
            g.document["extras"] = {"x" * big: "y" * big}
            g.document["asset"]["extras"] = {f"k{i}" * 50: "v" * 500 for i in range(min(big, 20_000))}
            g.document["nodes"][1]["name"] = "n" * big
    return {"a.glb": g.data()}


FAMILIES: dict[str, Callable[[Rng, list[Path]], Files]] = {
    "bit flips": _flip,
    "byte ranges": _range,
    "truncation": _truncate,
    "chunk headers": _header,
    "JSON": _json,
    "numbers in buffers": _numbers,
    "compressed payloads": _payload,
    "images": _images,
    "links": _links,
    "absurd sizes": _absurd,
}
_SHARES = np.array([0.12, 0.09, 0.05, 0.04, 0.367, 0.12, 0.14, 0.03, 0.04, 0.003])
