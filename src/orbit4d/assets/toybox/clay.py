"""The modelling clay of the toybox: joints, parts bound to them with smooth weights, and the limbs that motions move."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import shapes
from .paint import Look
from .shapes import Point

Color = str | np.ndarray
"""A role of the toy's look ("main", "second", "accent"), the name of a colour, or linear RGB: (3,) or (rows, 3)."""
Points = Any
"""(k, 3): an array, or a list of points, each a tuple, a list or an array."""


@dataclass(kw_only=True)
class Limb:
    """A chain of joints that motions may move: its world end `tip`, which side it is on (-1, 0, 1) and its gait phase.

    `bend` is the way its middle joint folds (about `axis`): -1 forwards like our knees, 1 backwards. `folded`:
    degrees by which a wing hangs down while it is not used.
    """

    joints: list[str]
    tip: np.ndarray
    side: float = 0.0
    phase: float = 0.0
    bend: float = -1.0
    axis: np.ndarray = field(default_factory=lambda: np.array([1.0, 0, 0]))
    folded: float = 0.0


@dataclass(kw_only=True)
class Part:
    """A grid of vertices (rows, columns, 3) in rest pose and what it is bound to, a list of (joint, weight of each row)."""

    grid: np.ndarray
    color: np.ndarray
    weights: list[tuple[str, np.ndarray]]
    painted: bool = False
    rigid: bool = False
    morphs: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def triangles(self) -> int:
        return 2 * (len(self.grid) - 2) * self.grid.shape[1]


