"""Ways to get along: walking, flapping, swimming, crawling ... Each is a short text about the limbs that a toy has."""

from __future__ import annotations

import numpy as np

from .animator import Animator, X, Y, Z
from .clay import Limb


def leg_length(m: Animator) -> float:
    """The mean length of the legs; for toys without legs, what stands in for it."""
    legs = m.limbs("leg")
    return float(np.mean([m.clay.world[leg.joints[0]][1] - leg.tip[1] for leg in legs])) if legs else 0.3


def _follow(m: Animator, *, tail: float = 16, nod: float = 4, rate: int = 1) -> None:
    """What goes along with most motions: the tail swings, the head nods a little, ears and fins flutter."""
    for limb in m.limbs("tail"):
        m.bend(limb, Y, lambda d: m.a * tail * m.wave(0.2 + d, rate) * 1.6, lag=0.1)
    for limb in m.limbs("head"):
        m.bend(limb, X, lambda d: m.a * nod * m.wave(0.1 + d, 2))
    for limb in m.limbs("ear"):
        m.bend(limb, Z, lambda d, e=limb: e.side * 7 * m.a * m.wave(0.3 + d, 2))


def _step(m: Animator, leg: Limb, stride: float, lift: float, *, stance: float = 0.58) -> None:
    """The foot goes back on the ground for `stance` of the cycle and returns through the air."""
    q = (m.p + leg.phase) % 1.0
    on_ground = q < stance
    s = np.where(on_ground, q / stance, (q - stance) / (1 - stance))
    eased = s * s * (3 - 2 * s)
    m.plant(
        leg,
        z=stride * np.where(on_ground, 1 - 2 * s, 2 * eased - 1),
        y=np.where(on_ground, 0, lift * np.sin(np.pi * s)),
    )


def walk(m: Animator) -> None:
    length = leg_length(m)
    m.move("body", y=length * 0.035 * (m.wave(0.1, 2) - 1))
    m.turn("root", Z, 2.0 * m.a * m.wave(0.2))
    for leg in m.limbs("leg"):
        _step(m, leg, length * 0.42 * m.a, length * 0.24 * m.a)
    _swing_arms(m, 30)
    _follow(m)
    _crawl_feet(m, 1.0)
    for wing in m.limbs("wing"):
        m.bend(wing, Z, lambda d, w=wing: w.side * 5 * m.wave(0.1 + d, 2))


def run(m: Animator) -> None:
    length = leg_length(m)
    four = len(m.limbs("leg")) > 2
    m.move("body", y=length * (0.16 * m.a * m.rise(0.1, 1 if four else 2) - 0.06))
    m.lean((6 * m.a * m.wave(0.35)) if four else 9 * m.a + 2 * m.wave(0, 2))
    for leg in m.limbs("leg"):
        phase = leg.phase
        if four:  # a gallop: the front pair, then the hind pair
            leg.phase = (0.0 if "front" in leg.joints[0] else 0.45) + 0.06 * leg.side
        _step(m, leg, length * 0.62 * m.a, length * 0.42 * m.a, stance=0.42)
        leg.phase = phase
    _swing_arms(m, 55, elbow=60)
    _follow(m, tail=22, nod=7)


def _swing_arms(m: Animator, degrees: float, *, elbow: float = 14) -> None:
    for arm in m.limbs("arm"):
        swing = m.a * degrees * m.wave(0.5 if arm.side > 0 else 0.0)
        m.turn(arm.joints[0], X, swing)
        if len(arm.joints) > 1:
            m.turn(arm.joints[1], X, -elbow - 0.3 * swing)


def jump(m: Animator) -> None:
    """Crouch, leap, tuck, land."""
    length = leg_length(m)
    q = m.p % 1.0
    air = np.where((q > 0.28) & (q < 0.82), np.sin(np.pi * np.clip((q - 0.28) / 0.54, 0, 1)), 0)
    crouch = np.exp(-(((q - 0.16) / 0.09) ** 2)) + np.exp(-(((q - 0.9) / 0.06) ** 2))
    height = length * (1.1 * m.a + 0.25)
    m.move("body", y=height * air - length * 0.3 * np.minimum(crouch, 1))
    m.lean(5 * crouch - 4 * air)
    for leg in m.limbs("leg"):
        front = 1.0 if "front" in leg.joints[0] else -0.4
        m.plant(leg, y=(height - 0.05 * length) * air + 0.25 * length * air**2, z=0.16 * length * air * front)
    for arm in m.limbs("arm"):
        m.turn(arm.joints[0], X, 35 * crouch)
        m.turn(arm.joints[0], Z, arm.side * 105 * m.a**0.5 * air)
    for wing in m.limbs("wing"):
        m.bend(wing, Z, lambda d, w=wing: w.side * (40 * air * np.cos(6 * np.pi * (q - d))))
    for limb in m.limbs("tail"):
        m.bend(limb, X, lambda d: 35 * air - 10 * crouch)
    for limb in m.limbs("head"):
        m.bend(limb, X, lambda d: 12 * crouch - 14 * air)


def stand(m: Animator) -> None:
    """Keep all feet where they are, whatever the body does."""
    for leg in m.limbs("leg"):
        m.plant(leg)


