"""Parts that several kinds share: eyes, legs, arms, wheels, hats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .clay import Clay, Color, Limb, Points

Rng = np.random.Generator
UP = np.array([0.0, 1.0, 0.0])


def pick(rng: Rng, *options):
    return options[int(rng.integers(len(options)))]


def chance(rng: Rng, share: float) -> bool:
    return bool(rng.random() < share)


def eyes(
    c: Clay,
    joint: str,
    at: Points,
    radius: float,
    *,
    white: bool = True,
    out: float = 0.35,
    color: Color = "black",
) -> None:
    """A pair at (+-x, y, z), looking forwards and, by `out`, sideways; the morph target "blink" shuts them."""
    for side in (-1, 1):
        centre = np.array([side * at[0], at[1], at[2]])
        gaze = np.array([side * out, 0.05, 1.0])
        gaze /= np.linalg.norm(gaze)
        made = []
        if white:
            made.append(c.ball(joint, tuple(centre), radius, "white", fine=1.3))
            made.append(c.ball(joint, tuple(centre + gaze * radius * 0.55), radius * 0.62, color, fine=1.2))
            shine = centre + gaze * radius * 1.08 + np.array([-0.22, 0.26, 0.0]) * radius
            made.append(c.ball(joint, tuple(shine), radius * 0.17, "white"))
        else:
            made.append(c.ball(joint, tuple(centre), (radius * 0.9, radius, radius * 0.9), color, fine=1.3))
            shine = centre + gaze * radius * 0.8 + np.array([-0.2, 0.35, 0.0]) * radius
            made.append(c.ball(joint, tuple(shine), radius * 0.24, "white"))
        for part in made:
            c.morph(
                part, "blink", lambda g, y=centre[1]: np.stack([g[..., 0], y + (g[..., 1] - y) * 0.1, g[..., 2]], -1)
            )


def smile(c: Clay, joint: str, at: Points, width: float, *, color: Color = "black") -> None:
    """A curved mouth on a face whose front is at z = at[2]."""
    points = [
        (at[0] + width * x, at[1] + width * 0.38 * x * x, at[2] - width * 0.3 * x * x) for x in (-1, -0.5, 0, 0.5, 1)
    ]
    c.tube(joint, points, [width * 0.1, width * 0.16, width * 0.18, width * 0.16, width * 0.1], color, up=(0, 0, 1))


def leg(
    c: Clay,
    name: str,
    hip: Points,
    ankle: Points,
    thick: Points,
    color: Color,
    *,
    side: float,
    phase: float,
    bend: float = -1.0,
    fold: float = 0.1,
    parent: str = "body",
    foot: tuple[Points, Color] | None = None,
    square: float = 0.0,
) -> Limb:
    """A leg of two bones and a foot in a plane x = const; `fold`: how far the knee stands out at rest, of its length."""
    top, tip = np.asarray(hip, dtype=float), np.asarray(ankle, dtype=float)
    length = float(np.linalg.norm(tip - top))
    knee = (top + tip) / 2 - np.array([0, 0, bend * fold * length])
    joints = [c.joint(f"leg_{name}_hip", top, parent)]
    joints.append(c.joint(f"leg_{name}_knee", knee, joints[0]))
    joints.append(c.joint(f"leg_{name}_foot", tip, joints[1]))
    radii = [thick[0], (thick[0] + thick[1]) / 2, thick[1]]
    made = c.tube(joints[:2], [top, knee, tip], radii, color, up=(0, 0, 1), soft=0.8, square=square, fine=1.1)
    made.grid[..., 1] = np.maximum(made.grid[..., 1], 0.004)  # thick legs end in a round cap below their tip
    if foot is not None:
        size, tint = foot
        c.ball(joints[2], (tip[0], size[1], tip[2] + size[2] * 0.45), size, tint, square=max(square, 0.2))
    return c.limb("leg", joints, tip, side=side, phase=phase, bend=bend)


def arm(
    c: Clay,
    name: str,
    shoulder: Points,
    hand: Points,
    thick: Points,
    color: Color,
    *,
    side: float,
    tint: Color,
    grip: float,
    square: float = 0.0,
    parent: str = "body",
) -> Limb:
    """An arm of two bones and a hand of radius `grip`."""
    top, tip = np.asarray(shoulder, dtype=float), np.asarray(hand, dtype=float)
    elbow = (top + tip) / 2 + np.array([side * 0.012, 0, -0.012])
    joints = [c.joint(f"arm_{name}_shoulder", top, parent)]
    joints.append(c.joint(f"arm_{name}_elbow", elbow, joints[0]))
    c.tube(
        joints, [top, elbow, tip], [thick[0], thick[0] * 0.92, thick[1]], color, up=(0, 0, 1), soft=0.8, square=square
    )
    c.ball(joints[1], tuple(tip), (grip * 0.9, grip, grip), tint, square=square)
    return c.limb("arm", joints, tip, side=side)


def wheel(c: Clay, name: str, at: Points, radius: float, width: float, *, hub: Color = "silver") -> None:
    """A wheel about x, drawn by its own node, with spokes so that its turning shows."""
    joint = c.joint(f"wheel_{name}", at)
    r, w = radius, width / 2
    outline = [
        (-w, 0.0, hub),
        (-w, r * 0.52),
        (-w, r * 0.54, "black"),
        (-w, r * 0.86),
        (-w * 0.8, r),
        (w * 0.8, r),
        (w, r * 0.86),
        (w, r * 0.54),
        (w, r * 0.52, hub),
        (w, 0.0),
    ]
    c.lathe(joint, tuple(at), (1, 0, 0), outline, rigid=True, columns=20)
    for angle in (0, 60, 120) if radius > 0.08 else ():
        spoke = np.array([0, np.cos(np.radians(angle)), np.sin(np.radians(angle))]) * r * 0.5
        x = np.array([np.sign(at[0]) * (w + 0.002), 0, 0])
        c.tube(
            joint,
            [at + x - spoke, at + x + spoke],
            [r * 0.085] * 2,
            "accent" if hub != "accent" else "white",
            rigid=True,
            up=(1, 0, 0),
            fine=0.6,
        )
    c.limb("wheel", [joint], at)


def rotor(
    c: Clay,
    name: str,
    at: Points,
    axis: np.ndarray,
    length: float,
    blades: int,
    *,
    color: Color = "accent",
    width: float = 0.16,
    hub: float = 0.05,
    parent: str = "body",
    pitch: float = 14,
) -> None:
    """Blades about `axis` at `at`, on their own node."""
    joint = c.joint(f"rotor_{name}", at, parent)
    centre = np.asarray(at, dtype=float)
    axis = np.asarray(axis, dtype=float)
    other = np.array([1.0, 0, 0]) if abs(axis[0]) < 0.5 else UP
    u = np.cross(axis, other)
    u /= np.linalg.norm(u)
    v = np.cross(axis, u)
    tilt = np.radians(pitch)
    for k in range(blades):
        a = 2 * np.pi * k / blades
        out = np.cos(a) * u + np.sin(a) * v
        flat = np.cos(tilt) * axis + np.sin(tilt) * np.cross(axis, out)
        w = length * width
        points = [centre + out * length * s for s in (0.02, 0.3, 0.75, 1.0)]
        c.tube(
            joint,
            points,
            [(w * 0.5, w * 0.16), (w * 0.9, w * 0.16), (w, w * 0.14), (w * 0.8, w * 0.12)],
            color,
            up=tuple(flat),
            rigid=True,
            cap=0.6,
        )
    c.ball(joint, tuple(centre + axis * hub * 0.2), hub, "silver", rigid=True)
    c.limb("rotor", [joint], centre, axis=axis)


def hat(c: Clay, rng: Rng, joint: str, at: Points, radius: float, *, kinds: Sequence[str] = ()) -> None:
    """One of several hats on a head whose top is at `at` and whose radius is `radius`."""
    kind = pick(rng, *(kinds or ("top hat", "party hat", "cap", "crown", "wizard hat", "bow")))
    r, y = radius, UP
    tint = pick(rng, "accent", "second")
    x, top, z = at
    if kind == "top hat":
        outline = [
            (-0.02 * r, 0),
            (-0.02 * r, r * 0.98),
            (0.06 * r, r * 0.98),
            (0.07 * r, r * 0.62),
            (0.25 * r, r * 0.62, "white"),
            (0.27 * r, r * 0.61, "black"),
            (0.95 * r, r * 0.66),
            (0.96 * r, 0),
        ]
        c.lathe(joint, (x, top - 0.16 * r, z), tuple(y), outline, "black")
        return c.has("top hat", "black")
    if kind in ("party hat", "wizard hat"):
        brim = 1.25 if kind == "wizard hat" else 0.62
        tall = 1.5 if kind == "wizard hat" else 1.15
        outline = [
            (0, 0),
            (0, r * brim),
            (0.06 * r, r * brim),
            (0.09 * r, r * 0.62),
            (tall * r * 0.5, r * 0.34),
            (tall * r, 0.02 * r),
            (tall * r + 0.01, 0),
        ]
        c.lathe(joint, (x, top - 0.22 * r, z), (0, 1, -0.12), outline, tint)
        c.ball(
            joint,
            (x, top + (tall - 0.2) * r, z - 0.12 * tall * r),
            0.13 * r,
            "gold" if kind == "wizard hat" else "white",
        )
        return c.has(kind, tint)
    if kind == "cap":
        c.ball(joint, (x, top - 0.34 * r, z), (r * 0.98, r * 0.55, r * 1.0), tint)
        c.ball(joint, (x, top - 0.3 * r, z + r * 0.95), (r * 0.66, r * 0.08, r * 0.55), tint, square=0.2)
        return c.has("cap", tint)
    if kind == "crown":
        c.lathe(
            joint,
            (x, top - 0.18 * r, z),
            tuple(y),
            [(0, 0), (0, r * 0.6), (0.36 * r, r * 0.68), (0.37 * r, r * 0.5), (0.1 * r, 0)],
            "gold",
        )
        for k in range(6):
            a = np.pi * k / 3
            p = np.array([np.cos(a), 0, np.sin(a)]) * r * 0.62
            c.cone(
                joint,
                (x + p[0], top + 0.1 * r, z + p[2]),
                (x + p[0] * 1.12, top + 0.5 * r, z + p[2] * 1.12),
                r * 0.16,
                "gold",
            )
        return c.has("crown", "gold")
    for side in (-1, 1):  # a bow
        c.ball(joint, (x + side * 0.32 * r, top + 0.06 * r, z + 0.1 * r), (0.3 * r, 0.24 * r, 0.12 * r), tint)
    c.ball(joint, (x, top + 0.04 * r, z + 0.14 * r), 0.13 * r, tint)
    return c.has("bow", tint)


def backpack(c: Clay, legs: float, torso: float, wide: float, tint: str) -> None:
    """A backpack on a torso that starts at the height `legs`."""
    c.ball("body", (0, legs + torso * 0.6, -wide * 1.0), (wide * 0.78, torso * 0.36, wide * 0.5), tint, square=0.35)
    c.ball("body", (0, legs + torso * 0.48, -wide * 1.45), (wide * 0.5, torso * 0.16, wide * 0.16), tint, square=0.35)
