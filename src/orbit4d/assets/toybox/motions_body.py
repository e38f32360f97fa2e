"""Motions of whole bodies and of machines: nearly every toy can spin or sway; wheels, rotors, lids and cranes turn."""

from __future__ import annotations

import numpy as np

from .animator import Animator, X, Y, Z


def _height(m: Animator) -> float:
    return float(max(p.grid[..., 1].max() for p in m.clay.parts))


def _loose(m: Animator, much: float = 1.0) -> None:
    """Limbs follow a swaying body a moment later."""
    for limb in m.limbs("tail", "antenna", "stem"):
        m.bend(limb, Z, lambda d: 12 * much * m.a * m.wave(0.2 + d), lag=0.06)
    for arm in m.limbs("arm"):
        m.turn(arm.joints[0], Z, arm.side * (12 + 10 * much * m.a * m.wave(0.15)))
    for limb in m.limbs("head"):
        m.bend(limb, Z, lambda d: 9 * much * m.a * m.wave(0.15))
    for limb in m.limbs("tentacle"):
        m.bend(limb, limb.axis, lambda d: 14 * much * m.a * m.wave(0.2 + d), lag=0.1)
    for wing in m.limbs("wing"):
        m.bend(wing, Z, lambda d, w=wing: w.side * 8 * much * m.a * m.wave(0.2 + d))


def _rotors(m: Animator, turns: int = 3) -> None:
    for rotor in m.limbs("rotor"):
        m.turn(rotor.joints[0], rotor.axis, 360.0 * turns * m.cycles * m.u)


def _wheels(m: Animator, turns: int = 1) -> None:
    for wheel in m.limbs("wheel"):
        m.turn(wheel.joints[0], X, 360.0 * turns * m.cycles * m.u)


def spin(m: Animator) -> None:
    m.turn("root", Y, m.direction * 360.0 * m.cycles * m.u)
    for arm in m.limbs("arm"):
        m.turn(arm.joints[0], Z, arm.side * (44 + 20 * m.a + 6 * m.wave()))
    for limb in m.limbs("tail", "tentacle"):
        m.bend(limb, Y, lambda d: -m.direction * 20 * m.a * (1 + 0.3 * m.wave()))


def bounce(m: Animator) -> None:
    """Like rubber: flat on the ground, tall on the way, all loops alike."""
    q = m.p % 1.0
    air = np.clip(np.sin(np.pi * np.clip((q - 0.12) / 0.76, 0, 1)), 0, None)
    ground = np.exp(-((np.minimum(q, 1 - q) / 0.07) ** 2))
    m.move("root", y=_height(m) * 0.42 * m.a * air)
    m.squash(-0.34 * m.a**0.6 * ground + 0.12 * m.a * np.sin(2 * np.pi * np.clip((q - 0.12) / 0.76, 0, 1)) ** 2)
    for arm in m.limbs("arm"):
        m.turn(arm.joints[0], Z, arm.side * (15 + 70 * air))
    for wing in m.limbs("wing"):
        m.bend(wing, Z, lambda d, w=wing: w.side * 30 * air)
    for limb in m.limbs("tail"):
        m.bend(limb, X, lambda d: 20 * air)


def hop(m: Animator) -> None:
    """Stiff little hops, leaning to alternate sides."""
    up = np.abs(np.sin(2 * np.pi * m.p)) ** 0.8
    m.move("root", y=_height(m) * 0.2 * m.a * up, x=0.06 * m.a * m.wave(0.25))
    m.turn("root", Z, 8 * m.a * np.sin(2 * np.pi * m.p))
    _loose(m, 0.5)


def sway(m: Animator) -> None:
    m.turn("root", Z, 13 * m.a * m.wave())
    _loose(m)


def rock(m: Animator) -> None:
    """Forwards and back."""
    m.turn("root", X, 12 * m.a * m.wave())
    for limb in m.limbs("head"):
        m.bend(limb, X, lambda d: -10 * m.a * m.wave(0.1))
    for arm in m.limbs("arm"):
        m.turn(arm.joints[0], X, -16 * m.a * m.wave(0.1))
    for limb in m.limbs("stem"):
        m.bend(limb, X, lambda d: 10 * m.a * m.wave(0.15 + d), lag=0.05)


def wobble(m: Animator) -> None:
    """A jelly's wobble: the tilt goes round in a circle."""
    m.turn("root", Z, 10 * m.a * m.wave())
    m.turn("root", X, 10 * m.a * m.wave(0.25))
    m.squash(0.07 * m.a * m.wave(0, 2))
    _loose(m, 0.7)


