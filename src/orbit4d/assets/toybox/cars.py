"""Cars of several sorts, and what all things on wheels share."""

from __future__ import annotations

import numpy as np

from .clay import Clay
from .paint import Look
from .parts import Rng, chance, pick, wheel

CARS = {
    "car": (),
    "racing car": ("red", "blue", "yellow"),
    "jeep": ("green", "tan"),
    "taxi": ("yellow",),
    "police car": ("white", "navy"),
}


def lamps(c: Clay, x: float, y: float, z: float, r: float, *, rear: float | None = None) -> None:
    """Head lamps at (+-x, y, z) and, where given, rear lamps."""
    for side in (-1, 1):
        c.ball("body", (side * x, y, z), (r, r, r * 0.5), "cream")
        if rear is not None:
            c.ball("body", (side * x, y, rear), (r * 0.9, r * 0.7, r * 0.4), "red")


def axles(c: Clay, x: float, radius: float, width: float, places: tuple[float, ...], *, hub: str = "silver") -> None:
    """An axle with a wheel at either end at each place along z."""
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
        c.tube(
            "body",
            [(0, y, -long * 0.85), (0, y + 0.02, -long * 0.3), (0, y, long * 0.3), (0, y - 0.03, long * 0.98)],
            [(wide * 0.55, tall), (wide * 0.75, tall * 1.15), (wide * 0.55, tall * 0.9), (wide * 0.22, tall * 0.4)],
            "main",
            up=(0, 1, 0),
            square=0.3,
            paint=True,
        )
        c.ball("body", (0, y + tall * 1.0, -long * 0.12), (wide * 0.36, tall * 0.7, long * 0.2), "black")
        c.ball("body", (0, y + tall * 1.65, -long * 0.2), 0.075, "accent")
        for side in (-1, 1):
            c.ball(
                "body", (side * wide * 0.75, y + tall * 1.5, -long * 0.84), (0.014, 0.09, 0.05), "second", square=0.4
            )
        c.ball("body", (0, y + tall * 2.35, -long * 0.86), (wide * 1.05, 0.016, 0.075), "second", square=0.5)
        c.ball("body", (0, low * 0.8, long * 0.98), (wide * 0.95, 0.016, 0.075), "second", square=0.5)
        c.has("spoiler", "second")
        axles(c, wide * 1.05, radius, 0.12, (long * 0.6, -long * 0.58), hub=hub)
        return c
    c.ball("body", (0, y, 0), (wide, tall, long), "main", square=0.5, paint=True, fine=1.2)
    cabin = tall * (1.5 if sort != "jeep" else 1.3)
    shift = -long * (0.12 if sort != "jeep" else 0.22)
    c.ball(
        "body",
        (0, y + tall * 0.85, shift),
        (wide * 0.84, cabin, long * 0.52),
        "turquoise" if "turquoise" not in look.names.values() else "sky blue",
        square=0.45,
        fine=1.2,
    )
    c.ball(
        "body",
        (0, y + tall * 0.9 + cabin * 0.86, shift),
        (wide * 0.86, cabin * 0.2, long * 0.5),
        "main" if sort != "jeep" else "second",
        square=0.5,
    )
    for z in (-0.44, 0.02, 0.42):
        for side in (-1, 1):
            c.tube(
                "body",
                [
                    (side * wide * 0.86, y + tall * 0.8, shift + long * z),
                    (side * wide * 0.8, y + tall * 0.9 + cabin * 0.8, shift + long * z * 0.9),
                ],
                [0.022] * 2,
                "main",
            )
    lamps(c, wide * 0.62, y + tall * 0.15, long * 0.98, 0.048, rear=-long * 0.98)
    c.ball("body", (0, y - tall * 0.45, long * 0.97), (wide * 0.92, 0.03, 0.04), "silver", square=0.4)
    c.ball("body", (0, y - tall * 0.45, -long * 0.97), (wide * 0.92, 0.03, 0.04), "silver", square=0.4)
    c.ball("body", (0, y + tall * 0.1, long * 0.985), (wide * 0.36, tall * 0.3, 0.02), "black", square=0.5)
    roof = y + tall * 0.9 + cabin * 1.04
    if sort == "taxi":
        c.ball("body", (0, roof + 0.02, shift), (wide * 0.36, 0.045, 0.05), "white", square=0.5)
        c.has("roof sign", "white")
    elif sort == "police car":
        for side in (-1, 1):
            c.ball(
                "body",
                (side * wide * 0.3, roof + 0.015, shift),
                (wide * 0.28, 0.04, 0.045),
                "red" if side < 0 else "blue",
                square=0.3,
            )
        c.has("flashing lights")
    elif sort == "jeep":
        wheel_at = np.array([0, y + tall * 0.2, -long * 1.0])
        c.lathe(
            "body",
            tuple(wheel_at),
            (0, 0, -1),
            [(-0.03, 0), (-0.03, 0.1), (0, 0.13), (0.06, 0.13), (0.08, 0.1), (0.08, 0.06, "silver"), (0.082, 0)],
            "black",
        )
        c.has("spare wheel")
    elif chance(rng, 0.45):
        c.ball("body", (0, roof + 0.035, shift), (wide * 0.5, 0.045, long * 0.28), "accent", square=0.4)
        c.has("suitcase", "accent")
    elif chance(rng, 0.5):
        for side in (-1, 1):
            c.ball("body", (side * wide * 0.6, y + tall * 1.15, -long * 0.9), (0.016, 0.06, 0.03), "accent", square=0.4)
        c.ball("body", (0, y + tall * 1.6, -long * 0.92), (wide * 0.9, 0.018, 0.06), "accent", square=0.5)
        c.has("spoiler", "accent")
    axles(c, wide * 0.95, radius, 0.1, (long * 0.6, -long * 0.58), hub=hub)
    return c
