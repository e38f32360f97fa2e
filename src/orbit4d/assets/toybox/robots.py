"""Robots."""

# ruff: noqa: RUF005  (points are arrays: `p + [dx, dy, dz]` moves them)
from __future__ import annotations

import numpy as np

from .clay import Clay
from .paint import Look
from .parts import Rng, arm, backpack, chance, leg, pick

ROBOTS = {"robot": ("grey", "white", "teal", "orange", "red")}


def robot(rng: Rng, look: Look, sort: str) -> Clay:
    legs, torso, head = rng.uniform(0.26, 0.36), rng.uniform(0.32, 0.4), rng.uniform(0.13, 0.17)
    wide, boxy = rng.uniform(0.2, 0.26), rng.uniform(0.45, 0.7)
    metal = pick(rng, "silver", "grey")
    glow = pick(rng, "turquoise", "yellow", "red", "lime")
    c = Clay(look, body=legs)
    c.noun = sort
    top = legs + torso
    shape = int(rng.integers(3))
    if shape == 0:
        c.ball("body", (0, legs + torso * 0.5, 0), (wide, torso * 0.52, wide * 0.75), "main", square=boxy, paint=True)
    elif shape == 1:
        c.ball(
            "body",
            (0, legs + torso * 0.5, 0),
            (wide * 0.95, torso * 0.55, wide * 0.85),
            "main",
            square=0.15,
            paint=True,
        )
    else:
        c.lathe(
            "body",
            (0, legs - 0.03, 0),
            (0, 1, 0),
            [
                (0, 0),
                (0, wide * 0.75),
                (0.03, wide * 0.85),
                (torso * 0.8, wide * 1.0),
                (torso, wide * 0.6),
                (torso + 0.02, 0),
            ],
            "main",
            paint=True,
        )
    front = wide * (0.74 if shape == 0 else 0.82 if shape == 1 else 0.9)
    c.ball("body", (0, legs + torso * 0.55, front), (wide * 0.5, torso * 0.24, 0.03), "second", square=0.6)
    for k in range(3):
        c.ball("body", ((k - 1) * wide * 0.28, legs + torso * 0.55, front + 0.03), 0.022, (glow, "accent", "white")[k])
    c.joint("head", (0, top, 0))
    c.tube("head", [(0, top - 0.03, 0), (0, top + 0.06, 0)], [0.06, 0.06], metal)
    y = top + head + 0.03
    c.limb("head", ["head"], (0, y, 0))
    rounded = chance(rng, 0.4)
    c.ball("head", (0, y, 0), (head * 1.2, head, head), "main", square=0.1 if rounded else boxy, fine=1.2)
    face = head * (0.9 if rounded else 0.97)
    if chance(rng, 0.35):  # a visor
        c.ball("head", (0, y + head * 0.12, face * 0.93), (head * 0.85, head * 0.3, 0.05), "black", square=0.4)
        for side in (-1, 1):
            c.ball(
                "head", (side * head * 0.4, y + head * 0.12, face * 0.93 + 0.04), (head * 0.2, head * 0.2, 0.02), glow
            )
    else:
        for side in (-1, 1):
            c.lathe(
                "head",
                (side * head * 0.48, y + head * 0.14, face * 0.9),
                (0, 0, 1),
                [
                    (0, 0),
                    (0, head * 0.34),
                    (0.05, head * 0.34),
                    (0.052, head * 0.26, glow),
                    (0.062, head * 0.2),
                    (0.064, 0),
                ],
                metal,
            )
    for k in (-1, 0, 1):
        c.ball(
            "head", (k * head * 0.28, y - head * 0.5, face * 0.94), (head * 0.1, head * 0.1, 0.03), "black", square=0.5
        )
    _antennae(c, rng, y, head, metal, glow)
    for side in (-1.0, 1.0):
        name = "l" if side < 0 else "r"
        s = np.array([side * (wide + 0.055), legs + torso * 0.8, 0])
        c.ball("body", tuple(s - [side * 0.035, 0, 0]), 0.075, metal)
        limb = arm(
            c,
            name,
            s,
            s + [side * 0.04, -torso * 0.95, 0.02],
            (0.052, 0.05),
            "second",
            side=side,
            tint=metal,
            grip=0.062,
            square=0.2,
        )
        elbow = c.world[limb.joints[1]]
        c.ball(limb.joints[1], tuple(elbow), 0.06, metal)
        for k in (-1, 1):
            p = limb.tip + [0, -0.03, k * 0.035]
            c.tube(limb.joints[1], [p, p + [0, -0.06, k * 0.02]], [0.02, 0.014], metal)
        x = side * wide * 0.5
        leg(
            c,
            name,
            (x, legs + 0.02, 0),
            (x, 0.07, 0),
            (0.058, 0.05),
            metal,
            side=side,
            phase=0.0 if side < 0 else 0.5,
            fold=0.08,
            foot=((0.08, 0.06, 0.115), "second"),
            square=0.3,
        )
        c.ball(f"leg_{name}_knee", tuple(c.world[f"leg_{name}_knee"]), 0.066, "accent")
    if chance(rng, 0.3):
        backpack(c, legs, torso, wide * 0.8, "accent")
        c.has("backpack", "accent")
    return c


def _antennae(c: Clay, rng: Rng, y: float, r: float, metal: str, glow: str) -> None:
    style = int(rng.integers(3))
    if style == 0:
        c.joint("antenna_0", (0, y + r * 0.95, 0), "head")
        c.tube("antenna_0", [(0, y + r * 0.85, 0), (0, y + r * 1.6, 0)], [0.016, 0.012], metal)
        c.ball("antenna_0", (0, y + r * 1.68, 0), 0.042, glow)
        c.limb("antenna", ["antenna_0"], (0, y + r * 1.7, 0))
        c.has("antenna")
    elif style == 1:
        for side in (-1, 1):
            c.lathe(
                "head",
                (side * r * 1.1, y, 0),
                (side, 0, 0),
                [(0, 0), (0, r * 0.36), (0.05, r * 0.36), (0.06, r * 0.2), (0.1, r * 0.16), (0.11, 0)],
                "accent",
            )
            c.tube(
                "head",
                [(side * (r * 1.1 + 0.07), y, 0), (side * (r * 1.1 + 0.09), y + r * 0.9, 0)],
                [0.014, 0.01],
                metal,
            )
        c.has("antennae")
    else:
        c.lathe(
            "head",
            (0, y + r * 0.9, 0),
            (0, 1, 0),
            [(0, 0), (0, r * 0.5), (0.03, r * 0.5), (0.032, r * 0.36, glow), (0.08, r * 0.28), (0.1, 0)],
            metal,
        )
