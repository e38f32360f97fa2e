"""Flowers, trees, cacti and mushrooms."""

# ruff: noqa: RUF005  (points are arrays: `p + [dx, dy, dz]` moves them)
from __future__ import annotations

import numpy as np

from .clay import Clay
from .paint import Look
from .parts import Rng, chance, eyes, pick, smile

FLOWERS = {
    "flower": ("red", "pink", "purple", "orange"),
    "sunflower": ("yellow",),
    "tulip": ("red", "yellow", "purple"),
}


TREES = {
    "tree": ("green",),
    "fir tree": ("green", "teal"),
    "palm tree": ("green",),
    "cactus": ("green", "mint"),
    "mushroom": ("red", "brown"),
}


def flower(rng: Rng, look: Look, sort: str) -> Clay:
    tall = rng.uniform(0.62, 0.85)
    c = Clay(look, body=0.14)
    c.noun = sort
    pot = rng.uniform(0.14, 0.17)
    c.lathe(
        "body",
        (0, 0.0, 0),
        (0, 1, 0),
        [
            (0, 0),
            (0, pot * 0.75),
            (0.17, pot),
            (0.175, pot * 1.12),
            (0.23, pot * 1.12),
            (0.235, pot * 0.98),
            (0.2, pot * 0.95, "brown"),
            (0.2, 0),
        ],
        "second",
        paint=False,
    )
    lean = rng.uniform(-0.05, 0.05)
    line = [np.array([lean * np.sin(3 * s), 0.17 + tall * s, 0.02 * np.sin(5 * s)]) for s in np.linspace(0, 1, 5)]
    names = c.chain("stem", line[:4])
    top = line[-1]
    c.joint("head", top, names[-1])
    c.tube(names, line, [0.03, 0.026, 0.024, 0.024, 0.03], "green", up=(0, 0, 1))
    c.limb("stem", names, top)
    c.limb("head", ["head"], top)
    for k in range(pick(rng, 2, 3, 4)):
        side = 1.0 if k % 2 else -1.0
        base = line[1] * (0.9 - 0.25 * k) + line[2] * (0.1 + 0.25 * k)
        d = np.array([side, 0, rng.uniform(-0.4, 0.4)])
        d /= np.linalg.norm(d)
        name = c.joint(f"leaf_{k}", base, names[1])
        c.tube(
            name,
            [base, base + d * 0.13 + [0, 0.07, 0], base + d * 0.25 + [0, 0.07, 0], base + d * 0.33 + [0, 0.02, 0]],
            [(0.02, 0.014), (0.065, 0.014), (0.06, 0.012), (0.008, 0.008)],
            "green",
            up=(0, 1, 0),
        )
        c.limb("wing", [name], base, side=side)
    face = np.array([0, 0.35, 1.0]) if sort != "tulip" else np.array([0, 1.0, 0.25])
    face /= np.linalg.norm(face)
    u = np.array([1.0, 0, 0])
    v = np.cross(face, u)
    count = {"sunflower": 16, "tulip": 6}.get(sort, int(rng.integers(5, 9)))
    core = {"sunflower": 0.14, "tulip": 0.06}.get(sort, rng.uniform(0.085, 0.115))
    reach = {"sunflower": 0.15, "tulip": 0.3}.get(sort, rng.uniform(0.2, 0.26))
    round_ = rng.uniform(0.75, 1.05) * np.pi * (core + reach * 0.5) / count
    for k in range(count):
        a = 2 * np.pi * k / count
        d = np.cos(a) * u + np.sin(a) * v
        root = top + d * core * 0.7
        name = c.joint(f"petal_{k}", root, "head")
        rise = 0.25 if sort != "tulip" else 2.6
        points = [
            root,
            root + d * reach * 0.5 + face * reach * 0.12 * rise,
            root + d * reach * (1 if sort != "tulip" else 0.35) + face * reach * 0.35 * rise,
        ]
        c.tube(
            name,
            points,
            [(round_ * 0.5, 0.02), (round_, 0.018), (round_ * (0.6 if sort != "sunflower" else 0.1), 0.014)],
            "main",
            up=tuple(face + 0.001),
            fine=1.2,
            paint=sort != "sunflower",
        )
        c.limb("petal", [name], points[-1], axis=np.cross(d, face))
    c.ball(
        "head",
        tuple(top + face * 0.012),
        (core, core, core * 0.5) if sort != "tulip" else core,
        "brown" if sort == "sunflower" else "accent",
        fine=1.3,
    )
    if sort != "tulip" and chance(rng, 0.6):
        p = top + face * (core * 0.5 + 0.01)
        eyes(c, "head", (core * 0.36, p[1] + core * 0.12, p[2] - 0.004), core * 0.17, white=False, out=0.1)
        for e in c.parts[-4:]:
            e.grid[..., 0] += top[0]
            e.morphs["blink"][..., 0] += top[0]
        smile(c, "head", (top[0], p[1] - core * 0.42, p[2] + core * 0.18), core * 0.3)
        c.has("smiling face")
    return c


