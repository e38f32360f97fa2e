"""Plants, machines and playthings."""

from __future__ import annotations

import numpy as np

from .animator import X, Z
from .clay import Clay
from .paint import Look
from .parts import UP, Rng, chance, eyes, hat, pick, rotor, smile, wheel

FLOWERS = {"flower": ("red", "pink", "purple", "orange"), "sunflower": ("yellow",), "tulip": ("red", "yellow", "purple")}
TREES = {"tree": ("green",), "fir tree": ("green", "teal"), "palm tree": ("green",), "cactus": ("green", "mint"), "mushroom": ("red", "brown")}
CHESTS = {"treasure chest": ("brown", "maroon"), "gift box": (), "music box": ("lavender", "pink", "mint")}
LAMPS = {"lamp": ()}
SLIMES = {"slime": ("lime", "turquoise", "pink"), "ball": (), "snowman": ("white",), "ghost": ("white", "lavender")}
MACHINES = {"windmill": ("white", "cream", "red"), "excavator": ("yellow", "orange"), "crane": ("yellow", "red")}


def flower(rng: Rng, look: Look, sort: str) -> Clay:
    tall = rng.uniform(0.62, 0.85)
    c = Clay(look, body=0.14)
    c.noun = sort
    pot = rng.uniform(0.14, 0.17)
    c.lathe("body", (0, 0.0, 0), (0, 1, 0), [(0, 0), (0, pot * 0.75), (0.17, pot), (0.175, pot * 1.12), (0.23, pot * 1.12), (0.235, pot * 0.98), (0.2, pot * 0.95, "brown"), (0.2, 0)], "second", paint=False)
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
        c.tube(name, [base, base + d * 0.13 + [0, 0.07, 0], base + d * 0.25 + [0, 0.07, 0], base + d * 0.33 + [0, 0.02, 0]],
               [(0.02, 0.014), (0.065, 0.014), (0.06, 0.012), (0.008, 0.008)], "green", up=(0, 1, 0))  # fmt: skip
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
        points = [root, root + d * reach * 0.5 + face * reach * 0.12 * rise, root + d * reach * (1 if sort != "tulip" else 0.35) + face * reach * 0.35 * rise]
        c.tube(name, points, [(round_ * 0.5, 0.02), (round_, 0.018), (round_ * (0.6 if sort != "sunflower" else 0.1), 0.014)], "main", up=tuple(face + 0.001), fine=1.2, paint=sort != "sunflower")
        c.limb("petal", [name], points[-1], axis=np.cross(d, face))
    c.ball("head", tuple(top + face * 0.012), (core, core, core * 0.5) if sort != "tulip" else core, "brown" if sort == "sunflower" else "accent", fine=1.3)
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
    c.tube(names, line, radii, color, up=(0, 0, 1), paint=paint)
    c.limb("stem", names, line[-1])
    return names


def _leafy(c: Clay, rng: Rng) -> None:
    trunk, crown = rng.uniform(0.38, 0.5), rng.uniform(0.3, 0.37)
    line = [np.array([0, trunk * s, 0]) for s in (0, 0.4, 0.8, 1.25)]
    names = _stem(c, line, [0.1, 0.07, 0.065, 0.05], "brown")
    c.ball(names[0], (0, 0.012, 0), (0.2, 0.03, 0.2), "green")
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
        c.lathe(names[min(k + 1, 3)], (0, y, 0), (0, 1, 0), [(0.05, 0), (0.0, r * 0.9), (0.02, r), (0.06, r * 0.9), (step * 0.9, r * 0.4), (step * 1.5, 0.015), (step * 1.52, 0)], "main", paint=True)
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
            c.ball(names[min(tier + 1, 3)], (np.cos(a) * r * 0.9, y + 0.05, np.sin(a) * r * 0.9), 0.035, ("red", "gold", "accent")[k % 3])
        c.has("star", "gold")
        c.has("baubles")


