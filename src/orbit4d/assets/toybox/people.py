"""People in many costumes."""

# ruff: noqa: RUF005  (points are arrays: `p + [dx, dy, dz]` moves them)
from __future__ import annotations

import numpy as np

from .clay import Clay
from .paint import Look
from .parts import Rng, arm, backpack, chance, eyes, hat, leg, pick, smile

PEOPLE = {
    "person": (),
    "wizard": ("purple", "navy", "blue"),
    "knight": ("grey",),
    "astronaut": ("white",),
    "clown": ("yellow", "red", "pink"),
    "pirate": ("red", "white", "navy"),
    "chef": ("white",),
    "superhero": ("red", "blue", "green"),
}


_SKINS = ((0.80, 0.50, 0.34), (0.55, 0.29, 0.16), (0.90, 0.63, 0.48), (0.26, 0.13, 0.075), (0.68, 0.40, 0.23))


_HAIR = ("black", "brown", "gold", "maroon", "orange")


def humanoid(rng: Rng, look: Look, sort: str) -> Clay:
    legs, torso = rng.uniform(0.34, 0.46), rng.uniform(0.3, 0.37)
    wide, head = rng.uniform(0.125, 0.16), rng.uniform(0.16, 0.2)
    c = Clay(look, body=legs)
    c.noun = sort
    skin = np.array(pick(rng, *_SKINS))
    trousers = {"knight": "silver", "astronaut": "main"}.get(sort, "second")
    shoes = {"knight": "grey", "astronaut": "second", "clown": "accent"}
    shoe = shoes[sort] if sort in shoes else str(pick(rng, "black", "brown", "accent"))
    shoulder = legs + torso
    c.tube(
        "body",
        [(0, legs - 0.02, 0), (0, legs + torso * 0.35, 0.01), (0, legs + torso * 0.78, 0), (0, shoulder, 0)],
        [(wide * 0.95, wide * 0.7), (wide * 0.92, wide * 0.74), (wide * 1.08, wide * 0.75), (wide * 0.6, wide * 0.5)],
        "main",
        up=(0, 0, 1),
        paint=True,
        square=0.15,
        cap=0.6,
    )
    c.ball("body", (0, legs, 0), (wide * 0.97, 0.08, wide * 0.74), trousers, square=0.2)
    for side in (-1.0, 1.0):
        x = side * wide * 0.56
        big = 1.5 if sort == "clown" else 1.0
        leg(
            c,
            "l" if side < 0 else "r",
            (x, legs - 0.01, 0),
            (x, 0.06, 0),
            (wide * 0.52, wide * 0.36),
            trousers,
            side=side,
            phase=0.0 if side < 0 else 0.5,
            fold=0.06,
            foot=((0.058 * big, 0.05, 0.095 * big), shoe),
        )
        reach = torso * rng.uniform(0.98, 1.08)
        s = (side * (wide * 1.05), legs + torso * 0.88, 0)
        gloves = {"knight": "grey", "astronaut": "second", "clown": "white"}.get(sort)
        sleeve = "silver" if sort == "knight" else "main"
        arm(
            c,
            "l" if side < 0 else "r",
            s,
            (s[0] + side * 0.075, s[1] - reach, 0.02),
            (wide * 0.36, wide * 0.27),
            sleeve,
            side=side,
            tint=gloves or skin,
            grip=wide * 0.36,
        )
        c.ball("body", (s[0] * 0.93, s[1] + 0.005, 0), wide * 0.4, sleeve)
    c.joint("head", (0, shoulder, 0))
    c.tube("head", [(0, shoulder - 0.05, 0), (0, shoulder + 0.06, 0)], [head * 0.4] * 2, skin)
    y = shoulder + head * 0.92
    c.limb("head", ["head"], (0, y, 0))
    c.ball("head", (0, y, 0), (head * 0.94, head, head * 0.92), skin, fine=1.3)
    eyes(
        c,
        "head",
        (head * 0.36, y + head * 0.05, head * 0.82),
        head * 0.17,
        white=chance(rng, 0.5),
        out=0.25,
        color=pick(rng, "black", "black", "brown", "navy"),
    )
    smile(c, "head", (0, y - head * 0.42, head * 0.86), head * 0.27, color="maroon")
    c.ball(
        "head",
        (0, y - head * 0.12, head * 0.92),
        head * (0.2 if sort == "clown" else 0.11),
        "red" if sort == "clown" else skin,
    )
    _dress(c, rng, sort, y, head, legs, torso, wide, skin)
    return c


