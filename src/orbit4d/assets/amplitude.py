"""The same animation with more or less motion: every pose is moved towards the pose at time 0, or away from it.

    x(t) -> x(0) + a (x(t) - x(0)),    rotations along the arc from q(0) to q(t)

The motion magnitude of the result grows about as a^2, the pose at time 0 and the animation's name stay: what a model needs
to learn the amount of motion apart from the kind of motion.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .gltf import Asset
from .gltf_animation import Animation, Channels, slerp


def with_amplitude(asset: Asset, amplitude: float) -> Asset:
    """`asset` with all its animations at `amplitude` times their motion; 0 stands still, 1 changes nothing. The input stays."""
    if amplitude == 1:
        return asset
    return replace(asset, animations=[_scaled(animation, amplitude) for animation in asset.animations])


def _scaled(animation: Animation, amplitude: float) -> Animation:
    return replace(animation, channels=[_scaled_channels(c, amplitude) for c in animation.channels])


def _scaled_channels(c: Channels, amplitude: float) -> Channels:
    """All keyframes moved; the tangents of cubic splines (k, 3, m, c) are differences and scale alike."""
    if c.interpolation != "CUBICSPLINE":
        return replace(c, values=_moved(c.values[0], c.values, amplitude, c.path))
    values = c.values.copy()
    values[:, 1] = _moved(c.values[0, 1], c.values[:, 1], amplitude, c.path)
    values[:, 0], values[:, 2] = amplitude * c.values[:, 0], amplitude * c.values[:, 2]
    return replace(c, values=values)


def _moved(first: np.ndarray, values: np.ndarray, amplitude: float, path: str) -> np.ndarray:
    """first (m, c), values (k, m, c) -> (k, m, c)."""
    if path == "rotation":
        return slerp(np.broadcast_to(first, values.shape), values, amplitude)
    return first + amplitude * (values - first)
