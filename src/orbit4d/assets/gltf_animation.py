"""glTF animation channels and their interpolation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .gltf_container import Container
from .gltf_text import plain, word

MAX_ANIMATIONS = 2_000
MAX_CHANNELS = 100_000
"""Of all animations together; one of them may use a fifth."""
MAX_SECONDS = 1e6
_WIDTHS = {"translation": 3, "rotation": 4, "scale": 3}


@dataclass(kw_only=True)
class Channels:
    """Keyframes of one property of several nodes that share their times.

    Attributes:
        path: translation, rotation (xyzw), scale or weights.
        nodes: (m,) node numbers.
        times: (k,) seconds, ascending.
        values: (k, m, c); cubic splines hold (k, 3, m, c): in-tangent, value, out-tangent.
        interpolation: STEP, LINEAR or CUBICSPLINE.
    """

    path: str
    nodes: np.ndarray
    times: np.ndarray
    values: np.ndarray
    interpolation: str


@dataclass(kw_only=True)
class Animation:
    """A named set of channels; `start` and `duration` in seconds span all keyframes."""

    name: str
    channels: list[Channels]
    start: float
    duration: float


def read_animations(file: Container, node_count: int) -> list[Animation]:
    """Animations of a glTF document; channels without a node, with unknown targets or without keyframes are skipped."""
    count = len(file.json.get("animations", []))
    records = [file.record("animations", i) for i in range(min(count, MAX_ANIMATIONS + 1))]
    lengths = [len(record.get("channels", [])) for record in records]
    if count > MAX_ANIMATIONS or sum(lengths) > MAX_CHANNELS or max(lengths, default=0) > MAX_CHANNELS // 5:
        raise InputError(
            f"{file.path}: {count} animations of {sum(lengths)} channels; at most {MAX_ANIMATIONS}, {MAX_CHANNELS} channels in all "
            f"and {MAX_CHANNELS // 5} in one are read; export fewer"
        )
    clocks: dict[int, np.ndarray] = {}
    animations = (_animation(file, i, record, node_count, clocks) for i, record in enumerate(records))
    return [a for a in animations if a is not None]


def _animation(
    file: Container, number: int, record: dict, node_count: int, clocks: dict[int, np.ndarray]
) -> Animation | None:
    """`clocks` keeps the keyframes' times by accessor. None when nothing moves."""
    groups: dict[tuple, list[tuple[int, np.ndarray]]] = {}
    for channel in record.get("channels", []):
        target = channel.get("target", {})
        node, path = target.get("node"), target.get("path")
        if node is not None and (isinstance(node, bool) or not isinstance(node, int)):
            raise InputError(
                f"{file.path}: animation {number} moves node {word(node)}, expected its number; export the file again"
            )
        if node is None or not 0 <= node < node_count or path not in (*_WIDTHS, "weights"):
            continue
        samplers = record["samplers"]
        if not isinstance(samplers, list) or not 0 <= channel["sampler"] < len(samplers):
            raise InputError(
                f"{file.path}: animation {number} has no sampler {word(channel['sampler'])}; export it again"
            )
        sampler = samplers[channel["sampler"]]
        clock = sampler["input"]
        if clock not in clocks:
            times = file.accessor(clock, width=1)[:, 0].astype(float)
            clocks[clock] = times
            if len(times) and float(np.abs(times).max()) > MAX_SECONDS:
                raise InputError(
                    f"{file.path}: animation {number} has keyframes beyond {MAX_SECONDS:.0f} s; export it again"
                )
        if len(clocks[clock]):
            values, kind = _values(file, sampler, path, keys=len(clocks[clock]))
            groups.setdefault((path, kind, clock, values.shape[-1]), []).append((node, values))
    if not groups:
        return None
    channels = [_grouped(key, members, clocks[key[2]]) for key, members in groups.items()]
    start = min(float(c.times[0]) for c in channels)
    end = max(float(c.times[-1]) for c in channels)
    return Animation(name=plain(record.get("name", number)), channels=channels, start=start, duration=end - start)


def _values(file: Container, sampler: dict, path: str, *, keys: int) -> tuple[np.ndarray, str]:
    """(k, c) or, cubic, (k, 3, c)."""
    kind = sampler.get("interpolation", "LINEAR")
    values = file.accessor(sampler["output"], width=_WIDTHS.get(path)).astype(float)
    file.spend(2 * values.nbytes, "keyframes")
    per_key = 3 if kind == "CUBICSPLINE" else 1
    if kind not in ("LINEAR", "STEP", "CUBICSPLINE") or values.size % (keys * per_key) or not values.size:
        raise InputError(
            f"{file.path}: an animation of {keys} keys ({word(kind)}) has {len(values)} values of {path}; "
            "export the file again"
        )
    values = values.reshape((keys, 3, -1) if kind == "CUBICSPLINE" else (keys, -1))
    if path in _WIDTHS and values.shape[-1] != _WIDTHS[path]:
        raise InputError(f"{file.path}: an animation of {keys} keys has {values.shape[-1]} numbers a key for {path}")
    return values, kind


def _grouped(key: tuple, members: list[tuple[int, np.ndarray]], times: np.ndarray) -> Channels:
    path, kind, _, _ = key
    order = np.argsort(times, kind="stable")
    return Channels(
        path=path,
        nodes=np.array([node for node, _ in members]),
        times=times[order],
        values=np.stack([values for _, values in members], axis=-2)[order],
        interpolation=kind,
    )


def sample(animation: Animation, seconds: float) -> Iterator[tuple[Channels, np.ndarray]]:
    """(channels, values (m, c)) at `seconds` after the animation's first keyframe, clamped to its ends."""
    for c in animation.channels:
        yield c, _sample(c, animation.start + seconds)


def _sample(c: Channels, t: float) -> np.ndarray:
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
        return (
            (2 * u**3 - 3 * u**2 + 1) * p0 + (u**3 - 2 * u**2 + u) * m0 + (3 - 2 * u) * u**2 * p1 + (u - 1) * u**2 * m1
        )
    if c.path == "rotation":
        return _slerp(c.values[k], c.values[k + 1], u)
    return (1 - u) * c.values[k] + u * c.values[k + 1]


def _slerp(a: np.ndarray, b: np.ndarray, u: float) -> np.ndarray:
    """Between quaternions (m, 4) the short way round; nearly equal ones are interpolated linearly. Not normalised."""
    dot = (a * b).sum(-1, keepdims=True)
    b, dot = np.where(dot < 0, -b, b), np.abs(dot)
    angle = np.arccos(np.minimum(dot, 1))
    close = dot > 0.9995
    sine = np.where(close, 1, np.sin(angle))
    first = np.where(close, 1 - u, np.sin((1 - u) * angle) / sine)
    return first * a + np.where(close, u, np.sin(u * angle) / sine) * b