class Clay:
    """Collects joints, parts and limbs in glTF space: y up, the toy faces +z, the ground is y = 0.

    Every toy has the joint `root` on the ground and `body`, its child, at the height given; whole-body motions use these.
    """

    def __init__(self, look: Look, *, body: float, detail: float = 1.0) -> None:
        self.look, self.detail = look, detail
        self.names: list[str] = []
        self.parents: list[str] = []
        self.world: dict[str, np.ndarray] = {}
        self.parts: list[Part] = []
        self.limbs: dict[str, list[Limb]] = {}
        self.features: list[tuple[str, str]] = []
        self.noun = ""
        self.joint("root", (0, 0, 0), parent="")
        self.joint("body", (0, body, 0), parent="root")

    def joint(self, name: str, at: Points, parent: str = "body") -> str:
        """A joint at the world position `at`."""
        self.names.append(name)
        self.parents.append(parent)
        self.world[name] = np.asarray(at, dtype=float)
        return name

    def chain(self, name: str, points: Points, parent: str = "body") -> list[str]:
        """Joints name_0, name_1, ... at `points`, each the child of the one before."""
        made: list[str] = []
        for i, point in enumerate(points):
            made.append(self.joint(f"{name}_{i}", point, made[-1] if made else parent))
        return made

    def limb(self, group: str, joints: list[str], tip: Points, **options) -> Limb:
        """Register a chain under `group` (leg, arm, wing, tail, neck, head, ...), which motions look up."""
        made = Limb(joints=joints, tip=np.asarray(tip, dtype=float), **options)
        self.limbs.setdefault(group, []).append(made)
        return made

    def has(self, feature: str, color: str = "") -> None:
        """Tell the captions of a visible part, and of its colour (a role or a name; "" when it is not worth a word)."""
        self.features.append((feature, self.look.names.get(color, color)))

    def ball(
        self, joint: str, at: Point, size: float | Sequence[float], color: Color, *, square: float = 0.0,
        turn: np.ndarray | None = None, paint: bool = False, rigid: bool = False, fine: float = 1.0,
        joints: Sequence[str] = (),
    ) -> Part:  # fmt: skip
        """A superellipsoid of half-sizes `size`; `joints`: several joints that share it along its own y axis."""
        sizes = np.broadcast_to(np.asarray(size, dtype=float), 3)
        rows, columns = self._fineness(float(sizes.mean()), fine * (1.7 if paint else 1.0), square)
        grid = shapes.ball(
            np.array(at), sizes, np.eye(3) if turn is None else turn, square=square, rows=rows, columns=columns
        )
        return self._add(grid, color, joints or (joint,), paint=paint, rigid=rigid)

    def tube(
        self, joints: str | Sequence[str], points: Points, radii: Sequence, color: Color, *,
        up: Point = (0, 0, 1), square: float = 0.0, cap: float = 1.0, paint: bool = False, rigid: bool = False,
        fine: float = 1.0, soft: float = 1.0,
    ) -> Part:  # fmt: skip
        """A rounded tube through `points`; each radius is a number or (half width, half thickness along `up`).

        Its rows are shared smoothly by `joints`, each of which takes over at its own position along the tube; `soft` is
        the width of the transition in units of the distance between joints.
        """
        line = np.asarray(points, dtype=float)
        sizes = np.array([np.broadcast_to(r, 2) for r in radii], dtype=float)
        span = float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())
        girth = float(sizes.max())
        rows, columns = self._fineness(max(girth, 0.05), fine * (1.5 if paint else 1.0), square)
        rows = int(np.clip(span / max(girth, 0.03) * rows * 0.3, 3 + 2 * len(line), 44))
        grid = shapes.tube(
            line, sizes, up=np.array(up, dtype=float), square=square, cap=cap, rows=rows, columns=columns
        )
        names = (joints,) if isinstance(joints, str) else joints
        return self._add(grid, color, names, paint=paint, rigid=rigid, soft=soft)

    def cone(self, joint: str, base: Point, tip: Point, radius: float, color: Color, **options) -> Part:
        """A pointed tube from `base` to `tip`."""
        middle = tuple((a + b) / 2 for a, b in zip(base, tip, strict=True))
        return self.tube(joint, [base, middle, tip], [radius, radius * 0.55, 0.004], color, **options)

    def lathe(
        self, joint: str, at: Point, axis: Point, outline: Sequence[tuple], color: Color = "main", *,
        paint: bool = False, rigid: bool = False, fine: float = 1.0, columns: int | None = None,
        joints: Sequence[str] = (),
    ) -> Part:  # fmt: skip
        """A body of revolution; `outline` rows are (distance along `axis`, radius) or (distance, radius, colour).

        Neighbouring points become crisp edges when they are close together; colours hold from their point on.
        """
        points = np.array([row[:2] for row in outline], dtype=float)
        steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
        count = np.maximum(1, np.round(steps / max(float(points[:, 1].max()), 1e-6) * (7 if paint else 3.5))).astype(
            int
        )
        pieces = [
            points[i] + (points[i + 1] - points[i]) * np.linspace(0, 1, n, endpoint=False)[:, None]
            for i, n in enumerate(count)
        ]
        rows = np.concatenate([*pieces, points[-1:]])
        if any(len(row) > 2 for row in outline):
            each, current = [], color
            for i, row in enumerate(outline):
                current = row[2] if len(row) > 2 else current
                each += [self.linear(current)] * (int(count[i]) if i < len(count) else 1)
            color = np.stack(each)
        columns = columns or self._fineness(float(points[:, 1].max()), fine * (1.7 if paint else 1.0), 0)[1]
        grid = shapes.lathe(np.array(at, dtype=float), np.array(axis, dtype=float), rows, columns=columns)
        return self._add(grid, color, joints or (joint,), paint=paint, rigid=rigid)

    def morph(self, part: Part, target: str, move: Callable[[np.ndarray], np.ndarray]) -> None:
        """A morph target of `part`: `move` maps rest positions (..., 3) to displaced ones."""
        part.morphs[target] = move(part.grid)

    def linear(self, color: Color) -> np.ndarray:
        return self.look.linear(color) if isinstance(color, str) else color

    def _fineness(self, size: float, fine: float, square: float) -> tuple[int, int]:
        """Rows and columns of a part of about this size: finer for larger ones and for those with edges."""
        scale = fine * self.detail * (1.25 if square else 1.0)
        columns = np.clip(scale * (9 + 34 * size), 8, 44)
        return max(7, round(columns * 0.75)), 2 * round(columns / 2)

    def _add(
        self, grid: np.ndarray, color: Color, joints: Sequence[str], *, paint: bool, rigid: bool, soft: float = 1.0
    ) -> Part:
        weights = self._share(grid, joints, soft) if len(joints) > 1 else [(joints[0], np.ones(len(grid)))]
        part = Part(grid=grid, color=self.linear(color), weights=weights, painted=paint, rigid=rigid)
        self.parts.append(part)
        return part

    def _share(self, grid: np.ndarray, joints: Sequence[str], soft: float) -> list[tuple[str, np.ndarray]]:
        """Each row's weights: joint i rules between its own place along the line and the next one's, blended smoothly."""
        line = grid.mean(1)
        length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
        places = np.array([length[np.linalg.norm(line - self.world[j], axis=1).argmin()] for j in joints])
        places = np.maximum.accumulate(places)
        gaps = np.diff(np.r_[places, length[-1]])
        taken = np.ones((len(joints) + 1, len(line)))
        taken[-1] = 0
        for i in range(1, len(joints)):
            width = max(soft * min(gaps[i - 1], max(gaps[i], gaps[i - 1] * 0.5)), 1e-6)
            x = np.clip((length - places[i]) / width + 0.5, 0, 1)
            taken[i] = x * x * (3 - 2 * x)
        # A later joint's share never exceeds an earlier one's, so that the differences are weights.
        taken = np.minimum.accumulate(taken, axis=0)
        return [(name, taken[i] - taken[i + 1]) for i, name in enumerate(joints)]
