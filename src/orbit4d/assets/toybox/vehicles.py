"""Vehicles: cars, trucks and trains on wheels that turn; aeroplanes, helicopters, boats."""

from __future__ import annotations

import numpy as np

from .animator import X, Y, Z
from .clay import Clay
from .paint import Look
from .parts import Rng, chance, pick, rotor, wheel

CARS = {"car": (), "racing car": ("red", "blue", "yellow"), "jeep": ("green", "tan"), "taxi": ("yellow",), "police car": ("white", "navy")}
TRUCKS = {"truck": (), "bus": ("red", "yellow"), "fire engine": ("red",), "tractor": ("green", "red"), "train": ("black", "green", "red")}
PLANES = {"aeroplane": (), "jet": ("grey", "white", "blue"), "rocket": ("white", "red")}
BOATS = {"sailing boat": (), "tugboat": ("red", "blue"), "submarine": ("yellow", "grey")}


def _lamps(c: Clay, x: float, y: float, z: float, r: float, *, rear: float | None = None) -> None:
    for side in (-1, 1):
        c.ball("body", (side * x, y, z), (r, r, r * 0.5), "cream")
        if rear is not None:
            c.ball("body", (side * x, y, rear), (r * 0.9, r * 0.7, r * 0.4), "red")


def _axles(c: Clay, x: float, radius: float, width: float, places: tuple[float, ...], *, hub: str = "silver") -> None:
    for i, z in enumerate(places):
        c.tube("body", [(-x, radius, z), (x, radius, z)], [radius * 0.2] * 2, "grey", up=(0, 1, 0))
        for side in (-1, 1):
            wheel(c, f"{i}_{'l' if side < 0 else 'r'}", (side * x, radius, z), radius, width, hub=hub)


