"""glTF animation channels and their interpolation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(kw_only=True)
class Channel:
    """Keyframes of one node property: times (k,) seconds, values (k, c); cubic splines hold (k, 3, c)."""

    node: int
    path: str
    times: np.ndarray
    values: np.ndarray
    interpolation: str


@dataclass(kw_only=True)
class Animation:
    """A named set of channels; `start` and `duration` in seconds span all keyframes."""

    name: str
    channels: list[Channel]
    start: float
    duration: float


def read_animations(records: list[dict], accessor: Callable[[int], np.ndarray], node_count: int) -> list[Animation]:
    """Animations of a glTF document; channels without a node, with unknown targets or without keyframes are skipped."""
    out = []
    for i, record in enumerate(records):
        channels = []
        for channel in record.get("channels", []):
            target = channel.get("target", {})
            node, path = target.get("node"), target.get("path")
            if (
                node is None
                or not 0 <= node < node_count
                or path not in ("translation", "rotation", "scale", "weights")
            ):
                continue
            sampler = record["samplers"][channel["sampler"]]
            times = accessor(sampler["input"])[:, 0].astype(float)
            values = accessor(sampler["output"]).astype(float)
            kind = sampler.get("interpolation", "LINEAR")
            if not len(times):
                continue
            values = values.reshape((len(times), 3, -1) if kind == "CUBICSPLINE" else (len(times), -1))
            order = np.argsort(times, kind="stable")
            channels.append(Channel(node=node, path=path, times=times[order], values=values[order], interpolation=kind))
        if channels:
            start = min(float(c.times[0]) for c in channels)
            end = max(float(c.times[-1]) for c in channels)
            out.append(Animation(name=str(record.get("name", i)), channels=channels, start=start, duration=end - start))
    return out


def sample(animation: Animation, seconds: float) -> dict[tuple[int, str], np.ndarray]:
    """(node, path) -> value at `seconds` after the animation's first keyframe, clamped to its ends."""
    t = animation.start + seconds
    return {(c.node, c.path): _sample_channel(c, t) for c in animation.channels}


def _sample_channel(c: Channel, t: float) -> np.ndarray:
    cubic = c.interpolation == "CUBICSPLINE"
    if t <= c.times[0] or len(c.times) == 1:
        return c.values[0, 1] if cubic else c.values[0]
    if t >= c.times[-1]:
        return c.values[-1, 1] if cubic else c.values[-1]
    k = int(np.searchsorted(c.times, t, side="right")) - 1
    span = max(float(c.times[k + 1] - c.times[k]), 1e-9)
    u = (t - float(c.times[k])) / span
    if c.interpolation == "STEP":
        return c.values[k]
    if cubic:
        p0, m0 = c.values[k, 1], c.values[k, 2] * span
        p1, m1 = c.values[k + 1, 1], c.values[k + 1, 0] * span
        value = (
            (2 * u**3 - 3 * u**2 + 1) * p0
            + (u**3 - 2 * u**2 + u) * m0
            + (3 * u**2 - 2 * u**3) * p1
            + (u**3 - u**2) * m1
        )
        return value / max(float(np.linalg.norm(value)), 1e-12) if c.path == "rotation" else value
    if c.path == "rotation":
        return _slerp(c.values[k], c.values[k + 1], u)
    return (1 - u) * c.values[k] + u * c.values[k + 1]


def _slerp(a: np.ndarray, b: np.ndarray, u: float) -> np.ndarray:
    dot = float(a @ b)
    if dot < 0:
        b, dot = -b, -dot
    if dot > 0.9995:
        out = (1 - u) * a + u * b
    else:
        angle = np.arccos(np.clip(dot, -1, 1))
        out = (np.sin((1 - u) * angle) * a + np.sin(u * angle) * b) / np.sin(angle)
    return out / max(float(np.linalg.norm(out)), 1e-12)
