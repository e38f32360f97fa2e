"""Chests, lamps, slimes, balls, snowmen and ghosts."""

# ruff: noqa: RUF005  (points are arrays: `p + [dx, dy, dz]` moves them)
from __future__ import annotations

import numpy as np

from .animator import X
from .clay import Clay
from .paint import Look
from .parts import Rng, chance, eyes, hat, pick, smile

CHESTS = {"treasure chest": ("brown", "maroon"), "gift box": (), "music box": ("lavender", "pink", "mint")}


LAMPS = {"lamp": ()}


SLIMES = {"slime": ("lime", "turquoise", "pink"), "ball": (), "snowman": ("white",), "ghost": ("white", "lavender")}


def chest(rng: Rng, look: Look, sort: str) -> Clay:
    w, h, d = rng.uniform(0.3, 0.38), rng.uniform(0.17, 0.22), rng.uniform(0.2, 0.25)
    c = Clay(look, body=h)
    c.noun = sort
    c.ball("body", (0, h, 0), (w, h, d), "main", square=0.75, paint=True, fine=1.2)
    lid = c.joint("lid", (0, h * 2 - 0.01, -d))
    c.limb("lid", [lid], (0, h * 2, d), axis=X)
    top = h * 2
    if sort == "gift box":
        c.ball(lid, (0, top + 0.03, 0), (w * 1.07, 0.05, d * 1.07), "main", square=0.75)
        for joint, y, s, m in (("body", h, h * 1.0, 1.02), (lid, top + 0.03, 0.055, 1.09)):
            c.ball(joint, (0, y, 0), (w * 0.14, s, d * m), "second", square=0.75)
            c.ball(joint, (0, y, 0), (w * m, s, d * 0.17), "second", square=0.75)
        for side in (-1, 1):
            c.tube(
                lid,
                [(0, top + 0.08, 0), (side * 0.1, top + 0.2, 0), (side * 0.2, top + 0.14, 0), (0, top + 0.08, 0)],
                [(0.03, 0.045)] * 4,
                "second",
                up=(0, 0, 1),
            )
        c.ball(lid, (0, top + 0.1, 0), 0.05, "second")
        c.has("ribbon", "second")
    else:
        curve = 0.55 if sort == "treasure chest" else 0.3
        c.tube(
            lid,
            [(-w * 0.99, top, 0), (w * 0.99, top, 0)],
            [(d, d * curve * 1.3)] * 2,
            "main",
            up=(0, 1, 0),
            cap=0.08,
            square=0.1,
            fine=1.3,
        )
        c.parts[-1].grid[..., 1] = np.maximum(c.parts[-1].grid[..., 1], top - 0.005)
        for x in (-0.72, 0.72):
            c.tube(
                lid,
                [(x * w - 0.03, top, 0), (x * w + 0.03, top, 0)],
                [(d * 1.04, d * curve * 1.36)] * 2,
                "gold",
                up=(0, 1, 0),
                cap=0.08,
                square=0.1,
            )
            c.parts[-1].grid[..., 1] = np.maximum(c.parts[-1].grid[..., 1], top - 0.005)
            c.ball("body", (x * w, h, 0), (0.035, h * 1.01, d * 1.03), "gold", square=0.75)
        c.ball(lid, (0, top - 0.01, d * 1.02), (0.05, 0.055, 0.025), "gold", square=0.4)
        for k in range(12):  # what is inside
            c.ball(
                "body",
                (w * 0.75 * np.sin(k * 2.1), top - 0.035, d * 0.7 * np.cos(k * 3.7)),
                0.055,
                "gold" if sort == "treasure chest" else ("red", "turquoise", "yellow")[k % 3],
            )
        c.has("gold bands")
    if chance(rng, 0.5):
        eyes(c, "body", (w * 0.38, h * 1.25, d * 0.99), 0.062, out=0.1)
        smile(c, "body", (0, h * 0.75, d * 1.02), 0.085)
        c.has("smiling face")
    for x in (-1, 1):
        for z in (-1, 1):
            c.ball("body", (x * w * 0.82, 0.03, z * d * 0.8), (0.05, 0.03, 0.05), "accent")
    return c


