"""Compact 4D (docs/format.md) read back: a small glTF of Gaussians whose morph targets are their motion.

`export.compact` writes such files. They are taken as untrusted: what decoding may take is decided by the data that are there.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..assets.gltf_container import GAUSSIANS
from ..errors import InputError
from ..splat.gaussians import SH_C0, Gaussians
from ..splat.hexplane import quaternion_multiply
from .glb_accessors import numbers, read_accessor, read_glb

VERSION = 2
"""Of version 1 the targets were not normalised, as these files say by themselves."""
ATTRIBUTES = {"position": 3, "turn": 4, "log_scale": 3, "color": 3, "opacity": 1}
"""What may change over time, and its components. `turn`: the rotation since time 0 as wxyz minus the identity."""
MAX_RANK = 64
MAX_FRAMES = 1024
MAX_GAUSSIANS = 2_000_000
MAX_BYTES = 2**30
TARGETS = {"position": "POSITION"} | {name: f"_{name.upper()}" for name in ATTRIBUTES if name != "position"}
UPRIGHT = [-math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5)]
"""Rotation xyzw of the node: our z up to glTF's y up."""
_GZIP = b"\x1f\x8b"


@dataclass(kw_only=True)
class CompactScene:
    """A decoded asset: `at(time)` gives its Gaussians at any time in [0, 1].

    Attributes:
        first: the n Gaussians at time 0. deltas: by attribute (r, n, c), what each of the r targets adds at weight 1.
        times (k,), weights (k, r), tangents (k, r): glTF's cubic spline of the weights, times in [0, 1].
        seconds: the asset's duration. loop, extras: what the player reads.
    """

    first: Gaussians
    deltas: dict[str, Tensor]
    times: Tensor
    weights: Tensor
    tangents: Tensor
    seconds: float
    extras: dict

    def __len__(self) -> int:
        return len(self.first)

    def at(self, time: float) -> Gaussians:
        """The Gaussians at `time` in [0, 1]."""
        w = hermite(self.times, self.weights, self.tangents, time)
        add = {name: torch.einsum("r,rnc->nc", w, d) for name, d in self.deltas.items()}
        g = self.first
        quats, opacity, sh = g.quats, g.logit_opacities, g.sh
        if "turn" in add:
            turn = add["turn"] + torch.tensor([1.0, 0.0, 0.0, 0.0])
            quats = quaternion_multiply(functional.normalize(turn, dim=-1), quats)
        if "opacity" in add:
            opacity = (opacity.sigmoid() + add["opacity"][:, 0]).clamp(1e-6, 1 - 1e-6).logit()
        if "color" in add:
            sh = torch.cat([sh[:, :1] + add["color"][:, None] / SH_C0, sh[:, 1:]], dim=1)
        return Gaussians(
            means=g.means + add["position"] if "position" in add else g.means,
            quats=quats,
            log_scales=g.log_scales + add["log_scale"] if "log_scale" in add else g.log_scales,
            logit_opacities=opacity,
            sh=sh,
        )


def decode(data: bytes, *, source: str = "compact scene") -> CompactScene:
    """The scene in the bytes of a .glb.gz or .glb that `encode` made. Raises InputError, naming `source`, for any other."""
    if data[:2] == _GZIP:
        unpacker = zlib.decompressobj(wbits=31)
        try:
            data = unpacker.decompress(data, MAX_BYTES)
        except zlib.error as error:
            raise InputError(f"{source}: damaged gzip data ({error}); write it again") from error
        if not unpacker.eof:
            raise InputError(
                f"{source}: its gzip data end too early or hold over {MAX_BYTES >> 20} MiB; write it again"
            )
    document, binary = read_glb(data, source=source)
    try:
        return _scene(document, binary)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise InputError(f"{source}: not a compact 4D scene, or a damaged one ({reason}); write it again") from error


def hermite(times: Tensor, weights: Tensor, tangents: Tensor, time: float) -> Tensor:
    """(r,) weights at `time`: glTF's cubic spline through `weights` (k, r) at `times` (k,), slopes `tangents` (k, r)."""
    if len(times) < 2 or not weights.shape[1]:
        return weights[0] if len(weights) else weights.new_zeros(weights.shape[1:])
    x = min(max(time, float(times[0])), float(times[-1]))
    i = int((times[1:-1] <= x).sum())
    span = float(times[i + 1] - times[i])
    u = (x - float(times[i])) / span
    a, b = 2 * u**3 - 3 * u**2 + 1, u**3 - 2 * u**2 + u
    return a * weights[i] + b * span * tangents[i] + (1 - a) * weights[i + 1] + (u**3 - u**2) * span * tangents[i + 1]