def tree(rng: Rng, look: Look, sort: str) -> Clay:
    c = Clay(look, body=0.1)
    c.noun = sort
    build = {"fir tree": _fir, "palm tree": _palm, "cactus": _cactus, "mushroom": _mushroom}.get(sort, _leafy)
    build(c, rng)
    return c


def _stem(c: Clay, line: list[np.ndarray], radii: list[float], color: str, *, paint: bool = False) -> list[str]:
    names = c.chain("stem", line[:-1])
    made = c.tube(names, line, radii, color, up=(0, 0, 1), paint=paint)
    made.grid[..., 1] = np.maximum(made.grid[..., 1], 0)
    c.limb("stem", names, line[-1])
    return names


def _leafy(c: Clay, rng: Rng) -> None:
    trunk, crown = rng.uniform(0.38, 0.5), rng.uniform(0.3, 0.37)
    line = [np.array([0, trunk * s, 0]) for s in (0, 0.4, 0.8, 1.25)]
    names = _stem(c, line, [0.1, 0.07, 0.065, 0.05], "brown")
    c.ball(names[0], (0, 0.03, 0), (0.2, 0.03, 0.2), "green")
    y = trunk + crown * 0.75
    c.ball(names[-1], (0, y, 0), (crown * 0.9, crown * 0.85, crown * 0.9), "main", paint=True)
    for k in range(7):
        a = 2 * np.pi * k / 7 + rng.uniform(-0.2, 0.2)
        d = np.array([np.cos(a), rng.uniform(-0.25, 0.45), np.sin(a)]) * crown * 0.68
        c.ball(names[-1], tuple(np.array([0, y, 0]) + d), crown * rng.uniform(0.42, 0.55), "main", paint=True, fine=0.7)
    fruit = pick(rng, "apples", "oranges", "blossoms", "", "")
    if fruit:
        tint = {"apples": "red", "oranges": "orange", "blossoms": "pink"}[fruit]
        for k in range(16):
            phi, cy = k * 2.39996, 0.85 - 1.5 * (k + 0.5) / 16
            s = np.sqrt(1 - min(cy * cy, 1))
            p = np.array([np.cos(phi) * s, cy, np.sin(phi) * s]) * crown * 1.02
            c.ball(names[-1], tuple(np.array([0, y, 0]) + p), 0.048, tint)
        c.has(fruit)


def _fir(c: Clay, rng: Rng) -> None:
    tiers, wide = pick(rng, 3, 4), rng.uniform(0.32, 0.4)
    step = 0.26
    line = [np.array([0, y, 0]) for y in (0, 0.15, 0.15 + step, 0.15 + step * 2, 0.2 + step * tiers)]
    names = _stem(c, line, [0.075, 0.07, 0.06, 0.045, 0.02], "brown")
    for k in range(tiers):
        r = wide * (1 - 0.22 * k)
        y = 0.17 + step * 0.8 * k
        c.lathe(
            names[min(k + 1, 3)],
            (0, y, 0),
            (0, 1, 0),
            [
                (0.05, 0),
                (0.0, r * 0.9),
                (0.02, r),
                (0.06, r * 0.9),
                (step * 0.9, r * 0.4),
                (step * 1.5, 0.015),
                (step * 1.52, 0),
            ],
            "main",
            paint=True,
        )
    top = 0.17 + step * 0.8 * (tiers - 1) + step * 1.5
    if chance(rng, 0.65):
        for k in range(5):
            a = np.pi / 2 + 2 * np.pi * k / 5
            p = np.array([0, top + 0.03, 0])
            c.cone(names[-1], tuple(p), tuple(p + [0.1 * np.cos(a), 0.1 * np.sin(a), 0]), 0.035, "gold")
        for k in range(14):
            tier = k % tiers
            r, y = wide * (1 - 0.22 * tier), 0.17 + step * 0.8 * tier
            a = k * 2.4
            c.ball(
                names[min(tier + 1, 3)],
                (np.cos(a) * r * 0.9, y + 0.05, np.sin(a) * r * 0.9),
                0.035,
                ("red", "gold", "accent")[k % 3],
            )
        c.has("star", "gold")
        c.has("baubles")