def lamp(rng: Rng, look: Look, sort: str) -> Clay:
    c = Clay(look, body=0.05)
    c.noun = pick(rng, "lamp", "desk lamp")
    base = rng.uniform(0.19, 0.24)
    c.lathe(
        "body",
        (0, 0, 0),
        (0, 1, 0),
        [(0, 0), (0, base), (0.03, base), (0.06, base * 0.6), (0.08, base * 0.2), (0.085, 0)],
        "main",
    )
    elbow, wrist = np.array([0, 0.42, -0.2]), np.array([0, 0.78, 0.1])
    names = c.chain("stem", [(0, 0.07, 0), elbow])
    c.joint("head", wrist, names[1])
    for joint, a, b in ((names[0], np.array([0, 0.05, 0]), elbow), (names[1], elbow, wrist)):
        c.tube(joint, [a, b], [0.026, 0.026], "silver", up=(1, 0, 0))
        for side in (-1, 1):
            c.tube(
                joint,
                [a * 0.85 + b * 0.15 + [side * 0.035, 0, 0], a * 0.15 + b * 0.85 + [side * 0.035, 0, 0]],
                [0.01] * 2,
                "grey",
                up=(1, 0, 0),
            )
    for p, joint in ((elbow, names[1]), (wrist, "head"), (np.array([0, 0.08, 0]), names[0])):
        c.tube(joint, [p - [0.055, 0, 0], p + [0.055, 0, 0]], [0.04] * 2, "accent", up=(0, 1, 0), cap=0.4)
    d = np.array([0, -0.75, 0.66])
    r = rng.uniform(0.18, 0.23)
    c.lathe(
        "head",
        tuple(wrist - d * 0.04),
        tuple(d),
        [
            (0, 0),
            (0, 0.06),
            (0.08, 0.085),
            (0.12, r * 0.7),
            (0.24, r),
            (0.25, r * 0.97),
            (0.16, r * 0.62, "cream"),
            (0.15, 0),
        ],
        "main",
        paint=True,
    )
    c.ball("head", tuple(wrist + d * 0.15), 0.085, "yellow")
    c.limb("stem", names, wrist)
    c.limb("head", ["head"], wrist + d * 0.2)
    return c


def slime(rng: Rng, look: Look, sort: str) -> Clay:
    r = rng.uniform(0.3, 0.36)
    c = Clay(look, body=r)
    c.noun = sort
    c.joint("head", (0, r, 0))
    if sort == "ball":
        made = c.ball("body", (0, r, 0), r, "main", paint=True, fine=1.4)
        if look.pattern in ("plain", "gradient", "two-tone"):
            for k in range(3):
                outline = [(-0.035, 0), (-0.035, r * 1.005), (0.035, r * 1.005), (0.035, 0)]
                axis = ((1, 0, 0), (0, 1, 0), (0, 0, 1))[k]
                c.lathe("body", (0, r, 0), axis, outline, "second")
        c.morph(made, "bulge", lambda g: g)
        return c
    if sort == "snowman":
        return _snowman(c, rng, r)
    if sort == "ghost":
        return _ghost(c, rng, r)
    tall = r * rng.uniform(0.95, 1.25)
    dome = [
        (0, 0),
        (0.0, r * 0.9),
        (0.03, r * 1.05),
        (0.08, r * 1.08),
        (tall * 0.4, r * 0.95),
        (tall * 0.8, r * 0.62),
        (tall * 1.0, r * 0.3),
        (tall * 1.1, 0.02),
        (tall * 1.11, 0),
    ]
    made = c.lathe("body", (0, 0, 0), (0, 1, 0), dome, "main", paint=True, fine=1.3)
    c.morph(made, "bulge", lambda g: g * (1 + 0.12 * np.sin(np.pi * g[..., 1:2] / (tall * 1.1)) * np.array([1, 0, 1])))
    eyes(c, "body", (r * 0.4, tall * 0.55, r * 0.79), r * 0.19, out=0.25)
    smile(c, "body", (0, tall * 0.33, r * 0.97), r * 0.24)
    style = int(rng.integers(4))
    if style == 0:
        for side in (-1, 1):
            c.cone("body", (side * r * 0.4, tall * 0.85, 0), (side * r * 0.62, tall * 1.25, 0), r * 0.15, "accent")
        c.has("horns", "accent")
    elif style == 1:
        hat(c, rng, "body", (0, tall * 1.08, 0), r * 0.42)
    elif style == 2:
        c.tube("body", [(0, tall * 1.05, 0), (0.02, tall * 1.3, 0)], [0.018] * 2, "green")
        for side in (-1, 1):
            c.ball("body", (0.02 + side * 0.07, tall * 1.32, 0), (0.075, 0.02, 0.045), "green", turn=np.eye(3))
        c.has("leaf", "green")
    return c


