"""How short a construction may be, when all that is asked of it is how much its asset moves.

    python benchmarks/motion_calibration.py --out benchmarks/results/motion_calibration.json --rows out/calibration.jsonl

True clips of known motion magnitude m: animations of the vocabulary's assets, spread over the training set's range. Each is
constructed with its static orbit, in few steps and in many, and m is measured on the asset. Wanted is the fewest steps that rank
the clips as the truth does. `floor` is the asset of a static orbit whose times run, without another orbit to hold on to: it should
not move at all. Resumable.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import tyro
from rows import Rows
from shared import DATA, write_report

from orbit4d.clip import OrbitalClip
from orbit4d.data.render import render_clip
from orbit4d.evaluate.metrics import motion_magnitude
from orbit4d.evaluate.motion import asset_motion, spearman
from orbit4d.splat.fit import FitConfig, fit

CLIPS = [
    ("q_animals_Fox.glb", "Idle"),
    ("q_cute_fish_Clownfish.glb", "Swimming_Normal"),
    ("q_monster_Slime.glb", "Idle"),
    ("q_animals_Cow.glb", "Eating"),
    ("q_animals_Horse_White.glb", "Walk"),
    ("kaykit_Knight.glb", "Running_A"),
    ("q_platformer_game_Crab.glb", "Dance"),
    ("raylib_robot.glb", "Dance"),
    ("q_animals_Fox.glb", "Death"),
    ("q_monster_Bat.glb", "Death"),
]


@dataclass(kw_only=True)
class Arguments:
    rows: Path = Path("out/motion_calibration.jsonl")
    """A line a finished construction; those are not done again."""
    out: Path | None = None
    steps: tuple[int, ...] = (100, 200, 400)
    size: int = 128
    seed: int = 0
    clips: int = len(CLIPS)
    """How many of the clips."""
    floors: int = 3
    """Of how many of them the static orbit alone, too."""


def measure(orbit: OrbitalClip, static: OrbitalClip | None, *, steps: int, size: int, seed: int) -> dict:
    started = time.monotonic()
    config = replace(FitConfig.for_size(size, steps), seed=seed)
    result = fit(orbit, static_clip=static, config=config, progress=False)
    m = asset_motion(result.scene, orbit.cameras, orbit.times)["m"]
    return {"m": m, "seconds": round(time.monotonic() - started, 1)}


def main(arguments: Arguments) -> None:
    rows = Rows(arguments.rows, key=("asset", "animation", "steps", "floor", "size", "seed"))
    for number, (name, animation) in enumerate(CLIPS[: arguments.clips]):
        orbit, static = (
            replace(
                render_clip(DATA / "assets" / name, trajectory=t, animation=animation, size=arguments.size), depth=None
            )
            for t in ("orbit", "static")
        )
        truth = float(motion_magnitude(orbit.on_background(), static.on_background()))
        for steps in arguments.steps:
            for floor in (False, True)[: 2 if number < arguments.floors else 1]:
                key = {"asset": name, "animation": animation, "steps": steps, "floor": floor}
                key |= {"size": arguments.size, "seed": arguments.seed}
                if key in rows:
                    continue
                clip, still = (replace(static, times=orbit.times), None) if floor else (orbit, static)
                found = measure(clip, still, steps=steps, size=arguments.size, seed=arguments.seed)
                rows.add(key | {"true_m": truth} | found)
    write_report(arguments.out, {"benchmark": "motion of assets from true clips"} | summary(rows.all(), arguments))


def summary(rows: list[dict], arguments: Arguments) -> dict:
    """One entry a number of steps; `ratio_to_truth` and `floor_m` are the least, the median and the greatest."""
    wanted = [r for r in rows if r["size"] == arguments.size and r["seed"] == arguments.seed]
    by_steps = []
    for steps in arguments.steps:
        moving = [r for r in wanted if r["steps"] == steps and not r["floor"]]
        floor = [r for r in wanted if r["steps"] == steps and r["floor"]]
        true = [r["true_m"] for r in moving]
        if len(moving) < 2:
            continue
        by_steps.append(
            {
                "steps": steps,
                "clips": len(moving),
                "spearman": round(spearman(true, [r["m"] for r in moving]), 4),
                "ratio_to_truth": _spread([r["m"] / r["true_m"] for r in moving], digits=3),
                "floor_m": _spread([r["m"] for r in floor], digits=6),
                "seconds": round(sum(r["seconds"] for r in moving) / len(moving), 1),
            }
        )
    return {"size": arguments.size, "seed": arguments.seed, "by_steps": by_steps, "rows": wanted}


def _spread(values: list[float], *, digits: int) -> list[float]:
    ordered = sorted(values)
    return [round(ordered[i], digits) for i in (0, len(ordered) // 2, -1)] if ordered else []


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
