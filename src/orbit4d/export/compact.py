"""Compact 4D: a whole moving asset as one small glTF that other programs open, too.

The static part is `KHR_gaussian_splatting` at time 0. The motion is morph targets: glTF's own low-rank basis, each target a
delta for every Gaussian, and an animation of their weights. Positions use the standard attribute, the rest attributes of our
own (`_TURN`, `_LOG_SCALE`, `_COLOR`, `_OPACITY`), as glTF allows. docs/format.md specifies all of it, `imports.compact` reads it.
"""

from __future__ import annotations

import gzip
import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..assets.gltf_container import GAUSSIANS
from ..errors import InputError
from ..files import atomic_path
from ..imports.compact import MAX_FRAMES, MAX_GAUSSIANS, TARGETS, UPRIGHT, VERSION, CompactScene, decode
from ..splat.gaussians import SH_C0, Gaussians, Gaussians4D
from .compact_frame import Frame, frame_of
from .compact_tracks import Basis, Tracks, fit_basis, sample_tracks, slopes
from .glb_accessors import Buffer, write_glb
from .home import STANDARD, home_view

__all__ = ["BOUND", "FRAMES", "CompactScene", "decode", "encode", "write_compact"]

_LOG = logging.getLogger(__name__)
BOUND = 2e-3
FRAMES = 24
FINE = 5e-4
"""Bounds below this store the static part with 16 instead of 8 bits a number."""
RELATIVE = {"turn": 10.0, "log_scale": 20.0, "color": 8.0, "opacity": 8.0}
"""Bounds of the other attributes for a position bound of 1 of the extent: quaternion units, e-folds, parts of full."""
FRAMES_PER_SECOND = 12


def encode(scene: Gaussians4D, *, bound: float = BOUND, frames: int = FRAMES, loop: bool = True) -> bytes:
    """A .glb.gz: gunzip it, and any glTF program opens it.

    Args:
        bound: how far a Gaussian's centre may be off at any knot, as a share of the scene's extent; the other attributes have
            bounds in proportion (`RELATIVE`). Measured on the decoded tracks, and written into the file.
        frames: the motion is sampled at 2 frames - 1 knots, and lasts frames / 12 seconds.

    Colours keep spherical harmonics of degree 0 and 1. Raises InputError for values that are not finite, for a scene without
    a visible Gaussian or with too many, and for arguments out of range.
    """
    if not 2 <= frames <= MAX_FRAMES:
        raise InputError(f"--frames: expected 2 to {MAX_FRAMES}, got {frames}")
    if not 1e-5 <= bound <= 0.1:
        raise InputError(f"bound: expected 0.00001 to 0.1 of the scene's extent, got {bound}")
    if len(scene.canonical) > MAX_GAUSSIANS:
        raise InputError(f"scene: {len(scene.canonical)} Gaussians, at most {MAX_GAUSSIANS} fit a compact file")
    tracks = sample_tracks(scene, knots=1 if scene.deformation is None else 2 * frames - 1)
    extent = _extent(tracks)
    bounds = {"position": bound * extent} | {name: ratio * bound for name, ratio in RELATIVE.items()}
    frame = frame_of(tracks.first, extent=extent, bound=bounds["position"])
    # A centre may be off by what its place at time 0 is, and by what its motion is.
    still = frame.error(tracks.first.means)
    left = max(bounds["position"] - still, bounds["position"] / 2)
    basis = fit_basis(tracks.changes, bounds | {"position": left})
    errors = basis.errors | {"position": basis.errors["position"] + still}
    for name, error in errors.items():
        if error > bounds[name]:
            _LOG.warning(
                "scene: %s moves too much for its bound: off by up to %.2g, not %.2g", name, error, bounds[name]
            )
    seam = {name: float((x[0] - x[-1]).norm(dim=-1).max()) for name, x in tracks.changes.items()}
    periodic = all(value <= bounds[name] for name, value in seam.items())
    extras = {
        "version": VERSION,
        "frames": frames,
        "loop": loop,
        "periodic": periodic,
        "bounds": bounds,
        "errors": errors,
        "extent": extent,
        "home": asdict(home_view(scene)) | {"fov": STANDARD.fov_deg},
    }
    seconds = max(1.0, frames / FRAMES_PER_SECOND)
    document, buffer = _document(tracks, basis, extras, frame=frame, fine=bound < FINE, seconds=seconds)
    return gzip.compress(write_glb(document, buffer), 9, mtime=0)


def write_compact(scene: Gaussians4D, path: str | Path, *, bound: float = BOUND, frames: int = FRAMES) -> Path:
    """Write `encode`'s bytes to `path`: .glb.gz, or .glb for the same without gzip. Atomic."""
    path = Path(path)
    if not path.name.lower().endswith((".glb", ".glb.gz")):
        raise InputError(f"{path}: expected a name that ends in .glb or .glb.gz")
    data = encode(scene, bound=bound, frames=frames)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data if path.suffix.lower() == ".gz" else gzip.decompress(data))
    return path


def _extent(tracks: Tracks) -> float:
    """Longest side of the box of the centres over all times, without the outermost hundredth; what `bound` is a share of."""
    points = (tracks.first.means + tracks.changes["position"]).flatten(0, 1)
    rank = max(1, round(0.01 * len(points)))
    low, high = points.kthvalue(rank, dim=0).values, points.kthvalue(len(points) + 1 - rank, dim=0).values
    return max(float((high - low).max()), float(tracks.first.log_scales.exp().median()), 1e-6)


