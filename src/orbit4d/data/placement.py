"""Where an asset stands in the world, how big it appears, and which second of its animation a clip time is.

How big an object appears is decided by `fit`:

- ``swept`` (default): the sphere swept by the whole motion is centred and just fits the default camera's frame.
- ``t0``: Diffusion4D's: the box at time 0 is centred and its largest side is 1.

Root motion policy: motion is kept as authored. Only when the object travels so far that ``swept`` would shrink it by more
than 1.5x against its own size, the straight-line part of the drift from the first to the last frame is removed
(``root_motion="auto"``; ``"keep"`` and ``"remove"`` force either).

Clip time: [0, 1] spans whole loops of the animation, as many as fit into about a second but at least one
(``loop="loop"``); ``"once"`` plays it exactly once; ``"clamp"`` plays 23/24 s at its own speed and holds the last pose
(Diffusion4D's).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..assets.gltf import Asset, Posed
from ..errors import InputError

Fit = Literal["swept", "t0"]
Loop = Literal["loop", "once", "clamp"]
RootMotion = Literal["auto", "keep", "remove"]
PLACEMENT_MOMENTS = 25
FRAME_RADIUS = 2.0 * math.sin(math.radians(39.6 / 2)) * 0.95


@dataclass(kw_only=True)
class Placement:
    """asset -> world at a second s of the animation: scale * (x - centre - s * drift)."""

    scale: float
    centre: np.ndarray
    drift: np.ndarray
    """Asset units a second."""

    def apply(self, posed: Posed, seconds: float) -> list[np.ndarray]:
        shift = self.centre + seconds * self.drift
        return [((p - shift) * self.scale).astype(np.float32) for p in posed.positions]


def clip_seconds(duration: float, u: float, *, loop: Loop = "loop") -> float:
    """Seconds into an animation of `duration` at clip time u in [0, 1]; see the module's text."""
    if loop == "clamp":
        return min(u * 23 / 24, duration)
    if loop == "once" or duration <= 0:
        return u * duration
    cycles = max(1, int(1.0 / max(duration, 1e-3) + 0.3))
    position = u * cycles * duration
    return position if u >= 1 and cycles == 1 else min(math.fmod(position, duration) if u < 1 else duration, duration)


def place(
    asset: Asset, animation: int | None, *, fit: Fit = "swept", loop: Loop = "loop", root_motion: RootMotion = "auto"
) -> Placement:
    """The similarity (and drift) that puts the asset into the world, from its vertices over the motion."""
    duration = duration_of(asset, animation)
    played = clip_seconds(duration, 1.0, loop=loop)
    # Moments of the animation, not of the clip: short loops repeat, and few clip times would meet the same phases again.
    moments = np.linspace(0, played, PLACEMENT_MOMENTS) if played > 0 else np.zeros(1)
    drawn = _drawn(asset)
    clouds = [np.concatenate(asset.pose(animation, float(s)).positions)[drawn] for s in moments]
    zero = np.zeros(3)
    low, high = clouds[0].min(0), clouds[0].max(0)
    extent = float((high - low).max())
    if not np.isfinite(extent) or extent < 1e-9:
        raise InputError(f"{asset.name}: its vertices span nothing at time 0; expected a visible mesh")
    if fit == "t0":
        return Placement(scale=1 / extent, centre=(low + high) / 2, drift=zero)
    travel = clouds[-1].mean(0) - clouds[0].mean(0)
    centre, radius = _sphere(np.concatenate(clouds))
    alone = max(_sphere(cloud)[1] for cloud in clouds)
    if root_motion == "remove" or (
        root_motion == "auto" and played > 0 and radius > 1.5 * alone and np.linalg.norm(travel) > 0.3 * alone
    ):
        drift = travel / max(played, 1e-6)
        clouds = [cloud - s * drift for cloud, s in zip(clouds, moments, strict=True)]
        centre, radius = _sphere(np.concatenate(clouds))
        return Placement(scale=FRAME_RADIUS / radius, centre=centre, drift=drift)
    return Placement(scale=FRAME_RADIUS / radius, centre=centre, drift=zero)


def _drawn(asset: Asset) -> np.ndarray:
    """Indices of the vertices that triangles use (files often hold stray ones)."""
    offsets = np.cumsum([0, *[len(p.positions) for p in asset.primitives]])
    return np.unique(np.concatenate([p.indices + o for p, o in zip(asset.primitives, offsets, strict=False)]))


def _sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre and radius of a small enclosing sphere (Badoiu-Clarkson iterations; within about 1 % of the smallest)."""
    centre = (points.min(0) + points.max(0)) / 2
    for i in range(1, 60):
        far = points[int(((points - centre) ** 2).sum(1).argmax())]
        centre = centre + (far - centre) / (i + 1) ** 1.2 * 0.5
    return centre, float(np.sqrt(((points - centre) ** 2).sum(1).max()))


def find_animation(asset: Asset, wanted: int | str | None) -> int | None:
    """Index of an animation by index or name; None picks the first, if any.

    Case does not matter; the part after '|' suffices, and so does any part of a name that only one animation has.
    """
    names = [a.name for a in asset.animations]
    if wanted is None:
        return 0 if names else None
    if isinstance(wanted, str) and not wanted.isdigit():
        for i, name in enumerate(names):
            if wanted.lower() in (name.lower(), name.rsplit("|", 1)[-1].lower()):
                return i
        holding = [i for i, name in enumerate(names) if wanted and wanted.lower() in name.lower()]
        if len(holding) == 1:
            return holding[0]
    elif 0 <= int(wanted) < len(names):
        return int(wanted)
    listing = ", ".join(f"{i}={n.rsplit('|', 1)[-1]}" for i, n in enumerate(names)) or "none"
    raise InputError(f"{asset.name}: no animation {wanted!r}; it has: {listing}")


def duration_of(asset: Asset, animation: int | None) -> float:
    """Seconds; 0 for the rest pose."""
    return 0.0 if animation is None else asset.animations[animation].duration
