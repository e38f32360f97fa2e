"""Four-legged animals of many sorts."""

# ruff: noqa: RUF005  (points are arrays: `p + [dx, dy, dz]` moves them)
from __future__ import annotations

import numpy as np

from .clay import Clay
from .paint import Look
from .parts import Rng, chance, eyes, hat, leg, pick
from .quadruped_sorts import SORTS, Sort


def quadruped(rng: Rng, look: Look, sort: str) -> Clay:
    base = SORTS[sort]
    stretch = rng.uniform(0.9, 1.12, 5)
    legs, length, width = base.legs * stretch[0], base.length * stretch[1], base.width * stretch[2]
    height, head = base.height * stretch[2], base.head * stretch[3]
    y = legs + height * 0.55
    c = Clay(look, body=y)
    c.noun = sort
    c.tube(
        "body",
        [(0, y, -length), (0, y + height * 0.08, -length * 0.35), (0, y, length * 0.4), (0, y + height * 0.1, length)],
        [(width * 0.72, height * 0.78), (width, height), (width * 0.98, height), (width * 0.66, height * 0.72)],
        "main",
        up=(0, 1, 0),
        paint="wool" not in base.extras,
    )
    sock = pick(rng, "main", "second", "second")
    for end, z, bend in (("front", 0.74, 1.0), ("back", -0.78, -1.0)):
        for side in (-1.0, 1.0):
            hip = (side * width * 0.58, y - height * 0.25, z * length)
            thick = base.thick * (1.25 if end == "back" else 1.1)
            leg(
                c,
                f"{end}_{'l' if side < 0 else 'r'}",
                hip,
                (hip[0], 0.06, hip[2]),
                (thick, base.thick * 0.78),
                "main",
                side=side,
                phase={("front", -1.0): 0, ("back", 1.0): 0.08, ("front", 1.0): 0.5, ("back", -1.0): 0.58}[end, side],
                bend=bend,
                fold=0.09,
                foot=((base.thick * 1.1, 0.045, base.thick * 1.3), sock),
            )
    neck = base.neck * stretch[4]
    start = np.array([0, y + height * 0.3, length * 0.8])
    top = start + np.array([0, height * 0.35 + neck, (neck + 0.06) * base.lean])
    names = c.chain("neck", [start, (start + top) / 2])
    c.joint("head", top, names[-1])
    thick = min(width, height) * 0.62 if sort != "giraffe" else 0.085
    c.tube(
        ["body", *names, "head"],
        [start - [0, 0.05, 0.08], start, (start + top) / 2, top],
        [thick * 1.2, thick * 1.05, thick * 0.9, thick * 0.82],
        "main",
        up=(0, 0, 1),
        paint=base.neck > 0.2,
    )
    c.limb("head", [*names, "head"], top)
    _head(c, rng, base, sort, top + np.array([0, head * 0.45, head * 0.35]), head)
    _tail(c, base.tail, (0, y + height * 0.35, -length * 1.02), width)
    _extras(c, rng, base, y, width, height, length, thick)
    return c


