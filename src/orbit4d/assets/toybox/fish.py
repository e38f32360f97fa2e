"""Fish, sharks, whales and dolphins."""

# ruff: noqa: RUF005  (points are arrays: `p + [dx, dy, dz]` moves them)
from __future__ import annotations

import numpy as np

from .clay import Clay
from .paint import Look
from .parts import Rng, chance, eyes, hat, pick, smile

FISH = {
    "fish": ("orange", "yellow", "blue"),
    "shark": ("grey", "navy", "sky blue"),
    "whale": ("blue", "navy", "grey"),
    "dolphin": ("grey", "sky blue"),
}


_SHAPES = {
    "fish": (0.4, 0.21, 0.115),
    "shark": (0.52, 0.15, 0.13),
    "whale": (0.48, 0.22, 0.23),
    "dolphin": (0.48, 0.15, 0.14),
}


def fish(rng: Rng, look: Look, sort: str) -> Clay:
    long, tall, wide = (s * f for s, f in zip(_SHAPES[sort], rng.uniform(0.88, 1.14, 3), strict=True))
    y = 0.5
    c = Clay(look, body=y)
    c.noun = sort
    sideways = sort in ("fish", "shark")
    points = [(0, y, -long * s) for s in (0.3, 0.62, 0.92)]
    names = c.chain("tail", points)
    c.joint("head", (0, y, long * 0.45))
    c.limb("head", ["head"], (0, y, long))
    c.limb("tail" if sideways else "fluke", names, points[-1])
    nose = 0.75 if sort != "shark" else 0.55
    line = [
        (0, y, -long * 1.02),
        (0, y, -long * 0.68),
        (0, y, -long * 0.25),
        (0, y + tall * 0.04, long * 0.25),
        (0, y, long * 0.72),
        (0, y - tall * 0.05, long * 0.98),
    ]
    radii = [
        (wide * 0.16, tall * 0.17),
        (wide * 0.5, tall * 0.45),
        (wide * 0.9, tall * 0.9),
        (wide, tall),
        (wide * 0.8, tall * 0.78),
        (wide * nose * 0.5, tall * nose * 0.5),
    ]
    c.tube([*names[::-1], "body", "head"], line, radii, "main", up=(0, 1, 0), paint=True, fine=1.15)
    if sort in ("whale", "shark", "dolphin"):
        belly = [
            (0, y - tall * 0.18, -long * 0.5),
            (0, y - tall * 0.2, -long * 0.1),
            (0, y - tall * 0.22, long * 0.4),
            (0, y - tall * 0.22, long * 0.75),
        ]
        c.tube(
            [names[0], "body", "head"],
            belly,
            [
                (wide * 0.45, tall * 0.4),
                (wide * 0.82, tall * 0.83),
                (wide * 0.8, tall * 0.8),
                (wide * 0.5, tall * 0.45),
            ],
            "white",
            up=(0, 1, 0),
        )
    _tail_fin(c, rng, names[-1], np.array([0, y, -long * 0.98]), tall, sideways)
    _fins(c, rng, sort, y, long, tall, wide)
    front = long * (0.66 if sort == "fish" else 0.6)
    big = {"fish": 0.23, "shark": 0.2, "whale": 0.14, "dolphin": 0.17}[sort] * tall
    eyes(c, "head", (wide * 0.72, y + tall * 0.22, front), max(big, 0.03), out=1.2)
    if sort == "fish":
        c.ball("head", (0, y - tall * 0.12, long * 1.02), (wide * 0.36, tall * 0.14, long * 0.09), "second")
    elif sort == "dolphin":
        c.tube(
            "head",
            [(0, y - tall * 0.12, long * 0.85), (0, y - tall * 0.22, long * 1.28)],
            [(wide * 0.36, tall * 0.24), (wide * 0.22, tall * 0.13)],
            "main",
            up=(0, 1, 0),
        )
    elif sort == "whale":
        smile(c, "head", (0, y - tall * 0.32, long * 1.02), wide * 0.55)
        for side in (-1, 1):
            p = np.array([0, y + tall * 0.9, long * 0.3])
            c.tube(
                "head",
                [p, p + [side * 0.02, 0.12, 0], p + [side * 0.1, 0.18, 0], p + [side * 0.14, 0.11, 0]],
                [0.022, 0.026, 0.03, 0.02],
                "turquoise",
            )
        c.has("water spout")
    else:
        smile(c, "head", (0, y - tall * 0.38, long * 0.93), wide * 0.45)
        for k in (-2, -1, 0, 1, 2):
            x = k * wide * 0.16
            p = np.array([x, y - tall * 0.34 + 0.004 * k * k, long * 0.95 - 0.004 * k * k])
            c.cone("head", tuple(p), tuple(p - [0, tall * 0.18, 0]), wide * 0.07, "white")
    if chance(rng, 0.15):
        hat(
            c,
            rng,
            "head",
            (0, y + tall * 0.92, long * 0.5),
            tall * 0.42,
            kinds=("top hat", "crown", "party hat", "bow"),
        )
    return c