def _hair(c: Clay, rng: Rng, y: float, r: float) -> None:
    tint = pick(rng, *_HAIR)
    c.ball("head", (0, y + r * 0.24, -r * 0.16), (r * 1.02, r * 0.86, r * 0.94), tint)
    style = int(rng.integers(4))
    if style == 0:  # buns or pigtails
        for side in (-1, 1):
            c.tube(
                "head",
                [
                    (side * r * 0.85, y + r * 0.3, -r * 0.2),
                    (side * r * 1.3, y - r * 0.1, -r * 0.2),
                    (side * r * 1.35, y - r * 0.65, -r * 0.15),
                ],
                [r * 0.2, r * 0.26, r * 0.1],
                tint,
            )
    elif style == 1:  # long
        c.tube(
            "head",
            [(0, y + r * 0.3, -r * 0.5), (0, y - r * 0.3, -r * 0.72), (0, y - r * 1.1, -r * 0.7)],
            [(r * 0.85, r * 0.4), (r * 0.9, r * 0.3), (r * 0.7, r * 0.15)],
            tint,
        )
    elif style == 2:  # spiky
        for k in range(7):
            a = np.pi * (k / 6)
            p = np.array([np.cos(a) * r * 0.72, y + r * 0.3 + np.sin(a) * r * 0.62, -r * 0.1])
            c.cone("head", tuple(p), (p[0] * 1.45, p[1] + r * 0.36, p[2]), r * 0.3, tint)