def _palm(c: Clay, rng: Rng) -> None:
    tall, lean = rng.uniform(0.75, 0.95), rng.uniform(-0.16, 0.16)
    line = [np.array([lean * s * s, tall * s, 0]) for s in (0, 0.25, 0.5, 0.75, 1.0)]
    names = _stem(c, line, [0.075, 0.06, 0.055, 0.05, 0.05], "tan")
    c.ball(names[0], (0, 0.015, 0), (0.24, 0.05, 0.24), "yellow")
    top = line[-1]
    for k in range(8):
        a = 2 * np.pi * k / 8 + 0.2
        d = np.array([np.cos(a), 0, np.sin(a)])
        leaf = c.joint(f"leaf_{k}", top, names[-1])
        c.tube(leaf, [top, top + d * 0.16 + [0, 0.09, 0], top + d * 0.34 + [0, 0.05, 0], top + d * 0.48 + [0, -0.13, 0]],
               [(0.03, 0.02), (0.07, 0.016), (0.075, 0.014), (0.008, 0.008)], "main", up=(0, 1, 0), paint=True)  # fmt: skip
        c.limb("antenna", [leaf], top)
    for k in range(3):
        a = 2 * np.pi * k / 3 + 1.5
        c.ball(names[-1], (top[0] + 0.06 * np.cos(a), top[1] - 0.03, 0.06 * np.sin(a)), 0.055, "brown")
    c.has("coconuts")


def _cactus(c: Clay, rng: Rng) -> None:
    tall, r = rng.uniform(0.6, 0.78), rng.uniform(0.13, 0.16)
    c.lathe("body", (0, 0, 0), (0, 1, 0), [(0, 0), (0, r * 1.0), (0.14, r * 1.3), (0.145, r * 1.45), (0.19, r * 1.45), (0.17, r * 1.2, "brown"), (0.17, 0)], "second")
    line = [np.array([0, 0.14 + tall * s, 0]) for s in (0, 0.33, 0.66, 1.0)]
    names = _stem(c, line, [r * 0.85, r, r, r * 0.8], "main", paint=True)
    for side, h in ((-1.0, rng.uniform(0.3, 0.45)), (1.0, rng.uniform(0.4, 0.55))):
        p = np.array([side * r * 0.7, 0.14 + tall * h, 0])
        chain = c.chain(f"arm_{'l' if side < 0 else 'r'}", [p, p + [side * r * 1.2, 0.02, 0]], names[1])
        c.tube(chain, [p, p + [side * r * 1.1, 0.0, 0], p + [side * r * 1.4, 0.12, 0], p + [side * r * 1.4, 0.24, 0]], [r * 0.5, r * 0.5, r * 0.48, r * 0.42], "main", up=(0, 0, 1))
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
    c.lathe(names[-1], (0, tall * 0.92, 0), (0, 1, 0), [(0.02, 0), (-0.02, r * 0.55, "cream"), (-0.03, r * 0.96, "cream"), (0.0, r), (r * 0.3, r * 0.93), (r * 0.55, r * 0.7), (r * 0.72, r * 0.36), (r * 0.78, 0)], "main",
            paint=c.look.pattern != "spotted")  # fmt: skip
    for k in range(11):
        phi, t = k * 2.39996, np.sqrt((k + 0.4) / 11)
        h, w = r * 0.78 * (1 - t**2.6) + 0.01, r * 0.98 * t
        c.ball(names[-1], (np.cos(phi) * w, tall * 0.92 + h, np.sin(phi) * w), (0.06, 0.035 + 0.02 * t, 0.06), "white")
    c.has("white dots")
    eyes(c, names[1], (cap * 0.14, tall * 0.55, cap * 0.34), cap * 0.07, white=False, out=0.2)
    smile(c, names[1], (0, tall * 0.36, cap * 0.385), cap * 0.09)


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
            c.tube(lid, [(0, top + 0.08, 0), (side * 0.1, top + 0.2, 0), (side * 0.2, top + 0.14, 0), (0, top + 0.08, 0)], [(0.03, 0.045)] * 4, "second", up=(0, 0, 1))
        c.ball(lid, (0, top + 0.1, 0), 0.05, "second")
        c.has("ribbon", "second")
    else:
        curve = 0.55 if sort == "treasure chest" else 0.3
        c.tube(lid, [(-w * 0.99, top, 0), (w * 0.99, top, 0)], [(d, d * curve * 1.3)] * 2, "main", up=(0, 1, 0), cap=0.08, square=0.1, fine=1.3)
        c.parts[-1].grid[..., 1] = np.maximum(c.parts[-1].grid[..., 1], top - 0.005)
        for x in (-0.72, 0.72):
            c.tube(lid, [(x * w - 0.03, top, 0), (x * w + 0.03, top, 0)], [(d * 1.04, d * curve * 1.36)] * 2, "gold", up=(0, 1, 0), cap=0.08, square=0.1)
            c.parts[-1].grid[..., 1] = np.maximum(c.parts[-1].grid[..., 1], top - 0.005)
            c.ball("body", (x * w, h, 0), (0.035, h * 1.01, d * 1.03), "gold", square=0.75)
        c.ball(lid, (0, top - 0.01, d * 1.02), (0.05, 0.055, 0.025), "gold", square=0.4)
        for k in range(12):  # what is inside
            c.ball("body", (w * 0.75 * np.sin(k * 2.1), top - 0.035, d * 0.7 * np.cos(k * 3.7)), 0.055, "gold" if sort == "treasure chest" else ("red", "turquoise", "yellow")[k % 3])
        c.has("gold bands")
    if chance(rng, 0.5):
        eyes(c, "body", (w * 0.38, h * 1.25, d * 0.99), 0.062, out=0.1)
        smile(c, "body", (0, h * 0.75, d * 1.02), 0.085)
        c.has("smiling face")
    for x in (-1, 1):
        for z in (-1, 1):
            c.ball("body", (x * w * 0.82, 0.02, z * d * 0.8), (0.05, 0.03, 0.05), "accent")
    return c


