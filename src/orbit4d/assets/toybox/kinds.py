"""The kinds of toys: how each is built and what it can do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from . import (
    aircraft,
    birds,
    boats,
    cars,
    dinosaurs,
    fish,
    insects,
    machines,
    motions,
    motions_body,
    motions_gestures,
    people,
    plants,
    playthings,
    quadruped_sorts,
    quadrupeds,
    robots,
    snakes,
    spiders,
    tentacled,
    trucks,
)  # fmt: skip
from .animator import Animator, Z
from .clay import Clay
from .paint import PATTERNS, Look

Build = Callable[[np.random.Generator, Look, str], Clay]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """`sorts`: what may come of it, with the colours that suit each; `only`: motions that just some sorts can do."""

    build: Build
    sorts: dict[str, tuple[str, ...]]
    motions: tuple[str, ...]
    only: dict[str, tuple[str, ...]] = field(default_factory=dict)
    patterns: tuple[str, ...] = PATTERNS

    def sorts_for(self, motion: str) -> tuple[str, ...]:
        return self.only.get(motion, tuple(self.sorts))


_FIRM = ("spin", "bounce", "hop", "rock", "sway", "wobble", "squash", "grow")

KINDS: dict[str, Kind] = {
    "quadruped": Kind(
        build=quadrupeds.quadruped, sorts=quadruped_sorts.MAINS,
        motions=("walk", "run", "jump", "nod", "shake", "look", "wag", "eat", "sit", "stretch", "bow", "sway", "spin",
            "bounce", "idle"),
    ),
    "bird": Kind(
        build=birds.bird, sorts=birds.BIRDS,
        motions=("flap", "glide", "walk", "run", "jump", "nod", "shake", "look", "eat", "bow", "stretch", "dance",
            "snap", "spin", "bounce", "idle"),
    ),
    "fish": Kind(
        build=fish.fish, sorts=fish.FISH,
        motions=("swim", "spin", "roll", "nod", "float", "flip", "attack", "sway", "rock", "wobble", "bounce", "idle"),
    ),
    "humanoid": Kind(
        build=people.humanoid, sorts=people.PEOPLE,
        motions=("walk", "run", "jump", "wave", "clap", "kick", "dance", "bow", "nod", "shake", "look", "sit",
            "stretch", "spin", "hop", "sway", "idle"),
    ),
    "robot": Kind(
        build=robots.robot, sorts=robots.ROBOTS,
        motions=("walk", "run", "wave", "nod", "shake", "look", "spin", "sway", "dance", "clap", "kick", "jump",
            "attack", "bounce", "hop", "idle"),
    ),
    "dinosaur": Kind(
        build=dinosaurs.dinosaur, sorts=dinosaurs.DINOSAURS, only={"flap": ("dragon",), "glide": ("dragon",)},
        motions=("walk", "run", "jump", "attack", "snap", "eat", "nod", "shake", "look", "wag", "flap", "glide",
            "sway", "spin", "bounce", "idle"),
    ),
    "insect": Kind(
        build=insects.butterfly, sorts=insects.FLYERS,
        motions=("flap", "glide", "float", "crawl", "nod", "shake", "look", "dance", "flip", "spin", "sway", "wobble",
            "bounce", "idle"),
    ),
    "spider": Kind(
        build=spiders.spider, sorts=spiders.CRAWLERS, only={"snap": ("crab", "scorpion")},
        motions=("crawl", "dance", "attack", "snap", "spin", "bounce", "hop", "rock", "sway", "wobble", "squash",
            "idle"),
    ),
    "snake": Kind(
        build=snakes.snake, sorts=snakes.SNAKES,
        only={"slither": ("snake", "worm"), "curl": ("snake", "worm"), "crawl": ("caterpillar",)},
        motions=("slither", "crawl", "curl", "nod", "shake", "look", "hop", "spin", "rock", "wobble", "bounce", "idle"),
    ),
    "octopus": Kind(
        build=tentacled.octopus, sorts=tentacled.TENTACLED, only={"look": ("octopus", "squid"), "nod": ("octopus", "squid")},
        motions=("swim", "pulse", "curl", "dance", "float", "spin", "look", "squash", "sway", "wobble", "bounce",
            "grow", "idle"),
    ),
    "car": Kind(build=cars.car, sorts=cars.CARS, motions=("drive", "wheelie", "flip", *_FIRM)),
    "truck": Kind(
        build=trucks.truck, sorts=trucks.TRUCKS, only={"open": ("truck",)},
        motions=("drive", "open", "wheelie", *_FIRM),
    ),
    "aeroplane": Kind(
        build=aircraft.aeroplane, sorts=aircraft.PLANES, only={"glide": ("aeroplane", "jet"), "roll": ("aeroplane", "jet")},
        motions=("fly", "glide", "roll", "flip", "take off", "float", "spin", "rock", "sway", "wobble", "bounce",
            "squash"),
    ),
    "helicopter": Kind(
        build=aircraft.helicopter, sorts={"helicopter": (), "drone": ("grey", "white", "orange")},
        motions=("fly", "take off", "rotate", "float", "spin", "rock", "sway", "wobble", "bounce", "hop", "squash"),
    ),
    "boat": Kind(
        build=boats.boat, sorts=boats.BOATS,
        motions=("sail", "float", "rock", "sway", "spin", "bounce", "hop", "wobble", "squash", "grow"),
    ),
    "flower": Kind(
        build=plants.flower, sorts=plants.FLOWERS,
        motions=("open", "nod", "shake", "look", "bow", "dance", "sway", "spin", "bounce", "hop", "wobble", "squash",
            "grow", "idle"),
    ),
    "tree": Kind(
        build=plants.tree, sorts=plants.TREES,
        motions=("sway", "bow", "dance", "spin", "bounce", "hop", "rock", "wobble", "squash", "grow"),
    ),
    "machine": Kind(
        build=machines.machine, sorts=machines.MACHINES, only={"dig": ("excavator",), "drive": ("excavator",)},
        motions=("rotate", "dig", "drive", *_FIRM),
    ),
    "chest": Kind(build=playthings.chest, sorts=playthings.CHESTS, motions=("open", "float", "flip", *_FIRM)),
    "lamp": Kind(
        build=playthings.lamp, sorts=playthings.LAMPS,
        motions=("nod", "shake", "look", "bow", "dance", "spin", "bounce", "hop", "sway", "rock", "wobble", "squash"),
    ),
    "slime": Kind(
        build=playthings.slime, sorts=playthings.SLIMES, only={"roll": ("ball",), "idle": ("slime", "ghost")},
        motions=("roll", "float", "flip", "idle", *_FIRM),
    ),
}  # fmt: skip
MOTIONS = {name: kind.motions for name, kind in KINDS.items()}
"""Kind -> the motions it can do."""
_MOVES: dict[str, Callable[[Animator], None]] = {**motions.MOTIONS, **motions_gestures.MOTIONS, **motions_body.MOTIONS}
CYCLES = {
    "run": (2, 2, 3), "walk": (1, 1, 2), "flap": (1, 2, 3), "wave": (1, 2, 3), "clap": (1, 2, 3), "shake": (1, 2, 3),
    "nod": (1, 2, 3), "wag": (1, 2, 3), "swim": (1, 2, 3), "crawl": (1, 2, 3), "drive": (1, 2, 3), "snap": (1, 2, 3),
    "pulse": (1, 2, 3), "dance": (1, 1, 2), "wobble": (1, 2, 3), "squash": (1, 2, 3), "slither": (1, 2, 3), "fly": (1, 1, 2),
    "hop": (1, 1, 1),
}  # fmt: skip
"""Motion -> repetitions in a loop when slow, normal and fast; (1, 1, 2) where not listed."""
_WINGS_OUT = ("flap", "glide", "stretch", "spin", "dance", "jump")
UNSCALED = ("spin", "flip", "rotate", "drive", "roll")
"""Motions whose size does not show, so that no caption speaks of it."""


def animate(clay: Clay, motion: str, *, speed: str, amplitude: float, phase: float, direction: int) -> Animator:
    """The keyframes of a motion; `speed` is slow, normal or fast."""
    cycles = CYCLES.get(motion, (1, 1, 2))[("slow", "normal", "fast").index(speed)]
    animator = Animator(clay, cycles=cycles, amplitude=amplitude, phase=phase, direction=direction)
    if motion not in _WINGS_OUT:
        for wing in animator.limbs("wing"):
            animator.turn(wing.joints[0], Z, -wing.side * wing.folded)
    _MOVES[motion](animator)
    return animator
