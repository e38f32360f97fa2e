"""One toy from a seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import InputError
from ..glb_writer import write_glb
from .animator import Animator
from .captions import Facts, caption_all
from .clay import Clay
from .kinds import KINDS, MOTIONS, UNSCALED, animate
from .model import meshes, skeleton
from .paint import draw_look

VERSION = 2
_AMPLITUDES = {"small": (0.55, 0.7), "normal": (0.85, 1.15), "large": (1.35, 1.6)}
_SECONDS = {"slow": (1.4, 2.0), "normal": (0.85, 1.35), "fast": (0.6, 0.95)}


@dataclass(kw_only=True)
class Toy:
    """One toy: its GLB bytes and what it is. `caption` is one of `captions`; all are true of it.

    `attributes`: sort, colors, pattern, textured, parts, speed, amplitude and seconds of the loop.
    """

    glb: bytes
    caption: str
    captions: list[str]
    kind: str
    motion: str
    seed: int
    triangles: int
    attributes: dict[str, Any] = field(default_factory=dict)


def make_toy(seed: int, *, kind: str | None = None, motion: str | None = None) -> Toy:
    """Make the toy of this seed; the same arguments give the same bytes.

    Raises InputError for a negative seed and for unknown kinds or motions.
    """
    check_seed(seed)
    rng = np.random.default_rng([VERSION, seed])
    kind, motion = _choose(rng, kind, motion)
    clay = sculpt(rng, kind, motion)
    speed = str(rng.choice(["slow", "normal", "fast"], p=[0.2, 0.55, 0.25]))
    size = str(rng.choice(["small", "normal", "large"], p=[0.15, 0.6, 0.25]))
    animator = animate(
        clay, motion, speed=speed, amplitude=float(rng.uniform(*_AMPLITUDES[size])),
        phase=float(rng.uniform(-0.07, 0.07)), direction=int(rng.choice([-1, 1])),
    )  # fmt: skip
    _blink(animator, rng, motion)
    seconds = round(float(rng.uniform(*_SECONDS[speed])), 3)
    look = clay.look
    pattern = look.pattern if any(p.painted for p in clay.parts) else "plain"
    facts = Facts(
        kind=kind, noun=clay.noun, motion=motion, main=look.names["main"], second=look.names["second"], pattern=pattern,
        features=clay.features, speed=speed, amplitude="normal" if motion in UNSCALED else size,
    )  # fmt: skip
    captions = caption_all(facts, rng)
    caption = captions[int(rng.integers(len(captions)))]
    surfaces = meshes(clay)
    attributes = {
        "sort": clay.noun,
        "colors": look.names,
        "pattern": pattern,
        "textured": any(s.texture is not None for m in surfaces for s in m.surfaces),
        "parts": [" ".join(reversed(f)).strip() for f in clay.features],
        "speed": speed,
        "amplitude": size,
        "seconds": seconds,
    }
    extras = {
        "caption": caption,
        "captions": captions,
        "kind": kind,
        "motion": motion,
        "seed": seed,
        "version": VERSION,
    }
    data = write_glb(
        skeleton(clay), surfaces, animator.tracks(), times=animator.u * seconds, animation=motion,
        extras=extras | attributes, morph_weights=animator.morphs,
    )  # fmt: skip
    return Toy(
        glb=data, caption=caption, captions=captions, kind=kind, motion=motion, seed=seed, attributes=attributes,
        triangles=sum(len(s.triangles) for m in surfaces for s in m.surfaces),
    )  # fmt: skip


def sculpt(rng: np.random.Generator, kind: str, motion: str) -> Clay:
    """The shape of a toy of this kind that can do this motion."""
    made = KINDS[kind]
    sorts = made.sorts_for(motion)
    sort = sorts[int(rng.integers(len(sorts)))]
    return made.build(rng, draw_look(rng, mains=made.sorts[sort], patterns=made.patterns), sort)


def _choose(rng: np.random.Generator, kind: str | None, motion: str | None) -> tuple[str, str]:
    names = list(KINDS)
    drawn_kind, drawn = names[int(rng.integers(len(names)))], int(rng.integers(1 << 30))
    kind = kind or drawn_kind
    if kind not in KINDS:
        raise InputError(f"toybox: expected a kind of {', '.join(KINDS)}, got {kind!r}")
    motion = motion or MOTIONS[kind][drawn % len(MOTIONS[kind])]
    if motion not in MOTIONS[kind]:
        raise InputError(f"toybox: a {kind} can {', '.join(MOTIONS[kind])}, got {motion!r}")
    return kind, motion


def _blink(animator: Animator, rng: np.random.Generator, motion: str) -> None:
    """Most toys with eyes blink once in a loop."""
    moment = float(rng.uniform(0.25, 0.75))
    if rng.random() < (0.9 if motion == "idle" else 0.5) and any("blink" in p.morphs for p in animator.clay.parts):
        animator.morph("blink", np.clip(1.6 - np.abs(animator.u - moment) * 28, 0, 1))


def check_seed(seed: int) -> None:
    if not 0 <= seed < 2**63:
        raise InputError(f"--seed: expected a number from 0 to 2^63 - 1, got {seed}")
