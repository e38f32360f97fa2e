"""`.4dgs` files through the PyPI package `fourdgs` (extra `exports`): its temporal model `keyframe-delta`.

The timeline is cut into `frames - 1` stretches. In each, every Gaussian keeps its identity and has a position and a velocity:
positions are linear in time, exactly as between the keyframes of a PLY sequence. The format lets rotations, scales,
opacities and colours change only from stretch to stretch, and the package's writer of this model takes no spherical
harmonics beyond degree 0. Values are quantised within the bounds that the file declares (profile `fine`).
"""

from __future__ import annotations

import importlib
import logging
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..files import atomic_path
from ..splat.gaussians import Gaussians, Gaussians4D
from ..splat.turning import turned, world_from

_LOG = logging.getLogger(__name__)
PROFILE = "fine"
KEYFRAME_EVERY = 8
"""Stretches from one whole statement to the next: what a player decodes to seek."""
LONG_LIFE = 100.0
"""Deviation of the temporal Gaussian of every splat in durations: opacity loses 5e-5 at most. The format wants it finite."""


def write_4dgs(scene: Gaussians4D, path: str | Path, *, frames: int = 24, seconds: float = 2.0) -> Path:
    """Write the motion at times i / (frames - 1) over `seconds`, y up (what the format's players assume).

    Raises InputError when `fourdgs` is not installed, and for fewer than two frames.
    """
    if frames < 2:
        raise InputError(f"--frames: a .4dgs holds motion: expected at least 2, got {frames}")
    files, writer, model = (_module(name) for name in ("keyframe_delta_file", "keyframe_delta_writer", "model"))
    rotation, step = world_from("y").T, seconds / (frames - 1)
    sets = [turned(g, rotation) for g in scene.sampled(torch.linspace(0, 1, frames))]
    keep = torch.stack([g.logit_opacities.sigmoid() for g in sets]).amax(dim=0) > 1 / 255
    if not bool(keep.any()):
        raise InputError("scene: has no visible Gaussians; nothing to export")
    if sets[0].sh.shape[1] > 1:
        _LOG.warning("scene: colours depend on the direction; .4dgs holds their mean over directions (PLY and GLB all)")
    sets = [g[keep] for g in sets]
    samples = [
        writer.Sample(
            t0=i * step,
            ids=torch.arange(len(now)).numpy(),
            gaussians=_stated(now, after, i * step, step=step, seconds=seconds, model=model),
        )
        for i, (now, after) in enumerate(pairwise(sets))
    ]
    options = writer.KeyframeDeltaOptions(keyframe_every=KEYFRAME_EVERY)
    data = files.write_sequence(samples, seconds, kd=options, profile=PROFILE, library="orbit4d")
    path = Path(path)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return path


def _stated(now: Gaussians, after: Gaussians, start: float, *, step: float, seconds: float, model: Any) -> Any:
    """fourdgs' GaussianSet of the stretch that begins with `now` and ends where `after` is."""
    n, ones = len(now), torch.ones(len(now))
    quats = torch.nn.functional.normalize(now.quats, dim=-1)[:, [1, 2, 3, 0]]
    colors = torch.cat([now.base_colors.clamp(0, 1), now.logit_opacities.sigmoid()[:, None]], dim=1)
    # Windows are open at their ends, so they reach beyond the last moment.
    return model.GaussianSet(
        positions=now.means.numpy(),
        scales=now.log_scales.exp().numpy(),
        rotations=quats.numpy(),
        colors=colors.numpy(),
        motions=((after.means - now.means) / step).numpy(),
        mu_t=(ones * start).numpy(),
        sigma_t=(ones * LONG_LIFE * seconds).numpy(),
        win_lo=torch.zeros(n, dtype=torch.float64).numpy(),
        win_hi=torch.full((n,), seconds * 1.01, dtype=torch.float64).numpy(),
    )


def _module(name: str) -> Any:
    try:
        return importlib.import_module(f"fourdgs.{name}")
    except ImportError as error:
        raise InputError(
            ".4dgs: needs the package fourdgs; `pip install 'orbit4d[exports]'`, or choose another format"
        ) from error