def lamp(rng: Rng, look: Look, sort: str) -> Clay:
    c = Clay(look, body=0.05)
    c.noun = pick(rng, "lamp", "desk lamp")
    base = rng.uniform(0.19, 0.24)
    c.lathe("body", (0, 0, 0), (0, 1, 0), [(0, 0), (0, base), (0.03, base), (0.06, base * 0.6), (0.08, base * 0.2), (0.085, 0)], "main")
    elbow, wrist = np.array([0, 0.42, -0.2]), np.array([0, 0.78, 0.1])
    names = c.chain("stem", [(0, 0.07, 0), elbow])
    c.joint("head", wrist, names[1])
    for joint, a, b in ((names[0], np.array([0, 0.05, 0]), elbow), (names[1], elbow, wrist)):
        c.tube(joint, [a, b], [0.026, 0.026], "silver", up=(1, 0, 0))
        for side in (-1, 1):
            c.tube(joint, [a * 0.85 + b * 0.15 + [side * 0.035, 0, 0], a * 0.15 + b * 0.85 + [side * 0.035, 0, 0]], [0.01] * 2, "grey", up=(1, 0, 0))
    for p, joint in ((elbow, names[1]), (wrist, "head"), (np.array([0, 0.08, 0]), names[0])):
        c.tube(joint, [p - [0.055, 0, 0], p + [0.055, 0, 0]], [0.04] * 2, "accent", up=(0, 1, 0), cap=0.4)
    d = np.array([0, -0.75, 0.66])
    r = rng.uniform(0.18, 0.23)
    c.lathe("head", tuple(wrist - d * 0.04), tuple(d), [(0, 0), (0, 0.06), (0.08, 0.085), (0.12, r * 0.7), (0.24, r), (0.25, r * 0.97), (0.16, r * 0.62, "cream"), (0.15, 0)], "main", paint=True)
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
    dome = [(0, 0), (0.0, r * 0.9), (0.03, r * 1.05), (0.08, r * 1.08), (tall * 0.4, r * 0.95), (tall * 0.8, r * 0.62), (tall * 1.0, r * 0.3), (tall * 1.1, 0.02), (tall * 1.11, 0)]
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
    c.lathe("head", (0, r * 2.78, 0), (0, 1, 0), [(0, 0), (0, r * 0.48), (0.05, r * 0.56), (0.1, r * 0.46), (0.1, 0)], "accent")
    c.has("scarf", "accent")
    hat(c, rng, "head", (0, y + r * 0.5, 0), r * 0.5, kinds=("top hat", "party hat", "cap"))
    for side in (-1.0, 1.0):
        p = np.array([side * r * 0.65, r * 2.4, 0])
        names = c.chain(f"arm_{'l' if side < 0 else 'r'}", [p, p + [side * r * 0.5, r * 0.12, 0]])
        c.tube(names, [p, p + [side * r * 0.5, r * 0.12, 0], p + [side * r * 1.0, r * 0.4, 0.02]], [0.028, 0.024, 0.016], "brown")
        c.tube(names[1], [p + [side * r * 0.75, r * 0.26, 0], p + [side * r * 0.98, r * 0.2, 0]], [0.016, 0.01], "brown")
        c.limb("wing", names, p, side=side)
    return c