def car(rng: Rng, look: Look, sort: str) -> Clay:
    long, wide = rng.uniform(0.46, 0.56), rng.uniform(0.22, 0.26)
    radius = {"racing car": 0.12, "jeep": 0.15}.get(sort, 0.125) * rng.uniform(0.92, 1.1)
    low = radius * 0.75
    tall = {"racing car": 0.075, "jeep": 0.13}.get(sort, 0.11)
    y = low + tall
    c = Clay(look, body=y)
    c.noun = sort
    hub = pick(rng, "silver", "white", "second")
    if sort == "racing car":
        c.tube("body", [(0, y, -long * 0.85), (0, y + 0.02, -long * 0.3), (0, y, long * 0.3), (0, y - 0.03, long * 0.98)],
               [(wide * 0.55, tall), (wide * 0.75, tall * 1.15), (wide * 0.55, tall * 0.9), (wide * 0.22, tall * 0.4)], "main", up=(0, 1, 0), square=0.3, paint=True)  # fmt: skip
        c.ball("body", (0, y + tall * 1.0, -long * 0.12), (wide * 0.36, tall * 0.7, long * 0.2), "black")
        c.ball("body", (0, y + tall * 1.65, -long * 0.2), 0.075, "accent")
        for side in (-1, 1):
            c.ball("body", (side * wide * 0.75, y + tall * 1.5, -long * 0.84), (0.014, 0.09, 0.05), "second", square=0.4)
        c.ball("body", (0, y + tall * 2.35, -long * 0.86), (wide * 1.05, 0.016, 0.075), "second", square=0.5)
        c.ball("body", (0, low * 0.8, long * 0.98), (wide * 0.95, 0.016, 0.075), "second", square=0.5)
        c.has("spoiler", "second")
        _axles(c, wide * 1.05, radius, 0.12, (long * 0.6, -long * 0.58), hub=hub)
        return c
    c.ball("body", (0, y, 0), (wide, tall, long), "main", square=0.5, paint=True, fine=1.2)
    cabin = tall * (1.5 if sort != "jeep" else 1.3)
    shift = -long * (0.12 if sort != "jeep" else 0.22)
    c.ball("body", (0, y + tall * 0.85, shift), (wide * 0.84, cabin, long * 0.52), "turquoise" if "turquoise" not in look.names.values() else "sky blue", square=0.45, fine=1.2)
    c.ball("body", (0, y + tall * 0.9 + cabin * 0.86, shift), (wide * 0.86, cabin * 0.2, long * 0.5), "main" if sort != "jeep" else "second", square=0.5)
    for z in (-0.44, 0.02, 0.42):
        for side in (-1, 1):
            c.tube("body", [(side * wide * 0.86, y + tall * 0.8, shift + long * z), (side * wide * 0.8, y + tall * 0.9 + cabin * 0.8, shift + long * z * 0.9)], [0.022] * 2, "main")
    _lamps(c, wide * 0.62, y + tall * 0.15, long * 0.98, 0.048, rear=-long * 0.98)
    c.ball("body", (0, y - tall * 0.45, long * 0.97), (wide * 0.92, 0.03, 0.04), "silver", square=0.4)
    c.ball("body", (0, y - tall * 0.45, -long * 0.97), (wide * 0.92, 0.03, 0.04), "silver", square=0.4)
    c.ball("body", (0, y + tall * 0.1, long * 0.985), (wide * 0.36, tall * 0.3, 0.02), "black", square=0.5)
    roof = y + tall * 0.9 + cabin * 1.04
    if sort == "taxi":
        c.ball("body", (0, roof + 0.02, shift), (wide * 0.36, 0.045, 0.05), "white", square=0.5)
        c.has("roof sign", "white")
    elif sort == "police car":
        for side in (-1, 1):
            c.ball("body", (side * wide * 0.3, roof + 0.015, shift), (wide * 0.28, 0.04, 0.045), "red" if side < 0 else "blue", square=0.3)
        c.has("flashing lights")
    elif sort == "jeep":
        wheel_at = np.array([0, y + tall * 0.2, -long * 1.0])
        c.lathe("body", tuple(wheel_at), (0, 0, -1), [(-0.03, 0), (-0.03, 0.1), (0, 0.13), (0.06, 0.13), (0.08, 0.1), (0.08, 0.06, "silver"), (0.082, 0)], "black")
        c.has("spare wheel")
    elif chance(rng, 0.45):
        c.ball("body", (0, roof + 0.035, shift), (wide * 0.5, 0.045, long * 0.28), "accent", square=0.4)
        c.has("suitcase", "accent")
    elif chance(rng, 0.5):
        for side in (-1, 1):
            c.ball("body", (side * wide * 0.6, y + tall * 1.15, -long * 0.9), (0.016, 0.06, 0.03), "accent", square=0.4)
        c.ball("body", (0, y + tall * 1.6, -long * 0.92), (wide * 0.9, 0.018, 0.06), "accent", square=0.5)
        c.has("spoiler", "accent")
    _axles(c, wide * 0.95, radius, 0.1, (long * 0.6, -long * 0.58), hub=hub)
    return c


def truck(rng: Rng, look: Look, sort: str) -> Clay:
    return {"bus": _bus, "tractor": _tractor, "train": _train}.get(sort, _lorry)(rng, look, sort)


def _lorry(rng: Rng, look: Look, sort: str) -> Clay:
    wide, radius = rng.uniform(0.2, 0.23), rng.uniform(0.1, 0.115)
    y = radius * 1.5
    c = Clay(look, body=y)
    c.noun = sort
    c.ball("body", (0, y, -0.06), (wide * 0.8, 0.045, 0.58), "grey", square=0.6)
    tall = rng.uniform(0.17, 0.2)
    c.ball("body", (0, y + tall, 0.4), (wide, tall, 0.16), "main", square=0.5)
    c.ball("body", (0, y + tall * 1.35, 0.47), (wide * 0.86, tall * 0.42, 0.105), "sky blue", square=0.5)
    c.ball("body", (0, y + tall * 0.45, 0.55), (wide * 0.5, tall * 0.22, 0.02), "silver", square=0.5)
    _lamps(c, wide * 0.72, y + tall * 0.4, 0.555, 0.04)
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
    _axles(c, wide * 0.95, radius, 0.09, (0.38, -0.22, -0.46))
    return c


