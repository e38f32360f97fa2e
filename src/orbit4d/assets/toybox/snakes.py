"""Snakes, worms and caterpillars."""

# ruff: noqa: RUF005  (points are arrays: `p + [dx, dy, dz]` moves them)
from __future__ import annotations

import numpy as np

from .clay import Clay
from .paint import Look
from .parts import Rng, chance, eyes, hat, pick, smile

SNAKES = {"snake": ("green", "lime", "yellow"), "caterpillar": ("lime", "green"), "worm": ("pink",)}


def snake(rng: Rng, look: Look, sort: str) -> Clay:
    if sort == "caterpillar":
        return _caterpillar(rng, look)
    thick = rng.uniform(0.075, 0.092) * (1.15 if sort == "worm" else 1)
    count, long = 7, rng.uniform(0.95, 1.15)
    y = thick * 1.22
    c = Clay(look, body=y)
    c.noun = sort
    bend = rng.uniform(0.13, 0.19)
    line = [np.array([bend * np.sin(2.2 * np.pi * s), y, long * (0.42 - s)]) for s in np.linspace(0, 1, count + 2)]
    # The spine runs from the middle of the body to the tail, and a second one forwards to the head.
    names = c.chain("spine", line[2:-1])
    radii = [thick * 0.75, thick * 0.95, *[thick * 1.1] * (count - 3), thick * 0.8, thick * 0.5, 0.01]
    rise = rng.uniform(0.26, 0.38) if sort == "snake" else 0.12
    front = [line[1] + [0, rise * 0.35, 0.0], line[0] + [0, rise, 0.0]]
    necks = c.chain("neck", [line[2], front[0]])
    c.joint("head", front[1], necks[-1])
    c.limb("head", [*necks, "head"], front[1])
    tube = [front[1], front[0], *line[2:]]
    c.tube(["head", *necks[::-1], *names[1:]], tube, radii, "main", up=(0, 1, 0.05), paint=True, fine=1.4)
    c.limb("spine", names, line[-1])
    x, hy, hz = front[1]
    r = thick * 1.35
    c.ball("head", (x, hy + 0.01, hz + r * 0.7), (r, r * 0.8, r * 1.25), "main", fine=1.4)
    eyes(c, "head", (r * 0.62, hy + r * 0.5, hz + r * 1.1), r * 0.32, out=0.6)
    for e in c.parts[-6:]:
        e.grid[..., 0] += x
        e.morphs["blink"][..., 0] += x
    if sort == "snake":
        c.joint("tongue", (x, hy - 0.01, hz + r * 1.8), "head")
        for s in (-1, 1):
            c.tube(
                "tongue",
                [(x, hy - 0.015, hz + r * 1.7), (x, hy - 0.02, hz + r * 2.5), (x + s * 0.025, hy - 0.03, hz + r * 3.0)],
                [0.012, 0.01, 0.006],
                "red",
            )
        c.has("tongue", "red")
    else:
        smile(c, "head", (x, hy - r * 0.2, hz + r * 1.9), r * 0.35)
    if chance(rng, 0.25):
        hat(c, rng, "head", (x, hy + r * 0.8, hz + r * 0.6), r * 0.6)
    return c


def _caterpillar(rng: Rng, look: Look) -> Clay:
    r = rng.uniform(0.1, 0.12)
    c = Clay(look, body=r)
    c.noun = "caterpillar"
    count = 7
    at = [np.array([0, r * 1.15, 0.36 - 0.16 * k]) for k in range(count)]
    names = c.chain("spine", at)
    for k, (name, p) in enumerate(zip(names, at, strict=True)):
        c.ball(name, tuple(p), (r * 1.05, r * 1.05, r * 0.95), "main" if k % 2 == 0 else "second", fine=1.2)
        for side in (-1, 1):
            c.tube(
                name, [p + [side * r * 0.5, -r * 0.6, 0], p + [side * r * 0.75, -r * 0.9, 0]], [0.03, 0.024], "black"
            )
    c.limb("spine", names, at[-1])
    c.joint("head", (0, r * 1.3, 0.42))
    c.limb("head", ["head"], (0, r * 2, 0.5))
    h = r * 1.3
    c.ball("head", (0, r * 1.75, 0.5), h, "accent")
    eyes(c, "head", (h * 0.45, r * 1.95, 0.5 + h * 0.82), h * 0.26, out=0.3)
    smile(c, "head", (0, r * 1.4, 0.5 + h * 0.92), h * 0.26)
    for side in (-1.0, 1.0):
        name = c.joint(f"antenna_{'l' if side < 0 else 'r'}", (side * h * 0.4, r * 1.75 + h * 0.8, 0.5), "head")
        p = c.world[name]
        c.tube(name, [p, p + [side * 0.03, 0.1, 0.02]], [0.016, 0.013], "black")
        c.ball(name, tuple(p + [side * 0.03, 0.12, 0.02]), 0.032, pick(rng, "yellow", "red", "orange"))
        c.limb("antenna", [name], p, side=side)
    return c