def _scene(document: dict, binary: bytes) -> CompactScene:
    node, mesh = document["nodes"][0], document["meshes"][0]
    primitive, extras = mesh["primitives"][0], mesh["extras"]["orbit4d"]
    if extras["version"] not in (1, VERSION):
        raise ValueError(f"version {extras['version']!r} is not read here")
    attributes, targets = primitive["attributes"], primitive.get("targets", [])
    n, rank = document["accessors"][attributes["POSITION"]]["count"], len(targets)
    if type(n) is not int or not 1 <= n <= MAX_GAUSSIANS or rank > MAX_RANK:
        raise ValueError(f"{n} Gaussians with {rank} targets")
    # What decoding may take is decided by the data that are there, not by what the JSON claims.
    # A target takes four bytes a Gaussian at least, or it would change nothing.
    if n * 4 * (rank + 1) > len(binary):
        raise ValueError(f"{n} Gaussians with {rank} targets in {len(binary)} bytes")

    def attribute(name: str, width: int) -> Tensor:
        values = read_accessor(document, binary, attributes[f"{GAUSSIANS}:{name}"], shape=(n, width), name=name)
        return torch.from_numpy(values)

    if numbers(node["rotation"], 4, name="rotation") != numbers(UPRIGHT, 4, name="rotation"):
        raise ValueError("the node must turn z up to y up")
    size = numbers(node["scale"], 3, name="scale")[0]
    x, y, z = numbers(node["translation"], 3, name="translation")
    if size <= 0:
        raise ValueError("scale must be positive")
    local = read_accessor(document, binary, attributes["POSITION"], shape=(n, 3), name="POSITION")
    degrees = range(3 if f"{GAUSSIANS}:SH_DEGREE_1_COEF_0" in attributes else 0)
    sh = [attribute("SH_DEGREE_0_COEF_0", 3), *(attribute(f"SH_DEGREE_1_COEF_{i}", 3) for i in degrees)]
    first = Gaussians(
        means=torch.from_numpy(local) * size + torch.tensor([x, -z, y]),
        quats=functional.normalize(attribute("ROTATION", 4)[:, [3, 0, 1, 2]], dim=-1),
        log_scales=(attribute("SCALE", 3) * size).clamp_min(1e-12).log(),
        logit_opacities=attribute("OPACITY", 1)[:, 0].clamp(1e-6, 1 - 1e-6).logit(),
        sh=torch.stack(sh, dim=1),
    )
    deltas = {}
    for name, width in ATTRIBUTES.items():
        if not any(TARGETS[name] in target for target in targets):
            continue
        unit = size if name == "position" else numbers([extras["units"][name]], 1, name="units")[0]
        delta = torch.zeros(rank, n, width)
        for r, target in enumerate(targets):
            if TARGETS[name] in target:
                values = read_accessor(document, binary, target[TARGETS[name]], shape=(n, width), name=name)
                delta[r] = torch.from_numpy(values) * unit
        deltas[name] = delta[..., [3, 0, 1, 2]] if name == "turn" else delta
    times, weights, tangents = _weights(document, binary, rank)
    seconds = float(times[-1]) or 1.0
    return CompactScene(
        first=first,
        deltas=deltas,
        times=times / seconds,
        weights=weights,
        tangents=tangents * seconds,
        seconds=seconds,
        extras=extras,
    )


def _weights(document: dict, binary: bytes, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Times in seconds (k,), weights and slopes (k, rank)."""
    if not rank:
        return torch.zeros(1), torch.zeros(1, 0), torch.zeros(1, 0)
    sampler = document["animations"][0]["samplers"][0]
    k = document["accessors"][sampler["input"]]["count"]
    if type(k) is not int or not 2 <= k <= 2 * MAX_FRAMES or sampler["interpolation"] != "CUBICSPLINE":
        raise ValueError(f"an animation of {k} knots, {sampler['interpolation']!r}")
    times = read_accessor(document, binary, sampler["input"], shape=(k, 1), name="times")[:, 0]
    if times[0] != 0 or (np.diff(times) <= 0).any():
        raise ValueError("times must start at 0 and increase")
    spline = read_accessor(document, binary, sampler["output"], shape=(3 * k * rank, 1), name="weights")
    spline = torch.from_numpy(spline).reshape(k, 3, rank)
    return torch.from_numpy(times), spline[:, 1], spline[:, 0]
