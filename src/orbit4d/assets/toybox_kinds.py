"""The five kinds of toys: how each is put together. All sizes are in glTF units, y up, facing +z."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .toybox_shapes import Builder, Color, Paint, plain, rotation

Rng = np.random.Generator
_EYE, _WHITE = np.array([0.02, 0.02, 0.025]), np.array([0.85, 0.85, 0.85])


def _painter(pattern: str, second: Color, rng: Rng) -> Paint:
    """Vertex colours over the unit shape: stripes along z, spots around random directions, or a lighter belly."""
    frequency, spots = rng.uniform(6, 9), rng.normal(size=(9, 3))
    spots /= np.linalg.norm(spots, axis=1, keepdims=True)

    def paint(unit: np.ndarray, color: Color) -> np.ndarray:
        match pattern:
            case "striped":
                mask = np.sin(frequency * unit[:, 2] + 0.5) > 0.25
            case "spotted":
                mask = (unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-9) @ spots.T).max(1) > 0.93
            case "two-tone":
                mask = unit[:, 1] < -0.15
            case _:
                mask = np.zeros(len(unit), bool)
        return np.where(mask[:, None], second, color)

    return paint


def _eyes(b: Builder, joint: int, at: tuple[float, float, float], radius: float, *, white: bool) -> None:
    for side in (-1, 1):
        x, y, z = side * at[0], at[1], at[2]
        if white:
            b.add(joint, (x, y, z), (radius, radius, radius), _WHITE)
            b.add(
                joint, (x + side * 0.15 * radius, y, z + 0.6 * radius), (0.6 * radius, 0.6 * radius, 0.6 * radius), _EYE
            )
        else:
            b.add(joint, (x, y, z), (radius, radius, radius), _EYE)


def quadruped(rng: Rng, main: Color, second: Color, pattern: str) -> tuple[Builder, str]:
    b, paint = Builder(), _painter(pattern, second, rng)
    length, height, width = rng.uniform(0.38, 0.55), rng.uniform(0.3, 0.5), rng.uniform(0.16, 0.24)
    head, neck = rng.uniform(0.15, 0.21), rng.uniform(0.05, 0.25)
    body_y = height + width
    root = b.joint("root", -1, (0, body_y, 0))
    b.add(root, (0, body_y, 0), (width, width * 0.95, length), main, paint=paint)
    head_at = (0, body_y + width * 0.6 + neck + head * 0.4, length + head * 0.5)
    hj = b.joint("head", root, (0, body_y + width * 0.4, length * 0.75))
    b.add(
        root,
        (0, body_y + width * 0.5 + neck * 0.5, length * 0.85),
        (width * 0.55, neck * 0.6 + width * 0.6, width * 0.55),
        main,
        turn=rotation(x=25),
        blend=hj,
    )
    b.add(hj, head_at, (head, head * 0.95, head * 1.05), main)
    b.add(hj, (0, head_at[1] - head * 0.3, head_at[2] + head * 0.95), (head * 0.5, head * 0.42, head * 0.6), second)
    b.add(hj, (0, head_at[1] - head * 0.12, head_at[2] + head * 1.5), (head * 0.16, head * 0.14, head * 0.14), _EYE)
    _eyes(b, hj, (head * 0.5, head_at[1] + head * 0.3, head_at[2] + head * 0.75), head * 0.17, white=False)
    pointed = rng.random() < 0.5
    for side in (-1, 1):
        ear = (head * 0.28, head * rng.uniform(0.4, 0.7), head * 0.16)
        b.add(
            hj,
            (side * head * 0.6, head_at[1] + head * 1.05, head_at[2] - head * 0.1),
            ear,
            main,
            shape="cone" if pointed else "round",
            turn=rotation(z=-side * 14),
        )
    thick = rng.uniform(0.05, 0.085)
    for name, x, z in (("fl", -1, 1), ("fr", 1, 1), ("bl", -1, -1), ("br", 1, -1)):
        top = (x * width * 0.65, body_y - width * 0.3, z * length * 0.68)
        leg = b.joint(f"leg_{name}", root, top)
        b.add(leg, (top[0], top[1] / 2 + 0.02, top[2]), (thick, top[1] / 2, thick * 1.15), main, shape="soft")
        b.add(leg, (top[0], 0.035, top[2] + thick * 0.4), (thick * 1.2, 0.04, thick * 1.6), second)
    t = b.joint("tail", root, (0, body_y + width * 0.3, -length * 0.9))
    size = rng.uniform(0.12, 0.28)
    b.add(
        t, (0, body_y + width * 0.3 + size * 0.4, -length - size * 0.6), (0.05, 0.05, size), main, turn=rotation(x=35)
    )
    return b, str(rng.choice(["quadruped", "four-legged animal", "dog-like animal"]))


def bird(rng: Rng, main: Color, second: Color, pattern: str) -> tuple[Builder, str]:
    b, paint = Builder(), _painter(pattern, second, rng)
    size, head, span = rng.uniform(0.24, 0.32), rng.uniform(0.15, 0.21), rng.uniform(0.34, 0.55)
    y = 0.3 + size
    root = b.joint("root", -1, (0, y, 0))
    b.add(root, (0, y, 0), (size * 0.85, size, size * 1.15), main, paint=paint)
    hj = b.joint("head", root, (0, y + size * 0.6, size * 0.5))
    hy, hz = y + size * 0.75 + head * 0.6, size * 0.75
    b.add(hj, (0, hy, hz), (head, head, head), main)
    b.add(
        hj,
        (0, hy - head * 0.1, hz + head * 1.2),
        (head * 0.28, head * rng.uniform(0.35, 0.7), head * 0.24),
        np.array([0.85, 0.4, 0.03]),
        shape="cone",
        turn=rotation(x=90),
    )
    _eyes(b, hj, (head * 0.55, hy + head * 0.25, hz + head * 0.72), head * 0.2, white=True)
    if rng.random() < 0.5:
        b.add(
            hj,
            (0, hy + head * 1.1, hz - head * 0.1),
            (head * 0.15, head * 0.45, head * 0.25),
            second,
            shape="cone",
            turn=rotation(x=-15),
        )
    for side, name in ((-1, "l"), (1, "r")):
        wing = b.joint(f"wing_{name}", root, (side * size * 0.7, y + size * 0.3, 0))
        b.add(
            wing,
            (side * (size * 0.7 + span * 0.85), y + size * 0.28, -0.05),
            (span, 0.035, size * 0.6),
            second,
            turn=rotation(y=side * 12),
        )
        leg = b.joint(f"leg_{name}", root, (side * size * 0.4, y - size * 0.7, 0))
        b.add(
            leg,
            (side * size * 0.4, (y - size * 0.7) / 2, 0),
            (0.028, (y - size * 0.6) / 2, 0.028),
            np.array([0.8, 0.38, 0.05]),
            shape="soft",
        )
        b.add(leg, (side * size * 0.4, 0.02, 0.06), (0.07, 0.025, 0.1), np.array([0.8, 0.38, 0.05]))
    t = b.joint("tail", root, (0, y, -size))
    b.add(t, (0, y + 0.05, -size * 1.45), (size * 0.4, 0.03, size * 0.6), second, turn=rotation(x=20))
    return b, "bird"


def fish(rng: Rng, main: Color, second: Color, pattern: str) -> tuple[Builder, str]:
    b, paint = Builder(), _painter(pattern, second, rng)
    length, height, width = rng.uniform(0.4, 0.6), rng.uniform(0.2, 0.38), rng.uniform(0.12, 0.2)
    root = b.joint("root", -1, (0, 0, 0))
    t = b.joint("tail", root, (0, 0, -length * 0.55))
    tip = b.joint("tail_tip", t, (0, 0, -length * 1.0))
    hj = b.joint("head", root, (0, 0, length * 0.4))
    b.add(root, (0, 0, 0), (width, height, length), main, paint=paint)
    b.add(t, (0, 0, -length * 0.9), (width * 0.5, height * 0.42, length * 0.3), main)
    for side in (-1, 1):
        b.add(
            tip,
            (0, side * height * 0.42, -length * 1.32),
            (width * 0.16, height * 0.55, length * 0.22),
            second,
            turn=rotation(x=side * 32),
        )
        fin = b.joint("fin_l" if side < 0 else "fin_r", root, (side * width * 0.8, -height * 0.2, length * 0.2))
        b.add(
            fin,
            (side * width * 1.4, -height * 0.3, length * 0.05),
            (width * 0.8, 0.025, length * 0.16),
            second,
            turn=rotation(z=-side * 25, y=side * 20),
        )
    b.add(
        root,
        (0, height * 1.05, -length * 0.1),
        (width * 0.16, height * rng.uniform(0.3, 0.5), length * 0.38),
        second,
        turn=rotation(x=-12),
    )
    b.add(hj, (0, -height * 0.1, length * 0.93), (width * 0.45, height * 0.16, length * 0.1), second)
    _eyes(b, hj, (width * 0.72, height * 0.25, length * 0.62), max(0.045, height * 0.2), white=True)
    return b, str(rng.choice(["fish", "toy fish", "tropical fish"]))


def humanoid(rng: Rng, main: Color, second: Color, pattern: str) -> tuple[Builder, str]:
    b, paint = Builder(), _painter(pattern, second, rng)
    skin = np.array([[0.75, 0.42, 0.26], [0.45, 0.22, 0.12], [0.85, 0.58, 0.42], [0.2, 0.1, 0.06]][rng.integers(4)])
    hair = np.array([[0.05, 0.03, 0.02], [0.4, 0.2, 0.05], [0.7, 0.5, 0.15], [0.5, 0.1, 0.03]][rng.integers(4)])
    legs, torso, head, wide = (
        rng.uniform(0.3, 0.45),
        rng.uniform(0.2, 0.27),
        rng.uniform(0.16, 0.24),
        rng.uniform(0.15, 0.21),
    )
    hip = legs
    root = b.joint("root", -1, (0, hip, 0))
    b.add(root, (0, hip + torso, 0), (wide, torso, wide * 0.7), main, shape="soft", paint=paint)
    hj = b.joint("head", root, (0, hip + 2 * torso, 0))
    hy = hip + 2 * torso + head * 0.9
    b.add(hj, (0, hy, 0), (head * 0.92, head, head * 0.92), skin)
    b.add(hj, (0, hy + head * 0.28, -head * 0.14), (head * 0.99, head * 0.82, head * 0.95), hair)
    _eyes(b, hj, (head * 0.36, hy + head * 0.02, head * 0.86), head * 0.12, white=False)
    b.add(hj, (0, hy - head * 0.2, head * 0.92), (head * 0.1, head * 0.1, head * 0.14), skin)
    arm = rng.uniform(0.16, 0.22)
    for side, name in ((-1, "l"), (1, "r")):
        aj = b.joint(f"arm_{name}", root, (side * (wide + 0.03), hip + torso * 1.75, 0))
        b.add(aj, (side * (wide + 0.055), hip + torso * 1.75 - arm, 0), (0.055, arm, 0.06), main, shape="soft")
        b.add(aj, (side * (wide + 0.055), hip + torso * 1.75 - 2 * arm, 0), (0.06, 0.06, 0.06), skin)
        lj = b.joint(f"leg_{name}", root, (side * wide * 0.5, hip + 0.02, 0))
        b.add(lj, (side * wide * 0.5, hip / 2 + 0.03, 0), (0.075, hip / 2, 0.08), second, shape="soft")
        b.add(lj, (side * wide * 0.5, 0.035, 0.04), (0.08, 0.045, 0.125), _EYE + 0.05)
    return b, str(rng.choice(["person", "little person", "doll"]))


def robot(rng: Rng, main: Color, second: Color, pattern: str) -> tuple[Builder, str]:
    b, paint = Builder(), _painter(pattern, second, rng)
    metal = np.array([0.35, 0.37, 0.4]) * rng.uniform(0.7, 1.4)
    legs, torso, head, wide = (
        rng.uniform(0.22, 0.38),
        rng.uniform(0.2, 0.3),
        rng.uniform(0.14, 0.2),
        rng.uniform(0.2, 0.3),
    )
    root = b.joint("root", -1, (0, legs, 0))
    b.add(root, (0, legs + torso, 0), (wide, torso, wide * 0.75), main, shape="box", paint=paint)
    b.add(root, (0, legs + torso * 1.1, wide * 0.74), (wide * 0.5, torso * 0.4, 0.03), second, shape="box")
    hj = b.joint("head", root, (0, legs + 2 * torso, 0))
    hy = legs + 2 * torso + head + 0.05
    b.add(hj, (0, legs + 2 * torso + 0.03, 0), (0.06, 0.06, 0.06), metal)
    b.add(hj, (0, hy, 0), (head * 1.25, head, head), main, shape="box")
    glow = np.array([[0.1, 0.75, 0.9], [0.95, 0.75, 0.1], [0.9, 0.12, 0.1]][rng.integers(3)])
    for side in (-1, 1):
        b.add(hj, (side * head * 0.5, hy + head * 0.1, head * 0.98), (head * 0.26, head * 0.26, 0.03), glow)
    b.add(hj, (0, hy - head * 0.5, head * 0.98), (head * 0.55, head * 0.12, 0.02), metal, shape="box")
    b.add(hj, (0, hy + head * 1.3, 0), (0.018, head * 0.4, 0.018), metal, shape="soft")
    b.add(hj, (0, hy + head * 1.75, 0), (0.045, 0.045, 0.045), glow)
    arm = rng.uniform(0.16, 0.24)
    for side, name in ((-1, "l"), (1, "r")):
        sx, sy = side * (wide + 0.05), legs + torso * 1.6
        aj = b.joint(f"arm_{name}", root, (sx, sy, 0))
        b.add(aj, (sx, sy, 0), (0.075, 0.075, 0.075), metal)
        b.add(aj, (sx + side * 0.02, sy - arm, 0), (0.055, arm, 0.06), second, shape="box")
        b.add(aj, (sx + side * 0.02, sy - 2 * arm, 0), (0.08, 0.06, 0.08), metal, shape="soft")
        lj = b.joint(f"leg_{name}", root, (side * wide * 0.5, legs, 0))
        b.add(lj, (side * wide * 0.5, legs / 2 + 0.02, 0), (0.07, legs / 2, 0.07), metal, shape="soft")
        b.add(lj, (side * wide * 0.5, 0.05, 0.03), (0.11, 0.06, 0.15), second, shape="box")
    return b, str(rng.choice(["robot", "toy robot", "tin robot"]))


BUILDERS: dict[str, Callable[[Rng, Color, Color, str], tuple[Builder, str]]] = {
    "quadruped": quadruped,
    "bird": bird,
    "fish": fish,
    "humanoid": humanoid,
    "robot": robot,
}
__all__ = ["BUILDERS", "bird", "fish", "humanoid", "plain", "quadruped", "robot"]
