"""One moment as binary glTF 2.0 with KHR_gaussian_splatting (release candidate of 2026): splats for programs that know
the extension, coloured points for all others.

glTF is y up, right-handed: positions, rotations and spherical harmonics are turned. Scales are linear, opacities in [0, 1],
rotations unit xyzw; colours are the reconstructed sRGB values, as in 3DGS.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..assets.glb_writer import pack_glb
from ..assets.gltf_container import GAUSSIANS
from ..errors import InputError
from ..files import atomic_path
from ..splat.gaussians import Gaussians
from ..splat.turning import turned, world_from

DEGREES = ((0, 1), (1, 4), (4, 9), (9, 16))
"""Coefficients [first, last) of each degree of the spherical harmonics, in the order m = -l..l of glTF and of 3DGS."""
_FLOAT, _USHORT, _ARRAY_BUFFER, _POINTS = 5126, 5123, 34962, 0
_KINDS = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}


def write_glb(gaussians: Gaussians, path: str | Path, *, name: str = "orbit4d", extras: dict | None = None) -> Path:
    """Write one set of Gaussians (world axes, z up). `extras`: JSON-ready, kept in the file's `asset`.

    Raises InputError for Gaussians that are not finite or whose scales do not fit float32.
    """
    path = Path(path)
    attributes = _attributes(turned(gaussians.detach(), world_from("y").T))
    views, accessors, chunk = [], [], bytearray()
    for semantic, values in attributes.items():
        normalized = values.dtype == np.uint16
        views.append({"buffer": 0, "byteOffset": len(chunk), "byteLength": values.nbytes, "target": _ARRAY_BUFFER})
        chunk += values.tobytes()  # every row is a multiple of four bytes
        width = values.shape[1] if values.ndim == 2 else 1
        accessor = {
            "bufferView": len(views) - 1,
            "componentType": _USHORT if normalized else _FLOAT,
            "count": len(values),
            "type": _KINDS[width],
        }
        accessor |= {"normalized": True} if normalized else {}
        if semantic == "POSITION":
            accessor |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        accessors.append(accessor)
    splats = {
        "kernel": "ellipse",
        "colorSpace": "srgb_rec709_display",
        "projection": "perspective",
        "sortingMethod": "cameraDistance",
    }
    primitive = {
        "mode": _POINTS,
        "attributes": {semantic: i for i, semantic in enumerate(attributes)},
        "extensions": {GAUSSIANS: splats},
    }
    document = {
        "asset": {"version": "2.0", "generator": "orbit4d", **({"extras": extras} if extras else {})},
        "extensionsUsed": [GAUSSIANS],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": name, "mesh": 0}],
        "meshes": [{"name": name, "primitives": [primitive]}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(chunk)}],
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(pack_glb(document, bytes(chunk)))
    return path


def _attributes(g: Gaussians) -> dict[str, np.ndarray]:
    """Semantic -> rows, each a multiple of four bytes; positions first."""
    quats = torch.nn.functional.normalize(g.quats, dim=-1)
    opacity = g.logit_opacities.sigmoid()
    # The fallback of programs that draw points: glTF's vertex colours are linear.
    srgb = g.base_colors.clamp(0, 1)
    linear = torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    points = torch.cat([linear, opacity[:, None]], dim=1)
    floats = {
        "POSITION": g.means,
        f"{GAUSSIANS}:ROTATION": quats[:, [1, 2, 3, 0]],
        f"{GAUSSIANS}:SCALE": g.log_scales.exp(),
        f"{GAUSSIANS}:OPACITY": opacity,
    }
    for degree, (first, last) in enumerate(DEGREES):
        for i in range(first, min(last, g.sh.shape[1])):
            floats[f"{GAUSSIANS}:SH_DEGREE_{degree}_COEF_{i - first}"] = g.sh[:, i]
    for semantic, values in floats.items():
        if not torch.isfinite(values).all():
            raise InputError(f"scene: {semantic.split(':')[-1].lower()} holds values that are not finite; fit it again")
    out = {name: np.ascontiguousarray(values.cpu().numpy(), dtype="<f4") for name, values in floats.items()}
    return out | {"COLOR_0": (points * 65535).round().cpu().numpy().astype("<u2")}
