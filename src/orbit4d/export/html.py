"""One offline HTML file that plays a 4D asset: our WebGL2 player with the asset inside it.

Payload (deflated, base64), little-endian, n Gaussians, k keyframes at times i / (k - 1):

    colors    n x 4 uint8    rgb and opacity, their mean over time where they change
    scales    k' x n x 3 uint8    log standard deviation in [scale_min, scale_max]; k' = 1 when constant over time
    positions k x 3 x 2 x n uint8    in the box [low, high], 16 bit: zigzag differences to the keyframe before, low bytes
                                     then high bytes for each axis
    rotations k x 4 x n uint8        unit quaternion wxyz times 127 as int8: differences to the keyframe before, modulo 256

Differences in planes, because most Gaussians rest or move smoothly: deflate then makes the page several times smaller.
"""

from __future__ import annotations

import base64
import html
import json
import logging
import re
import zlib
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError
from ..files import atomic_path
from ..splat.gaussians import Gaussians4D
from .home import home_view

_LOG = logging.getLogger(__name__)
SCALE_RANGE = (-9.0, 1.0)
MAX_FRAMES = 1024


def encode_payload(scene: Gaussians4D, *, frames: int = 24, loop: bool = True) -> tuple[dict, bytes]:
    """(header, binary) of a scene baked at `frames` keyframes. Gaussians below opacity 1/255 are left out."""
    if not 2 <= frames <= MAX_FRAMES:
        raise InputError(f"--frames: expected 2 to {MAX_FRAMES}, got {frames}")
    sets = scene.sampled(torch.linspace(0, 1, frames))
    for i, g in enumerate(sets):
        if not all(torch.isfinite(v).all() for v in (g.means, g.quats, g.log_scales, g.logit_opacities, g.sh)):
            raise InputError(f"scene: has values that are not finite at keyframe {i} of {frames}; fit it again")
    opacities = torch.stack([g.logit_opacities.sigmoid() for g in sets])
    keep = opacities.amax(dim=0) > 1 / 255
    sets, opacities = [g[keep] for g in sets], opacities[:, keep]
    opacity, colors = opacities.mean(dim=0), torch.stack([g.base_colors for g in sets])
    if not len(opacity):
        raise InputError("scene: has no visible Gaussians; nothing to show")
    positions = torch.stack([g.means for g in sets])
    low, high = positions.amin((0, 1)), positions.amax((0, 1))
    span = (high - low).clamp_min(1e-6)
    quantised = ((positions - low) / span * 65535).round().clamp(0, 65535).numpy().astype("<u2")
    quats = torch.nn.functional.normalize(torch.stack([g.quats for g in sets]), dim=-1)
    for i in range(1, frames):  # one hemisphere along time, so that interpolation takes the short way
        flip = (quats[i] * quats[i - 1]).sum(-1, keepdim=True) < 0
        quats[i] = torch.where(flip, -quats[i], quats[i])
    rotations = (quats * 127).round().numpy().astype(np.int8)
    scales = torch.stack([g.log_scales for g in sets])
    if (scales - scales[:1]).abs().max() < 1e-4:
        scales = scales[:1]
    first, last = SCALE_RANGE
    log_scales = ((scales - first) / (last - first) * 255).round().clamp(0, 255).byte().numpy()
    for name, over_time in (("opacity", opacities), ("colour", colors)):
        if (over_time - over_time.mean(dim=0)).abs().max() > 0.05:
            _LOG.warning("scene: %s changes over time; the page shows its mean (PLY and video show it all)", name)
    rgb = (colors.mean(dim=0).clamp(0, 1) * 255).round().byte()
    colors = torch.cat([rgb, (opacity * 255).round().byte()[:, None]], dim=1).numpy()
    home = home_view(scene)
    header = {
        "count": len(opacity),
        "frames": frames,
        "scaleFrames": len(log_scales),
        "low": low.tolist(),
        "span": span.tolist(),
        "scaleRange": list(SCALE_RANGE),
        "loop": loop,
        "up": "z",
        "home": {"target": list(home.target), "radius": home.radius},
    }
    tracks = _pack_positions(quantised), _pack_rotations(rotations)
    return header, b"".join(np.ascontiguousarray(a).tobytes() for a in (colors, log_scales, *tracks))


