"""Animals that walk: four-legged ones of many sorts, birds, dinosaurs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .clay import Clay
from .paint import Look
from .parts import Rng, chance, eyes, hat, leg, pick, smile


@dataclass(frozen=True, kw_only=True)
class Sort:
    """Proportions of a four-legged animal: lengths in glTF units, about 1 from nose to tail."""

    legs: float = 0.32
    length: float = 0.34
    width: float = 0.17
    height: float = 0.17
    neck: float = 0.12
    lean: float = 0.6
    head: float = 0.17
    muzzle: float = 0.1
    snout: float = 0.5
    ears: str = "pointed"
    tail: str = "long"
    thick: float = 0.062
    extras: tuple[str, ...] = ()


SORTS = {
    "dog": Sort(muzzle=0.13, ears="floppy", tail="up"),
    "cat": Sort(legs=0.27, width=0.145, height=0.145, head=0.175, muzzle=0.055, tail="long", extras=("whiskers",)),
    "fox": Sort(legs=0.27, width=0.14, height=0.14, muzzle=0.16, snout=0.36, tail="bushy"),
    "horse": Sort(legs=0.47, length=0.38, width=0.17, height=0.18, neck=0.3, lean=0.75, head=0.125, muzzle=0.19, snout=0.72,
                  tail="hair", thick=0.058, extras=("mane",)),
    "giraffe": Sort(legs=0.56, length=0.3, width=0.16, height=0.17, neck=0.68, lean=0.3, head=0.11, muzzle=0.13, snout=0.7,
                    ears="side", tail="tuft", thick=0.05, extras=("knobs",)),
    "elephant": Sort(legs=0.32, length=0.36, width=0.27, height=0.27, neck=0.05, lean=1.0, head=0.2, muzzle=0.0, ears="huge",
                     tail="tuft", thick=0.1, extras=("trunk", "tusks")),
    "pig": Sort(legs=0.17, length=0.32, width=0.21, height=0.2, neck=0.02, lean=1.2, head=0.17, muzzle=0.09, snout=0.55,
                ears="small", tail="curl", thick=0.06, extras=("disc",)),
    "bear": Sort(legs=0.24, length=0.34, width=0.24, height=0.24, neck=0.06, lean=0.9, head=0.19, muzzle=0.1, snout=0.52,
                 ears="round", tail="stub", thick=0.09),
    "cow": Sort(legs=0.31, length=0.38, width=0.2, height=0.2, neck=0.12, lean=1.0, head=0.15, muzzle=0.12, snout=0.8, ears="side",
                tail="tuft", extras=("horns",)),
    "lion": Sort(legs=0.3, length=0.36, width=0.17, height=0.17, neck=0.1, head=0.17, muzzle=0.09, snout=0.6, ears="round",
                 tail="tuft", extras=("ruff",)),
    "sheep": Sort(legs=0.24, length=0.3, width=0.2, height=0.2, neck=0.08, lean=0.9, head=0.13, muzzle=0.11, snout=0.7, ears="side",
                  tail="stub", thick=0.045, extras=("wool",)),
    "rabbit": Sort(legs=0.18, length=0.23, width=0.16, height=0.17, neck=0.06, lean=0.5, head=0.17, muzzle=0.05, ears="long",
                   tail="puff", thick=0.055),
}  # fmt: skip
MAINS = {
    "dog": ("brown", "tan", "white", "black", "cream"), "cat": ("orange", "grey", "black", "white", "cream"),
    "fox": ("orange",), "horse": ("brown", "white", "black", "tan"), "giraffe": ("yellow", "tan"),
    "elephant": ("grey", "sky blue"), "pig": ("pink",), "bear": ("brown", "white", "black"),
    "cow": ("white", "brown", "black"), "lion": ("tan", "yellow", "orange"), "sheep": ("white", "cream", "grey"),
    "rabbit": ("white", "grey", "brown", "pink"),
}  # fmt: skip


def quadruped(rng: Rng, look: Look, sort: str) -> Clay:
    base = SORTS[sort]
    stretch = rng.uniform(0.9, 1.12, 5)
    legs, length, width = base.legs * stretch[0], base.length * stretch[1], base.width * stretch[2]
    height, head = base.height * stretch[2], base.head * stretch[3]
    y = legs + height * 0.55
    c = Clay(look, body=y)
    c.noun = sort
    c.tube(
        "body", [(0, y, -length), (0, y + height * 0.08, -length * 0.35), (0, y, length * 0.4), (0, y + height * 0.1, length)],
        [(width * 0.72, height * 0.78), (width, height), (width * 0.98, height), (width * 0.66, height * 0.72)], "main",
        up=(0, 1, 0), paint=True,
    )  # fmt: skip
    sock = pick(rng, "main", "second", "second")
    for end, z, bend in (("front", 0.74, 1.0), ("back", -0.78, -1.0)):
        for side in (-1.0, 1.0):
            hip = (side * width * 0.58, y - height * 0.25, z * length)
            thick = base.thick * (1.25 if end == "back" else 1.1)
            leg(
                c, f"{end}_{'l' if side < 0 else 'r'}", hip, (hip[0], 0.06, hip[2]), (thick, base.thick * 0.78), "main",
                side=side, phase={("front", -1.0): 0, ("back", 1.0): 0.08, ("front", 1.0): 0.5, ("back", -1.0): 0.58}[end, side],
                bend=bend, fold=0.09, foot=((base.thick * 1.1, 0.045, base.thick * 1.3), sock),
            )  # fmt: skip
    neck = base.neck * stretch[4]
    start = np.array([0, y + height * 0.3, length * 0.8])
    top = start + np.array([0, height * 0.35 + neck, (neck + 0.06) * base.lean])
    names = c.chain("neck", [start, (start + top) / 2])
    c.joint("head", top, names[-1])
    thick = min(width, height) * 0.62 if sort != "giraffe" else 0.085
    c.tube(
        ["body", *names, "head"], [start - [0, 0.05, 0.08], start, (start + top) / 2, top],
        [thick * 1.2, thick * 1.05, thick * 0.9, thick * 0.82], "main", up=(0, 0, 1), paint=base.neck > 0.2,
    )  # fmt: skip
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
            c.ball("head", (0, y - r * 0.3 + size[1] * 0.55, tip - size[2] * 0.16), (r * 0.2, r * 0.15, r * 0.15), "black")
    eyes(c, "head", (r * 0.48, y + r * 0.24, z + r * 0.76), r * 0.2, white=chance(rng, 0.5))
    _ears(c, base.ears, y, z, r)
    if "whiskers" in base.extras:
        for side in (-1, 1):
            for k in (-1, 1):
                a = np.array([side * r * 0.3, y - r * 0.3, z + r * 0.95])
                c.tube("head", [a, a + [side * r * 0.75, k * r * 0.14, 0.0]], [0.007, 0.004], "white")
    if "knobs" in base.extras:
        for side in (-1, 1):
            c.tube("head", [(side * r * 0.4, y + r * 0.7, z), (side * r * 0.5, y + r * 1.6, z - r * 0.1)], [r * 0.13, r * 0.13], "main")
            c.ball("head", (side * r * 0.5, y + r * 1.65, z - r * 0.1), r * 0.22, "brown")
        c.has("horns")
    if "horns" in base.extras:
        for side in (-1, 1):
            c.tube("head", [(side * r * 0.5, y + r * 0.7, z), (side * r * 1.1, y + r * 1.0, z), (side * r * 1.25, y + r * 1.6, z + r * 0.1)],
                   [r * 0.2, r * 0.16, 0.006], "cream")  # fmt: skip
        c.has("horns", "cream")
    if "trunk" in base.extras:
        points = [(0, y - r * 0.15, z + r * 0.85), (0, y - r * 0.7, z + r * 1.35), (0, y - r * 1.5, z + r * 1.45), (0, y - r * 2.05, z + r * 1.75)]
        names = c.chain("trunk", points[:3], parent="head")
        c.tube(names, points, [r * 0.38, r * 0.3, r * 0.23, r * 0.19], "main", up=(0, 0, 1))
        c.limb("tail", names, points[-1])
        c.has("trunk")
    if "tusks" in base.extras:
        for side in (-1, 1):
            p = np.array([side * r * 0.5, y - r * 0.45, z + r * 0.7])
            c.tube("head", [p, p + [side * 0.03, -r * 0.35, r * 0.45], p + [side * 0.03, -r * 0.3, r * 0.9]], [r * 0.13, r * 0.11, 0.006], "white")
        c.has("tusks", "white")
    if chance(rng, 0.22) and not {"knobs", "horns", "ruff"} & set(base.extras):
        hat(c, rng, "head", (0, y + r * 0.95, z - r * 0.05), r * 0.6, kinds=("top hat", "party hat", "crown", "bow"))
    elif chance(rng, 0.3) and base.neck > 0.05:
        a = c.world["head"] * 0.55 + c.world["neck_0"] * 0.45
        d = c.world["head"] - c.world["neck_0"]
        d = d / np.linalg.norm(d)
        t = 0.62 * min(base.width, base.height) + 0.015 if base.neck < 0.5 else 0.098
        c.lathe("neck_1", tuple(a - d * 0.025), tuple(d), [(0, 0), (0, t), (0.018, t * 1.1), (0.042, t * 1.1), (0.06, t), (0.06, 0)], "accent")
        c.has("collar", "accent")


def _ears(c: Clay, style: str, y: float, z: float, r: float) -> None:
    for side in (-1, 1):
        root = np.array([side * r * 0.58, y + r * 0.62, z - r * 0.05])
        if style == "floppy":
            joint, points = "ear", [root, root + [side * r * 0.42, r * 0.05, 0], root + [side * r * 0.62, -r * 0.7, 0.02]]
            radii = [(r * 0.16, r * 0.14), (r * 0.3, r * 0.1), (r * 0.3, r * 0.08)]
        elif style == "long":
            joint, points = "ear", [root, root + [side * r * 0.12, r * 0.8, -r * 0.1], root + [side * r * 0.3, r * 1.7, -r * 0.25]]
            radii = [(r * 0.16, r * 0.1), (r * 0.27, r * 0.1), (r * 0.1, r * 0.06)]
        elif style == "huge":
            joint, points = "ear", [root + [0, -r * 0.4, 0], root + [side * r * 0.75, -r * 0.3, -r * 0.25], root + [side * r * 1.25, -r * 0.5, -r * 0.45]]
            radii = [(r * 0.45, r * 0.08), (r * 0.95, r * 0.07), (r * 0.5, r * 0.05)]
        elif style == "side":
            joint, points = "ear", [root, root + [side * r * 0.5, -r * 0.02, -r * 0.05], root + [side * r * 0.95, -r * 0.15, -r * 0.1]]
            radii = [(r * 0.14, r * 0.08), (r * 0.24, r * 0.08), (r * 0.06, r * 0.05)]
        elif style == "round":
            joint, points = "ear", [root - [0, r * 0.1, 0], root + [side * r * 0.2, r * 0.3, 0]]
            radii = [(r * 0.3, r * 0.12), (r * 0.3, r * 0.12)]
        else:
            tall = 0.5 if style == "small" else 0.75
            joint, points = "ear", [root - [0, r * 0.15, 0], root + [side * r * 0.06, r * tall * 0.5, 0], root + [side * r * 0.12, r * tall, 0]]
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
        "curl": ([(0, -0.04, 0.05), (0.04, 0.02, -0.04), (-0.03, 0.05, -0.07), (0.0, 0.09, -0.04)], [0.02, 0.02, 0.018, 0.012]),
    }  # fmt: skip
    if style in ("stub", "puff"):
        name = c.joint("tail_0", root)
        c.ball(name, tuple(root + [0, 0, -0.02]), 0.05 if style == "stub" else 0.075, "main" if style == "stub" else "white")
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
        spine = [a + [0, thick * 0.9, -thick * 0.7], (a + head) / 2 + [0, thick * 0.8, -thick * 0.85], head + [0, thick * 1.3, -thick * 0.7]]
        c.tube(["neck_0", "neck_1", "head"], spine, [(0.03, 0.06), (0.035, 0.08), (0.03, 0.06)], "second", up=(0, 0.4, -1))
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
        c.ball("head", tuple(head + [0, base.head * 1.2, base.head * 0.1]), (base.head * 0.6, base.head * 0.35, base.head * 0.6), "main")
    if chance(rng, 0.25) and "wool" not in base.extras:
        c.ball("body", (0, y + height * 0.93, -length * 0.05), (width * 0.7, height * 0.16, length * 0.32), "accent", square=0.3)
        for side in (-1, 1):
            c.ball("body", (side * width * 0.94, y + height * 0.1, -length * 0.05), (width * 0.12, height * 0.42, length * 0.2), "accent", square=0.4)
        c.has("saddle", "accent")


BIRDS = {
    "bird": ("sky blue", "red", "yellow"), "parrot": ("green", "red", "blue"), "duck": ("yellow", "white", "green"),
    "penguin": ("black", "navy"), "owl": ("brown", "grey", "tan"), "chicken": ("white", "brown", "orange"),
}  # fmt: skip


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
        c.ball("body", (0, y - h * 0.08, length * 0.3), (w * 0.74, h * 0.82, length * 0.78), "white" if sort == "penguin" else "second")
    else:
        c.tube("body", [(0, y + 0.03, -length), (0, y, -length * 0.2), (0, y + 0.01, length * 0.35), tilt + [0, y, length * 0.75]],
               [(w * 0.35, h * 0.35), (w * 0.92, h * 0.92), (w, h), (w * 0.7, h * 0.7)], "main", up=(0, 1, 0), paint=True)  # fmt: skip
    neck = np.array([0, y + h * (0.78 if tall else 0.72), 0.02 if tall else length * 0.72])
    top = neck + np.array([0, 0.02 if tall else rng.uniform(0.06, 0.12), 0.03])
    c.chain("neck", [neck])
    c.joint("head", top, "neck_0")
    c.tube(["body", "neck_0", "head"], [neck - [0, 0.08, 0.03], neck, top + [0, 0.03, 0]], [head * 0.8, head * 0.75, head * 0.72], "main")
    c.limb("head", ["neck_0", "head"], top)
    _bird_head(c, rng, sort, top + np.array([0, head * 0.72, head * 0.12]), head)
    _bird_wings(c, rng, sort, y, w, h, length)
    foot = "orange" if sort != "owl" else "tan"
    for side in (-1.0, 1.0):
        x = side * w * 0.45
        leg(c, "l" if side < 0 else "r", (x, y - h * 0.72, 0.0), (x, 0.035, 0.0), (0.036, 0.024), foot, side=side,
            phase=0.0 if side < 0 else 0.5, bend=1.0, fold=0.05, foot=((0.062, 0.022, 0.095), foot))  # fmt: skip
    tail = np.array([0, y - h * 0.55, -length * 0.8]) if tall else np.array([0, y + 0.03, -length * 0.9])
    c.joint("tail_0", tail)
    c.tube("tail_0", [tail + [0, 0, 0.06], tail + [0, 0.01, -0.1], tail + [0, 0.04, -0.22 if not tall else -0.12]],
           [(0.05, 0.03), (0.1, 0.026), (0.12, 0.018)], "second", up=(0, 1, 0), cap=0.7)  # fmt: skip
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
        c.tube(joint, [beak + [0, drop * 0.4, -0.03], beak + [0, drop * 0.6, long * 0.5 * size], beak + [0, hook + drop * 0.3, long * size]],
               [(wide * size, r * 0.2), (wide * 0.75 * size, r * 0.15), end], "orange" if sort != "parrot" else "black", up=(0, 1, 0))  # fmt: skip
        if name == "jaw":
            c.limb("jaw", ["jaw"], beak)
    if sort == "chicken":
        for k in range(3):
            c.ball("head", (0, y + r * (0.98 + 0.06 * (k == 1)), z + r * (0.35 - 0.35 * k)), (r * 0.12, r * 0.28, r * 0.2), "red")
        c.ball("head", (0, y - r * 0.55, z + r * 0.9), (r * 0.12, r * 0.26, r * 0.12), "red")
        c.has("comb", "red")
    elif sort in ("bird", "parrot") and chance(rng, 0.6):
        for k in range(3):
            p = np.array([0, y + r * 0.9, z + r * (0.2 - 0.22 * k)])
            c.tube("head", [p, p + [0, r * (0.4 + 0.1 * k), -r * 0.1], p + [0, r * (0.6 + 0.15 * k), -r * (0.3 + 0.1 * k)]],
                   [r * 0.13, r * 0.1, 0.005], "accent")  # fmt: skip
        c.has("crest", "accent")
    elif chance(rng, 0.4):
        hat(c, rng, "head", (0, y + r * 0.95, z), r * 0.62, kinds=("top hat", "party hat", "bow", "crown"))


def _bird_wings(c: Clay, rng: Rng, sort: str, y: float, w: float, h: float, length: float) -> None:
    span = {"penguin": 0.3, "chicken": 0.32}.get(sort, rng.uniform(0.42, 0.55))
    broad = {"penguin": 0.075}.get(sort, 0.13)
    for side in (-1.0, 1.0):
        root = np.array([side * w * 0.78, y + h * (0.45 if sort in ("penguin", "owl") else 0.35), 0.02])
        droop = -0.75 if sort == "penguin" else -0.12
        points = [root + np.array([side * span * s, droop * span * s, -0.12 * span * s * s]) for s in (0, 0.34, 0.68, 1.0)]
        names = c.chain(f"wing_{'l' if side < 0 else 'r'}", points[:3])
        c.tube(names, [root - [side * 0.05, 0, 0], *points], [(broad * 0.6, 0.03), (broad, 0.03), (broad * 1.1, 0.024), (broad, 0.018), (broad * 0.45, 0.012)],
               "second", up=(0, 1, 0), fine=1.3)  # fmt: skip
        for k in range(3):  # feathers at the rear edge
            a = points[1] * (1 - k / 2.4) + points[3] * (k / 2.4) if k else points[1]
            c.tube(names[min(k + 1, 2)] if k else names[1], [a, a + [side * 0.03, droop * 0.05, -broad * 1.15], a + [side * 0.05, droop * 0.06, -broad * 1.6]],
                   [(0.05, 0.014), (0.055, 0.012), (0.02, 0.008)], "accent" if sort != "penguin" else "main", up=(0, 1, 0))  # fmt: skip
        c.limb("wing", names, points[-1], side=side)


DINOSAURS = {"dinosaur": ("green", "teal", "orange"), "dragon": ("red", "green", "purple"), "kangaroo": ("brown", "tan")}


def dinosaur(rng: Rng, look: Look, sort: str) -> Clay:
    """Bipeds with a heavy tail."""
    scale = rng.uniform(0.92, 1.1, 4)
    hip = 0.34 * scale[0]
    y = hip + 0.1
    head = 0.15 * scale[1]
    c = Clay(look, body=y)
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
    c.tube([*names[::-1], "body", *necks, "head"], line, [(r, r * 1.05) for r in radii], "main", up=(0, 1, 0.01), paint=True, fine=1.2)
    c.limb("tail", names, tail[-1])
    c.limb("head", [*necks, "head"], top)
    x, hy, hz = top + np.array([0, head * 0.35, head * 0.5])
    c.ball("head", (x, hy, hz), (head, head * 0.85, head * 1.1), "main")
    if sort == "kangaroo":
        c.ball("head", (0, hy - head * 0.2, hz + head * 0.95), (head * 0.5, head * 0.42, head * 0.65), "main")
        c.ball("head", (0, hy - head * 0.02, hz + head * 1.5), head * 0.16, "black")
        _ears(c, "long", hy, hz, head * 0.85)
    else:
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
        leg(c, "l" if side < 0 else "r", (sx, y - 0.02, -0.02), (sx, 0.06, 0.0), (0.105, 0.058), "main", side=side,
            phase=0.0 if side < 0 else 0.5, fold=0.13, foot=((0.075, 0.045, 0.125), "second"))  # fmt: skip
        root = np.array([side * belly * 0.72, y + 0.16, 0.2])
        names = c.chain(f"arm_{'l' if side < 0 else 'r'}", [root, root + [side * 0.03, -0.08, 0.06]])
        tip = root + [side * 0.02, -0.1, 0.16]
        c.tube(names, [root, root + [side * 0.03, -0.08, 0.06], tip], [0.045, 0.036, 0.026], "main")
        c.ball(names[-1], tuple(tip), 0.036, "second")
        c.limb("arm", names, tip, side=side)
    if sort == "dragon":
        _dragon(c, rng, y, belly, hy, hz, head)
    elif sort == "dinosaur":
        _back_spikes(c, y)
        c.has("spikes", "accent")
    else:
        c.ball("body", (0, y + 0.02, 0.1), (belly * 0.7, 0.16, belly * 0.72), "cream")
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
        c.tube("head", [p, p + [side * 0.03, head * 0.5, -head * 0.3], p + [side * 0.05, head * 0.8, -head * 0.9]], [head * 0.2, head * 0.15, 0.005], "cream")
        root = np.array([side * belly * 0.5, y + 0.24, 0.02])
        span = rng.uniform(0.5, 0.62)
        points = [root + np.array([side * span * s, 0.32 * span * s * (1.3 - s), -0.22 * span * s]) for s in (0, 0.34, 0.68, 1.0)]
        names = c.chain(f"wing_{'l' if side < 0 else 'r'}", points[:3])
        c.tube(names, [root - [side * 0.06, 0.03, 0], *points], [(0.05, 0.03), (0.12, 0.022), (0.19, 0.016), (0.16, 0.012), (0.04, 0.008)], "accent",
               up=(0, 1, 0.2), fine=1.3)  # fmt: skip
        c.tube(names, [q + [0, 0.01, 0.09 * (1 - k / 4)] for k, q in enumerate(points)], [0.03, 0.026, 0.022, 0.012], "main")
        c.limb("wing", names, points[-1], side=side)
    c.has("wings", "accent")
