"""Sailing boats, tugboats and submarines."""

from __future__ import annotations

import numpy as np

from .animator import Z
from .clay import Clay
from .paint import Look
from .parts import Rng, chance, rotor

BOATS = {"sailing boat": (), "tugboat": ("red", "blue"), "submarine": ("yellow", "grey")}


def boat(rng: Rng, look: Look, sort: str) -> Clay:
    if sort == "submarine":
        return _submarine(rng, look)
    y, wide = 0.2, rng.uniform(0.19, 0.23)
    c = Clay(look, body=y)
    c.noun = sort
    hull = [(0, y + 0.03, -0.52), (0, y, -0.3), (0, y, 0.1), (0, y + 0.04, 0.42), (0, y + 0.12, 0.62)]
    made = c.tube(
        "body",
        hull,
        [(wide * 0.8, 0.13), (wide, 0.16), (wide, 0.16), (wide * 0.66, 0.14), (0.02, 0.06)],
        "main",
        up=(0, 1, 0),
        paint=True,
        square=0.15,
        fine=1.2,
    )
    made.grid[..., 1] = np.minimum(made.grid[..., 1], y + 0.1 + 0.12 * np.clip(made.grid[..., 2], 0, 1))
    c.tube(
        "body",
        [(p[0], y + 0.1 + 0.12 * max(p[2], 0), p[2] * 0.96) for p in hull],
        [(wide * 0.82, 0.02), (wide * 1.04, 0.022), (wide * 1.04, 0.022), (wide * 0.72, 0.02), (0.03, 0.02)],
        "second",
        up=(0, 1, 0),
    )
    if sort == "sailing boat":
        mast = rng.uniform(0.78, 0.92)
        c.tube("body", [(0, y, 0.08), (0, y + mast, 0.08)], [0.024, 0.016], "brown")
        sail = c.joint("sail", (0, y + 0.2, 0.08))
        c.tube(sail, [(0, y + 0.2, 0.06), (0, y + 0.24, -0.42)], [0.018] * 2, "brown", up=(0, 1, 0))
        c.tube(
            sail,
            [(0.0, y + 0.25, -0.17), (0.03, y + 0.5, -0.1), (0.0, y + mast * 0.95, 0.05)],
            [(0.24, 0.025), (0.145, 0.025), (0.01, 0.01)],
            "accent" if chance(rng, 0.5) else "white",
            up=(1, 0, 0),
            cap=0.1,
            fine=1.2,
        )
        c.tube(
            "body",
            [(0.0, y + 0.22, 0.36), (0.02, y + 0.42, 0.24), (0.0, y + mast * 0.85, 0.1)],
            [(0.16, 0.018), (0.09, 0.018), (0.008, 0.008)],
            "white",
            up=(1, 0, 0),
            cap=0.1,
        )
        c.limb("sail", [sail], (0, y, 0))
        flags = c.chain("flag", [(0, y + mast + 0.01, 0.07), (0, y + mast + 0.01, -0.03)])
        c.tube(
            flags,
            [(0, y + mast - 0.005, 0.07), (0, y + mast + 0.0, -0.04), (0, y + mast - 0.005, -0.13)],
            [(0.04, 0.01), (0.032, 0.008), (0.008, 0.006)],
            "red",
            up=(1, 0, 0),
        )
        c.limb("flag", flags, (0, y + mast, -0.13))
        c.has("sails")
    else:
        c.ball("body", (0, y + 0.22, -0.02), (wide * 0.62, 0.12, 0.22), "white", square=0.55)
        c.ball("body", (0, y + 0.42, 0.04), (wide * 0.5, 0.12, 0.13), "second", square=0.5)
        for k in (-1, 0, 1):
            c.ball("body", (k * wide * 0.27, y + 0.45, 0.165), (0.026, 0.04, 0.012), "sky blue", square=0.5)
        for side in (-1, 1):
            for z in (-0.12, 0.02, 0.14):
                c.lathe(
                    "body",
                    (side * wide * 0.6, y + 0.24, z),
                    (side, 0, 0),
                    [(0, 0), (0, 0.035), (0.02, 0.035), (0.022, 0.024, "sky blue"), (0.024, 0)],
                    "gold",
                )
        c.lathe(
            "body",
            (0, y + 0.3, -0.14),
            (0, 1, -0.1),
            [(0, 0), (0, 0.075), (0.2, 0.07), (0.21, 0.075, "black"), (0.27, 0.075), (0.275, 0)],
            "accent",
        )
        c.ball("body", (0, y + 0.54, 0.04), (wide * 0.58, 0.02, 0.16), "main", square=0.5)
        for z in (-0.3, 0.0, 0.25):
            for side in (-1, 1):
                c.lathe(
                    "body",
                    (side * wide * (0.99 - 0.25 * max(z, 0)), y + 0.02, z),
                    (side, 0, 0),
                    [(0, 0), (0, 0.05), (0.03, 0.05), (0.035, 0.02), (0.035, 0)],
                    "black",
                )
        c.has("chimney", "accent")
    return c


def _submarine(rng: Rng, look: Look) -> Clay:
    r = rng.uniform(0.19, 0.23)
    y = r + 0.05
    c = Clay(look, body=y)
    c.noun = "submarine"
    c.tube(
        "body",
        [(0, y, -0.5), (0, y, -0.25), (0, y, 0.25), (0, y, 0.42)],
        [r * 0.45, r * 0.95, r, r * 0.8],
        "main",
        up=(0, 1, 0),
        paint=True,
        fine=1.1,
    )
    c.ball("body", (0, y + r * 1.05, 0.05), (r * 0.5, r * 0.55, 0.18), "second", square=0.3)
    c.tube(
        "body",
        [(0, y + r * 1.4, 0.05), (0, y + r * 2.0, 0.05), (0, y + r * 2.05, 0.13)],
        [0.025] * 3,
        "grey",
        up=(1, 0, 0),
    )
    for side in (-1, 1):
        for z in (-0.18, 0.06, 0.3):
            c.lathe(
                "body",
                (side * r * 0.9, y + 0.03, z),
                (side, 0, 0),
                [(0, 0), (0, 0.065), (0.03, 0.065), (0.034, 0.045, "sky blue"), (0.04, 0)],
                "gold",
            )
        c.tube(
            "body",
            [(side * r * 0.3, y, -0.5), (side * r * 1.1, y, -0.56)],
            [(0.08, 0.02), (0.06, 0.015)],
            "second",
            up=(0, 1, 0),
        )
    c.lathe(
        "body",
        (0, y + 0.01, r * 0.4 + 0.42),
        (0, 0, 1),
        [(-0.05, 0), (-0.05, 0.1), (0.03, 0.1), (0.04, 0.075, "sky blue"), (0.06, 0)],
        "gold",
    )
    c.tube("body", [(0, y, -0.5), (0, y + r, -0.56)], [(0.08, 0.02), (0.06, 0.015)], "second", up=(1, 0, 0))
    rotor(c, "screw", (0, y, -0.66), -Z, 0.17, 4, color="gold", hub=0.04, width=0.25, pitch=30)
    c.tube("body", [(0, y, -0.55), (0, y, -0.66)], [0.03] * 2, "silver", up=(0, 1, 0))
    c.has("periscope")
    c.limb("fin", [c.joint("fin", (0, y, 0))], (0, y, 0))
    return c