def _pack_positions(positions: np.ndarray) -> np.ndarray:
    """(k, n, 3) uint16 -> (k, 3, 2, n) uint8; small steps of either sign become small numbers (zigzag)."""
    steps = np.diff(positions, axis=0, prepend=np.zeros_like(positions[:1])).astype("<i2")
    zigzag = np.ascontiguousarray(((steps << 1) ^ (steps >> 15)).astype("<u2").transpose(0, 2, 1))
    return zigzag.view(np.uint8).reshape(*zigzag.shape, 2).transpose(0, 1, 3, 2)


def _unpack_positions(planes: np.ndarray) -> np.ndarray:
    """The inverse of `_pack_positions`."""
    zigzag = planes[:, :, 0].astype("<u2") | planes[:, :, 1].astype("<u2") << 8
    steps = (zigzag >> 1) ^ (0 - (zigzag & 1)).astype("<u2")
    return steps.cumsum(axis=0, dtype="<u2").transpose(0, 2, 1)


def _pack_rotations(rotations: np.ndarray) -> np.ndarray:
    """(k, n, 4) int8 -> (k, 4, n) uint8."""
    values = rotations.view(np.uint8).transpose(0, 2, 1)
    return np.diff(values, axis=0, prepend=np.zeros_like(values[:1]))


def _unpack_rotations(planes: np.ndarray) -> np.ndarray:
    """The inverse of `_pack_rotations`."""
    return np.ascontiguousarray(planes.cumsum(axis=0, dtype=np.uint8).transpose(0, 2, 1)).view(np.int8)


def decode_payload(header: dict, data: bytes) -> dict[str, np.ndarray]:
    """The inverse of `encode_payload`: colors (n, 4) in [0, 1], log_scales (k', n, 3), means (k, n, 3), quats (k, n, 4)."""
    n, k, ks = header["count"], header["frames"], header["scaleFrames"]
    sizes = [n * 4, ks * n * 3, k * n * 6, k * n * 4]
    if len(data) != sum(sizes):
        raise InputError(f"payload: expected {sum(sizes)} bytes for {n} Gaussians and {k} frames, got {len(data)}")
    parts = np.split(np.frombuffer(data, np.uint8), np.cumsum(sizes)[:-1])
    first, last = header["scaleRange"]
    return {
        "colors": parts[0].reshape(n, 4) / 255,
        "log_scales": parts[1].reshape(ks, n, 3) / 255 * (last - first) + first,
        "means": _unpack_positions(parts[2].reshape(k, 3, 2, n)) / 65535 * np.array(header["span"])
        + np.array(header["low"]),
        "quats": _unpack_rotations(parts[3].reshape(k, 4, n)) / 127,
    }


def write_html(
    scene: Gaussians4D, path: str | Path, *, frames: int = 24, title: str = "orbit4d", loop: bool = True
) -> Path:
    """Write the stand-alone page. It needs no network and opens from disk in any browser with WebGL2."""
    header, data = encode_payload(scene, frames=frames, loop=loop)
    template = (files("orbit4d") / "viewer" / "player.html").read_text(encoding="utf-8")
    packed = base64.b64encode(zlib.compress(data, 9)).decode("ascii")
    values = {"title": html.escape(title), "header": json.dumps(header, allow_nan=False), "data": packed}
    # One pass: a title that reads "{{data}}" stays a title.
    page = re.sub(r"\{\{(title|header|data)\}\}", lambda found: values[found.group(1)], template)
    path = Path(path)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path
