"""Trucks, buses, tractors and steam engines."""

from __future__ import annotations

from .cars import axles, lamps
from .clay import Clay
from .paint import Look
from .parts import Rng, pick, wheel

TRUCKS = {
    "truck": (),
    "bus": ("red", "yellow"),
    "fire engine": ("red",),
    "tractor": ("green", "red"),
    "train": ("black", "green", "red"),
}


def truck(rng: Rng, look: Look, sort: str) -> Clay:
    return {"bus": _bus, "tractor": _tractor, "train": _train}.get(sort, _lorry)(rng, look, sort)


def _lorry(rng: Rng, look: Look, sort: str) -> Clay:
    wide, radius = rng.uniform(0.2, 0.23), rng.uniform(0.1, 0.115)
    y = radius * 1.5
    c = Clay(look, body=y, detail=0.84)
    c.noun = sort
    c.ball("body", (0, y, -0.06), (wide * 0.8, 0.045, 0.58), "grey", square=0.6)
    tall = rng.uniform(0.17, 0.2)
    c.ball("body", (0, y + tall, 0.4), (wide, tall, 0.16), "main", square=0.5)
    c.ball("body", (0, y + tall * 1.35, 0.47), (wide * 0.86, tall * 0.42, 0.105), "sky blue", square=0.5)
    c.ball("body", (0, y + tall * 0.45, 0.55), (wide * 0.5, tall * 0.22, 0.02), "silver", square=0.5)
    lamps(c, wide * 0.72, y + tall * 0.4, 0.555, 0.04)
    bed = c.joint("bed", (0, y + 0.05, -0.58))
    c.limb("bed", [bed], (0, y, 0.2))
    if sort == "fire engine":
        c.ball(bed, (0, y + 0.2, -0.2), (wide, 0.16, 0.4), "main", square=0.6, paint=True)
        for side in (-1, 1):
            c.tube(bed, [(side * 0.07, y + 0.4, -0.58), (side * 0.07, y + 0.42, 0.3)], [0.018] * 2, "silver")
        for k in range(7):
            z = -0.52 + 0.13 * k
            c.tube(bed, [(-0.07, y + 0.4, z), (0.07, y + 0.4, z)], [0.014] * 2, "silver", up=(0, 1, 0))
        for z in (-0.45, 0.1):
            c.ball(bed, (0, y + 0.365, z), (0.09, 0.035, 0.03), "grey", square=0.4)
        c.ball("body", (0, y + tall * 2.0, 0.38), (0.1, 0.035, 0.04), "sky blue", square=0.3)
        c.has("ladder")
    else:
        c.ball(bed, (0, y + 0.075, -0.19), (wide, 0.035, 0.39), "second", square=0.7)
        for side in (-1, 1):
            c.ball(bed, (side * wide, y + 0.16, -0.19), (0.025, 0.1, 0.39), "second", square=0.7, paint=False)
        for z in (-0.58, 0.2):
            c.ball(bed, (0, y + 0.16, z), (wide, 0.1, 0.025), "second", square=0.7)
        load = pick(rng, "crates", "logs", "sand", "balls")
        _load(c, rng, bed, load, y + 0.11, wide)
        c.has(load)
        c.tube("body", [(wide * 0.75, y + 0.1, 0.24), (wide * 0.75, y + tall * 2.5, 0.23)], [0.026, 0.022], "silver")
    axles(c, wide * 0.95, radius, 0.09, (0.38, -0.22, -0.46))
    return c


