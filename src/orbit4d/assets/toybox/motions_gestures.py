"""Gestures: waving, nodding, eating, sitting down ..."""

from __future__ import annotations

import numpy as np

from .animator import Animator, X, Y, Z
from .motions import leg_length, stand


def wave(m: Animator) -> None:
    arms = m.limbs("arm")
    arm = arms[0 if m.direction > 0 else -1]
    m.turn(arm.joints[0], Z, arm.side * (128 + 14 * m.a * m.wave(0.1, 1)))
    m.turn(arm.joints[1], Z, arm.side * (18 + 34 * m.a * m.wave()))
    for other in arms:
        if other is not arm:
            m.turn(other.joints[0], Z, other.side * (6 + 3 * m.wave()))
    for limb in m.limbs("head"):
        m.bend(limb, Z, lambda d: -arm.side * 9 * m.a * m.wave(0.15))
    m.turn("root", Z, 2.5 * m.a * m.wave(0.2))


def clap(m: Animator) -> None:
    for arm in m.limbs("arm"):
        m.turn(arm.joints[0], X, -72)
        m.turn(arm.joints[0], Y, -arm.side * (6 - 34 * m.a * m.rise()))
        m.turn(arm.joints[1], Y, -arm.side * (30 - 22 * m.rise()))
    m.move("body", y=0.02 * m.wave(0, 2) - 0.02)
    stand(m)
    for limb in m.limbs("head"):
        m.bend(limb, X, lambda d: 6 * m.a * m.wave(0.2, 2))


def kick(m: Animator) -> None:
    legs = m.limbs("leg")
    length = leg_length(m)
    kicking = legs[0 if m.direction > 0 else 1]
    out, back = m.rise() ** 2, m.rise(0.28) ** 3
    m.lean(-8 * m.a * out)
    for leg in legs:
        if leg is kicking:
            m.turn(leg.joints[0], X, -78 * m.a**0.6 * out + 24 * back)
            m.turn(leg.joints[1], X, 46 * back)
        else:
            m.plant(leg)
    for arm in m.limbs("arm"):
        m.turn(arm.joints[0], Z, arm.side * (24 + 28 * m.a * out))
        m.turn(arm.joints[0], X, arm.side * 18 * out)
    for limb in m.limbs("tail"):
        m.bend(limb, Y, lambda d: 20 * m.wave(d))
    m.move("root", y=0.02 * length * out)


def nod(m: Animator) -> None:
    for limb in m.limbs("head"):
        m.bend(limb, X, lambda d: 10 + 30 * m.a * m.wave(d), lag=0.04)
    for limb in m.limbs("tail"):
        m.bend(limb, Y, lambda d: 14 * m.wave(d))
    for limb in m.limbs("stem"):
        m.bend(limb, X, lambda d: 10 + 24 * m.a * m.wave(d), lag=0.05)
    m.turn("body", X, 3 * m.a * m.wave(0.2))
    stand(m)


def shake(m: Animator) -> None:
    for limb in m.limbs("head"):
        m.bend(limb, Y, lambda d: 42 * m.a**0.7 * m.wave(d), lag=0.04)
    for limb in m.limbs("ear"):
        m.bend(limb, Z, lambda d: 18 * m.a * m.wave(0.1))
    for limb in m.limbs("tail"):
        m.bend(limb, Y, lambda d: -18 * m.wave(d))


def look(m: Animator) -> None:
    """Slow looks to either side and up."""
    side = m.wave()
    held = np.sign(side) * np.abs(side) ** 0.5
    for limb in m.limbs("head"):
        m.bend(limb, X, lambda d: -10 * m.a * m.rise(0, 2))
        m.bend(limb, Y, lambda d: 52 * m.a**0.6 * held)
    m.turn("body", Y, 7 * m.a * held)
    for limb in m.limbs("tail"):
        m.bend(limb, Y, lambda d: -20 * m.wave(d + 0.1))


def wag(m: Animator) -> None:
    for limb in m.limbs("tail"):
        m.bend(limb, X, lambda d: 26)
        m.bend(limb, Y, lambda d: 84 * m.a**0.8 * m.wave(d), lag=0.06)
    m.turn("body", Y, -5 * m.a * m.wave())
    for limb in m.limbs("head"):
        m.bend(limb, Z, lambda d: 9 * m.a * m.wave(0.2))


def eat(m: Animator) -> None:
    """The head goes down to the ground and pecks."""
    down = m.rise() ** 0.7
    legs = m.limbs("leg")
    if len(legs) > 2:
        m.lean(9 * down)
        stand(m)
    elif legs:
        m.lean(30 * m.a**0.5 * down)
        stand(m)
    for limb in m.limbs("head"):
        m.bend(limb, X, lambda d: (74 * m.a**0.4) * down + 6 * m.wave(0, 3))
    for limb in m.limbs("jaw"):
        m.bend(limb, X, lambda d: 12 * (1 - m.wave(0, 3)))
    for limb in m.limbs("tail"):
        m.bend(limb, Y, lambda d: 16 * m.wave(0.2 + d))