def _ghost(c: Clay, rng: Rng, r: float) -> Clay:
    r *= 0.85
    y = 0.12
    body = c.lathe("body", (0, y, 0), (0, 1, 0), [(0.04, 0), (0.0, r * 1.05), (0.03, r * 1.1), (r * 0.8, r * 0.92), (r * 1.6, r * 0.86), (r * 2.1, r * 0.66), (r * 2.4, r * 0.32), (r * 2.48, 0)], "main", paint=True, fine=1.4)
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
        c.tube(names, [p, p + [side * r * 0.3, 0.0, 0.08], p + [side * r * 0.5, -0.02, 0.16]], [r * 0.2, r * 0.17, r * 0.12], "main")
        c.limb("wing", names, p, side=side)
    if chance(rng, 0.5):
        hat(c, rng, "body", (0, y + r * 2.42, 0), r * 0.5)
    return c


def machine(rng: Rng, look: Look, sort: str) -> Clay:
    return {"windmill": _windmill, "excavator": _excavator, "crane": _crane}[sort](rng, look)


def _windmill(rng: Rng, look: Look) -> Clay:
    tall, r = rng.uniform(0.62, 0.75), rng.uniform(0.22, 0.27)
    c = Clay(look, body=tall * 0.5)
    c.noun = "windmill"
    c.lathe("body", (0, 0, 0), (0, 1, 0), [(0, 0), (0, r), (0.04, r), (tall, r * 0.66), (tall + 0.01, 0)], "main", paint=True)
    turret = c.joint("turret", (0, tall, 0))
    c.limb("turret", [turret], (0, tall, 0))
    c.lathe(turret, (0, tall - 0.01, 0), (0, 1, 0), [(0, 0), (0, r * 0.86), (0.03, r * 0.84), (0.17, r * 0.4), (0.22, 0.01), (0.22, 0)], "second")
    c.ball("body", (0, 0.13, r * 0.94), (0.075, 0.13, 0.025), "brown", square=0.4)
    for y, z in ((0.42, 0.83), (0.58, 0.76)):
        c.ball("body", (0, y * tall / 0.65, r * z), (0.05, 0.055, 0.025), "sky blue", square=0.4)
    c.tube(turret, [(0, tall + 0.06, r * 0.3), (0, tall + 0.06, r * 1.15)], [0.035] * 2, "brown", up=(0, 1, 0))
    hub = np.array([0, tall + 0.06, r * 1.2])
    name = c.joint("rotor", hub, turret)
    blades, long = pick(rng, 4, 4, 5, 6), rng.uniform(0.48, 0.56)
    for k in range(blades):
        a = 2 * np.pi * k / blades + 0.35
        d, side = np.array([np.cos(a), np.sin(a), 0]), np.array([-np.sin(a), np.cos(a), 0])
        c.tube(name, [hub, hub + d * long], [0.018, 0.014], "brown", rigid=True)
        mid = side * 0.055
        c.tube(name, [hub + d * long * 0.28 + mid, hub + d * long * 0.98 + mid], [(0.065, 0.012), (0.085, 0.012)], "accent" if k % 2 else "white", up=(0, 0, 1), rigid=True, square=0.5, cap=0.3)
    c.ball(name, tuple(hub), 0.05, "gold", rigid=True)
    c.limb("rotor", [name], hub, axis=Z)
    return c


