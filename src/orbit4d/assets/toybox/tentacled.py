"""Octopuses, squids and jellyfish."""

# ruff: noqa: RUF005  (points are arrays: `p + [dx, dy, dz]` moves them)
from __future__ import annotations

import numpy as np

from .clay import Clay
from .paint import Look
from .parts import UP, Rng, chance, eyes, hat, smile

TENTACLED = {
    "octopus": ("orange", "purple", "red", "pink"),
    "squid": ("pink", "lavender", "red"),
    "jellyfish": ("pink", "lavender", "sky blue", "turquoise"),
}


def octopus(rng: Rng, look: Look, sort: str) -> Clay:
    if sort == "jellyfish":
        return _jellyfish(rng, look)
    r = rng.uniform(0.22, 0.27)
    y = 0.365
    c = Clay(look, body=y)
    c.noun = sort
    c.joint("head", (0, y + 0.02, 0))
    tall = r * (1.9 if sort == "squid" else rng.uniform(1.15, 1.35))
    bulge = c.ball("head", (0, y + tall * 0.75, -0.02), (r, tall, r), "main", paint=True)
    c.morph(bulge, "bulge", lambda g: np.stack([g[..., 0] * 1.12, g[..., 1], g[..., 2] * 1.12], -1))
    c.ball("body", (0, y, 0), (r * 0.86, r * 0.5, r * 0.86), "main")
    c.limb("head", ["head"], (0, y + tall, 0))
    eyes(c, "head", (r * 0.46, y + r * 0.55, r * 0.84), r * 0.27, out=0.3)
    smile(c, "head", (0, y + r * 0.1, r * 0.93), r * 0.28)
    if sort == "squid":
        for side in (-1.0, 1.0):
            p = np.array([side * r * 0.5, y + tall * 1.35, -0.02])
            c.tube(
                "head",
                [p, p + [side * r * 0.55, r * 0.1, 0], p + [side * r * 0.8, -r * 0.45, 0]],
                [(0.09, 0.03), (0.1, 0.025), (0.02, 0.012)],
                "second",
                up=(0, 0, 1),
            )
    elif chance(rng, 0.35):
        hat(c, rng, "head", (0, y + tall * 1.68, -0.02), r * 0.62)
    arms = 8
    for k in range(arms):
        a = 2 * np.pi * (k + 0.5) / arms
        d = np.array([np.sin(a), 0, np.cos(a)])
        reach = rng.uniform(0.92, 1.05)
        root = np.array([0, y - r * 0.12, 0]) + d * r * 0.6
        line = [
            root,
            root + reach * (d * 0.17 + [0, -0.12, 0]),
            root + reach * (d * 0.32 + [0, -0.255, 0]),
            root + reach * (d * 0.46) + [0, -0.26, 0],
            root + reach * (d * 0.56) + [0, -0.18, 0],
        ]
        names = c.chain(f"tentacle_{k}", line[:4])
        c.tube(names, line, [r * 0.3, r * 0.25, r * 0.2, r * 0.14, r * 0.06], "main", up=tuple(d), soft=1.0)
        for s in (1, 2):
            mid = (line[s] + line[s + 1]) / 2 if s == 2 else line[s]
            c.ball(names[s], tuple(mid + d * 0.0 - [0, r * 0.16, 0]), r * 0.11, "second")
        c.limb("tentacle", names, line[-1], phase=k / arms, axis=np.cross(d, UP))
    return c


def _jellyfish(rng: Rng, look: Look) -> Clay:
    r = rng.uniform(0.28, 0.34)
    y = 0.66
    c = Clay(look, body=y)
    c.noun = "jellyfish"
    tall = r * rng.uniform(0.75, 1.05)
    bell = [
        (-0.02, 0),
        (-0.03, r * 0.8),
        (-0.06, r * 0.98),
        (0.0, r * 1.02),
        (tall * 0.35, r * 0.95),
        (tall * 0.7, r * 0.7),
        (tall * 0.92, r * 0.36),
        (tall, 0),
    ]
    made = c.lathe("body", (0, y, 0), (0, 1, 0), bell, "main", paint=True, fine=1.2)
    c.morph(made, "bulge", lambda g: np.stack([g[..., 0] * 1.1, y + (g[..., 1] - y) * 1.08, g[..., 2] * 1.1], -1))
    for k in range(12):
        a = 2 * np.pi * k / 12
        c.ball("body", (np.sin(a) * r * 0.94, y - 0.035, np.cos(a) * r * 0.94), r * 0.15, "second")
    eyes(c, "body", (r * 0.34, y + tall * 0.3, r * 0.9), r * 0.14, white=False, out=0.2)
    smile(c, "body", (0, y + tall * 0.12, r * 1.0), r * 0.16)
    for k in range(8):
        a = 2 * np.pi * (k + 0.5) / 8
        d = np.array([np.sin(a), 0, np.cos(a)])
        inner = k % 2
        root = np.array([0, y - 0.02, 0]) + d * r * (0.35 if inner else 0.75)
        length = rng.uniform(0.5, 0.6)
        line = [
            root + [0, 0.03, 0],
            *(root + d * 0.03 * np.sin(3 * s) + [0, -length * s, 0] for s in (0.33, 0.66, 1.0)),
        ]
        names = c.chain(f"tentacle_{k}", line[:3])
        width = r * (0.15 if inner else 0.08)
        c.tube(
            names, line, [width, width * 0.9, width * 0.7, width * 0.3], "accent" if inner else "second", up=tuple(d)
        )
        c.limb("tentacle", names, line[-1], phase=k / 8, axis=np.cross(d, UP))
    return c
