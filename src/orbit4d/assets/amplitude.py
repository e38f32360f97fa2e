"""The same animation with more or less motion: every pose is moved towards the pose at time 0, or away from it.

    x(t) -> x(0) + a (x(t) - x(0)),    rotations by a times the angle from q(0) to q(t), up to a full turn

The motion magnitude of the result grows about as a^2, the pose at time 0 and the animation's name stay: what a model needs
to learn the amount of motion apart from the kind of motion. A loop whose end is its beginning by a full turn no longer closes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .gltf import Asset
from .gltf_animation import Animation, Channels


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
    if path != "rotation":
        return first + amplitude * (values - first)
    first, values = _unit(first), _unit(values)
    turned = _product(first * [-1, -1, -1, 1], values)  # from the first keyframe
    # q and -q are one rotation: followed from key to key, a turn beyond 180 degrees goes on instead of coming back.
    agree = np.where((turned[1:] * turned[:-1]).sum(-1, keepdims=True) < 0, -1.0, 1.0)
    turned[1:] *= np.cumprod(agree, axis=0)
    length = np.linalg.norm(turned[..., :3], axis=-1, keepdims=True)
    half = amplitude * np.arctan2(length, turned[..., 3:])
    axis = turned[..., :3] / np.maximum(length, 1e-12)
    for k in range(1, len(axis)):  # after a full turn there is no axis: it is still that of the key before
        axis[k] = np.where(length[k] < 1e-6, axis[k - 1], axis[k])
    return _product(first, np.concatenate([axis * np.sin(half), np.cos(half)], axis=-1))


def _unit(q: np.ndarray) -> np.ndarray:
    return q / np.maximum(np.linalg.norm(q, axis=-1, keepdims=True), 1e-12)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of quaternions xyzw: first b, then a."""
    (u, w), (v, x) = (a[..., :3], a[..., 3:]), (b[..., :3], b[..., 3:])
    vector = w * v + x * u + np.cross(u, v)
    return np.concatenate([vector, w * x - (u * v).sum(-1, keepdims=True)], axis=-1)