def squash(m: Animator) -> None:
    m.squash(0.36 * m.a**0.8 * m.wave())
    m.morph("bulge", m.rise())


def grow(m: Animator) -> None:
    s = np.exp(0.3 * m.a**0.8 * m.wave())
    m.size("root", s, s, s)


def idle(m: Animator) -> None:
    """Breathing: little, but alive."""
    m.size("body", 1 + 0.025 * m.a * m.wave(), 1 + 0.035 * m.a * m.wave(0.05), 1 + 0.025 * m.a * m.wave())
    m.move("body", y=0.012 * _height(m) * m.a * m.wave())
    for limb in m.limbs("head"):
        m.bend(limb, X, lambda d: 6 * m.a * m.wave(0.2))
    for limb in m.limbs("tail", "antenna"):
        m.bend(limb, Y, lambda d: 24 * m.a * m.wave(0.3 + d), lag=0.08)
    for arm in m.limbs("arm"):
        m.turn(arm.joints[0], Z, arm.side * (6 + 6 * m.a * m.wave(0.1)))
    for limb in m.limbs("spine"):
        m.bend(limb, Y, lambda d: 40 * m.a * m.wave(d), lag=0.12)
    for limb in m.limbs("fluke"):
        m.bend(limb, X, lambda d: 22 * m.a * m.wave(0.3 + d), lag=0.1)
    for fin in m.limbs("fin"):
        m.bend(fin, Z, lambda d, f=fin: f.side * 16 * m.a * m.wave(0.1))
    for limb in m.limbs("ear"):
        m.bend(limb, Z, lambda d, e=limb: e.side * 8 * m.wave(0.4))
    for limb in m.limbs("tentacle"):
        m.bend(limb, limb.axis, lambda d: 12 * m.a * m.wave(d), lag=0.1)
    for wing in m.limbs("wing"):
        m.bend(wing, Z, lambda d, w=wing: w.side * 6 * m.a * m.wave(0.1 + d))


def float_(m: Animator) -> None:
    m.move("root", y=_height(m) * 0.16 * m.a * m.wave())
    m.turn("body", X, 5 * m.a * m.wave(0.25))
    _loose(m, 0.6)
    _rotors(m)
    for fin in m.limbs("fin"):
        m.bend(fin, Z, lambda d, f=fin: f.side * 16 * m.a * m.wave(0.1))


def flip(m: Animator) -> None:
    """A somersault about the middle."""
    lift = np.sin(np.pi * (m.p % 1.0)) ** 2
    m.turn("body", X, m.direction * 360.0 * m.cycles * m.u)
    m.move("root", y=_height(m) * 0.35 * m.a * lift)
    _rotors(m)


def drive(m: Animator) -> None:
    """Wheels turn; the body rides over bumps and steers a little."""
    h = _height(m)
    _wheels(m)
    m.move("body", y=h * 0.045 * m.a * m.wave(0, 2))
    m.turn("body", X, 3.2 * m.a * m.wave(0.2, 2))
    m.turn("body", Z, 3.0 * m.a * m.wave(0.1))
    m.turn("root", Y, 9 * m.a * m.wave(0.3))
    m.move("root", x=0.06 * m.a * m.wave(0.1))
    for limb in m.limbs("antenna"):
        m.bend(limb, X, lambda d: 16 * m.a * m.wave(0.1, 2))
    for piston in m.limbs("piston"):
        m.move(
            piston.joints[0],
            y=0.5 * float(np.abs(piston.tip[1])) * m.wave(),
            z=float(np.abs(piston.tip[1])) * m.wave(0.25),
        )


def wheelie(m: Animator) -> None:
    """Up on the rear wheels and down again."""
    up = m.rise() ** 0.8
    _wheels(m)
    rear = min(m.limbs("wheel"), key=lambda w: w.tip[2])
    z, y = rear.tip[2], rear.tip[1]
    angle = np.radians(-32 * m.a**0.6 * up)
    m.turn("root", X, np.degrees(angle))
    # Turning about the origin carries the rear axle along; bring it back.
    m.move("root", y=y - (y * np.cos(angle) - z * np.sin(angle)), z=z - (y * np.sin(angle) + z * np.cos(angle)))


def roll(m: Animator) -> None:
    """Balls roll to and fro on the ground; what flies rolls about its length."""
    if m.limbs("wing", "rotor", "fin"):
        m.turn("body", Z, m.direction * 360.0 * m.cycles * m.u)
        m.move("root", y=0.06 * _height(m) * m.wave(0.2))
        _rotors(m)
        return
    radius = float(m.clay.world["body"][1])
    path = 1.25 * radius * m.a * m.wave()
    m.move("root", x=path)
    m.turn("body", Z, -np.degrees(path / radius))


