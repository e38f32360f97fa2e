"""Small creatures: butterflies and bees, spiders and crabs, snakes and caterpillars."""

from __future__ import annotations

import numpy as np

from .clay import Clay
from .paint import Look
from .parts import UP, Rng, chance, eyes, hat, pick, smile

FLYERS = {"butterfly": ("orange", "sky blue", "purple", "yellow"), "bee": ("yellow",), "dragonfly": ("turquoise", "green", "blue"), "ladybird": ("red", "orange")}
CRAWLERS = {"spider": ("black", "purple", "brown", "red"), "crab": ("red", "orange"), "ant": ("maroon", "black", "brown"), "scorpion": ("tan", "black", "maroon")}
SNAKES = {"snake": ("green", "lime", "yellow"), "caterpillar": ("lime", "green"), "worm": ("pink",)}


def butterfly(rng: Rng, look: Look, sort: str) -> Clay:
    y = 0.5
    c = Clay(look, body=y)
    c.noun = sort
    plump = {"bee": 0.15, "ladybird": 0.2}.get(sort, 0.07)
    long = {"dragonfly": 0.44, "butterfly": 0.26}.get(sort, 0.24)
    tail = c.chain("tail", [(0, y, -0.08), (0, y - 0.02, -0.08 - long * 0.5)])
    end = -0.08 - long
    painted = sort in ("bee", "dragonfly", "ladybird")
    c.tube(["body", *tail][: 3 if sort != "ladybird" else 1], [(0, y, 0.16), (0, y, 0.02), (0, y, (end + 0.02) / 2), (0, y - 0.03, end)],
           [plump * 0.7, plump, plump * 0.95, plump * 0.3], "main" if painted else "accent", up=(0, 1, 0), paint=painted)  # fmt: skip
    c.limb("tail", tail, (0, y, end))
    head = 0.12
    c.joint("head", (0, y + 0.02, 0.16))
    at = np.array([0, y + 0.05, 0.24])
    c.ball("head", tuple(at), head, "accent" if sort != "ladybird" else "black")
    c.limb("head", ["head"], at)
    eyes(c, "head", (head * 0.52, at[1] + 0.03, at[2] + head * 0.72), head * 0.32, out=0.5)
    smile(c, "head", (0, at[1] - 0.05, at[2] + head * 0.9), head * 0.24, color="white" if sort == "ladybird" else "black")
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
            c.tube(name, [p, p + [side * 0.06, -0.03, 0.01], p + [side * 0.1, -0.12, 0.0]], [0.016, 0.014, 0.01], "black")
            c.limb("foot", [name], p, side=side, phase=(k % 2) * 0.5 + (0.5 if side > 0 else 0), axis=np.cross(d, UP))
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
            c.ball(shell, (side * plump * 0.5, y + plump * 0.2, -0.08), (plump * 0.62, plump * 0.98, 0.24), "main", paint=True)
            for a, b in ((0.25, 0.08), (0.7, -0.1), (0.3, -0.2)):
                c.ball(shell, (side * plump * (0.35 + a), y + plump * (1.1 - a * 0.75), b), (0.045, 0.04, 0.045), "black")
            c.limb("shell", [shell], root, side=side)
        names = c.chain(f"wing_{lr}", [root, root + [side * 0.2, 0.02, 0]])
        reach, colors = (0.5, ("main", "second")) if sort == "butterfly" else (0.4, ("white", "white"))
        slim = 1.0 if sort == "butterfly" else 0.42
        for lobe, (forward, size) in enumerate(((0.32, 1.0), (-0.3, 0.74))):
            if sort in ("bee", "ladybird") and lobe:
                continue
            f = forward * (1 if sort == "butterfly" else 0.3)
            points = [root, root + [side * reach * size * 0.4, 0.03, f * 0.55 * size], root + [side * reach * size * 0.8, 0.045, f * size], root + [side * reach * size, 0.05, f * 1.02 * size]]
            radii = [(0.05, 0.02), (0.17 * size * slim, 0.017), (0.2 * size * slim, 0.014), (0.1 * size * slim, 0.01)]
            c.tube(names, points, radii, colors[0], up=(0, 1, 0), paint=sort == "butterfly", fine=1.5)
            if sort == "butterfly":
                for h in (0.016, -0.016):
                    c.ball(names[1], tuple(points[2] * 0.85 + points[1] * 0.15 + [0, h, 0]), (0.085 * size, 0.008, 0.085 * size), colors[1])
        c.limb("wing", names, root + [side * reach, 0, 0], side=side)


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
            c.tube(names, [root, knee, knee * 0.45 + tip * 0.55 + d * 0.03, tip], [0.034, 0.034, 0.026, 0.012], "second" if sort != "crab" else "main", up=tuple(-d))
            c.limb("foot", names, tip, side=side, phase=((k + (side > 0)) % 2) * 0.5, axis=np.cross(d, UP))
    if sort in ("crab", "scorpion"):
        for side in (-1.0, 1.0):
            _claw(c, side, y, body, r)
        c.has("claws")
    return c


def _rear(c: Clay, sort: str, y: float, r: float) -> None:
    if sort == "scorpion":
        line = [(0, y + 0.02, -r * 0.6), (0, y + 0.08, -r * 1.4), (0, y + 0.28, -r * 2.0), (0, y + 0.5, -r * 1.8), (0, y + 0.58, -r * 1.0)]
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
        c.tube(joint, [p, p + [side * 0.035 * s, 0, 0.1], p + [side * -0.015 * s, 0, 0.19]], [(0.045, 0.05), (0.042, 0.045), (0.008, 0.008)], "main" if s > 0 else "second", up=(0, 1, 0))
    c.limb("claw", [base, tip], wrist, side=side)


def snake(rng: Rng, look: Look, sort: str) -> Clay:
    if sort == "caterpillar":
        return _caterpillar(rng, look)
    thick = rng.uniform(0.06, 0.075) * (1.2 if sort == "worm" else 1)
    count, long = 7, rng.uniform(1.25, 1.5)
    y = thick
    c = Clay(look, body=y)
    c.noun = sort
    bend = rng.uniform(0.09, 0.13)
    line = [np.array([bend * np.sin(2.2 * np.pi * s), y, long * (0.42 - s)]) for s in np.linspace(0, 1, count + 2)]
    # The spine runs from the middle of the body to the tail, and a second one forwards to the head.
    names = c.chain("spine", line[2:-1])
    radii = [thick * 0.75, thick * 0.95, *[thick * 1.1] * (count - 3), thick * 0.8, thick * 0.5, 0.01]
    rise = rng.uniform(0.16, 0.26) if sort == "snake" else 0.1
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
            c.tube("tongue", [(x, hy - 0.015, hz + r * 1.7), (x, hy - 0.02, hz + r * 2.5), (x + s * 0.025, hy - 0.03, hz + r * 3.0)], [0.012, 0.01, 0.006], "red")
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
            c.tube(name, [p + [side * r * 0.5, -r * 0.6, 0], p + [side * r * 0.75, -r * 1.1, 0]], [0.03, 0.028], "black")
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