def _snowman(c: Clay, rng: Rng, r: float) -> Clay:
    r *= 0.85
    c.ball("body", (0, r * 0.94, 0), (r, r * 0.95, r), "main")
    c.ball("body", (0, r * 2.3, 0), (r * 0.74, r * 0.7, r * 0.74), "main")
    c.world["head"] = np.array([0, r * 2.8, 0])
    y = r * 3.3
    c.ball("head", (0, y, 0), r * 0.56, "main")
    eyes(c, "head", (r * 0.2, y + r * 0.12, r * 0.49), r * 0.08, white=False, out=0.2)
    smile(c, "head", (0, y - r * 0.24, r * 0.5), r * 0.18)
    c.cone("head", (0, y - r * 0.02, r * 0.5), (0, y - r * 0.04, r * 1.0), r * 0.1, "orange")
    c.limb("head", ["head"], (0, y, 0))
    for k in range(3):
        c.ball("body", (0, r * (2.6 - 0.3 * k), r * (0.7 + 0.02 * k)), r * 0.07, "black")
    c.lathe(
        "head",
        (0, r * 2.78, 0),
        (0, 1, 0),
        [(0, 0), (0, r * 0.48), (0.05, r * 0.56), (0.1, r * 0.46), (0.1, 0)],
        "accent",
    )
    c.has("scarf", "accent")
    hat(c, rng, "head", (0, y + r * 0.5, 0), r * 0.5, kinds=("top hat", "party hat", "cap"))
    for side in (-1.0, 1.0):
        p = np.array([side * r * 0.65, r * 2.4, 0])
        names = c.chain(f"arm_{'l' if side < 0 else 'r'}", [p, p + [side * r * 0.5, r * 0.12, 0]])
        c.tube(
            names,
            [p, p + [side * r * 0.5, r * 0.12, 0], p + [side * r * 1.0, r * 0.4, 0.02]],
            [0.028, 0.024, 0.016],
            "brown",
        )
        c.tube(
            names[1], [p + [side * r * 0.75, r * 0.26, 0], p + [side * r * 0.98, r * 0.2, 0]], [0.016, 0.01], "brown"
        )
        c.limb("wing", names, p, side=side)
    return c


def _ghost(c: Clay, rng: Rng, r: float) -> Clay:
    r *= 0.85
    y = 0.12
    body = c.lathe(
        "body",
        (0, y, 0),
        (0, 1, 0),
        [
            (0.04, 0),
            (0.0, r * 1.05),
            (0.03, r * 1.1),
            (r * 0.8, r * 0.92),
            (r * 1.6, r * 0.86),
            (r * 2.1, r * 0.66),
            (r * 2.4, r * 0.32),
            (r * 2.48, 0),
        ],
        "main",
        paint=True,
        fine=1.4,
    )
    a = np.arctan2(body.grid[..., 0], body.grid[..., 2])
    low = np.clip(1 - (body.grid[..., 1] - y) / (r * 0.8), 0, 1)
    body.grid[..., 1] -= 0.07 * low * np.cos(7 * a) * (np.hypot(body.grid[..., 0], body.grid[..., 2]) > r * 0.5)
    c.morph(body, "bulge", lambda g: np.stack([g[..., 0] * 1.08, g[..., 1], g[..., 2] * 1.08], -1))
    c.world["head"] = np.array([0, y + r * 1.5, 0])
    eyes(c, "body", (r * 0.34, y + r * 1.75, r * 0.74), r * 0.17, white=False, out=0.25)
    c.ball("body", (0, y + r * 1.3, r * 0.9), (r * 0.13, r * 0.19, r * 0.06), "black")
    for side in (-1.0, 1.0):
        p = np.array([side * r * 0.8, y + r * 1.15, 0.05])
        names = c.chain(f"arm_{'l' if side < 0 else 'r'}", [p, p + [side * r * 0.3, 0.0, 0.08]])
        c.tube(
            names,
            [p, p + [side * r * 0.3, 0.0, 0.08], p + [side * r * 0.5, -0.02, 0.16]],
            [r * 0.2, r * 0.17, r * 0.12],
            "main",
        )
        c.limb("wing", names, p, side=side)
    if chance(rng, 0.5):
        hat(c, rng, "body", (0, y + r * 2.42, 0), r * 0.5)
    return c