def fly(m: Animator) -> None:
    h = _height(m)
    _rotors(m)
    m.move("root", y=h * 0.13 * m.a * m.wave(), x=0.1 * h * m.a * m.wave(0.25))
    m.turn("body", Z, -9 * m.a * m.wave(0.25))
    m.turn("body", X, 6 * m.a * m.wave(0.3))
    for wing in m.limbs("wing"):
        m.bend(wing, Z, lambda d, w=wing: w.side * 3 * m.wave(0.2 + d))


def take_off(m: Animator) -> None:
    """Up into the air and down again."""
    up = m.rise()
    _rotors(m)
    m.move("root", y=_height(m) * 0.75 * m.a**0.7 * up)
    m.turn("body", X, -14 * m.a * np.sin(2 * np.pi * m.p))


def sail(m: Animator) -> None:
    """On waves: pitch and roll out of step, sails and flags follow."""
    h = _height(m)
    m.turn("body", X, 9 * m.a * m.wave())
    m.turn("body", Z, 9 * m.a * m.wave(0.3))
    m.move("root", y=0.05 * h * m.a * m.wave(0.2, 1))
    _rotors(m, 2)
    for limb in m.limbs("sail"):
        m.bend(limb, Y, lambda d: 16 * m.a * m.wave(0.35 + d))
    for limb in m.limbs("flag"):
        m.bend(limb, Y, lambda d: 40 * m.wave(d), lag=0.15)


def open_(m: Animator) -> None:
    """Lids, jaws, petals, doors and tipping beds."""
    how = m.rise() ** 0.8
    for lid in m.limbs("lid"):
        m.turn(lid.joints[0], lid.axis, -78 * m.a**0.4 * how)
    for bed in m.limbs("bed"):
        m.turn(bed.joints[0], X, -34 * m.a**0.5 * how)
    for petal in m.limbs("petal"):
        m.bend(petal, petal.axis, lambda d: 66 * m.a**0.3 * (1 - how))
    for limb in m.limbs("shell"):
        m.turn(limb.joints[0], Z, limb.side * 52 * m.a**0.4 * how)
    m.turn("root", Z, 2 * m.wave(0, 2))


def rotate(m: Animator) -> None:
    """Machines do what they were built for: sails, cabs and rotors turn."""
    for rotor in m.limbs("rotor"):
        m.turn(rotor.joints[0], rotor.axis, m.direction * 360.0 * m.cycles * m.u)
    m.turn("root", Z, 2.5 * m.a * m.wave())
    m.turn("root", X, 2.5 * m.a * m.wave(0.25))
    for limb in m.limbs("turret"):
        m.turn(limb.joints[0], Y, 62 * m.a**0.6 * m.wave())
    for limb in m.limbs("hook"):
        m.bend(limb, Z, lambda d: 16 * m.a * m.wave(0.2))


def dig(m: Animator) -> None:
    """Boom, stick and bucket (or a crane's jib and hook) reach down and come up."""
    for boom in m.limbs("boom"):
        angles = (20 * m.wave(), 34 * m.wave(0.18), 44 * m.wave(0.32))
        for joint, angle in zip(boom.joints, angles, strict=False):
            m.turn(joint, X, m.a**0.7 * angle)
    for limb in m.limbs("turret"):
        m.turn(limb.joints[0], Y, 16 * m.a * m.wave(0.25))


def pulse(m: Animator) -> None:
    """A jellyfish's beat: the bell closes, the body shoots up."""
    q = m.rise()
    m.size("body", 1 - 0.24 * m.a**0.7 * q, 1 + 0.2 * m.a**0.7 * q, 1 - 0.24 * m.a**0.7 * q)
    m.move("root", y=0.16 * _height(m) * m.a * m.wave(0.28))
    for limb in m.limbs("tentacle"):
        m.bend(limb, limb.axis, lambda d: 42 * m.a**0.7 * m.wave(0.25 + d), lag=0.12)


MOTIONS = {
    "spin": spin, "bounce": bounce, "hop": hop, "sway": sway, "rock": rock, "wobble": wobble, "squash": squash,
    "grow": grow, "idle": idle, "float": float_, "flip": flip, "drive": drive, "wheelie": wheelie, "roll": roll,
    "fly": fly, "take off": take_off, "sail": sail, "open": open_, "rotate": rotate, "dig": dig, "pulse": pulse,
}  # fmt: skip
