"""Named motions of the toybox: loops of one second, as rotations of named joints about glTF axes (x right, y up, z front)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .glb_writer import Track
from .toybox_shapes import Builder

MOTIONS = {
    "quadruped": ("walk", "run", "jump", "nod", "sway"),
    "bird": ("flap", "walk", "jump", "nod", "spin"),
    "fish": ("swim", "spin", "jump", "nod", "sway"),
    "humanoid": ("walk", "run", "jump", "wave", "spin"),
    "robot": ("walk", "wave", "nod", "spin", "sway"),
}

Curve = Callable[[np.ndarray], np.ndarray]


def _sine(amplitude: float, phase: float = 0.0, rate: int = 1, offset: float = 0.0) -> Curve:
    """Degrees over time in [0, 1]; whole `rate` makes a loop."""
    return lambda t: offset + amplitude * np.sin(2 * np.pi * (rate * t + phase))


def _hop(height: float) -> Curve:
    return lambda t: height * np.maximum(np.sin(2 * np.pi * t), 0) ** 1.2


def animate(builder: Builder, kind: str, motion: str, times: np.ndarray, *, amplitude: float) -> list[Track]:
    """Tracks of `motion`; `amplitude` scales the angles, about 1."""
    angles, lift = _angles(kind, motion, amplitude)
    tracks = []
    names = [j.name for j in builder.joints]
    for name, (axis, curve) in angles.items():
        if name in names:
            tracks.append(Track(joint=builder.index(name), rotations=_about(axis, np.radians(curve(times)))))
    if lift is not None:
        root = next((t for t in tracks if t.joint == 0), None)
        if root is None:
            tracks.append(root := Track(joint=0))
        moved = np.tile(builder.joints[0].offset, (len(times), 1))
        moved[:, 1] += lift(times)
        root.translations = moved
    return tracks


def _about(axis: str, angle: np.ndarray) -> np.ndarray:
    quats = np.zeros((len(angle), 4))
    quats[:, "xyz".index(axis)] = np.sin(angle / 2)
    quats[:, 3] = np.cos(angle / 2)
    return quats


def _gait(kind: str, a: float, swing: float, rate: int) -> dict[str, tuple[str, Curve]]:
    if kind == "quadruped":
        phases = {"leg_fl": 0.0, "leg_br": 0.08, "leg_fr": 0.5, "leg_bl": 0.58}
    else:
        phases = {"leg_l": 0.0, "leg_r": 0.5, "arm_l": 0.5, "arm_r": 0.0}
    return {name: ("x", _sine(a * swing, p, rate)) for name, p in phases.items()}


def _angles(kind: str, motion: str, a: float) -> tuple[dict[str, tuple[str, Curve]], Curve | None]:
    """Joint -> (axis, degrees over time), and the root's lift."""
    tail: dict[str, tuple[str, Curve]] = {"tail": ("y", _sine(18 * a, 0.2)), "tail_tip": ("y", _sine(22 * a, 0.05))}
    match motion:
        case "walk":
            return _gait(kind, a, 28, 1) | tail | {
                "head": ("x", _sine(5, 0.1, 2))
            }, lambda t: 0.015 * np.abs(np.sin(2 * np.pi * t))
        case "run":
            return _gait(kind, a, 48, 2) | tail | {
                "root": ("x", _sine(7 * a, 0.3, 2, 6))
            }, lambda t: 0.07 * np.abs(np.sin(2 * np.pi * t))
        case "jump":
            legs = {n: ("x", _sine(24 * a, 0.5)) for n in ("leg_fl", "leg_fr", "leg_l", "leg_r")}
            legs |= {n: ("x", _sine(24 * a, 0.0)) for n in ("leg_bl", "leg_br")}
            wings = {
                "wing_l": ("z", _sine(35 * a, 0.5)),
                "wing_r": ("z", _sine(35 * a)),
                "arm_l": ("z", _sine(50 * a, 0.5, 1, -60)),
                "arm_r": ("z", _sine(50 * a, 0.0, 1, 60)),
            }
            return legs | wings | tail, _hop(0.35 * a)
        case "nod":
            extra = {"tail": ("x", _sine(25 * a))} if kind == "fish" else tail
            return {"head": ("x", _sine(26 * a, 0.0, 2)), "root": ("x", _sine(6 * a, 0.2, 2)), **extra}, None
        case "spin":
            return {
                "root": ("y", lambda t: -360.0 * t),
                "tail": ("y", _sine(20)),
                "arm_l": ("z", _sine(15, 0, 1, -35)),
                "arm_r": ("z", _sine(15, 0.5, 1, 35)),
            }, None
        case "wave":
            return {
                "arm_r": ("z", _sine(22 * a, 0.0, 2, 140)),
                "arm_l": ("z", _sine(4, 0, 1, -8)),
                "head": ("z", _sine(8 * a)),
            }, None
        case "flap":
            wings = {
                "wing_l": ("z", _sine(48 * a, 0.0, 2)),
                "wing_r": ("z", _sine(48 * a, 0.5, 2)),
                "tail": ("x", _sine(12, 0.1, 2)),
            }
            return wings, lambda t: 0.08 * np.sin(2 * np.pi * (2 * t + 0.6))
        case "swim":
            fins = {"fin_l": ("z", _sine(30 * a, 0.0, 2)), "fin_r": ("z", _sine(30 * a, 0.5, 2))}
            return {
                "root": ("y", _sine(9 * a)),
                "tail": ("y", _sine(34 * a, 0.35)),
                "tail_tip": ("y", _sine(30 * a, 0.2)),
                **fins,
            }, None
        case _:  # sway
            return {
                "root": ("z", _sine(14 * a)),
                "head": ("z", _sine(12 * a, 0.15)),
                "arm_l": ("z", _sine(18, 0.2, 1, -22)),
                "arm_r": ("z", _sine(18, 0.2, 1, 22)),
                **tail,
            }, None