def attack(m: Animator) -> None:
    """Draw back, lunge, snap."""
    q = m.p % 1.0
    lunge = np.exp(-(((q - 0.5) / 0.11) ** 2))
    draw = np.exp(-(((q - 0.25) / 0.12) ** 2))
    size = float(m.clay.world["body"][1])
    m.move("body", z=size * (0.38 * m.a * lunge - 0.2 * draw), y=-0.06 * size * (lunge + draw))
    m.lean(10 * m.a * lunge - 9 * draw)
    stand(m)
    for limb in m.limbs("head"):
        m.bend(limb, X, lambda d: 18 * lunge - 30 * m.a * draw)
    for limb in m.limbs("jaw"):
        m.bend(limb, X, lambda d: 36 * (draw + 0.8 * lunge))
    for arm in m.limbs("arm"):
        m.turn(arm.joints[0], X, -95 * m.a**0.5 * lunge + 30 * draw)
        m.turn(arm.joints[1], X, -52 * draw)
    for limb in m.limbs("tail"):
        m.bend(limb, X, lambda d: -26 * lunge + 20 * draw)
    for claw in m.limbs("claw"):
        m.turn(claw.joints[0], Y, -claw.side * (28 * lunge - 26 * draw))
    for fin in m.limbs("fin"):
        m.bend(fin, Z, lambda d, f=fin: f.side * 20 * lunge)


def sit(m: Animator) -> None:
    """Sits down and gets up again."""
    down = m.rise() ** 0.8
    length = leg_length(m)
    legs = m.limbs("leg")
    if len(legs) > 2:
        m.move("body", y=-0.24 * length * m.a**0.5 * down)
        m.lean(-20 * m.a**0.5 * down)
    else:
        m.move("body", y=-0.5 * length * m.a**0.4 * down, z=-0.22 * length * down)
    stand(m)
    for arm in m.limbs("arm"):
        m.turn(arm.joints[0], X, -38 * down)
    for limb in m.limbs("head"):
        m.bend(limb, X, lambda d: (14 if len(legs) > 2 else 6) * down)
    for limb in m.limbs("tail"):
        m.bend(limb, X, lambda d: 22 * down)


def stretch(m: Animator) -> None:
    up = m.rise()
    legs = m.limbs("leg")
    if len(legs) > 2:  # front down, rear up, as cats do
        m.lean(20 * m.a**0.6 * up)
        m.move("body", y=-0.1 * leg_length(m) * up, z=-0.14 * leg_length(m) * up)
        stand(m)
        for limb in m.limbs("head"):
            m.bend(limb, X, lambda d: -34 * up)
        for limb in m.limbs("tail"):
            m.bend(limb, X, lambda d: 60 * up)
        return
    m.size("body", 1 - 0.06 * m.a * up, 1 + 0.12 * m.a * up, 1 - 0.06 * m.a * up)
    for arm in m.limbs("arm"):
        m.turn(arm.joints[0], Z, arm.side * 150 * m.a**0.2 * up)
    for wing in m.limbs("wing"):
        m.bend(wing, Z, lambda d, w=wing: w.side * 52 * m.a**0.5 * up)
    for limb in m.limbs("head"):
        m.bend(limb, X, lambda d: -16 * up)
    for limb in m.limbs("tail"):
        m.bend(limb, X, lambda d: 24 * up)


def bow(m: Animator) -> None:
    down = m.rise() ** 0.85
    if m.limbs("leg"):
        m.lean(52 * m.a**0.5 * down)
        m.move("body", z=-0.12 * leg_length(m) * down)
        stand(m)
        for arm in m.limbs("arm"):
            m.turn(arm.joints[0], X, -18 * down)
    for limb in m.limbs("stem"):
        m.bend(limb, X, lambda d: 80 * m.a**0.6 * down)
    for limb in m.limbs("head"):
        m.bend(limb, X, lambda d: 24 * down)


def curl(m: Animator) -> None:
    """Tentacles, tails and snakes roll up and stretch out again."""
    for limb in m.limbs("tentacle"):
        m.bend(limb, limb.axis, lambda d: 105 * m.a**0.6 * m.rise(d), lag=0.04)
    for spine in m.limbs("spine"):
        for joint in spine.joints[1:]:
            m.turn(joint, Y, m.direction * 34 * m.a**0.5 * m.rise())
    for limb in m.limbs("tail"):
        m.bend(limb, X, lambda d: 120 * m.a**0.5 * m.rise(d), lag=0.05)


def snap(m: Animator) -> None:
    """Claws, jaws and beaks open and shut."""
    for claw in m.limbs("claw"):
        m.turn(claw.joints[0], Y, claw.side * 22 * m.a * m.wave(0.1))
        m.turn(claw.joints[-1], Y, claw.side * 36 * m.a**0.6 * m.rise(0 if claw.side > 0 else 0.5))
    for jaw in m.limbs("jaw"):
        m.bend(jaw, X, lambda d: 44 * m.a**0.6 * m.rise())
    for limb in m.limbs("head"):
        m.bend(limb, X, lambda d: -26 * m.a * m.rise(0.05))
    for limb in m.limbs("tail"):
        m.bend(limb, Y, lambda d: 12 * m.wave(d))


MOTIONS = {f.__name__: f for f in (wave, clap, kick, nod, shake, look, wag, eat, attack, sit, stretch, bow, curl, snap)}