def _dress(
    c: Clay, rng: Rng, sort: str, y: float, r: float, legs: float, torso: float, wide: float, skin: np.ndarray
) -> None:
    top = (0.0, y + r * 0.86, -0.02)
    shoulder = legs + torso
    match sort:
        case "wizard":
            hat(c, rng, "head", top, r * 0.98, kinds=("wizard hat",))
            beard = [(0, y - r * 0.4, r * 0.7), (0, y - r * 1.0, r * 0.86), (0, y - r * 1.7, r * 0.75)]
            c.tube(
                "head", beard, [(r * 0.6, r * 0.25), (r * 0.42, r * 0.2), (r * 0.06, r * 0.05)], "white", up=(0, 0, 1)
            )
            c.has("beard", "white")
        case "knight":
            c.ball("head", (0, y + r * 0.18, -r * 0.08), (r * 1.06, r * 0.92, r * 1.0), "silver", square=0.1)
            c.tube(
                "head",
                [(0, y + r * 0.95, r * 0.1), (0, y + r * 1.4, -r * 0.3), (0, y + r * 1.2, -r * 0.95)],
                [r * 0.12, r * 0.2, r * 0.06],
                "accent",
            )
            c.has("plume", "accent")
            _held(c, "sword")
        case "astronaut":
            c.lathe(
                "head",
                (0, y - r * 0.55, 0),
                (0, 1, 0),
                [(0, 0), (0, r * 0.9), (r * 0.12, r * 1.02), (r * 0.24, r * 0.95), (r * 0.25, 0)],
                "second",
            )
            c.ball("head", (0, y + r * 0.12, -r * 0.28), (r * 1.12, r * 1.06, r * 0.96), "white")
            for side in (-1, 1):
                c.ball("head", (side * r * 1.08, y, -r * 0.1), (r * 0.16, r * 0.28, r * 0.28), "accent")
            backpack(c, legs, torso, wide, "grey")
            c.has("helmet", "white")
        case "clown":
            for side in (-1, 1):
                for k in range(3):
                    c.ball(
                        "head", (side * r * (0.85 + 0.1 * k), y + r * (0.55 - 0.34 * k), -r * 0.15), r * 0.36, "accent"
                    )
            hat(c, rng, "head", top, r * 0.85, kinds=("party hat",))
            for k in (0.35, 0.6):
                c.ball("body", (0, legs + torso * k, wide * 0.76), 0.03, "accent")
            c.lathe(
                "body",
                (0, shoulder - 0.02, 0),
                (0, 1, 0),
                [(0, 0), (0.0, wide * 1.15), (0.035, wide * 1.15), (0.05, 0)],
                "white",
            )
        case "pirate":
            c.ball("head", (0, y + r * 0.62, -r * 0.05), (r * 1.25, r * 0.36, r * 0.5), "black", square=0.3)
            c.ball("head", (0, y + r * 0.85, -r * 0.08), (r * 0.75, r * 0.4, r * 0.6), "black")
            c.ball("head", (r * 0.36, y + r * 0.08, r * 0.94), (r * 0.24, r * 0.22, r * 0.1), "black")
            c.tube(
                "head",
                [(-r * 0.7, y + r * 0.42, r * 0.62), (0, y + r * 0.3, r * 0.93), (r * 0.8, y + r * 0.05, r * 0.52)],
                [r * 0.05] * 3,
                "black",
            )
            c.has("hat", "black")
            c.has("eye patch", "black")
            _held(c, "sword")
        case "chef":
            c.lathe(
                "head",
                (0, y + r * 0.5, -r * 0.05),
                (0, 1, -0.06),
                [
                    (0, 0),
                    (0, r * 0.8),
                    (r * 0.45, r * 0.82),
                    (r * 0.6, r * 1.1),
                    (r * 1.0, r * 1.0),
                    (r * 1.15, 0.3 * r),
                    (r * 1.16, 0),
                ],
                "white",
            )
            c.ball(
                "body",
                (0, legs + torso * 0.3, wide * 0.5),
                (wide * 0.75, torso * 0.42, wide * 0.32),
                "white",
                square=0.3,
            )
            c.has("chef's hat", "white")
        case "superhero":
            _hair(c, rng, y, r)
            names = c.chain("cape", [(0, shoulder - 0.04, -wide * 0.6), (0, legs + torso * 0.4, -wide * 1.0)])
            c.tube(
                names,
                [
                    (0, shoulder - 0.03, -wide * 0.55),
                    (0, legs + torso * 0.4, -wide * 1.05),
                    (0, legs - 0.12, -wide * 1.5),
                ],
                [(wide * 1.0, 0.02), (wide * 1.25, 0.02), (wide * 1.5, 0.014)],
                "accent",
                up=(0, 0, 1),
                cap=0.5,
                fine=1.2,
            )
            c.limb("antenna", names, (0, legs - 0.12, -wide * 1.5))
            c.ball(
                "body",
                (0, legs + torso * 0.72, wide * 0.66),
                (wide * 0.36, wide * 0.4, wide * 0.16),
                "accent",
                square=0.3,
            )
            c.has("cape", "accent")
        case _:
            if chance(rng, 0.65):
                _hair(c, rng, y, r)
                if chance(rng, 0.25):
                    hat(c, rng, "head", (0, y + r * 1.04, -r * 0.15), r * 0.8)
            else:
                hat(c, rng, "head", top, r * 1.0, kinds=("top hat", "party hat", "cap"))
            extra = int(rng.integers(4))
            if extra == 0:
                backpack(c, legs, torso, wide, "accent")
                c.has("backpack", "accent")
            elif extra == 1:
                c.lathe(
                    "body",
                    (0, shoulder - 0.03, 0),
                    (0, 1, 0),
                    [(0, 0), (0, wide * 0.78), (0.03, wide * 0.85), (0.07, wide * 0.75), (0.07, 0)],
                    "accent",
                )
                c.tube(
                    "body",
                    [
                        (0.05, shoulder, wide * 0.66),
                        (0.06, shoulder - 0.12, wide * 0.82),
                        (0.07, shoulder - 0.22, wide * 0.84),
                    ],
                    [(0.04, 0.02)] * 3,
                    "accent",
                )
                c.has("scarf", "accent")


def _held(c: Clay, what: str) -> None:
    hand = c.limbs["arm"][1]
    p = hand.tip
    c.tube(hand.joints[1], [p + [0, 0, -0.04], p + [0, 0.0, 0.08]], [0.018] * 2, "brown")
    c.tube(hand.joints[1], [p + [-0.06, 0, 0.08], p + [0.06, 0, 0.08]], [0.016] * 2, "gold")
    c.tube(
        hand.joints[1],
        [p + [0, 0, 0.08], p + [0, 0.015, 0.26], p + [0, 0.03, 0.44]],
        [(0.012, 0.032), (0.012, 0.03), (0.004, 0.006)],
        "silver",
        up=(0, 1, 0),
    )
    c.has(what)