def _head(c: Clay, rng: Rng, base: Sort, sort: str, at: np.ndarray, r: float) -> None:
    x, y, z = at
    c.ball("head", (x, y, z), (r * 0.98, r * 0.92, r), "main")
    if base.muzzle:
        size = (r * base.snout, r * base.snout * 0.8, base.muzzle + r * 0.3)
        tint = pick(rng, "second", "main") if sort != "pig" else "main"
        c.ball("head", (0, y - r * 0.3, z + r * 0.62), size, tint, square=0.1)
        tip = z + r * 0.62 + size[2]
        if "disc" in base.extras:
            c.ball("head", (0, y - r * 0.3, tip), (r * 0.36, r * 0.3, r * 0.1), "second", square=0.2)
        else:
            c.ball(
                "head", (0, y - r * 0.3 + size[1] * 0.55, tip - size[2] * 0.16), (r * 0.2, r * 0.15, r * 0.15), "black"
            )
    eyes(c, "head", (r * 0.48, y + r * 0.24, z + r * 0.76), r * 0.2, white=chance(rng, 0.5))
    _ears(c, base.ears, y, z, r)
    if "whiskers" in base.extras:
        for side in (-1, 1):
            for k in (-1, 1):
                a = np.array([side * r * 0.3, y - r * 0.3, z + r * 0.95])
                c.tube("head", [a, a + [side * r * 0.75, k * r * 0.14, 0.0]], [0.007, 0.004], "white")
    if "knobs" in base.extras:
        for side in (-1, 1):
            c.tube(
                "head",
                [(side * r * 0.4, y + r * 0.7, z), (side * r * 0.5, y + r * 1.6, z - r * 0.1)],
                [r * 0.13, r * 0.13],
                "main",
            )
            c.ball("head", (side * r * 0.5, y + r * 1.65, z - r * 0.1), r * 0.22, "brown")
        c.has("horns")
    if "horns" in base.extras:
        for side in (-1, 1):
            c.tube(
                "head",
                [
                    (side * r * 0.5, y + r * 0.7, z),
                    (side * r * 1.1, y + r * 1.0, z),
                    (side * r * 1.25, y + r * 1.6, z + r * 0.1),
                ],
                [r * 0.2, r * 0.16, 0.006],
                "cream",
            )
        c.has("horns", "cream")
    if "trunk" in base.extras:
        points = [
            (0, y - r * 0.15, z + r * 0.85),
            (0, y - r * 0.7, z + r * 1.35),
            (0, y - r * 1.5, z + r * 1.45),
            (0, y - r * 2.05, z + r * 1.75),
        ]
        names = c.chain("trunk", points[:3], parent="head")
        c.tube(names, points, [r * 0.38, r * 0.3, r * 0.23, r * 0.19], "main", up=(0, 0, 1))
        c.limb("tail", names, points[-1])
        c.has("trunk")
    if "tusks" in base.extras:
        for side in (-1, 1):
            p = np.array([side * r * 0.5, y - r * 0.45, z + r * 0.7])
            c.tube(
                "head",
                [p, p + [side * 0.03, -r * 0.35, r * 0.45], p + [side * 0.03, -r * 0.3, r * 0.9]],
                [r * 0.13, r * 0.11, 0.006],
                "white",
            )
        c.has("tusks", "white")
    if chance(rng, 0.22) and not {"knobs", "horns", "ruff"} & set(base.extras):
        hat(c, rng, "head", (0, y + r * 0.95, z - r * 0.05), r * 0.6, kinds=("top hat", "party hat", "crown", "bow"))
    elif chance(rng, 0.3) and base.neck > 0.05:
        a = c.world["head"] * 0.55 + c.world["neck_0"] * 0.45
        d = c.world["head"] - c.world["neck_0"]
        d = d / np.linalg.norm(d)
        t = 0.62 * min(base.width, base.height) + 0.015 if base.neck < 0.5 else 0.098
        c.lathe(
            "neck_1",
            tuple(a - d * 0.025),
            tuple(d),
            [(0, 0), (0, t), (0.018, t * 1.1), (0.042, t * 1.1), (0.06, t), (0.06, 0)],
            "accent",
        )
        c.has("collar", "accent")


def _ears(c: Clay, style: str, y: float, z: float, r: float) -> None:
    for side in (-1, 1):
        root = np.array([side * r * 0.58, y + r * 0.62, z - r * 0.05])
        if style == "floppy":
            joint, points = (
                "ear",
                [root, root + [side * r * 0.42, r * 0.05, 0], root + [side * r * 0.62, -r * 0.7, 0.02]],
            )
            radii = [(r * 0.16, r * 0.14), (r * 0.3, r * 0.1), (r * 0.3, r * 0.08)]
        elif style == "long":
            joint, points = (
                "ear",
                [root, root + [side * r * 0.12, r * 0.8, -r * 0.1], root + [side * r * 0.3, r * 1.7, -r * 0.25]],
            )
            radii = [(r * 0.16, r * 0.1), (r * 0.27, r * 0.1), (r * 0.1, r * 0.06)]
        elif style == "huge":
            joint, points = (
                "ear",
                [
                    root + [0, -r * 0.4, 0],
                    root + [side * r * 0.75, -r * 0.3, -r * 0.25],
                    root + [side * r * 1.25, -r * 0.5, -r * 0.45],
                ],
            )
            radii = [(r * 0.45, r * 0.08), (r * 0.95, r * 0.07), (r * 0.5, r * 0.05)]
        elif style == "side":
            joint, points = (
                "ear",
                [root, root + [side * r * 0.5, -r * 0.02, -r * 0.05], root + [side * r * 0.95, -r * 0.15, -r * 0.1]],
            )
            radii = [(r * 0.14, r * 0.08), (r * 0.24, r * 0.08), (r * 0.06, r * 0.05)]
        elif style == "round":
            joint, points = "ear", [root - [0, r * 0.1, 0], root + [side * r * 0.2, r * 0.3, 0]]
            radii = [(r * 0.3, r * 0.12), (r * 0.3, r * 0.12)]
        else:
            tall = 0.5 if style == "small" else 0.75
            joint, points = (
                "ear",
                [
                    root - [0, r * 0.15, 0],
                    root + [side * r * 0.06, r * tall * 0.5, 0],
                    root + [side * r * 0.12, r * tall, 0],
                ],
            )
            radii = [(r * 0.36, r * 0.16), (r * 0.25, r * 0.12), (r * 0.03, r * 0.03)]
        name = c.joint(f"{joint}_{'l' if side < 0 else 'r'}", root, "head")
        tint = "second" if style in ("floppy", "huge") and c.look.pattern != "plain" else "main"
        c.tube(name, points, radii, tint, up=(0, 0, 1))
        if style in ("pointed", "long", "round"):
            inner = [np.asarray(p) + [0, 0, r * 0.09] for p in points]
            c.tube(name, inner, [(a * 0.55, b * 0.5) for a, b in radii], "pink", up=(0, 0, 1))
        c.limb("ear", [name], points[-1], side=float(side))


