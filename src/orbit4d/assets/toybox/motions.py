"""Motions of limbs: walking, flapping, waving, swimming ... Each is a short text about the limbs that a toy has."""

from __future__ import annotations

import numpy as np

from .animator import Animator, X, Y, Z
from .clay import Limb


def _leg_length(m: Animator) -> float:
    legs = m.limbs("leg")
    return float(np.mean([m.clay.world[leg.joints[0]][1] - leg.tip[1] for leg in legs])) if legs else 0.3


def _follow(m: Animator, *, tail: float = 16, nod: float = 4, rate: int = 1) -> None:
    """What goes along with most motions: the tail swings, the head nods a little, ears and fins flutter."""
    for limb in m.limbs("tail"):
        m.bend(limb, Y, lambda d: m.a * tail * m.wave(0.2 + d, rate) * 1.6, lag=0.1)
    for limb in m.limbs("head"):
        m.bend(limb, X, lambda d: m.a * nod * m.wave(0.1 + d, 2))
    for limb in m.limbs("ear"):
        m.bend(limb, Z, lambda d: limb.side * 7 * m.a * m.wave(0.3 + d, 2))


def _step(m: Animator, leg: Limb, stride: float, lift: float, *, stance: float = 0.58) -> None:
    """The foot goes back on the ground for `stance` of the cycle and returns through the air."""
    q = (m.p + leg.phase) % 1.0
    on_ground = q < stance
    s = np.where(on_ground, q / stance, (q - stance) / (1 - stance))
    eased = s * s * (3 - 2 * s)
    m.plant(leg, z=stride * np.where(on_ground, 1 - 2 * s, 2 * eased - 1), y=np.where(on_ground, 0, lift * np.sin(np.pi * s)))


def walk(m: Animator) -> None:
    length = _leg_length(m)
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
    length = _leg_length(m)
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
    length = _leg_length(m)
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
    _stand(m)
    for limb in m.limbs("head"):
        m.bend(limb, X, lambda d: 6 * m.a * m.wave(0.2, 2))


def _stand(m: Animator) -> None:
    for leg in m.limbs("leg"):
        m.plant(leg)


def kick(m: Animator) -> None:
    legs = m.limbs("leg")
    length = _leg_length(m)
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


def dance(m: Animator) -> None:
    length = _leg_length(m)
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


def nod(m: Animator) -> None:
    for limb in m.limbs("head"):
        m.bend(limb, X, lambda d: 10 + 30 * m.a * m.wave(d), lag=0.04)
    for limb in m.limbs("tail"):
        m.bend(limb, Y, lambda d: 14 * m.wave(d))
    for limb in m.limbs("stem"):
        m.bend(limb, X, lambda d: 10 + 24 * m.a * m.wave(d), lag=0.05)
    m.turn("body", X, 3 * m.a * m.wave(0.2))
    _stand(m)


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
        _stand(m)
    elif legs:
        m.lean(30 * m.a**0.5 * down)
        _stand(m)
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
    _stand(m)
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
    length = _leg_length(m)
    legs = m.limbs("leg")
    if len(legs) > 2:
        m.move("body", y=-0.24 * length * m.a**0.5 * down)
        m.lean(-20 * m.a**0.5 * down)
    else:
        m.move("body", y=-0.5 * length * m.a**0.4 * down, z=-0.22 * length * down)
    _stand(m)
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
        m.move("body", y=-0.1 * _leg_length(m) * up, z=-0.14 * _leg_length(m) * up)
        _stand(m)
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
        m.move("body", z=-0.12 * _leg_length(m) * down)
        _stand(m)
        for arm in m.limbs("arm"):
            m.turn(arm.joints[0], X, -18 * down)
    for limb in m.limbs("stem"):
        m.bend(limb, X, lambda d: 80 * m.a**0.6 * down)
    for limb in m.limbs("head"):
        m.bend(limb, X, lambda d: 24 * down)


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
        m.bend(jaw, X, lambda d: 30 * m.a**0.6 * m.rise())
    for limb in m.limbs("head"):
        m.bend(limb, X, lambda d: -14 * m.a * m.rise(0.05))
    for limb in m.limbs("tail"):
        m.bend(limb, Y, lambda d: 12 * m.wave(d))


def _propel(m: Animator) -> None:
    for rotor in m.limbs("rotor"):
        m.turn(rotor.joints[0], rotor.axis, 360 * 3 * m.cycles * m.u)


MOTIONS = {
    f.__name__: f
    for f in (
        walk, run, jump, wave, clap, kick, dance, flap, glide, swim, nod, shake, look, wag, eat, attack, sit, stretch,
        bow, crawl, slither, curl, snap,
    )
}  # fmt: skip
