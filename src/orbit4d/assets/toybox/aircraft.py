"""Aeroplanes, rockets, helicopters and drones."""

# ruff: noqa: RUF005  (points are arrays: `p + [dx, dy, dz]` moves them)
from __future__ import annotations

import numpy as np

from .animator import X, Y, Z
from .clay import Clay
from .paint import Look
from .parts import Rng, chance, pick, rotor, wheel

PLANES = {"aeroplane": (), "jet": ("grey", "white", "blue"), "rocket": ("white", "red")}


def aeroplane(rng: Rng, look: Look, sort: str) -> Clay:
    if sort == "rocket":
        return _rocket(rng, look)
    y, r = 0.4, rng.uniform(0.11, 0.135)
    c = Clay(look, body=y)
    c.noun = sort
    jet = sort == "jet"
    c.tube(
        "body",
        [(0, y + 0.06, -0.62), (0, y + 0.02, -0.3), (0, y, 0.1), (0, y, 0.42), (0, y - 0.01, 0.66 if jet else 0.52)],
        [0.035, r * 0.75, r, r * 0.92, 0.02 if jet else r * 0.6],
        "main",
        up=(0, 1, 0),
        paint=True,
        fine=1.2,
    )
    c.ball("body", (0, y + r * 0.85, 0.22), (r * 0.6, r * 0.55, 0.15), "sky blue")
    span, sweep = rng.uniform(0.56, 0.68), 0.34 if jet else 0.06
    for side in (-1.0, 1.0):
        root = np.array([side * r * 0.6, y - r * (0.15 if jet else 0.3), 0.1])
        tip = root + [side * span, 0.05, -sweep]
        c.tube(
            "body",
            [root - [side * 0.05, 0, 0], (root + tip) / 2, tip],
            [(0.17, 0.03), (0.14, 0.026), (0.075, 0.018)],
            "second",
            up=(0, 1, 0),
            cap=0.7,
        )
        tail = np.array([side * 0.03, y + 0.07, -0.52])
        c.tube(
            "body",
            [tail, tail + [side * 0.24, 0.02, -0.06 - sweep * 0.3]],
            [(0.09, 0.022), (0.06, 0.016)],
            "second",
            up=(0, 1, 0),
        )
        if jet:
            p = root * 0.5 + tip * 0.5 + [0, -0.075, 0.08]
            c.lathe(
                "body",
                tuple(p - [0, 0, 0.12]),
                (0, 0, 1),
                [(0, 0), (0, 0.045), (0.08, 0.062), (0.24, 0.062), (0.26, 0.05, "black"), (0.23, 0)],
                "accent",
            )
            c.tube("body", [p, p + [0, 0.08, -0.03]], [0.02, 0.03], "second")
        elif chance(rng, 1.0):
            c.ball("body", tuple(root * 0.35 + tip * 0.65 + [0, 0.016, 0]), (0.075, 0.02, 0.075), "accent")
    c.tube(
        "body",
        [(0, y + 0.06, -0.5), (0, y + 0.18, -0.58), (0, y + 0.3, -0.66)],
        [(0.12, 0.022), (0.1, 0.02), (0.06, 0.014)],
        "accent",
        up=(1, 0, 0),
    )
    if not jet:
        if chance(rng, 0.4):  # a biplane
            for side in (-1, 1):
                c.tube(
                    "body",
                    [(0, y + r * 2.1, 0.14), (side * span * 0.92, y + r * 2.2, 0.1)],
                    [(0.13, 0.022), (0.1, 0.018)],
                    "second",
                    up=(0, 1, 0),
                )
                for x in (0.25, 0.7):
                    c.tube(
                        "body",
                        [(side * span * x, y - r * 0.1, 0.08), (side * span * x, y + r * 2.15, 0.12)],
                        [0.012] * 2,
                        "brown",
                    )
            c.has("two pairs of wings")
        c.lathe(
            "body",
            (0, y, 0.5),
            (0, 0, 1),
            [(0, 0), (0, r * 0.72), (0.05, r * 0.72), (0.07, r * 0.5), (0.071, 0)],
            "silver",
        )
        rotor(
            c, "nose", (0, y, 0.59), Z, 0.26, pick(rng, 2, 3, 4), color=pick(rng, "accent", "brown", "black"), pitch=25
        )
        c.has("propeller")
    for x, z in ((-0.13, 0.12), (0.13, 0.12), (0.0, -0.45)):
        h = 0.07 if z > 0 else 0.24
        c.tube("body", [(x * 0.6, y - r * 0.5 if z > 0 else y + 0.02, z), (x, h, z)], [0.018] * 2, "grey")
        wheel(c, f"{x:+.2f}", (x + (0.02 if x >= 0 else -0.02), h, z), 0.07 if z > 0 else 0.045, 0.05)
    c.limb("wing", [c.joint("wing_tip", (0, y, 0.1))], (0, y, 0.1))
    return c