def dance(m: Animator) -> None:
    length = leg_length(m)
    m.move("body", x=length * 0.16 * m.a * m.wave(), y=length * 0.12 * m.a * (m.wave(0, 2) - 1))
    m.turn("body", Y, 18 * m.a * m.wave(0.25))
    m.turn("root", Z, 6 * m.a * m.wave())
    for leg in m.limbs("leg"):
        m.plant(leg, y=length * 0.2 * m.a * np.maximum(leg.side * m.wave(0.1), 0))
    for arm in m.limbs("arm"):
        m.turn(arm.joints[0], Z, arm.side * (78 + 46 * m.a * m.wave(0.25 if arm.side > 0 else 0.75)))
        m.turn(arm.joints[1], Z, arm.side * (34 * m.a * m.wave(0.1, 2)))
    for limb in m.limbs("head"):
        m.bend(limb, Z, lambda d: 14 * m.a * m.wave(0.4))
    for limb in m.limbs("tail", "tentacle"):
        m.bend(limb, Z, lambda d: 44 * m.a * m.wave(d + 0.1), lag=0.1)
    for wing in m.limbs("wing"):
        m.bend(wing, Z, lambda d, w=wing: w.side * (10 + 30 * m.a * m.wave(0.25 if w.side > 0 else 0.75)))
    _crawl_feet(m, 0.7)


def flap(m: Animator) -> None:
    """Wings beat, each joint behind the one before; the body answers."""
    size = float(m.clay.world["body"][1])
    m.move("root", y=0.16 * size * m.a * m.wave(0.32))
    for wing in m.limbs("wing"):
        m.bend(wing, Z, lambda d, w=wing: w.side * (6 + 66 * m.a**0.7 * m.wave(d)), lag=0.1)
    for limb in m.limbs("tail"):
        m.bend(limb, X, lambda d: 10 * m.a * m.wave(0.3 + d))
    _dangle(m)


def _dangle(m: Animator) -> None:
    """Legs trail behind in the air."""
    for leg in m.limbs("leg"):
        m.turn(leg.joints[0], X, 38 + 5 * m.wave(0.2))
        m.turn(leg.joints[1], X, 18)
    for leg in m.limbs("foot"):
        m.turn(leg.joints[0], leg.axis, -14 + 4 * m.wave(0.2))


def glide(m: Animator) -> None:
    """Wings held out, banking from side to side."""
    size = float(m.clay.world["body"][1])
    m.turn("body", Z, 24 * m.a * m.wave())
    m.turn("body", Y, -14 * m.a * m.wave(0.25))
    m.move("root", x=-0.22 * size * m.a * m.wave(0.05), y=0.06 * size * m.wave(0, 2))
    for wing in m.limbs("wing"):
        m.bend(wing, Z, lambda d, w=wing: w.side * (10 + 5 * m.wave(d + 0.2, 2)))
    for limb in m.limbs("tail"):
        m.bend(limb, Z, lambda d: -12 * m.a * m.wave(0.2))
    _dangle(m)
    _propel(m)


def swim(m: Animator) -> None:
    """A wave runs from head to tail; fins row; tentacles trail."""
    m.turn("body", Y, 8 * m.a * m.wave())
    for limb in m.limbs("tail"):
        m.bend(limb, Y, lambda d: 66 * m.a * m.wave(0.3 + d), lag=0.11)
    for limb in m.limbs("head"):
        m.bend(limb, Y, lambda d: 8 * m.a * m.wave(0.5))
    for fin in m.limbs("fin"):
        m.bend(fin, Z, lambda d, f=fin: f.side * (26 * m.a * m.wave(0.1)))
    for limb in m.limbs("tentacle"):
        m.bend(limb, limb.axis, lambda d: 14 + 34 * m.a * m.wave(d), lag=0.12)
    for limb in m.limbs("fluke"):
        m.bend(limb, X, lambda d: 40 * m.a * m.wave(0.3 + d), lag=0.12)
    m.move("root", y=0.03 * m.wave(0.3))


def _crawl_feet(m: Animator, share: float) -> None:
    """Legs that stand out sideways swing about the vertical and lift in turn."""
    for leg in m.limbs("foot"):
        swing = m.wave(leg.phase)
        lift = np.maximum(np.sin(2 * np.pi * (m.p - leg.phase)), 0)
        m.turn(leg.joints[0], Y, -leg.side * 21 * share * m.a * swing)
        m.turn(leg.joints[0], leg.axis, 24 * share * m.a**0.6 * lift)
        if len(leg.joints) > 1:
            m.turn(leg.joints[1], leg.axis, -10 * share * lift)


def crawl(m: Animator) -> None:
    _crawl_feet(m, 1.0)
    size = float(m.clay.world["body"][1])
    m.move("body", y=0.1 * size * m.a * m.wave(0.1, 2))
    m.turn("body", Y, 6 * m.a * m.wave(0.1))
    for claw in m.limbs("claw"):
        m.turn(claw.joints[0], Y, claw.side * 14 * m.a * m.wave(0.2))
    for spine in m.limbs("spine"):  # an inchworm's wave
        for i, joint in enumerate(spine.joints):
            m.move(joint, y=0)
            m.turn(joint, X, 26 * m.a**0.7 * m.wave(i * 0.22))
    for limb in m.limbs("antenna"):
        m.bend(limb, X, lambda d: 16 * m.a * m.wave(d + 0.1))


def slither(m: Animator) -> None:
    for spine in m.limbs("spine"):
        for i, joint in enumerate(spine.joints):
            m.turn(joint, Y, 34 * m.a**0.8 * m.wave(i * 0.16))
    for limb in m.limbs("head"):
        m.bend(limb, Y, lambda d: -26 * m.a**0.8 * m.wave(0.1))


def _propel(m: Animator) -> None:
    for rotor in m.limbs("rotor"):
        m.turn(rotor.joints[0], rotor.axis, 360 * 3 * m.cycles * m.u)


MOTIONS = {f.__name__: f for f in (walk, run, jump, dance, flap, glide, swim, crawl, slither)}