def _palm(c: Clay, rng: Rng) -> None:
    tall, lean = rng.uniform(0.75, 0.95), rng.uniform(-0.16, 0.16)
    line = [np.array([lean * s * s, tall * s, 0]) for s in (0, 0.25, 0.5, 0.75, 1.0)]
    names = _stem(c, line, [0.075, 0.06, 0.055, 0.05, 0.05], "tan")
    c.ball(names[0], (0, 0.05, 0), (0.24, 0.05, 0.24), "yellow")
    top = line[-1]
    for k in range(8):
        a = 2 * np.pi * k / 8 + 0.2
        d = np.array([np.cos(a), 0, np.sin(a)])
        leaf = c.joint(f"leaf_{k}", top, names[-1])
        c.tube(
            leaf,
            [top, top + d * 0.16 + [0, 0.09, 0], top + d * 0.34 + [0, 0.05, 0], top + d * 0.48 + [0, -0.13, 0]],
            [(0.03, 0.02), (0.07, 0.016), (0.075, 0.014), (0.008, 0.008)],
            "main",
            up=(0, 1, 0),
            paint=True,
        )
        c.limb("antenna", [leaf], top)
    for k in range(3):
        a = 2 * np.pi * k / 3 + 1.5
        c.ball(names[-1], (top[0] + 0.06 * np.cos(a), top[1] - 0.03, 0.06 * np.sin(a)), 0.055, "brown")
    c.has("coconuts")


def _cactus(c: Clay, rng: Rng) -> None:
    tall, r = rng.uniform(0.6, 0.78), rng.uniform(0.13, 0.16)
    c.lathe(
        "body",
        (0, 0, 0),
        (0, 1, 0),
        [
            (0, 0),
            (0, r * 1.0),
            (0.14, r * 1.3),
            (0.145, r * 1.45),
            (0.19, r * 1.45),
            (0.17, r * 1.2, "brown"),
            (0.17, 0),
        ],
        "second",
    )
    line = [np.array([0, 0.14 + tall * s, 0]) for s in (0, 0.33, 0.66, 1.0)]
    names = _stem(c, line, [r * 0.85, r, r, r * 0.8], "main", paint=True)
    for side, h in ((-1.0, rng.uniform(0.3, 0.45)), (1.0, rng.uniform(0.4, 0.55))):
        p = np.array([side * r * 0.7, 0.14 + tall * h, 0])
        chain = c.chain(f"arm_{'l' if side < 0 else 'r'}", [p, p + [side * r * 1.2, 0.02, 0]], names[1])
        c.tube(
            chain,
            [p, p + [side * r * 1.1, 0.0, 0], p + [side * r * 1.4, 0.12, 0], p + [side * r * 1.4, 0.24, 0]],
            [r * 0.5, r * 0.5, r * 0.48, r * 0.42],
            "main",
            up=(0, 0, 1),
        )
        c.limb("wing", chain, p, side=side)
    top = line[-1] + [0, r * 0.75, 0]
    for k in range(5):
        a = 2 * np.pi * k / 5
        c.ball(names[-1], (0.05 * np.cos(a), top[1], 0.05 * np.sin(a)), (0.045, 0.03, 0.045), "pink")
    c.ball(names[-1], (0, top[1] + 0.015, 0), 0.032, "yellow")
    c.has("flower", "pink")
    if chance(rng, 0.6):
        eyes(c, names[2], (r * 0.4, 0.14 + tall * 0.78, r * 0.88), r * 0.2, white=False, out=0.3)
        smile(c, names[2], (0, 0.14 + tall * 0.66, r * 0.98), r * 0.25)


def _mushroom(c: Clay, rng: Rng) -> None:
    tall, cap = rng.uniform(0.3, 0.42), rng.uniform(0.32, 0.42)
    line = [np.array([0, tall * s, 0]) for s in (0, 0.35, 0.7, 1.1)]
    names = _stem(c, line, [cap * 0.42, cap * 0.36, cap * 0.32, cap * 0.3], "cream")
    r = cap
    c.lathe(
        names[-1],
        (0, tall * 0.92, 0),
        (0, 1, 0),
        [
            (0.02, 0),
            (-0.02, r * 0.55, "cream"),
            (-0.03, r * 0.96, "cream"),
            (0.0, r, "main"),
            (r * 0.3, r * 0.93),
            (r * 0.55, r * 0.7),
            (r * 0.72, r * 0.36),
            (r * 0.78, 0),
        ],
        "main",
        paint=c.look.pattern != "spotted",
    )
    for k in range(11):
        phi, t = k * 2.39996, np.sqrt((k + 0.4) / 11)
        h, w = r * 0.78 * (1 - t**2.6) + 0.01, r * 0.98 * t
        c.ball(names[-1], (np.cos(phi) * w, tall * 0.92 + h, np.sin(phi) * w), (0.06, 0.035 + 0.02 * t, 0.06), "white")
    c.has("white dots")
    eyes(c, names[1], (cap * 0.14, tall * 0.55, cap * 0.34), cap * 0.07, white=False, out=0.2)
    smile(c, names[1], (0, tall * 0.36, cap * 0.385), cap * 0.09)