def _tail(c: Clay, style: str, at: tuple[float, float, float], width: float) -> None:
    root = np.array(at)
    shapes = {
        "long": ([(0, -0.02, 0.04), (0, 0.08, -0.14), (0, 0.22, -0.24), (0, 0.38, -0.26)], [0.034, 0.032, 0.03, 0.024]),
        "up": ([(0, -0.02, 0.04), (0, 0.08, -0.07), (0, 0.2, -0.12), (0, 0.28, -0.09)], [0.04, 0.036, 0.03, 0.014]),
        "bushy": ([(0, -0.02, 0.04), (0, 0.02, -0.14), (0, 0.1, -0.3), (0, 0.2, -0.44)], [0.035, 0.08, 0.1, 0.05]),
        "hair": ([(0, 0.0, 0.05), (0, 0.03, -0.08), (0, -0.12, -0.15), (0, -0.36, -0.17)], [0.03, 0.05, 0.055, 0.015]),
        "tuft": ([(0, -0.02, 0.04), (0, 0.0, -0.1), (0, -0.1, -0.17), (0, -0.22, -0.2)], [0.025, 0.022, 0.02, 0.02]),
        "curl": (
            [(0, -0.04, 0.05), (0.04, 0.02, -0.04), (-0.03, 0.05, -0.07), (0.0, 0.09, -0.04)],
            [0.02, 0.02, 0.018, 0.012],
        ),
    }
    if style in ("stub", "puff"):
        name = c.joint("tail_0", root)
        c.ball(
            name,
            tuple(root + [0, 0, -0.02]),
            0.05 if style == "stub" else 0.075,
            "main" if style == "stub" else "white",
        )
        c.limb("tail", [name], root)
        return
    points = [root + p for p in shapes[style][0]]
    names = c.chain("tail", points[:3])
    c.tube(names, points, shapes[style][1], "second" if style == "hair" else "main", up=(1, 0, 0))
    if style == "tuft":
        c.ball(names[-1], tuple(points[-1]), (0.04, 0.06, 0.04), "second")
    if style == "bushy":
        c.ball(names[-1], tuple(points[-1] - [0, 0.015, -0.02]), (0.058, 0.06, 0.07), "white")
    c.limb("tail", names, points[-1])


def _extras(c: Clay, rng: Rng, base: Sort, y: float, width: float, height: float, length: float, thick: float) -> None:
    head = c.world["head"]
    if "mane" in base.extras:
        a = c.world["neck_0"]
        spine = [
            a + [0, thick * 0.9, -thick * 0.7],
            (a + head) / 2 + [0, thick * 0.8, -thick * 0.85],
            head + [0, thick * 1.3, -thick * 0.7],
        ]
        c.tube(
            ["neck_0", "neck_1", "head"], spine, [(0.03, 0.06), (0.035, 0.08), (0.03, 0.06)], "second", up=(0, 0.4, -1)
        )
        c.has("mane", "second")
    if "ruff" in base.extras:
        r = base.head
        for k in range(12):
            a = 2 * np.pi * k / 12
            p = head + np.array([np.cos(a) * r * 0.95, r * 0.45 + np.sin(a) * r * 0.95, r * 0.05])
            c.ball("head", tuple(p), r * 0.42, "second", fine=0.8)
        c.has("mane", "second")
    if "wool" in base.extras:
        for k in range(26):
            f = (k + 0.5) / 26
            phi = k * 2.39996
            cy = 1 - 2 * f
            s = np.sqrt(max(1 - cy * cy, 0))
            p = np.array([np.cos(phi) * s * width * 0.95, y + cy * height * 0.9, np.sin(phi) * s * (length + 0.07)])
            if p[1] > y - height * 0.75:
                c.ball("body", tuple(p), 0.085, "main", fine=0.8)
        c.ball(
            "head",
            tuple(head + [0, base.head * 1.2, base.head * 0.1]),
            (base.head * 0.6, base.head * 0.35, base.head * 0.6),
            "main",
        )
    if chance(rng, 0.25) and "wool" not in base.extras:
        c.ball(
            "body",
            (0, y + height * 0.93, -length * 0.05),
            (width * 0.7, height * 0.16, length * 0.32),
            "accent",
            square=0.3,
        )
        for side in (-1, 1):
            c.ball(
                "body",
                (side * width * 0.94, y + height * 0.1, -length * 0.05),
                (width * 0.12, height * 0.42, length * 0.2),
                "accent",
                square=0.4,
            )
        c.has("saddle", "accent")
