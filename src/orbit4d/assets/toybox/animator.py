"""Keyframes for the joints and morph targets of a toy: what the motions are written with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..glb_writer import Track
from .clay import Clay, Limb

KEYS_A_CYCLE = 20
X, Y, Z = np.eye(3)
Value = Any  # a number or an array (k,)


class Animator:
    """Collects the movements of one loop.

    `p` (k,) is the motion's own clock: it passes through `cycles` whole units in the loop, so that any curve of period 1
    in it is seamless. At p = 0 and p = 1/2 periodic motions stand at opposite ends. `a` scales how far things move.
    """

    def __init__(self, clay: Clay, *, cycles: int, amplitude: float, phase: float = 0.0, direction: int = 1) -> None:
        self.clay, self.a, self.direction = clay, amplitude, direction
        self.u = np.linspace(0, 1, KEYS_A_CYCLE * max(cycles, 2) + 1)
        self.p = cycles * self.u + phase
        self.cycles = cycles
        self.turns: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        self.moves: dict[str, np.ndarray] = {}
        self.sizes: dict[str, np.ndarray] = {}
        self.morphs: dict[str, np.ndarray] = {}
        self.pitch = np.zeros(len(self.u))

    def wave(self, delay: float = 0.0, rate: int = 1) -> np.ndarray:
        """A cosine of the motion's clock, `delay` periods late."""
        return np.cos(2 * np.pi * (rate * self.p - delay))

    def rise(self, delay: float = 0.0, rate: int = 1) -> np.ndarray:
        """From 0 up to 1 and back, smoothly."""
        return (1 - self.wave(delay, rate)) / 2

    def limbs(self, *groups: str) -> list[Limb]:
        return [limb for group in groups for limb in self.clay.limbs.get(group, [])]

    def turn(self, joint: str, axis: np.ndarray, degrees: Value) -> None:
        """Rotate a joint about `axis` (3,); later turns come after earlier ones, in the parent's frame."""
        angle = np.broadcast_to(np.radians(degrees), self.u.shape)
        self.turns.setdefault(joint, []).append((np.asarray(axis, dtype=float), angle))

    def move(self, joint: str, x: Value = 0.0, y: Value = 0.0, z: Value = 0.0) -> None:
        step = np.stack([np.broadcast_to(v, self.u.shape) for v in (x, y, z)], 1)
        self.moves[joint] = self.moves.get(joint, 0) + step

    def size(self, joint: str, x: Value, y: Value, z: Value) -> None:
        self.sizes[joint] = np.stack([np.broadcast_to(v, self.u.shape) for v in (x, y, z)], 1)

    def squash(self, amount: np.ndarray, joint: str = "root") -> None:
        """Keep the volume: `amount` > 0 makes it tall, < 0 flat."""
        tall = np.exp(amount)
        self.size(joint, tall**-0.5, tall, tall**-0.5)

    def morph(self, target: str, weights: np.ndarray) -> None:
        self.morphs[target] = weights

    def lean(self, degrees: Value) -> None:
        """Pitch the body (positive: forwards) in a way that planted legs know of."""
        self.pitch = self.pitch + np.radians(degrees)
        self.turn("body", X, degrees)

    def bend(self, limb: Limb, axis: np.ndarray, degrees: Callable[[float], Value], *, lag: float = 0.0) -> None:
        """Turn every joint of a chain by an equal share of degrees(delay); each is `lag` later than the one before."""
        for i, joint in enumerate(limb.joints):
            self.turn(joint, axis, degrees(i * lag) / len(limb.joints))

    def plant(self, leg: Limb, z: Value = 0.0, y: Value = 0.0) -> None:
        """Two-bone inverse kinematics in the plane x = const: put the leg's tip at its rest place + (0, y, z)."""
        clay = self.clay
        hip, knee = (clay.world[j][1:] for j in leg.joints[:2])
        tip, pivot = leg.tip[1:], clay.world["body"][1:]
        c, s = np.cos(self.pitch), np.sin(self.pitch)
        arm = hip - pivot
        shift = self.moves.get("body", np.zeros((len(self.u), 3)))
        hip_y = pivot[0] + c * arm[0] - s * arm[1] + shift[:, 1]
        hip_z = pivot[1] + s * arm[0] + c * arm[1] + shift[:, 2]
        to_y, to_z = tip[0] + y - hip_y, tip[1] + z - hip_z
        upper, lower = float(np.linalg.norm(knee - hip)), float(np.linalg.norm(tip - knee))
        reach = np.clip(np.hypot(to_y, to_z), abs(upper - lower) + 1e-3, (upper + lower) * 0.9995)
        base = np.arctan2(to_z, to_y)
        inner = np.arccos(np.clip((upper**2 + reach**2 - lower**2) / (2 * upper * reach), -1, 1))
        thigh = base + leg.bend * inner
        knee_y, knee_z = upper * np.cos(thigh), upper * np.sin(thigh)
        shin = np.arctan2(reach * np.sin(base) - knee_z, reach * np.cos(base) - knee_y)
        thigh_rest = np.arctan2(*(knee - hip)[::-1])
        shin_rest = np.arctan2(*(tip - knee)[::-1])
        first = _wrapped(thigh - thigh_rest - self.pitch)
        second = _wrapped(shin - shin_rest - self.pitch - first)
        self.turn(leg.joints[0], X, np.degrees(first))
        self.turn(leg.joints[1], X, np.degrees(second))
        if len(leg.joints) > 2:  # the foot stays level
            self.turn(leg.joints[2], X, np.degrees(-first - second - self.pitch))

    def tracks(self) -> list[Track]:
        out = []
        parents = dict(zip(self.clay.names, self.clay.parents, strict=True))
        for i, name in enumerate(self.clay.names):
            track = Track(joint=i)
            if name in self.turns:
                track.rotations = _combined(self.turns[name])
            if name in self.moves:
                parent = parents[name]
                offset = self.clay.world[name] - (self.clay.world[parent] if parent else 0)
                track.translations = offset + self.moves[name]
            track.scales = self.sizes.get(name)
            if track.rotations is not None or track.translations is not None or track.scales is not None:
                out.append(track)
        return out


def _wrapped(angle: np.ndarray) -> np.ndarray:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _combined(turns: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Quaternions xyzw (k, 4), neighbours on the same side so that linear interpolation takes the short way."""
    out = None
    for axis, angle in turns:
        unit = axis / np.linalg.norm(axis)
        q = np.concatenate([np.sin(angle / 2)[:, None] * unit, np.cos(angle / 2)[:, None]], 1)
        out = q if out is None else _product(q, out)
    assert out is not None
    flips = np.cumprod(np.where((out[1:] * out[:-1]).sum(1) < 0, -1.0, 1.0))
    out[1:] *= flips[:, None]
    return out


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    ax, ay, az, aw = a.T
    bx, by, bz, bw = b.T
    return np.stack(
        [
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        ],
        1,
    )