def _excavator(rng: Rng, look: Look) -> Clay:
    c = Clay(look, body=0.24)
    c.noun = "excavator"
    for side in (-1, 1):
        x = side * 0.2
        c.ball("body", (x, 0.085, 0), (0.07, 0.085, 0.34), "black", square=0.45)
        for k in range(4):
            z = -0.22 + 0.147 * k
            wheel(c, f"{side}_{k}", (x + side * 0.045, 0.085, z), 0.062, 0.06, hub="grey")
    c.tube("body", [(0, 0.1, 0), (0, 0.22, 0)], [0.16, 0.15], "grey")
    turret = c.joint("turret", (0, 0.2, 0))
    c.limb("turret", [turret], (0, 0.2, 0))
    c.ball(turret, (0, 0.3, -0.1), (0.21, 0.1, 0.27), "main", square=0.55, paint=True)
    c.ball(turret, (-0.09, 0.44, 0.02), (0.11, 0.15, 0.14), "sky blue", square=0.5)
    c.ball(turret, (-0.09, 0.58, 0.02), (0.125, 0.03, 0.155), "main", square=0.5)
    c.ball(turret, (0, 0.36, -0.3), (0.2, 0.1, 0.09), "second", square=0.5)
    c.tube(turret, [(0.12, 0.36, -0.2), (0.12, 0.56, -0.2)], [0.024] * 2, "black")
    base, elbow, wrist = np.array([0.1, 0.36, 0.12]), np.array([0.1, 0.78, 0.4]), np.array([0.1, 0.5, 0.68])
    names = c.chain("boom", [base, elbow, wrist], turret)
    c.tube(names[0], [base - [0, 0.05, 0.05], (base + elbow) / 2 + [0, 0.09, -0.05], elbow], [(0.05, 0.07), (0.05, 0.075), (0.042, 0.05)], "main", up=(0, 1, 0), square=0.4)
    c.tube(names[1], [elbow - [0, 0, 0.04], wrist], [(0.042, 0.055), (0.036, 0.04)], "main", up=(0, 1, 0.5), square=0.4)
    c.tube(names[0], [base + [0.06, 0.02, 0.06], elbow * 0.75 + base * 0.25 + [0.06, 0, 0]], [0.022, 0.018], "silver")
    for p, j in ((elbow, names[1]), (wrist, names[2])):
        c.tube(j, [p - [0.065, 0, 0], p + [0.065, 0, 0]], [0.032] * 2, "grey", up=(0, 1, 0))
    b = wrist + np.array([0, -0.1, -0.03])
    c.ball(names[2], tuple(b), (0.12, 0.1, 0.1), "second", square=0.4)
    for k in (-1, 0, 1):
        c.cone(names[2], tuple(b + [k * 0.08, -0.05, -0.07]), tuple(b + [k * 0.08, -0.09, -0.17]), 0.025, "silver")
    c.limb("boom", names, b)
    return c


def _crane(rng: Rng, look: Look) -> Clay:
    tall = rng.uniform(0.8, 0.95)
    c = Clay(look, body=0.1)
    c.noun = "crane"
    c.ball("body", (0, 0.05, 0), (0.24, 0.055, 0.24), "grey", square=0.6)
    for k in range(5):
        y = 0.1 + (tall - 0.1) * (k + 0.5) / 5
        c.ball("body", (0, y, 0), (0.075, tall * 0.075, 0.075), "main" if k % 2 == 0 else "second", square=0.7)
    c.tube("body", [(0, 0.05, 0), (0, tall, 0)], [0.06] * 2, "main", square=0.6)
    turret = c.joint("turret", (0, tall, 0))
    c.limb("turret", [turret], (0, tall, 0))
    c.ball(turret, (0, tall + 0.06, 0.04), (0.11, 0.09, 0.12), "sky blue", square=0.5)
    c.ball(turret, (0, tall + 0.15, 0.0), (0.12, 0.025, 0.13), "main", square=0.5)
    boom = c.chain("boom", [(0, tall + 0.12, 0), (0, tall + 0.14, 0.55)], turret)
    c.tube(boom[0], [(0, tall + 0.14, -0.32), (0, tall + 0.14, 0.72)], [(0.04, 0.035)] * 2, "main", up=(0, 1, 0), square=0.5, paint=True)
    c.ball(boom[0], (0, tall + 0.08, -0.3), (0.09, 0.1, 0.09), "grey", square=0.5)
    c.tube(boom[0], [(0, tall + 0.14, 0), (0, tall + 0.36, 0)], [0.03, 0.02], "main")
    for z in (-0.3, 0.64):
        c.tube(boom[0], [(0, tall + 0.35, 0), (0, tall + 0.16, z)], [0.009] * 2, "black")
    drop = rng.uniform(0.26, 0.42)
    hook = c.chain("hook", [(0, tall + 0.12, 0.58), (0, tall + 0.12 - drop, 0.58)], boom[1])
    c.tube(hook, [(0, tall + 0.12, 0.58), (0, tall + 0.12 - drop, 0.58)], [0.012] * 2, "black")
    load = pick(rng, "crate", "ball")
    c.ball(hook[1], (0, tall + 0.05 - drop, 0.58), 0.1, "accent", square=0.7 if load == "crate" else 0.0)
    c.has(f"hanging {load}", "accent")
    c.limb("hook", hook, (0, tall, 0.58))
    c.limb("boom", boom, (0, tall, 0.6))
    return c


__all__ = ["UP", "chest", "flower", "lamp", "machine", "rotor", "slime", "tree"]
