"""Spiders, crabs, ants and scorpions."""

# ruff: noqa: RUF005  (points are arrays: `p + [dx, dy, dz]` moves them)
from __future__ import annotations

import numpy as np

from .clay import Clay
from .paint import Look
from .parts import UP, Rng, chance, eyes, hat, smile

CRAWLERS = {
    "spider": ("black", "purple", "brown", "red"),
    "crab": ("red", "orange"),
    "ant": ("maroon", "black", "brown"),
    "scorpion": ("tan", "black", "maroon"),
}


def spider(rng: Rng, look: Look, sort: str) -> Clay:
    r = rng.uniform(0.17, 0.21)
    y = 0.22
    c = Clay(look, body=y)
    c.noun = sort
    flat = 0.62 if sort == "crab" else 0.82
    body = (r * 1.35, r * flat, r) if sort == "crab" else (r * 0.8, r * 0.7, r * 0.85)
    c.ball("body", (0, y, 0), body, "main", paint=True)
    c.joint("head", (0, y, r * 0.6))
    c.limb("head", ["head"], (0, y, r))
    if sort == "crab":
        for side in (-1, 1):
            p = np.array([side * r * 0.4, y + r * 0.4, r * 0.65])
            c.tube("head", [p, p + [side * 0.01, 0.1, 0.02]], [0.022, 0.02], "main")
        eyes(c, "head", (r * 0.42, y + r * 0.4 + 0.13, r * 0.68), 0.05, out=0.2)
        smile(c, "body", (0, y - r * 0.02, r * 0.97), r * 0.26)
    else:
        c.ball("head", (0, y + 0.01, r * 0.98), (r * 0.6, r * 0.56, r * 0.55), "main" if sort != "spider" else "second")
        eyes(c, "head", (r * 0.27, y + r * 0.26, r * 1.36), r * 0.21, out=0.35)
        smile(c, "head", (0, y - r * 0.18, r * 1.47), r * 0.17, color="black" if sort != "spider" else "white")
        _rear(c, sort, y, r)
    if chance(rng, 0.2) and sort != "crab":
        hat(c, rng, "head", (0, y + r * 0.56, r * 0.95), r * 0.5)
    pairs = 3 if sort in ("ant", "crab") else 4
    for k in range(pairs):
        for side in (-1.0, 1.0):
            a = np.radians((62 - 124 * k / (pairs - 1)) if sort != "crab" else (20 - 75 * k / (pairs - 1)))
            d = np.array([side * np.cos(a), 0, np.sin(a)])
            root = np.array([d[0] * body[0] * 0.85, y - 0.01, d[2] * body[2] * 0.8])
            reach = rng.uniform(0.36, 0.39)
            knee, tip = root + d * reach * 0.42 + [0, 0.15, 0], root + d * reach * 0.95
            tip = np.array([tip[0], 0.012, tip[2]])
            lr = "l" if side < 0 else "r"
            names = [c.joint(f"foot_{k}_{lr}_hip", root)]
            names.append(c.joint(f"foot_{k}_{lr}_knee", knee, names[0]))
            c.tube(
                names,
                [root, knee, knee * 0.45 + tip * 0.55 + d * 0.03, tip],
                [0.034, 0.034, 0.026, 0.012],
                "second" if sort != "crab" else "main",
                up=tuple(-d),
            )
            c.limb("foot", names, tip, side=side, phase=((k + (side > 0)) % 2) * 0.5, axis=np.cross(d, UP))
    if sort in ("crab", "scorpion"):
        for side in (-1.0, 1.0):
            _claw(c, side, y, body, r)
        c.has("claws")
    return c


def _rear(c: Clay, sort: str, y: float, r: float) -> None:
    if sort == "scorpion":
        line = [
            (0, y + 0.02, -r * 0.6),
            (0, y + 0.08, -r * 1.4),
            (0, y + 0.28, -r * 2.0),
            (0, y + 0.5, -r * 1.8),
            (0, y + 0.58, -r * 1.0),
        ]
        names = c.chain("tail", line[:4])
        c.tube(names, line, [r * 0.5, r * 0.4, r * 0.32, r * 0.26, r * 0.2], "main", up=(1, 0, 0))
        c.cone(names[-1], line[-1], (0, y + 0.48, -r * 0.35), r * 0.2, "accent")
        c.limb("tail", names, line[-1])
        return
    c.joint("tail_0", (0, y, -r * 0.6))
    back = r * (1.15 if sort == "spider" else 0.95)
    c.ball("tail_0", (0, y + back * 0.28, -r * 0.6 - back * 0.8), (back, back * 0.9, back * 1.1), "main", paint=True)
    c.limb("tail", ["tail_0"], (0, y, -r * 2))
    if sort == "ant":
        for side in (-1.0, 1.0):
            name = c.joint(f"antenna_{'l' if side < 0 else 'r'}", (side * r * 0.25, y + r * 0.45, r * 1.25), "head")
            p = c.world[name]
            c.tube(name, [p, p + [side * 0.06, 0.1, 0.05], p + [side * 0.1, 0.1, 0.15]], [0.014, 0.012, 0.012], "black")
            c.limb("antenna", [name], p, side=side)


def _claw(c: Clay, side: float, y: float, body: tuple, r: float) -> None:
    lr = "l" if side < 0 else "r"
    root = np.array([side * body[0] * 0.7, y, body[2] * 0.7])
    wrist = root + np.array([side * 0.1, 0.05, 0.18])
    base, tip = c.joint(f"claw_{lr}", root), c.joint(f"pincer_{lr}", wrist, f"claw_{lr}")
    c.tube([base], [root, root + [side * 0.1, 0.0, 0.06], wrist], [0.045, 0.04, 0.05], "main", up=(0, 1, 0))
    c.ball(base, tuple(wrist + [0, 0, 0.05]), (0.09, 0.07, 0.1), "main")
    for joint, s in ((base, 1.0), (tip, -1.0)):
        p = wrist + [side * 0.045 * s, 0.0, 0.09]
        c.tube(
            joint,
            [p, p + [side * 0.035 * s, 0, 0.1], p + [side * -0.015 * s, 0, 0.19]],
            [(0.045, 0.05), (0.042, 0.045), (0.008, 0.008)],
            "main" if s > 0 else "second",
            up=(0, 1, 0),
        )
    c.limb("claw", [base, tip], wrist, side=side)