def _document(
    tracks: Tracks, basis: Basis, extras: dict, *, frame: Frame, fine: bool, seconds: float
) -> tuple[dict, Buffer]:
    buffer, g, size = Buffer(), tracks.first, frame.size
    attributes = _static(buffer, g, tracks.opacity, frame=frame, fine=fine)
    rank, n = basis.weights.shape[1], len(g)
    # Normalised, with weights as much larger: viewers take a weight of 1 for the most, and frame what they see by that.
    # One type a target, so that one factor is right for all of its attributes.
    largest = [max(int(values[r].abs().max()) for values in basis.coefficients.values()) for r in range(rank)]
    kinds = [np.dtype(np.int8 if most <= 127 else np.int16) for most in largest]
    targets: list[dict[str, int]] = [{} for _ in range(rank)]
    for name, values in basis.coefficients.items():
        key = TARGETS[name]
        if name == "turn":
            values = values[..., [1, 2, 3, 0]]  # glTF's order xyzw
        if name != "position":
            attributes[key] = buffer.zeros(n, values.shape[-1], np.float32)
        for r, column in enumerate(values.numpy()):
            if column.any():
                data = column.astype(kinds[r])
                targets[r][key] = buffer.attribute(data, normalized=True, bounds=name == "position")
    if any("POSITION" not in target for target in targets):
        still = buffer.zeros(n, 3, np.float32, bounds=True)
        targets = [{"POSITION": still} | target for target in targets]  # three.js would add the position itself
    extras = extras | {"units": {name: unit * size for name, unit in basis.units.items() if name != "position"}}
    primitive: dict = {"mode": 0, "attributes": attributes}
    primitive["extensions"] = {GAUSSIANS: {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}}
    mesh: dict = {"primitives": [primitive], "extras": {"orbit4d": extras}}
    x, y, z = frame.center.tolist()
    node = {"mesh": 0, "rotation": UPRIGHT, "scale": [size] * 3, "translation": [x, z, -y]}
    document: dict = {
        "asset": {"version": "2.0", "generator": "orbit4d"},
        "extensionsUsed": [GAUSSIANS, "KHR_mesh_quantization"],
        "extensionsRequired": ["KHR_mesh_quantization"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [node],
        "meshes": [mesh],
    }
    if rank:
        primitive["targets"] = targets
        mesh["weights"] = [0.0] * rank
        weights = basis.weights / size * torch.tensor([float(np.iinfo(kind).max) for kind in kinds])
        document["animations"] = [_animation(buffer, tracks.times, weights, extras["periodic"], seconds)]
    return document, buffer


def _animation(buffer: Buffer, times: Tensor, weights: Tensor, periodic: bool, seconds: float) -> dict:
    tangents = slopes(times, weights, periodic=periodic) / seconds
    # glTF's order: slope towards a knot, its value, slope from it.
    spline = torch.stack([tangents, weights, tangents], dim=1).reshape(-1, 1).numpy().astype("<f4")
    sampler = {
        "input": buffer.samples((times * seconds)[:, None].numpy().astype("<f4")),
        "output": buffer.samples(spline),
        "interpolation": "CUBICSPLINE",
    }
    return {"samplers": [sampler], "channels": [{"sampler": 0, "target": {"node": 0, "path": "weights"}}]}


def _static(buffer: Buffer, g: Gaussians, opacity: Tensor, *, frame: Frame, fine: bool) -> dict[str, int]:
    """The base attributes. Numbers are rounded to few distinct values first, which is what makes gzip work on them."""
    whole = frame.grid is None
    quats = functional.normalize(g.quats, dim=-1)[:, [1, 2, 3, 0]]
    quats = torch.where(quats[:, 3:] < 0, -quats, quats)
    turns = (quats * (32767 if fine else 127)).round().numpy().astype("<i2" if fine else "i1")
    step = 0.005 if fine else 0.02
    scales = ((g.log_scales / step).round() * step).exp() / frame.size
    scales = (scales * 65535).round().clamp(1, 65535).numpy().astype("<u2") if whole else scales.numpy().astype("<f4")
    alphas = (opacity * (65535 if fine else 255)).round()[:, None].numpy().astype("<u2" if fine else "u1")
    levels = 1023 if fine else 255
    # Without a degree 1 that may add to it, a colour below 0 is drawn as 0.
    dc = 0.5 + SH_C0 * g.sh[:, 0]
    dc = (dc.clamp_min(0) if g.sh.shape[1] == 1 else dc) * levels
    attributes = {
        "POSITION": buffer.attribute(frame.positions(g.means), normalized=whole, bounds=True),
        f"{GAUSSIANS}:ROTATION": buffer.attribute(turns, normalized=True),
        f"{GAUSSIANS}:SCALE": buffer.attribute(scales, normalized=whole),
        f"{GAUSSIANS}:OPACITY": buffer.attribute(alphas, normalized=True),
        f"{GAUSSIANS}:SH_DEGREE_0_COEF_0": buffer.attribute(
            ((dc.round() / levels - 0.5) / SH_C0).numpy().astype("<f4")
        ),
    }
    for i in range(3 if g.sh.shape[1] > 1 else 0):
        band = (g.sh[:, 1 + i] * levels / 2).round() / levels * 2
        attributes[f"{GAUSSIANS}:SH_DEGREE_1_COEF_{i}"] = buffer.attribute(band.numpy().astype("<f4"))
    return attributes
