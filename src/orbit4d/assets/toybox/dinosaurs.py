"""Bipeds with a heavy tail: dinosaurs and dragons."""

# ruff: noqa: RUF005  (points are arrays: `p + [dx, dy, dz]` moves them)
from __future__ import annotations

import numpy as np

from .clay import Clay
from .paint import Look
from .parts import Rng, eyes, leg

DINOSAURS = {"dinosaur": ("green", "teal", "orange"), "dragon": ("red", "green", "purple")}


def dinosaur(rng: Rng, look: Look, sort: str) -> Clay:
    """Bipeds with a heavy tail."""
    scale = rng.uniform(0.92, 1.1, 4)
    hip = 0.34 * scale[0]
    y = hip + 0.1
    head = 0.15 * scale[1]
    c = Clay(look, body=y, detail=0.88)
    c.noun = sort
    chest = np.array([0, y + 0.2, 0.16])
    top = np.array([0, y + 0.44 * scale[2], 0.27])
    tail = [(0, y + 0.02, -0.12), (0, y - 0.06, -0.34), (0, y - 0.14, -0.58), (0, y - 0.15, -0.82 * scale[3])]
    names = c.chain("tail", tail[:3])
    necks = c.chain("neck", [chest, (chest + top) / 2])
    c.joint("head", top, necks[-1])
    line = [*tail[::-1], (0, y + 0.04, 0.02), chest, (chest + top) / 2, top]
    belly = rng.uniform(0.17, 0.2)
    radii = [0.012, 0.055, 0.105, belly * 0.88, belly, belly * 0.8, 0.105, 0.095]
    c.tube(
        [*names[::-1], "body", *necks, "head"],
        line,
        [(r, r * 1.05) for r in radii],
        "main",
        up=(0, 1, 0.01),
        paint=True,
        fine=1.2,
    )
    c.limb("tail", names, tail[-1])
    c.limb("head", [*necks, "head"], top)
    x, hy, hz = top + np.array([0, head * 0.35, head * 0.5])
    c.ball("head", (x, hy, hz), (head, head * 0.85, head * 1.1), "main")
    c.ball("head", (0, hy - head * 0.05, hz + head * 0.95), (head * 0.72, head * 0.42, head * 0.85), "main", square=0.2)
    c.joint("jaw", (0, hy - head * 0.4, hz + head * 0.2), "head")
    c.ball("jaw", (0, hy - head * 0.5, hz + head * 0.85), (head * 0.62, head * 0.2, head * 0.85), "second", square=0.2)
    c.limb("jaw", ["jaw"], (0, hy, hz + head * 1.6))
    for side in (-1, 1):
        c.ball("head", (side * head * 0.26, hy + head * 0.22, hz + head * 1.65), head * 0.1, "black")
        for k in range(3):
            p = np.array([side * head * 0.55, hy - head * 0.32, hz + head * (0.8 + 0.32 * k)])
            c.cone("head", tuple(p), tuple(p - [0, head * 0.26, 0]), head * 0.1, "white")
    eyes(c, "head", (head * 0.62, hy + head * 0.42, hz + head * 0.5), head * 0.26, out=0.7)
    for side in (-1.0, 1.0):
        sx = side * belly * 0.78
        leg(
            c,
            "l" if side < 0 else "r",
            (sx, y - 0.02, -0.02),
            (sx, 0.06, 0.0),
            (0.105, 0.058),
            "main",
            side=side,
            phase=0.0 if side < 0 else 0.5,
            fold=0.13,
            foot=((0.075, 0.045, 0.125), "second"),
        )
        root = np.array([side * belly * 0.72, y + 0.16, 0.2])
        names = c.chain(f"arm_{'l' if side < 0 else 'r'}", [root, root + [side * 0.03, -0.08, 0.06]])
        tip = root + [side * 0.02, -0.1, 0.16]
        c.tube(names, [root, root + [side * 0.03, -0.08, 0.06], tip], [0.045, 0.036, 0.026], "main")
        c.ball(names[-1], tuple(tip), 0.036, "second")
        c.limb("arm", names, tip, side=side)
    if sort == "dragon":
        _dragon(c, rng, y, belly, hy, hz, head)
    else:
        _back_spikes(c, y)
        c.has("spikes", "accent")
    return c


def _back_spikes(c: Clay, y: float) -> None:
    line = c.parts[0].grid
    rows = len(line)
    for k in range(9):
        i = int(rows * (0.12 + 0.74 * k / 8))
        ring = line[i]
        j = int((ring[:, 1] - 0.35 * ring[:, 2]).argmax())
        p, centre = ring[j], ring.mean(0)
        out = (p - centre) / max(np.linalg.norm(p - centre), 1e-6)
        size = 0.045 + 0.04 * np.sin(np.pi * k / 8)
        owner = max(c.parts[0].weights, key=lambda item: item[1][i])[0]
        c.cone(owner, tuple(p - out * 0.03), tuple(p + out * size * 1.5), size, "accent")


def _dragon(c: Clay, rng: Rng, y: float, belly: float, hy: float, hz: float, head: float) -> None:
    _back_spikes(c, y)
    for side in (-1.0, 1.0):
        p = np.array([side * head * 0.5, hy + head * 0.6, hz - head * 0.1])
        c.tube(
            "head",
            [p, p + [side * 0.03, head * 0.5, -head * 0.3], p + [side * 0.05, head * 0.8, -head * 0.9]],
            [head * 0.2, head * 0.15, 0.005],
            "cream",
        )
        root = np.array([side * belly * 0.5, y + 0.24, 0.02])
        span = rng.uniform(0.5, 0.62)
        points = [
            root + np.array([side * span * s, 0.32 * span * s * (1.3 - s), -0.22 * span * s])
            for s in (0, 0.34, 0.68, 1.0)
        ]
        names = c.chain(f"wing_{'l' if side < 0 else 'r'}", points[:3])
        c.tube(
            names,
            [root - [side * 0.06, 0.03, 0], *points],
            [(0.05, 0.03), (0.12, 0.022), (0.19, 0.016), (0.16, 0.012), (0.04, 0.008)],
            "accent",
            up=(0, 1, 0.2),
            fine=1.3,
        )
        c.tube(
            names,
            [q + [0, 0.01, 0.09 * (1 - k / 4)] for k, q in enumerate(points)],
            [0.03, 0.026, 0.022, 0.012],
            "main",
        )
        c.limb("wing", names, points[-1], side=side, folded=-24)
    c.has("wings", "accent")
