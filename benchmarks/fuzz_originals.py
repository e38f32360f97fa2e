"""Sound glTF files that `fuzz_mutations.py` damages: toys, a small file with many features, compressed toys, real assets."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from orbit4d.assets.toybox_motions import MOTIONS

from orbit4d.assets.toybox import KINDS, make_toy

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # the tests' builder of small glTF files
from gltf_builder import Glb, draco_compressed, meshopt_compressed, png

Rng = np.random.Generator


def original(rng: Rng, assets: list[Path]) -> bytes:
    """A sound GLB: a toy, one with more features, or now and then a real asset."""
    draw = rng.random()
    if draw < 0.08 and assets:
        return _read(assets[int(len(assets) * rng.random() ** 3)])  # they come by size: small ones more often
    variants = list(VARIANTS)
    return variant(variants[rng.integers(len(variants))] if draw > 0.4 else "toy", int(rng.integers(12)))


@cache
def _read(path: Path) -> bytes:
    return path.read_bytes()


@cache
def _toy(number: int) -> bytes:
    kind = KINDS[number % len(KINDS)]
    return make_toy(number, kind=kind, motion=MOTIONS[kind][number % len(MOTIONS[kind])]).glb


@cache
def variant(name: str, number: int) -> bytes:
    return VARIANTS[name](number)


def prepare() -> None:
    """Make the originals, before processes are forked that all need them."""
    for name in VARIANTS:
        for number in range(12):
            variant(name, number)


def _rich(number: int) -> bytes:
    """A small file with skin, sparse morphs, texture, colours, instances, hidden nodes, scenes, cubic and stepped keys."""
    g = Glb().cube().skin().picture(png(16, 16))
    g.primitive["attributes"]["COLOR_0"] = g.accessor(np.full((8, 4), 200, np.uint8), "VEC4", normalized=True)
    sparse = {
        "count": 2,
        "indices": {"bufferView": g.view(np.array([2, 5], np.uint16).tobytes()), "componentType": 5123},
        "values": {"bufferView": g.view(np.ones((2, 3), np.float32).tobytes())},
    }
    g.document["accessors"].append({"componentType": 5126, "count": 8, "type": "VEC3", "sparse": sparse})
    g.primitive["targets"] = [{"POSITION": len(g.document["accessors"]) - 1}] * 2
    inverse = g.accessor(np.eye(4, dtype=np.float32).reshape(1, 16), "MAT4")
    g.document["skins"][0] |= {"inverseBindMatrices": inverse, "skeleton": 1}
    copies = g.accessor(np.random.default_rng(number).random((5, 3)).astype(np.float32), "VEC3")
    rigid = {k: v for k, v in g.primitive["attributes"].items() if k[:5] in ("POSIT", "NORMA")}
    g.document["meshes"].append({"primitives": [{"attributes": rigid, "indices": g.primitive["indices"], "mode": 5}]})
    g.document["nodes"] += [
        {
            "mesh": 1,
            "extensions": {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": copies}}},
            "name": "crowd",
        },
        {"mesh": 1, "extensions": {"KHR_node_visibility": {"visible": False}}},
        {"children": [2, 3], "matrix": np.eye(4).ravel().tolist()},
    ]
    g.document["scenes"] = [{"nodes": [0, 1, 4], "name": "main"}, {"nodes": [4]}]
    g.document["materials"][0] |= {
        "alphaMode": "MASK",
        "doubleSided": True,
        "emissiveFactor": [1, 0.5, 0],
        "emissiveTexture": {"index": 0, "extensions": {"KHR_texture_transform": {"scale": [2, 2], "rotation": 1}}},
        "extensions": {"KHR_materials_emissive_strength": {"emissiveStrength": 3}},
    }
    clock = g.accessor(np.linspace(0, 1, 4, dtype=np.float32), "SCALAR")
    samplers, channels = [], []
    for node, path, kind, width, shape in (
        (1, "translation", "CUBICSPLINE", 3, "VEC3"),
        (1, "rotation", "LINEAR", 4, "VEC4"),
        (4, "scale", "STEP", 3, "VEC3"),
        (0, "weights", "LINEAR", 2, "SCALAR"),
    ):
        keys = np.random.default_rng(number).random((4 * (3 if kind == "CUBICSPLINE" else 1), width))
        values = g.accessor(keys.astype(np.float32).reshape(-1, 1 if shape == "SCALAR" else width), shape)
        samplers.append({"input": clock, "output": values, "interpolation": kind})
        channels.append({"sampler": len(samplers) - 1, "target": {"node": node, "path": path}})
    g.document["animations"] = [{"samplers": samplers, "channels": channels, "name": "all"}]
    g.document["asset"] |= {"copyright": "nobody", "extras": {"title": "rich", "author": "fuzz"}}
    return g.data()


VARIANTS: dict[str, Callable[[int], bytes]] = {
    "toy": _toy,
    "rich": _rich,
    "draco": lambda n: draco_compressed(_toy(n)),
    "meshopt": lambda n: meshopt_compressed(_toy(n), filters=n % 2 == 0),
}
