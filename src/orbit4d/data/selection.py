"""Which (view, time) pairs of a sample make a clip: orbits, rows, columns and any others; and m, which compares two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import InputError
from .latent_set import LatentClip
from .plan import Pair
from .sample import Sample, on_white

Clip = Literal["orbit", "static", "front", "row", "column", "pairs", "all"]
CLIPS: tuple[Clip, ...] = ("orbit", "static", "front", "row", "column", "pairs", "all")


@dataclass(kw_only=True, frozen=True)
class Selection:
    """Which (view, time) pairs of a sample make a clip.

    Attributes:
        clip: ``orbit``, ``static`` (all views at the static time), ``front`` (the first camera, all times); ``row`` and
            ``column``: a random one of those rendered, all views at a time and all times of a view; ``pairs``: random
            ones of all that were rendered; ``all``.
        phase: of the orbit; ``random`` draws one of those rendered.
        frames: a random subset of so many, in the clip's order; None: all.
        lines: with ``row`` and ``column``: how many of them, one after the other, each of `frames`.
        explicit: with ``pairs``: exactly these, in this order.
    """

    clip: Clip = "orbit"
    phase: int | Literal["random"] = 0
    frames: int | None = None
    lines: int = 1
    explicit: tuple[Pair, ...] = ()

    def __post_init__(self) -> None:
        if self.clip not in CLIPS:
            raise InputError(f"selection: expected a clip of {', '.join(CLIPS)}, got {self.clip!r}")
        if self.phase != "random" and (not isinstance(self.phase, int) or self.phase < 0):
            raise InputError(f"selection: expected a phase from 0 or 'random', got {self.phase!r}")
        if (self.frames is not None and self.frames < 1) or self.lines < 1:
            raise InputError(f"selection: expected at least 1 frame and 1 line, got {self.frames}, {self.lines}")
        if self.explicit and (self.clip != "pairs" or self.frames is not None):
            raise InputError("selection: explicit pairs go with clip='pairs' and without frames")
        if self.clip == "pairs" and not self.explicit and self.frames is None:
            raise InputError("selection: clip='pairs' needs frames or explicit pairs; 'all' takes every pair")

    def pairs(self, sample: Sample | LatentClip, rng: np.random.Generator) -> list[Pair]:
        """The pairs of one sample, drawn with `rng`. Raises InputError where the sample does not have them."""
        match self.clip:
            case "orbit":
                orbits = sample_orbits(sample)
                phase = int(rng.integers(len(orbits))) if self.phase == "random" else self.phase
                if phase >= len(orbits):
                    raise InputError(f"{sample.key}: has {len(orbits)} orbits, no phase {phase}; render with more")
                chosen = [orbits[phase]]
            case "static":
                time = _index(sample, "static_time")
                chosen = [_line(sample, rows(sample), time, "static orbit")]
            case "front":
                chosen = [_line(sample, columns(sample), front_view(sample), "front clip")]
            case "row" | "column":
                found = rows(sample) if self.clip == "row" else columns(sample)
                if len(found) < self.lines:
                    raise InputError(
                        f"{sample.key}: has {len(found)} whole {self.clip}s, {self.lines} are asked for; "
                        f"render with more --{self.clip}s"
                    )
                picked = rng.choice(sorted(found), size=self.lines, replace=False)
                chosen = [found[int(line)] for line in picked]
            case "pairs" if self.explicit:
                chosen = [list(self.explicit)]
            case _:
                chosen = [sample.pairs]
        return [pair for line in chosen for pair in self._subset(line, sample, rng)]

    def _subset(self, line: list[Pair], sample: Sample | LatentClip, rng: np.random.Generator) -> list[Pair]:
        if self.frames is None:
            return line
        if self.frames > len(line):
            raise InputError(f"{sample.key}: has {len(line)} frames of {self.clip}, {self.frames} are asked for")
        return [line[i] for i in np.sort(rng.choice(len(line), size=self.frames, replace=False))]


def sample_orbits(sample: Sample | LatentClip) -> list[list[Pair]]:
    """The orbits of a sample, each in the order of time: as its metadata list them, else the diagonal of its grid."""
    stated = sample.meta.get("orbits")
    if stated:
        try:
            orbits = [[(int(i), int(j)) for i, j in orbit] for orbit in stated]
        except (TypeError, ValueError) as error:
            raise InputError(f"{sample.key}: expected lists of pairs as its `orbits`; render it again") from error
        if not all(orbits):
            raise InputError(f"{sample.key}: an orbit of its `orbits` is empty; render it again")
        return orbits
    if not has_diagonal(sample):
        raise InputError(f"{sample.key}: holds no orbit (its metadata list none, its diagonal is incomplete)")
    return [_diagonal(sample)]


def has_diagonal(sample: Sample | LatentClip) -> bool:
    """Whether every time was rendered from the view of its number, as an orbit would be."""
    return set(sample.pairs).issuperset(_diagonal(sample))


def _diagonal(sample: Sample | LatentClip) -> list[Pair]:
    views, times = len(sample.meta["camera_to_world"]), len(sample.meta["times"])
    return [(j % views, j) for j in range(times)]


def has_static_orbit(sample: Sample) -> bool:
    """Whether there is an orbit, and its views at the static time, so that m can be measured."""
    if not sample.meta.get("orbits") and not has_diagonal(sample):
        return False
    time, there = _index(sample, "static_time"), set(sample.pairs)
    return all((view, time) in there for view, _ in sample_orbits(sample)[0])


def front_view(sample: Sample | LatentClip) -> int:
    """The view that the front clip is seen from; 0 where the metadata do not name one. Raises InputError."""
    return _index(sample, "front_view")


def measured_motion(sample: Sample) -> float:
    """m of a sample: its first orbit against the same views at the static time, composited on white.

    Raises InputError when it lacks frames of either.
    """
    still_time = _index(sample, "static_time")
    total, orbit = 0.0, sample_orbits(sample)[0]
    for view, time in orbit:
        moving, still = (on_white(sample.rgba(pair)) for pair in ((view, time), (view, still_time)))
        total += float(np.square(moving - still).mean(dtype=np.float64))
    return total / len(orbit)


def rows(sample: Sample | LatentClip) -> dict[int, list[Pair]]:
    """time -> its pairs, of the times at which every view was rendered."""
    views, there = range(len(sample.meta["camera_to_world"])), set(sample.pairs)
    full = {j: [(i, j) for i in views] for j in sorted({j for _, j in there})}
    return {j: line for j, line in full.items() if there.issuperset(line)}


def columns(sample: Sample | LatentClip) -> dict[int, list[Pair]]:
    """view -> its pairs, of the views from which every time was rendered."""
    times, there = range(len(sample.meta["times"])), set(sample.pairs)
    full = {i: [(i, j) for j in times] for i in sorted({i for i, _ in there})}
    return {i: line for i, line in full.items() if there.issuperset(line)}


def _index(sample: Sample | LatentClip, name: str) -> int:
    """A time or view that the metadata may name; 0 where they do not."""
    value = sample.meta.get(name, 0)
    if not isinstance(value, int) or value < 0:
        raise InputError(f"{sample.key}: expected an index as its `{name}`, got {value!r:.40}; render it again")
    return value


def _line(sample: Sample | LatentClip, found: dict[int, list[Pair]], index: int, name: str) -> list[Pair]:
    if index not in found:
        raise InputError(f"{sample.key}: its {name} is not whole; render it, or select other clips")
    return found[index]