def _load(c: Clay, rng: Rng, joint: str, what: str, y: float, wide: float) -> None:
    if what == "logs":
        for k, (x, h) in enumerate([(-0.1, 0.06), (0.0, 0.06), (0.1, 0.06), (-0.05, 0.14), (0.05, 0.14)]):
            c.tube(joint, [(x, y + h, -0.5), (x, y + h, 0.12 - 0.02 * k)], [0.055] * 2, "brown", up=(0, 1, 0), cap=0.2)
    elif what == "sand":
        c.ball(joint, (0, y + 0.07, -0.19), (wide * 0.9, 0.13, 0.35), "tan", paint=False)
    elif what == "crates":
        for x, h, z, s in ((-0.08, 0.09, 0.05, 0.09), (0.09, 0.08, -0.02, 0.08), (0.0, 0.1, -0.3, 0.11), (-0.06, 0.25, -0.02, 0.075)):
            c.ball(joint, (x, y + h, z), s, "accent", square=0.7)
    else:
        for k in range(8):
            c.ball(joint, (0.09 * (-1) ** k, y + 0.08 + 0.07 * (k // 6), -0.45 + 0.085 * k), 0.095, ("accent", "main", "yellow")[k % 3])


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
    _lamps(c, wide * 0.7, y - tall + 0.1, 0.56, 0.038, rear=-0.56)
    if decks == 2:
        c.has("two decks")
    _axles(c, wide * 0.93, radius, 0.08, (0.34, -0.34))
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
    _lamps(c, 0.075, 0.34, 0.5, 0.032)
    for side in (-1, 1):
        c.ball("body", (side * 0.26, 0.44, -0.24), (0.09, 0.03, 0.2), "main", square=0.3)
    hub = pick(rng, "yellow", "white", "red")
    for i, (z, r, w, x) in enumerate(((0.34, 0.13, 0.09, 0.2), (-0.24, 0.24, 0.14, 0.25))):
        c.tube("body", [(-x, r, z), (x, r, z)], [0.035] * 2, "grey", up=(0, 1, 0))
        for side in (-1, 1):
            wheel(c, f"{i}_{'l' if side < 0 else 'r'}", (side * x, r, z), r, w, hub=hub)
    c.has("big rear wheels")
    return c


def _train(rng: Rng, look: Look, sort: str) -> Clay:
    r = rng.uniform(0.14, 0.165)
    y = 0.2 + r
    c = Clay(look, body=y)
    c.noun = pick(rng, "train", "steam engine")
    c.ball("body", (0, 0.19, 0), (r * 1.1, 0.045, 0.56), "second", square=0.6)
    c.lathe("body", (0, y + 0.02, -0.2), (0, 0, 1), [(0, 0), (0, r), (0.66, r), (0.68, r * 1.06, "second"), (0.74, r * 1.06), (0.76, r * 0.9, "black"), (0.77, 0)], "main", paint=False)
    for z in (0.0, 0.2, 0.38):
        c.lathe("body", (0, y + 0.02, z), (0, 0, 1), [(0, 0), (0, r * 1.03), (0.03, r * 1.03), (0.03, 0)], "gold")
    c.ball("body", (0, y + 0.13, -0.36), (r * 1.15, 0.24, 0.18), "main", square=0.55, paint=True)
    for side in (-1, 1):
        c.ball("body", (side * r * 1.14, y + 0.2, -0.36), (0.015, 0.085, 0.085), "sky blue", square=0.4)
    c.ball("body", (0, y + 0.39, -0.36), (r * 1.4, 0.03, 0.25), "second", square=0.5)
    flare = rng.uniform(0.07, 0.1)
    c.lathe("body", (0, y + r * 0.9, 0.42), (0, 1, 0), [(0, 0), (0, 0.055), (0.16, 0.06), (0.22, flare), (0.26, flare), (0.265, 0)], "black")
    c.ball("body", (0, y + r + 0.03, 0.1), (0.07, 0.075, 0.07), "gold")
    c.ball("body", (0, y + 0.02, 0.57), (0.05, 0.05, 0.025), "yellow")
    c.tube("body", [(0, 0.1, 0.54), (0, 0.06, 0.68)], [(r * 1.1, 0.05), (r * 0.9, 0.02)], "red", up=(0, 1, 0.3), square=0.4)
    _axles(c, r * 1.15, 0.12, 0.06, (0.4, 0.1, -0.2), hub="red")
    for side in (-1.0, 1.0):
        name = c.joint(f"piston_{'l' if side < 0 else 'r'}", (side * (r * 1.15 + 0.045), 0.12, 0.1))
        c.tube(name, [(side * (r * 1.15 + 0.045), 0.12, -0.22), (side * (r * 1.15 + 0.045), 0.12, 0.42)], [0.02] * 2, "silver", up=(0, 1, 0), rigid=True)
        c.limb("piston", [name], (0, 0.05, 0), side=side)
    c.has("chimney", "black")
    return c


def aeroplane(rng: Rng, look: Look, sort: str) -> Clay:
    if sort == "rocket":
        return _rocket(rng, look)
    y, r = 0.4, rng.uniform(0.11, 0.135)
    c = Clay(look, body=y)
    c.noun = sort
    jet = sort == "jet"
    c.tube("body", [(0, y + 0.06, -0.62), (0, y + 0.02, -0.3), (0, y, 0.1), (0, y, 0.42), (0, y - 0.01, 0.66 if jet else 0.52)],
           [0.035, r * 0.75, r, r * 0.92, 0.02 if jet else r * 0.6], "main", up=(0, 1, 0), paint=True, fine=1.2)  # fmt: skip
    c.ball("body", (0, y + r * 0.85, 0.22), (r * 0.6, r * 0.55, 0.15), "sky blue")
    span, sweep = rng.uniform(0.56, 0.68), 0.34 if jet else 0.06
    for side in (-1.0, 1.0):
        root = np.array([side * r * 0.6, y - r * (0.15 if jet else 0.3), 0.1])
        tip = root + [side * span, 0.05, -sweep]
        c.tube("body", [root - [side * 0.05, 0, 0], (root + tip) / 2, tip], [(0.17, 0.03), (0.14, 0.026), (0.075, 0.018)], "second", up=(0, 1, 0), cap=0.7)
        tail = np.array([side * 0.03, y + 0.07, -0.52])
        c.tube("body", [tail, tail + [side * 0.24, 0.02, -0.06 - sweep * 0.3]], [(0.09, 0.022), (0.06, 0.016)], "second", up=(0, 1, 0))
        if jet:
            p = root * 0.5 + tip * 0.5 + [0, -0.075, 0.08]
            c.lathe("body", tuple(p - [0, 0, 0.12]), (0, 0, 1), [(0, 0), (0, 0.045), (0.08, 0.062), (0.24, 0.062), (0.26, 0.05, "black"), (0.23, 0)], "accent")
            c.tube("body", [p, p + [0, 0.08, -0.03]], [0.02, 0.03], "second")
        elif chance(rng, 1.0):
            c.ball("body", tuple(root * 0.35 + tip * 0.65 + [0, 0.016, 0]), (0.075, 0.02, 0.075), "accent")
    c.tube("body", [(0, y + 0.06, -0.5), (0, y + 0.18, -0.58), (0, y + 0.3, -0.66)], [(0.12, 0.022), (0.1, 0.02), (0.06, 0.014)], "accent", up=(1, 0, 0))
    if not jet:
        if chance(rng, 0.4):  # a biplane
            for side in (-1, 1):
                c.tube("body", [(0, y + r * 2.1, 0.14), (side * span * 0.92, y + r * 2.2, 0.1)], [(0.13, 0.022), (0.1, 0.018)], "second", up=(0, 1, 0))
                for x in (0.25, 0.7):
                    c.tube("body", [(side * span * x, y - r * 0.1, 0.08), (side * span * x, y + r * 2.15, 0.12)], [0.012] * 2, "brown")
            c.has("two pairs of wings")
        c.lathe("body", (0, y, 0.5), (0, 0, 1), [(0, 0), (0, r * 0.72), (0.05, r * 0.72), (0.07, r * 0.5), (0.071, 0)], "silver")
        rotor(c, "nose", (0, y, 0.59), Z, 0.26, pick(rng, 2, 3, 4), color=pick(rng, "accent", "brown", "black"), pitch=25)
        c.has("propeller")
    for x, z in ((-0.13, 0.12), (0.13, 0.12), (0.0, -0.45)):
        h = 0.07 if z > 0 else 0.24
        c.tube("body", [(x * 0.6, y - r * 0.5 if z > 0 else y + 0.02, z), (x, h, z)], [0.018] * 2, "grey")
        wheel(c, f"{x:+.2f}", (x + (0.02 if x >= 0 else -0.02), h, z), 0.07 if z > 0 else 0.045, 0.05)
    c.limb("wing", [c.joint("wing_tip", (0, y, 0.1))], (0, y, 0.1))
    return c


def _rocket(rng: Rng, look: Look) -> Clay:
    r, tall = rng.uniform(0.15, 0.19), rng.uniform(0.85, 1.0)
    y = 0.2 + tall * 0.45
    c = Clay(look, body=y)
    c.noun = "rocket"
    body = [(0, 0), (0, r * 0.62), (tall * 0.12, r * 0.85), (tall * 0.35, r), (tall * 0.65, r * 0.9), (tall * 0.74, r * 0.78)]
    c.lathe("body", (0, 0.18, 0), (0, 1, 0), [*body, (tall * 0.76, 0)], "main", paint=True)
    c.lathe("body", (0, 0.18 + tall * 0.73, 0), (0, 1, 0), [(0, 0), (0, r * 0.8), (tall * 0.1, r * 0.6), (tall * 0.2, r * 0.3), (tall * 0.26, 0.0)], "second")
    c.lathe("body", (0, 0.18 + tall * 0.55, r * 0.84), (0, 0, 1), [(0, 0), (0, r * 0.44), (0.05, r * 0.44), (0.055, r * 0.32, "sky blue"), (0.07, 0)], "silver")
    for k in range(3):
        a = 2 * np.pi * k / 3 + np.pi / 3
        d = np.array([np.sin(a), 0, np.cos(a)])
        base = np.array([0, 0.3, 0]) + d * r * 0.7
        c.tube("body", [base + [0, 0.06, 0], base + d * r * 0.8 + [0, -0.08, 0], base + d * r * 1.1 + [0, -0.28, 0]], [(0.1, 0.025), (0.1, 0.025), (0.045, 0.02)], "accent", up=tuple(np.cross(d, Y)))
    flame = c.joint("flame", (0, 0.17, 0))
    c.lathe(flame, (0, 0.2, 0), (0, -1, 0), [(0, 0), (0, r * 0.42), (0.06, r * 0.46, "orange"), (0.15, r * 0.25, "yellow"), (0.2, 0.0)], "red")
    c.limb("rotor", [flame], (0, 0.1, 0), axis=Y)
    c.limb("fin", [c.joint("fin", (0, 0.3, 0))], (0, 0.3, 0))
    c.has("fins", "accent")
    return c


def helicopter(rng: Rng, look: Look, sort: str) -> Clay:
    r = rng.uniform(0.2, 0.24)
    y = 0.16 + r
    c = Clay(look, body=y)
    c.noun = sort
    if sort == "drone":
        return _drone(c, rng, y)
    c.ball("body", (0, y, 0.08), (r * 0.9, r, r * 1.4), "main", paint=True)
    c.ball("body", (0, y + r * 0.12, 0.08 + r * 0.55), (r * 0.78, r * 0.78, r * 0.92), "sky blue")
    c.tube("body", [(0, y + r * 0.2, -r * 0.8), (0, y + r * 0.35, -0.45), (0, y + r * 0.5, -0.72)], [r * 0.5, r * 0.26, r * 0.16], "main", up=(0, 1, 0))
    c.tube("body", [(0, y + r * 0.4, -0.62), (0, y + r * 1.2, -0.8)], [(0.1, 0.02), (0.06, 0.015)], "second", up=(1, 0, 0))
    c.tube("body", [(-0.15, y + r * 0.45, -0.66), (0.15, y + r * 0.45, -0.66)], [(0.05, 0.015)] * 2, "second", up=(0, 1, 0))
    c.tube("body", [(0, y + r * 0.8, 0.05), (0, y + r * 1.32, 0.05)], [0.05, 0.032], "silver")
    rotor(c, "main", (0, y + r * 1.36, 0.05), Y, rng.uniform(0.58, 0.68), pick(rng, 2, 3, 4), width=0.1)
    rotor(c, "tail", (0.06, y + r * 0.85, -0.74), X, 0.15, 3, hub=0.03, width=0.2)
    for side in (-1, 1):
        x = side * r * 0.85
        for z in (-0.06, 0.24):
            c.tube("body", [(x * 0.6, y - r * 0.75, z), (x, 0.03, z)], [0.018] * 2, "grey")
        c.tube("body", [(x, 0.026, -0.22), (x, 0.024, 0.1), (x, 0.026, 0.36), (x, 0.08, 0.46)], [0.024] * 4, "grey", up=(0, 1, 0))
    return c


def _drone(c: Clay, rng: Rng, y: float) -> Clay:
    c.ball("body", (0, y, 0), (0.16, 0.08, 0.2), "main", square=0.35, paint=True)
    c.ball("body", (0, y - 0.06, 0.16), 0.06, "black")
    c.ball("body", (0, y - 0.06, 0.205), 0.03, "sky blue")
    for x in (-1, 1):
        for z in (-1, 1):
            p = np.array([x * 0.36, y + 0.03, z * 0.34])
            c.tube("body", [(x * 0.08, y, z * 0.1), p], [0.035, 0.028], "second", up=(0, 1, 0))
            c.tube("body", [p - [0, 0.05, 0], p + [0, 0.06, 0]], [0.045] * 2, "grey")
            rotor(c, f"{x}{z}", p + [0, 0.075, 0], Y, 0.2, 2, hub=0.03, width=0.14)
            c.tube("body", [p * [0.6, 1, 0.6] - [0, 0.02, 0], [p[0] * 0.72, y - 0.17, p[2] * 0.72]], [0.02] * 2, "grey")
    return c


def boat(rng: Rng, look: Look, sort: str) -> Clay:
    if sort == "submarine":
        return _submarine(rng, look)
    y, wide = 0.2, rng.uniform(0.19, 0.23)
    c = Clay(look, body=y)
    c.noun = sort
    hull = [(0, y + 0.03, -0.52), (0, y, -0.3), (0, y, 0.1), (0, y + 0.04, 0.42), (0, y + 0.12, 0.62)]
    made = c.tube("body", hull, [(wide * 0.8, 0.13), (wide, 0.16), (wide, 0.16), (wide * 0.66, 0.14), (0.02, 0.06)], "main", up=(0, 1, 0), paint=True, square=0.15, fine=1.2)
    made.grid[..., 1] = np.minimum(made.grid[..., 1], y + 0.1 + 0.12 * np.clip(made.grid[..., 2], 0, 1))
    c.tube("body", [(p[0], y + 0.1 + 0.12 * max(p[2], 0), p[2] * 0.96) for p in hull], [(wide * 0.82, 0.02), (wide * 1.04, 0.022), (wide * 1.04, 0.022), (wide * 0.72, 0.02), (0.03, 0.02)], "second", up=(0, 1, 0))
    if sort == "sailing boat":
        mast = rng.uniform(0.78, 0.92)
        c.tube("body", [(0, y, 0.08), (0, y + mast, 0.08)], [0.024, 0.016], "brown")
        sail = c.joint("sail", (0, y + 0.2, 0.08))
        c.tube(sail, [(0, y + 0.2, 0.06), (0, y + 0.24, -0.42)], [0.018] * 2, "brown", up=(0, 1, 0))
        c.tube(sail, [(0.0, y + 0.25, -0.17), (0.03, y + 0.5, -0.1), (0.0, y + mast * 0.95, 0.05)], [(0.24, 0.025), (0.145, 0.025), (0.01, 0.01)], "accent" if chance(rng, 0.5) else "white",
               up=(1, 0, 0), cap=0.1, fine=1.2)  # fmt: skip
        c.tube("body", [(0.0, y + 0.22, 0.36), (0.02, y + 0.42, 0.24), (0.0, y + mast * 0.85, 0.1)], [(0.16, 0.018), (0.09, 0.018), (0.008, 0.008)], "white", up=(1, 0, 0), cap=0.1)
        c.limb("sail", [sail], (0, y, 0))
        flags = c.chain("flag", [(0, y + mast + 0.01, 0.07), (0, y + mast + 0.01, -0.03)])
        c.tube(flags, [(0, y + mast - 0.005, 0.07), (0, y + mast + 0.0, -0.04), (0, y + mast - 0.005, -0.13)], [(0.04, 0.01), (0.032, 0.008), (0.008, 0.006)], "red", up=(1, 0, 0))
        c.limb("flag", flags, (0, y + mast, -0.13))
        c.has("sails")
    else:
        c.ball("body", (0, y + 0.22, -0.02), (wide * 0.62, 0.12, 0.22), "white", square=0.55)
        c.ball("body", (0, y + 0.42, 0.04), (wide * 0.5, 0.12, 0.13), "second", square=0.5)
        for k in (-1, 0, 1):
            c.ball("body", (k * wide * 0.27, y + 0.45, 0.165), (0.026, 0.04, 0.012), "sky blue", square=0.5)
        for side in (-1, 1):
            for z in (-0.12, 0.02, 0.14):
                c.lathe("body", (side * wide * 0.6, y + 0.24, z), (side, 0, 0), [(0, 0), (0, 0.035), (0.02, 0.035), (0.022, 0.024, "sky blue"), (0.024, 0)], "gold")
        c.lathe("body", (0, y + 0.3, -0.14), (0, 1, -0.1), [(0, 0), (0, 0.075), (0.2, 0.07), (0.21, 0.075, "black"), (0.27, 0.075), (0.275, 0)], "accent")
        c.ball("body", (0, y + 0.54, 0.04), (wide * 0.58, 0.02, 0.16), "main", square=0.5)
        for z in (-0.3, 0.0, 0.25):
            for side in (-1, 1):
                c.lathe("body", (side * wide * (0.99 - 0.25 * max(z, 0)), y + 0.02, z), (side, 0, 0), [(0, 0), (0, 0.05), (0.03, 0.05), (0.035, 0.02), (0.035, 0)], "black")
        c.has("chimney", "accent")
    return c


def _submarine(rng: Rng, look: Look) -> Clay:
    r = rng.uniform(0.19, 0.23)
    y = r + 0.05
    c = Clay(look, body=y)
    c.noun = "submarine"
    c.tube("body", [(0, y, -0.5), (0, y, -0.25), (0, y, 0.25), (0, y, 0.42)], [r * 0.45, r * 0.95, r, r * 0.8], "main", up=(0, 1, 0), paint=True, fine=1.1)
    c.ball("body", (0, y + r * 1.05, 0.05), (r * 0.5, r * 0.55, 0.18), "second", square=0.3)
    c.tube("body", [(0, y + r * 1.4, 0.05), (0, y + r * 2.0, 0.05), (0, y + r * 2.05, 0.13)], [0.025] * 3, "grey", up=(1, 0, 0))
    for side in (-1, 1):
        for z in (-0.18, 0.06, 0.3):
            c.lathe("body", (side * r * 0.9, y + 0.03, z), (side, 0, 0), [(0, 0), (0, 0.065), (0.03, 0.065), (0.034, 0.045, "sky blue"), (0.04, 0)], "gold")
        c.tube("body", [(side * r * 0.3, y, -0.5), (side * r * 1.1, y, -0.56)], [(0.08, 0.02), (0.06, 0.015)], "second", up=(0, 1, 0))
    c.lathe("body", (0, y + 0.01, r * 0.4 + 0.42), (0, 0, 1), [(-0.05, 0), (-0.05, 0.1), (0.03, 0.1), (0.04, 0.075, "sky blue"), (0.06, 0)], "gold")
    c.tube("body", [(0, y, -0.5), (0, y + r, -0.56)], [(0.08, 0.02), (0.06, 0.015)], "second", up=(1, 0, 0))
    rotor(c, "screw", (0, y, -0.66), -Z, 0.17, 4, color="gold", hub=0.04, width=0.25, pitch=30)
    c.tube("body", [(0, y, -0.55), (0, y, -0.66)], [0.03] * 2, "silver", up=(0, 1, 0))
    c.has("periscope")
    c.limb("fin", [c.joint("fin", (0, y, 0))], (0, y, 0))
    return c
