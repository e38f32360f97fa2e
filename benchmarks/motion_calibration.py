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
CASE = ("asset", "animation", "steps", "floor", "size", "seed")


@dataclass(kw_only=True)
class Arguments:
    rows: Path = Path("out/motion_calibration.jsonl")
    """A line a finished construction; those are not done again."""
    out: Path | None = None
    steps: tuple[int, ...] = (200, 400, 800)
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
    rows = Rows(arguments.rows, key=CASE)
    wanted = []
    for number, (name, animation) in enumerate(CLIPS[: arguments.clips]):
        common = {"asset": name, "animation": animation, "size": arguments.size, "seed": arguments.seed}
        floors = (False, True)[: 2 if number < arguments.floors else 1]
        cases = [common | {"steps": steps, "floor": floor} for steps in arguments.steps for floor in floors]
        wanted += cases
        if all(case in rows for case in cases):
            continue
        orbit, static = true_clips(name, animation, size=arguments.size)
        truth = float(motion_magnitude(orbit.on_background(), static.on_background()))
        for case in cases:
            if case not in rows:
                clip, still = (replace(static, times=orbit.times), None) if case["floor"] else (orbit, static)
                found = measure(clip, still, steps=case["steps"], size=arguments.size, seed=arguments.seed)
                rows.add(case | {"true_m": truth} | found)
    report = {"benchmark": "motion of assets from true clips", "size": arguments.size, "seed": arguments.seed}
    write_report(arguments.out, report | summary([rows[case] for case in wanted]))


def true_clips(name: str, animation: str, *, size: int) -> tuple[OrbitalClip, OrbitalClip]:
    path = DATA / "assets" / name
    orbit, static = (render_clip(path, trajectory=t, animation=animation, size=size) for t in ("orbit", "static"))
    return replace(orbit, depth=None), replace(static, depth=None)


def summary(rows: list[dict]) -> dict:
    """One entry a number of steps: rank correlation of m with the true m, and with m of the longest constructions;
    `ratio_to_truth` and `floor_m` are the least, the median and the greatest."""
    by_steps: list[dict] = []
    longest = {_clip(r): r["m"] for r in rows if r["steps"] == max(r["steps"] for r in rows) and not r["floor"]}
    for steps in sorted({r["steps"] for r in rows}):
        moving = [r for r in rows if r["steps"] == steps and not r["floor"]]
        floor = [r["m"] for r in rows if r["steps"] == steps and r["floor"]]
        measured = [r["m"] for r in moving]
        by_steps.append(
            {
                "steps": steps,
                "clips": len(moving),
                "spearman": round(spearman([r["true_m"] for r in moving], measured), 4),
                "spearman_with_longest": round(spearman([longest[_clip(r)] for r in moving], measured), 4),
                "ratio_to_truth": _spread([r["m"] / r["true_m"] for r in moving], digits=3),
                "floor_m": _spread(floor, digits=6),
                "seconds": round(sum(r["seconds"] for r in moving) / len(moving), 1),
            }
        )
    return {"by_steps": by_steps, "rows": rows}


def _clip(row: dict) -> tuple[str, str]:
    return row["asset"], row["animation"]


def _spread(values: list[float], *, digits: int) -> list[float]:
    ordered = sorted(values)
    return [round(ordered[i], digits) for i in (0, len(ordered) // 2, -1)] if ordered else []


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
