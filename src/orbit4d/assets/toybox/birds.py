"""Birds of several sorts."""

# ruff: noqa: RUF005  (points are arrays: `p + [dx, dy, dz]` moves them)
from __future__ import annotations

import numpy as np

from .clay import Clay
from .paint import Look
from .parts import Rng, chance, eyes, hat, leg

BIRDS = {
    "bird": ("sky blue", "red", "yellow"),
    "parrot": ("green", "red", "blue"),
    "duck": ("yellow", "white", "green"),
    "penguin": ("black", "navy"),
    "owl": ("brown", "grey", "tan"),
    "chicken": ("white", "brown", "orange"),
}


def bird(rng: Rng, look: Look, sort: str) -> Clay:
    plump, head = rng.uniform(0.9, 1.12), rng.uniform(0.155, 0.19) * (1.2 if sort == "owl" else 1)
    tall = sort == "penguin" or sort == "owl"
    legs = {"penguin": 0.1, "duck": 0.16, "owl": 0.12}.get(sort, 0.24) * rng.uniform(0.9, 1.15)
    w, h, length = 0.2 * plump, (0.3 if tall else 0.2) * plump, (0.19 if tall else 0.29) * plump
    y = legs + h * 0.85
    c = Clay(look, body=y)
    c.noun = sort
    tilt = np.array([0, 0.09, 0.0]) if not tall else np.array([0.0, 0.0, 0.0])
    if tall:
        c.ball("body", (0, y, 0), (w, h, length), "main", paint=True)
        c.ball(
            "body",
            (0, y - h * 0.08, length * 0.3),
            (w * 0.74, h * 0.82, length * 0.78),
            "white" if sort == "penguin" else "second",
        )
    else:
        c.tube(
            "body",
            [(0, y + 0.03, -length), (0, y, -length * 0.2), (0, y + 0.01, length * 0.35), tilt + [0, y, length * 0.75]],
            [(w * 0.35, h * 0.35), (w * 0.92, h * 0.92), (w, h), (w * 0.7, h * 0.7)],
            "main",
            up=(0, 1, 0),
            paint=True,
        )
    neck = np.array([0, y + h * (0.78 if tall else 0.72), 0.02 if tall else length * 0.72])
    top = neck + np.array([0, 0.02 if tall else rng.uniform(0.06, 0.12), 0.03])
    c.chain("neck", [neck])
    c.joint("head", top, "neck_0")
    c.tube(
        ["body", "neck_0", "head"],
        [neck - [0, 0.08, 0.03], neck, top + [0, 0.03, 0]],
        [head * 0.8, head * 0.75, head * 0.72],
        "main",
    )
    c.limb("head", ["neck_0", "head"], top)
    _bird_head(c, rng, sort, top + np.array([0, head * 0.72, head * 0.12]), head)
    _bird_wings(c, rng, sort, y, w, h, length)
    foot = "orange" if sort != "owl" else "tan"
    for side in (-1.0, 1.0):
        x = side * w * 0.45
        leg(
            c,
            "l" if side < 0 else "r",
            (x, y - h * 0.72, 0.0),
            (x, 0.035, 0.0),
            (0.036, 0.024),
            foot,
            side=side,
            phase=0.0 if side < 0 else 0.5,
            bend=1.0,
            fold=0.05,
            foot=((0.062, 0.022, 0.095), foot),
        )
    tail = np.array([0, y - h * 0.55, -length * 0.8]) if tall else np.array([0, y + 0.03, -length * 0.9])
    c.joint("tail_0", tail)
    c.tube(
        "tail_0",
        [tail + [0, 0, 0.06], tail + [0, 0.01, -0.1], tail + [0, 0.04, -0.22 if not tall else -0.12]],
        [(0.05, 0.03), (0.1, 0.026), (0.12, 0.018)],
        "second",
        up=(0, 1, 0),
        cap=0.7,
    )
    c.limb("tail", ["tail_0"], tail)
    return c


