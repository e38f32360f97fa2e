"""Windmills, excavators and cranes."""

# ruff: noqa: RUF005  (points are arrays: `p + [dx, dy, dz]` moves them)
from __future__ import annotations

import numpy as np

from .animator import Z
from .clay import Clay
from .paint import Look
from .parts import Rng, pick, wheel

MACHINES = {"windmill": ("white", "cream", "red"), "excavator": ("yellow", "orange"), "crane": ("yellow", "red")}


def machine(rng: Rng, look: Look, sort: str) -> Clay:
    return {"windmill": _windmill, "excavator": _excavator, "crane": _crane}[sort](rng, look)


def _windmill(rng: Rng, look: Look) -> Clay:
    tall, r = rng.uniform(0.62, 0.75), rng.uniform(0.22, 0.27)
    c = Clay(look, body=tall * 0.5)
    c.noun = "windmill"
    c.lathe(
        "body",
        (0, 0, 0),
        (0, 1, 0),
        [(0, 0), (0, r), (0.04, r), (tall, r * 0.66), (tall + 0.01, 0)],
        "main",
        paint=True,
    )
    turret = c.joint("turret", (0, tall, 0))
    c.limb("turret", [turret], (0, tall, 0))
    c.lathe(
        turret,
        (0, tall - 0.01, 0),
        (0, 1, 0),
        [(0, 0), (0, r * 0.86), (0.03, r * 0.84), (0.17, r * 0.4), (0.22, 0.01), (0.22, 0)],
        "second",
    )
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
        c.tube(
            name,
            [hub + d * long * 0.28 + mid, hub + d * long * 0.98 + mid],
            [(0.065, 0.012), (0.085, 0.012)],
            "accent" if k % 2 else "white",
            up=(0, 0, 1),
            rigid=True,
            square=0.5,
            cap=0.3,
        )
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
    c.tube("body", [(0, 0.1, 0), (0, 0.22, 0)], [0.16, 0.15], "grey", cap=0.2)
    turret = c.joint("turret", (0, 0.2, 0))
    c.limb("turret", [turret], (0, 0.2, 0))
    c.ball(turret, (0, 0.3, -0.1), (0.21, 0.1, 0.27), "main", square=0.55, paint=True)
    c.ball(turret, (-0.09, 0.44, 0.02), (0.11, 0.15, 0.14), "sky blue", square=0.5)
    c.ball(turret, (-0.09, 0.58, 0.02), (0.125, 0.03, 0.155), "main", square=0.5)
    c.ball(turret, (0, 0.36, -0.3), (0.2, 0.1, 0.09), "second", square=0.5)
    c.tube(turret, [(0.12, 0.36, -0.2), (0.12, 0.56, -0.2)], [0.024] * 2, "black")
    base, elbow, wrist = np.array([0.1, 0.36, 0.12]), np.array([0.1, 0.78, 0.4]), np.array([0.1, 0.5, 0.68])
    names = c.chain("boom", [base, elbow, wrist], turret)
    c.tube(
        names[0],
        [base - [0, 0.05, 0.05], (base + elbow) / 2 + [0, 0.09, -0.05], elbow],
        [(0.05, 0.07), (0.05, 0.075), (0.042, 0.05)],
        "main",
        up=(0, 1, 0),
        square=0.4,
    )
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
    c.tube("body", [(0, 0.08, 0), (0, tall, 0)], [0.06] * 2, "main", square=0.6)
    turret = c.joint("turret", (0, tall, 0))
    c.limb("turret", [turret], (0, tall, 0))
    c.ball(turret, (0, tall + 0.06, 0.04), (0.11, 0.09, 0.12), "sky blue", square=0.5)
    c.ball(turret, (0, tall + 0.15, 0.0), (0.12, 0.025, 0.13), "main", square=0.5)
    boom = c.chain("boom", [(0, tall + 0.12, 0), (0, tall + 0.14, 0.55)], turret)
    c.tube(
        boom[0],
        [(0, tall + 0.14, -0.32), (0, tall + 0.14, 0.72)],
        [(0.04, 0.035)] * 2,
        "main",
        up=(0, 1, 0),
        square=0.5,
        paint=True,
    )
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