def _tail_fin(c: Clay, rng: Rng, joint: str, at: np.ndarray, tall: float, upright: bool) -> None:
    size = tall * (1.0 if upright else 1.15) * rng.uniform(0.9, 1.2)
    for side in (-1, 1):
        out = np.array([0.0, side, 0.0]) if upright else np.array([float(side), 0.0, 0.0])
        flat = (1, 0, 0) if upright else (0, 1, 0)
        points = [
            at + [0, 0, size * 0.15],
            at + out * size * 0.4 + [0, 0, -size * 0.3],
            at + out * size * 0.95 + [0, 0, -size * 0.75],
        ]
        c.tube(
            joint, points, [(size * 0.22, 0.03), (size * 0.36, 0.02), (size * 0.06, 0.008)], "second", up=flat, cap=0.6
        )


def _fins(c: Clay, rng: Rng, sort: str, y: float, long: float, tall: float, wide: float) -> None:
    style = pick(rng, "sail", "sharp", "wavy") if sort == "fish" else "sharp"
    top = y + tall * 0.82
    if style == "sail":
        c.tube(
            "body",
            [
                (0, top, long * 0.3),
                (0, top + tall * 0.42, 0),
                (0, top + tall * 0.3, -long * 0.35),
                (0, top - tall * 0.25, -long * 0.55),
            ],
            [(tall * 0.12, 0.022), (tall * 0.36, 0.02), (tall * 0.28, 0.016), (tall * 0.06, 0.012)],
            "second",
            up=(1, 0, 0),
        )
    elif style == "wavy":
        for k in range(4):
            c.tube(
                "body",
                [
                    (0, top - tall * 0.1, long * (0.3 - 0.2 * k)),
                    (0, top + tall * (0.5 - 0.06 * k), long * (0.14 - 0.2 * k)),
                ],
                [(tall * 0.16, 0.02), (tall * 0.08, 0.012)],
                "second" if k % 2 else "accent",
                up=(1, 0, 0),
            )
    else:
        high = tall * (1.0 if sort == "shark" else 0.55 if sort != "whale" else 0.25)
        c.tube(
            "body",
            [(0, top - tall * 0.15, long * 0.12), (0, top + high * 0.45, -long * 0.06), (0, top + high, -long * 0.22)],
            [(long * 0.2, 0.03), (long * 0.13, 0.022), (long * 0.02, 0.01)],
            "main" if sort != "fish" else "second",
            up=(1, 0, 0),
        )
    span = {"fish": 0.2, "shark": 0.34, "whale": 0.32, "dolphin": 0.26}[sort]
    for side in (-1.0, 1.0):
        root = np.array([side * wide * 0.78, y - tall * 0.35, long * 0.22])
        points = [
            root,
            root + [side * span * 0.5, -span * 0.18, -span * 0.22],
            root + [side * span, -span * 0.4, -span * 0.65],
        ]
        name = c.joint(f"fin_{'l' if side < 0 else 'r'}", root)
        c.tube(
            name,
            [root - [side * 0.04, 0, 0], *points],
            [(0.07, 0.025), (0.09, 0.022), (0.075, 0.018), (0.02, 0.01)],
            "second" if sort == "fish" else "main",
            up=(0, 1, 0),
        )
        c.limb("fin", [name], points[-1], side=side)