def _bird_head(c: Clay, rng: Rng, sort: str, at: np.ndarray, r: float) -> None:
    _, y, z = at
    c.ball("head", (0, y, z), r, "main", fine=1.2)
    if sort == "owl":
        for side in (-1, 1):
            c.ball("head", (side * r * 0.42, y + r * 0.14, z + r * 0.66), (r * 0.5, r * 0.5, r * 0.3), "cream")
            c.cone("head", (side * r * 0.55, y + r * 0.7, z), (side * r * 0.85, y + r * 1.4, z), r * 0.25, "main")
        eyes(c, "head", (r * 0.42, y + r * 0.16, z + r * 0.82), r * 0.3, color="black", out=0.12)
    else:
        eyes(c, "head", (r * 0.56, y + r * 0.2, z + r * 0.7), r * 0.22, white=chance(rng, 0.6), out=0.6)
    beak = np.array([0, y - r * 0.12, z + r * 0.85])
    for name, s, drop in (("beak", 1, 0.0), ("jaw", -1, -0.045)):
        joint = "head" if name == "beak" else c.joint("jaw", tuple(beak - [0, 0.02, 0.02]), "head")
        long = r * {"parrot": 0.55, "duck": 0.95, "owl": 0.3, "penguin": 0.8}.get(sort, 0.75)
        wide = r * (0.42 if sort == "duck" else 0.3)
        hook = -r * 0.4 if sort == "parrot" and s > 0 else -r * 0.08 * s
        size = 1.0 if s > 0 else 0.78
        end = (wide * 0.7, 0.02) if sort == "duck" else (0.008, 0.008)
        c.tube(
            joint,
            [
                beak + [0, drop * 0.4, -0.03],
                beak + [0, drop * 0.6, long * 0.5 * size],
                beak + [0, hook + drop * 0.3, long * size],
            ],
            [(wide * size, r * 0.2), (wide * 0.75 * size, r * 0.15), end],
            "orange" if sort != "parrot" else "black",
            up=(0, 1, 0),
        )
        if name == "jaw":
            c.limb("jaw", ["jaw"], beak)
    if sort == "chicken":
        for k in range(3):
            c.ball(
                "head",
                (0, y + r * (0.98 + 0.06 * (k == 1)), z + r * (0.35 - 0.35 * k)),
                (r * 0.12, r * 0.28, r * 0.2),
                "red",
            )
        c.ball("head", (0, y - r * 0.55, z + r * 0.9), (r * 0.12, r * 0.26, r * 0.12), "red")
        c.has("comb", "red")
    elif sort in ("bird", "parrot") and chance(rng, 0.6):
        for k in range(3):
            p = np.array([0, y + r * 0.9, z + r * (0.2 - 0.22 * k)])
            c.tube(
                "head",
                [p, p + [0, r * (0.4 + 0.1 * k), -r * 0.1], p + [0, r * (0.6 + 0.15 * k), -r * (0.3 + 0.1 * k)]],
                [r * 0.13, r * 0.1, 0.005],
                "accent",
            )
        c.has("crest", "accent")
    elif chance(rng, 0.4):
        hat(c, rng, "head", (0, y + r * 0.95, z), r * 0.62, kinds=("top hat", "party hat", "bow", "crown"))


def _bird_wings(c: Clay, rng: Rng, sort: str, y: float, w: float, h: float, length: float) -> None:
    span = {"penguin": 0.3, "chicken": 0.32}.get(sort, rng.uniform(0.42, 0.55))
    broad = {"penguin": 0.075}.get(sort, 0.13)
    for side in (-1.0, 1.0):
        root = np.array([side * w * 0.78, y + h * (0.45 if sort in ("penguin", "owl") else 0.35), 0.02])
        droop = -0.75 if sort == "penguin" else -0.12
        points = [
            root + np.array([side * span * s, droop * span * s, -0.12 * span * s * s]) for s in (0, 0.34, 0.68, 1.0)
        ]
        names = c.chain(f"wing_{'l' if side < 0 else 'r'}", points[:3])
        c.tube(
            names,
            [root - [side * 0.05, 0, 0], *points],
            [(broad * 0.6, 0.03), (broad, 0.03), (broad * 1.1, 0.024), (broad, 0.018), (broad * 0.45, 0.012)],
            "second",
            up=(0, 1, 0),
            fine=1.3,
        )
        for k in range(3):  # feathers at the rear edge
            a = points[1] * (1 - k / 2.4) + points[3] * (k / 2.4) if k else points[1]
            c.tube(
                names[min(k + 1, 2)] if k else names[1],
                [a, a + [side * 0.03, droop * 0.05, -broad * 1.15], a + [side * 0.05, droop * 0.06, -broad * 1.6]],
                [(0.05, 0.014), (0.055, 0.012), (0.02, 0.008)],
                "accent" if sort != "penguin" else "main",
                up=(0, 1, 0),
            )
        c.limb("wing", names, points[-1], side=side, folded={"penguin": 22, "owl": 58}.get(sort, 62))