def _load(c: Clay, rng: Rng, joint: str, what: str, y: float, wide: float) -> None:
    if what == "logs":
        for k, (x, h) in enumerate([(-0.1, 0.06), (0.0, 0.06), (0.1, 0.06), (-0.05, 0.14), (0.05, 0.14)]):
            c.tube(joint, [(x, y + h, -0.5), (x, y + h, 0.12 - 0.02 * k)], [0.055] * 2, "brown", up=(0, 1, 0), cap=0.2)
    elif what == "sand":
        c.ball(joint, (0, y + 0.07, -0.19), (wide * 0.9, 0.13, 0.35), "tan", paint=False)
    elif what == "crates":
        for x, h, z, s in (
            (-0.08, 0.09, 0.05, 0.09),
            (0.09, 0.08, -0.02, 0.08),
            (0.0, 0.1, -0.3, 0.11),
            (-0.06, 0.25, -0.02, 0.075),
        ):
            c.ball(joint, (x, y + h, z), s, "accent", square=0.7)
    else:
        for k in range(8):
            c.ball(
                joint,
                (0.09 * (-1) ** k, y + 0.08 + 0.07 * (k // 6), -0.45 + 0.085 * k),
                0.095,
                ("accent", "main", "yellow")[k % 3],
            )


def _bus(rng: Rng, look: Look, sort: str) -> Clay:
    wide, radius, decks = rng.uniform(0.19, 0.22), 0.105, pick(rng, 1, 1, 2)
    tall = 0.2 if decks == 1 else 0.33
    y = radius * 0.9 + tall
    c = Clay(look, body=y)
    c.noun = "bus"
    c.ball("body", (0, y, 0), (wide, tall, 0.56), "main", square=0.62, paint=True, fine=1.25)
    for deck in range(decks):
        h = y + (tall * 0.36 if decks == 1 else tall * (-0.05 + 0.55 * deck))
        for k in range(5):
            for side in (-1, 1):
                c.ball("body", (side * wide * 0.985, h, -0.4 + 0.19 * k), (0.018, 0.075, 0.075), "sky blue", square=0.6)
        c.ball("body", (0, h, 0.55), (wide * 0.8, 0.08, 0.02), "sky blue", square=0.6)
    lamps(c, wide * 0.7, y - tall + 0.1, 0.56, 0.038, rear=-0.56)
    if decks == 2:
        c.has("two decks")
    axles(c, wide * 0.93, radius, 0.08, (0.34, -0.34))
    return c


def _tractor(rng: Rng, look: Look, sort: str) -> Clay:
    c = Clay(look, body=0.3)
    c.noun = "tractor"
    c.ball("body", (0, 0.31, 0.2), (0.12, 0.12, 0.3), "main", square=0.5, paint=True)
    c.ball("body", (0, 0.3, -0.2), (0.16, 0.12, 0.18), "main", square=0.5)
    for z in (-0.34, -0.02):
        for side in (-1, 1):
            c.tube("body", [(side * 0.14, 0.35, z), (side * 0.14, 0.72, z * 0.9)], [0.02] * 2, "black")
    c.ball("body", (0, 0.58, -0.18), (0.14, 0.13, 0.15), "sky blue", square=0.5)
    c.ball("body", (0, 0.74, -0.18), (0.2, 0.035, 0.22), "second", square=0.5)
    c.tube("body", [(0, 0.4, 0.32), (0, 0.68, 0.32)], [0.026, 0.022], "black")
    lamps(c, 0.075, 0.34, 0.5, 0.032)
    for side in (-1, 1):
        c.ball("body", (side * 0.26, 0.44, -0.24), (0.09, 0.03, 0.2), "main", square=0.3)
    hub = pick(rng, "yellow", "white", "red")
    c.tube("body", [(0, 0.12, 0.34), (0, 0.26, 0.34)], [0.05] * 2, "grey")
    for i, (z, r, w, x) in enumerate(((0.34, 0.13, 0.09, 0.2), (-0.24, 0.24, 0.14, 0.25))):
        c.tube("body", [(-x, r, z), (x, r, z)], [0.035] * 2, "grey", up=(0, 1, 0))
        for side in (-1, 1):
            wheel(c, f"{i}_{'l' if side < 0 else 'r'}", (side * x, r, z), r, w, hub=hub)
    c.has("big rear wheels")
    return c


def _train(rng: Rng, look: Look, sort: str) -> Clay:
    r = rng.uniform(0.14, 0.165)
    y = 0.2 + r
    c = Clay(look, body=y, detail=0.88)
    c.noun = pick(rng, "train", "steam engine")
    c.ball("body", (0, 0.19, 0), (r * 1.1, 0.045, 0.56), "second", square=0.6)
    c.lathe(
        "body",
        (0, y + 0.02, -0.2),
        (0, 0, 1),
        [(0, 0), (0, r), (0.66, r), (0.68, r * 1.06, "second"), (0.74, r * 1.06), (0.76, r * 0.9, "black"), (0.77, 0)],
        "main",
        paint=False,
    )
    for z in (0.0, 0.2, 0.38):
        c.lathe("body", (0, y + 0.02, z), (0, 0, 1), [(0, 0), (0, r * 1.03), (0.03, r * 1.03), (0.03, 0)], "gold")
    c.ball("body", (0, y + 0.13, -0.36), (r * 1.15, 0.24, 0.18), "main", square=0.55, paint=True)
    for side in (-1, 1):
        c.ball("body", (side * r * 1.14, y + 0.2, -0.36), (0.015, 0.085, 0.085), "sky blue", square=0.4)
    c.ball("body", (0, y + 0.39, -0.36), (r * 1.4, 0.03, 0.25), "second", square=0.5)
    flare = rng.uniform(0.07, 0.1)
    c.lathe(
        "body",
        (0, y + r * 0.9, 0.42),
        (0, 1, 0),
        [(0, 0), (0, 0.055), (0.16, 0.06), (0.22, flare), (0.26, flare), (0.265, 0)],
        "black",
    )
    c.ball("body", (0, y + r + 0.03, 0.1), (0.07, 0.075, 0.07), "gold")
    c.ball("body", (0, y + 0.02, 0.57), (0.05, 0.05, 0.025), "yellow")
    c.tube(
        "body", [(0, 0.1, 0.54), (0, 0.06, 0.68)], [(r * 1.1, 0.05), (r * 0.9, 0.02)], "red", up=(0, 1, 0.3), square=0.4
    )
    axles(c, r * 1.15, 0.12, 0.06, (0.4, 0.1, -0.2), hub="red")
    for side in (-1.0, 1.0):
        name = c.joint(f"piston_{'l' if side < 0 else 'r'}", (side * (r * 1.15 + 0.045), 0.12, 0.1))
        c.tube(
            name,
            [(side * (r * 1.15 + 0.045), 0.12, -0.22), (side * (r * 1.15 + 0.045), 0.12, 0.42)],
            [0.02] * 2,
            "silver",
            up=(0, 1, 0),
            rigid=True,
        )
        c.limb("piston", [name], (0, 0.05, 0), side=side)
    c.has("chimney", "black")
    return c
