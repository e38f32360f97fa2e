"""One offline HTML file that plays a 4D asset: our WebGL2 player with the asset inside it.

Payload (deflated, base64), little-endian, n Gaussians, k keyframes at times i / (k - 1):

    colors    n x 4 uint8    rgb and opacity
    scales    k' x n x 3 uint8    log standard deviation in [scale_min, scale_max]; k' = 1 when constant over time
    positions k x n x 3 uint16    in the box [low, high]
    rotations k x n x 4 int8      unit quaternion wxyz times 127
"""

from __future__ import annotations

import base64
import html
import json
import zlib
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError
from ..files import atomic_path
from ..splat.gaussians import Gaussians4D

SCALE_RANGE = (-9.0, 1.0)


def encode_payload(scene: Gaussians4D, *, frames: int = 24, loop: bool = True) -> tuple[dict, bytes]:
    """(header, binary) of a scene baked at `frames` keyframes. Gaussians below opacity 1/255 are left out."""
    if frames < 2:
        raise InputError(f"--frames: expected at least 2, got {frames}")
    sets = scene.sampled(torch.linspace(0, 1, frames))
    opacity = sets[0].logit_opacities.sigmoid()
    keep = opacity > 1 / 255
    sets, opacity = [g[keep] for g in sets], opacity[keep]
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
    rgb = (sets[0].base_colors.clamp(0, 1) * 255).round().byte()
    colors = torch.cat([rgb, (opacity * 255).round().byte()[:, None]], dim=1).numpy()
    header = {
        "count": len(opacity),
        "frames": frames,
        "scaleFrames": len(log_scales),
        "low": low.tolist(),
        "span": span.tolist(),
        "scaleRange": list(SCALE_RANGE),
        "loop": loop,
        "up": "z",
    }
    return header, b"".join(np.ascontiguousarray(a).tobytes() for a in (colors, log_scales, quantised, rotations))


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
        "means": parts[2].view("<u2").reshape(k, n, 3) / 65535 * np.array(header["span"]) + np.array(header["low"]),
        "quats": parts[3].view(np.int8).reshape(k, n, 4) / 127,
    }


def write_html(
    scene: Gaussians4D, path: str | Path, *, frames: int = 24, title: str = "orbit4d", loop: bool = True
) -> Path:
    """Write the stand-alone page. It needs no network and opens from disk in any browser with WebGL2."""
    header, data = encode_payload(scene, frames=frames, loop=loop)
    template = (files("orbit4d") / "viewer" / "player.html").read_text(encoding="utf-8")
    packed = base64.b64encode(zlib.compress(data, 9)).decode("ascii")
    page = (
        template.replace("{{title}}", html.escape(title))
        .replace("{{header}}", json.dumps(header))
        .replace("{{data}}", packed)
    )
    path = Path(path)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path
