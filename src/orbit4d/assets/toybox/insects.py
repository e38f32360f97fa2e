"""Butterflies, bees, dragonflies and ladybirds."""

# ruff: noqa: RUF005  (points are arrays: `p + [dx, dy, dz]` moves them)
from __future__ import annotations

import numpy as np

from .clay import Clay
from .paint import Look
from .parts import UP, Rng, eyes, smile

FLYERS = {
    "butterfly": ("orange", "sky blue", "purple", "yellow"),
    "bee": ("yellow",),
    "dragonfly": ("turquoise", "green", "blue"),
    "ladybird": ("red", "orange"),
}


def butterfly(rng: Rng, look: Look, sort: str) -> Clay:
    y = 0.5
    if sort == "ladybird":
        look.pattern = "plain"
    if sort == "bee":
        look.pattern, look.names["second"], look.scale = "striped", "black", 1.0
    c = Clay(look, body=y)
    c.noun = sort
    plump = {"bee": 0.15, "ladybird": 0.2}.get(sort, 0.07)
    long = {"dragonfly": 0.44, "butterfly": 0.26}.get(sort, 0.24)
    tail = c.chain("tail", [(0, y, -0.08), (0, y - 0.02, -0.08 - long * 0.5)])
    end = -0.08 - long
    painted = sort in ("bee", "dragonfly", "ladybird")
    c.tube(
        ["body", *tail][: 3 if sort != "ladybird" else 1],
        [(0, y, 0.16), (0, y, 0.02), (0, y, (end + 0.02) / 2), (0, y - 0.03, end)],
        [plump * 0.7, plump, plump * 0.95, plump * 0.3],
        "main" if painted else "accent",
        up=(0, 1, 0),
        paint=painted,
    )
    c.limb("tail", tail, (0, y, end))
    head = 0.12
    c.joint("head", (0, y + 0.02, 0.16))
    at = np.array([0, y + 0.05, 0.24])
    c.ball("head", tuple(at), head, "accent" if sort != "ladybird" else "black")
    c.limb("head", ["head"], at)
    eyes(c, "head", (head * 0.52, at[1] + 0.03, at[2] + head * 0.72), head * 0.32, out=0.5)
    smile(
        c, "head", (0, at[1] - 0.05, at[2] + head * 0.9), head * 0.24, color="white" if sort == "ladybird" else "black"
    )
    for side in (-1.0, 1.0):
        name = c.joint(f"antenna_{'l' if side < 0 else 'r'}", at + [side * 0.05, 0.08, 0.03], "head")
        p = c.world[name]
        c.tube(name, [p, p + [side * 0.05, 0.1, 0.03], p + [side * 0.11, 0.17, 0.06]], [0.012, 0.01, 0.009], "black")
        c.ball(name, tuple(p + [side * 0.11, 0.17, 0.06]), 0.023, "second")
        c.limb("antenna", [name], p, side=side)
    for k in range(3):
        for side in (-1.0, 1.0):
            p = np.array([side * plump * 0.5, y - plump * 0.55, 0.1 - 0.09 * k])
            d = np.array([side, 0, 0.0])
            name = c.joint(f"foot_{k}_{'l' if side < 0 else 'r'}", p)
            c.tube(
                name, [p, p + [side * 0.06, -0.03, 0.01], p + [side * 0.1, -0.12, 0.0]], [0.016, 0.014, 0.01], "black"
            )
            c.limb("foot", [name], p, side=side, phase=(k % 2) * 0.5 + (0.5 if side > 0 else 0), axis=np.cross(d, UP))
    if sort == "ladybird":
        look.pattern = "plain"
    if sort == "bee":
        c.cone(tail[-1], (0, y - 0.025, end + 0.03), (0, y - 0.03, end - 0.09), 0.035, "black")
    _insect_wings(c, rng, sort, y, plump)
    return c


def _insect_wings(c: Clay, rng: Rng, sort: str, y: float, plump: float) -> None:
    for side in (-1.0, 1.0):
        lr = "l" if side < 0 else "r"
        root = np.array([side * plump * 0.5, y + plump * 0.75, 0.03])
        if sort == "ladybird":
            shell = c.joint(f"shell_{lr}", root + [0, 0.02, 0.1])
            c.ball(
                shell,
                (side * plump * 0.5, y + plump * 0.2, -0.08),
                (plump * 0.62, plump * 0.98, 0.24),
                "main",
                paint=True,
            )
            for a, b in ((0.25, 0.08), (0.7, -0.1), (0.3, -0.2)):
                c.ball(
                    shell, (side * plump * (0.35 + a), y + plump * (1.1 - a * 0.75), b), (0.045, 0.04, 0.045), "black"
                )
            c.limb("shell", [shell], root, side=side)
        names = c.chain(f"wing_{lr}", [root, root + [side * 0.2, 0.02, 0]])
        reach, colors = (0.5, ("main", "second")) if sort == "butterfly" else (0.4, ("sky blue", "sky blue"))
        slim = 1.0 if sort == "butterfly" else 0.42
        for lobe, (forward, size) in enumerate(((0.32, 1.0), (-0.3, 0.74))):
            if sort in ("bee", "ladybird") and lobe:
                continue
            f = forward * (1 if sort == "butterfly" else 0.3)
            points = [
                root,
                root + [side * reach * size * 0.4, 0.03, f * 0.55 * size],
                root + [side * reach * size * 0.8, 0.045, f * size],
                root + [side * reach * size, 0.05, f * 1.02 * size],
            ]
            radii = [(0.05, 0.02), (0.17 * size * slim, 0.017), (0.2 * size * slim, 0.014), (0.1 * size * slim, 0.01)]
            c.tube(names, points, radii, colors[0], up=(0, 1, 0), paint=sort == "butterfly", fine=1.5)
            if sort == "butterfly":
                for h in (0.016, -0.016):
                    c.ball(
                        names[1],
                        tuple(points[2] * 0.85 + points[1] * 0.15 + [0, h, 0]),
                        (0.085 * size, 0.008, 0.085 * size),
                        colors[1],
                    )
        c.limb("wing", names, root + [side * reach, 0, 0], side=side)