def _rocket(rng: Rng, look: Look) -> Clay:
    r, tall = rng.uniform(0.15, 0.19), rng.uniform(0.85, 1.0)
    y = 0.2 + tall * 0.45
    c = Clay(look, body=y)
    c.noun = "rocket"
    body = [
        (0, 0),
        (0, r * 0.62),
        (tall * 0.12, r * 0.85),
        (tall * 0.35, r),
        (tall * 0.65, r * 0.9),
        (tall * 0.74, r * 0.78),
    ]
    c.lathe("body", (0, 0.18, 0), (0, 1, 0), [*body, (tall * 0.76, 0)], "main", paint=True)
    c.lathe(
        "body",
        (0, 0.18 + tall * 0.73, 0),
        (0, 1, 0),
        [(0, 0), (0, r * 0.8), (tall * 0.1, r * 0.6), (tall * 0.2, r * 0.3), (tall * 0.26, 0.0)],
        "second",
    )
    c.lathe(
        "body",
        (0, 0.18 + tall * 0.55, r * 0.84),
        (0, 0, 1),
        [(0, 0), (0, r * 0.44), (0.05, r * 0.44), (0.055, r * 0.32, "sky blue"), (0.07, 0)],
        "silver",
    )
    for k in range(3):
        a = 2 * np.pi * k / 3 + np.pi / 3
        d = np.array([np.sin(a), 0, np.cos(a)])
        base = np.array([0, 0.3, 0]) + d * r * 0.7
        c.tube(
            "body",
            [base + [0, 0.06, 0], base + d * r * 0.8 + [0, -0.08, 0], base + d * r * 1.1 + [0, -0.28, 0]],
            [(0.1, 0.025), (0.1, 0.025), (0.045, 0.02)],
            "accent",
            up=tuple(np.cross(d, Y)),
        )
    flame = c.joint("flame", (0, 0.17, 0))
    c.lathe(
        flame,
        (0, 0.2, 0),
        (0, -1, 0),
        [(0, 0), (0, r * 0.42), (0.06, r * 0.46, "orange"), (0.15, r * 0.25, "yellow"), (0.2, 0.0)],
        "red",
    )
    c.limb("rotor", [flame], (0, 0.1, 0), axis=Y)
    c.limb("fin", [c.joint("fin", (0, 0.3, 0))], (0, 0.3, 0))
    c.has("fins", "accent")
    return c


def helicopter(rng: Rng, look: Look, sort: str) -> Clay:
    r = rng.uniform(0.2, 0.24)
    y = 0.16 + r
    c = Clay(look, body=y)
    c.noun = sort
    if sort == "drone":
        return _drone(c, rng, y)
    c.ball("body", (0, y, 0.08), (r * 0.9, r, r * 1.4), "main", paint=True)
    c.ball("body", (0, y + r * 0.12, 0.08 + r * 0.55), (r * 0.78, r * 0.78, r * 0.92), "sky blue")
    c.tube(
        "body",
        [(0, y + r * 0.2, -r * 0.8), (0, y + r * 0.35, -0.45), (0, y + r * 0.5, -0.72)],
        [r * 0.5, r * 0.26, r * 0.16],
        "main",
        up=(0, 1, 0),
    )
    c.tube(
        "body", [(0, y + r * 0.4, -0.62), (0, y + r * 1.2, -0.8)], [(0.1, 0.02), (0.06, 0.015)], "second", up=(1, 0, 0)
    )
    c.tube(
        "body", [(-0.15, y + r * 0.45, -0.66), (0.15, y + r * 0.45, -0.66)], [(0.05, 0.015)] * 2, "second", up=(0, 1, 0)
    )
    c.tube("body", [(0, y + r * 0.8, 0.05), (0, y + r * 1.32, 0.05)], [0.05, 0.032], "silver")
    rotor(c, "main", (0, y + r * 1.36, 0.05), Y, rng.uniform(0.58, 0.68), pick(rng, 2, 3, 4), width=0.1)
    rotor(c, "tail", (0.06, y + r * 0.85, -0.74), X, 0.15, 3, hub=0.03, width=0.2)
    for side in (-1, 1):
        x = side * r * 0.85
        for z in (-0.06, 0.24):
            c.tube("body", [(x * 0.6, y - r * 0.75, z), (x, 0.03, z)], [0.018] * 2, "grey")
        c.tube(
            "body",
            [(x, 0.026, -0.22), (x, 0.024, 0.1), (x, 0.026, 0.36), (x, 0.08, 0.46)],
            [0.024] * 4,
            "grey",
            up=(0, 1, 0),
        )
    return c


def _drone(c: Clay, rng: Rng, y: float) -> Clay:
    c.ball("body", (0, y, 0), (0.16, 0.08, 0.2), "main", square=0.35, paint=True)
    c.ball("body", (0, y - 0.06, 0.16), 0.06, "black")
    c.ball("body", (0, y - 0.06, 0.205), 0.03, "sky blue")
    for x in (-1, 1):
        for z in (-1, 1):
            p = np.array([x * 0.36, y + 0.03, z * 0.34])
            c.tube("body", [(x * 0.08, y, z * 0.1), p], [0.035, 0.028], "second", up=(0, 1, 0))
            c.tube("body", [p - [0, 0.05, 0], p + [0, 0.06, 0]], [0.045] * 2, "grey")
            rotor(c, f"{x}{z}", p + [0, 0.075, 0], Y, 0.2, 2, hub=0.03, width=0.14)
            c.tube("body", [p * [0.6, 1, 0.6] - [0, 0.02, 0], [p[0] * 0.72, y - 0.17, p[2] * 0.72]], [0.02] * 2, "grey")
    return c
