"""What makes samples follow the requested motion: plain guidance, guidance on motion alone, a wider scale.

    python benchmarks/motion_knobs.py --weights DIR --work out/motion_knobs --out benchmarks/results/motion_knobs.json

Without constructions, so cheap: m of a sampled orbit against the sampled static orbit of the same seed and prompt, over levels
of `motion`, for each variant; Spearman's correlation per prompt as in motion_control.py, and how far m spreads (its logarithm at
level 1 less that at level 0, beside what the training set's quantiles ask for). Choose by it, then measure the choice on assets.
A finished (variant, prompt, level) is a line of WORK/rows.jsonl and is not done again.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro
from prompts import choose_prompts, prompts_by_kind
from rows import Rows
from shared import write_report

from orbit4d.clip import OrbitalClip
from orbit4d.diffusion.pipeline import Orbit4DPipeline
from orbit4d.evaluate.metrics import motion_magnitude
from orbit4d.evaluate.motion import spearman
from orbit4d.evaluate.resampling import bootstrap_interval


@dataclass(frozen=True)
class Variant:
    scale: float = 2.0
    weight_3d: float = 0.5
    on_motion: float = 0.0
    """Weight of guidance on motion alone."""
    stretch: float = 1.0
    """What the standardised log m is multiplied by before the network is told it."""


VARIANTS = {
    "default": Variant(),
    "no guidance": Variant(scale=1.0, weight_3d=0.0),
    "no 3D term": Variant(weight_3d=0.0),
    "plain 4": Variant(scale=4.0, weight_3d=0.0),
    "on motion 1": Variant(on_motion=1.0),
    "on motion 3": Variant(on_motion=3.0),
    "on motion 6": Variant(on_motion=6.0),
    "stretch 1.5": Variant(stretch=1.5),
    "stretch 1.5, on motion 3": Variant(stretch=1.5, on_motion=3.0),
}
CASE = ("weights", "variant", "prompt", "level", "seed", "steps")


@dataclass(kw_only=True)
class Arguments:
    work: Path = Path("out/motion_knobs")
    """Folder of rows.jsonl; an interrupted run is taken up from it."""
    out: Path | None = None
    """JSON report; printed only when left out."""
    weights: Path | None = None
    """Another model; the built-in one when left out."""
    variants: tuple[str, ...] = tuple(VARIANTS)
    count: int = 6
    """How many prompts, chosen as in motion_control.py."""
    choice_seed: int = 0
    levels: int = 4
    """Evenly from 0 to 1."""
    steps: int = 12
    """Sampling steps."""
    seed: int = 0


@contextmanager
def stretched(pipe: Orbit4DPipeline, factor: float) -> Iterator[None]:
    """Within, the network is told the standardised log m times `factor`."""

    def changed(network: Any, inputs: tuple) -> tuple:
        x, levels, conditions = inputs
        motion = None if conditions.motion is None else conditions.motion * factor
        return x, levels, replace(conditions, motion=motion)

    handle = pipe.denoiser.register_forward_pre_hook(changed)
    try:
        yield
    finally:
        handle.remove()


def sample(pipe: Orbit4DPipeline, variant: Variant, *, level: float | None, case: dict[str, Any]) -> OrbitalClip:
    """The moving orbit at `level`; None: the static orbit."""
    with stretched(pipe, variant.stretch):
        return pipe(
            prompt=case["prompt"],
            motion=level,
            static=level is None,
            guidance_scale=variant.scale,
            guidance_3d=variant.weight_3d,
            guidance_motion=variant.on_motion,
            steps=case["steps"],
            seed=case["seed"],
            progress=False,
        )


def main(arguments: Arguments) -> None:
    pipe = Orbit4DPipeline.from_pretrained(arguments.weights)
    prompts = choose_prompts(prompts_by_kind(pipe.motion), count=arguments.count, seed=arguments.choice_seed)
    levels = [round(i / (arguments.levels - 1), 6) for i in range(arguments.levels)]
    rows = Rows(arguments.work / "rows.jsonl", key=CASE)
    common = {"weights": pipe.weights_hash, "seed": arguments.seed, "steps": arguments.steps}
    wanted = []
    for prompt in prompts:
        for name in arguments.variants:
            cases = [common | {"variant": name, "prompt": prompt, "level": level} for level in levels]
            wanted += cases
            if all(case in rows for case in cases):
                continue
            # Against the clip of level 0 where that asks for none at all: a static orbit is another sample, and differs by itself.
            level = 0.0 if pipe.asked_magnitude(0.0) == 0 else None
            static = sample(pipe, VARIANTS[name], level=level, case=cases[0])
            for case in cases:
                if case not in rows:
                    same = case["level"] == level
                    clip = static if same else sample(pipe, VARIANTS[name], level=case["level"], case=case)
                    m = float(motion_magnitude(clip.on_background(), static.on_background()))
                    rows.add(case | {"m": m, "target_m": pipe.asked_magnitude(case["level"])})
    found = [rows[case] for case in wanted]
    report = {"benchmark": "motion knobs", **common, "prompts": prompts, "levels": levels}
    write_report(arguments.out, report | {"table": table(found), "rows": found})


def table(rows: list[dict]) -> list[dict]:
    """One entry a variant: over prompts, the mean rank correlation, the mean spread of log m, and by how much that is above the
    default's for the same prompt."""
    entries, default = [], {}
    for name in dict.fromkeys(row["variant"] for row in rows):
        correlations, spreads, asked = [], {}, []
        for prompt in dict.fromkeys(row["prompt"] for row in rows):
            line = sorted(
                (r for r in rows if (r["variant"], r["prompt"]) == (name, prompt)), key=lambda row: row["level"]
            )
            correlations.append(spearman([r["level"] for r in line], [r["m"] for r in line]))
            least = next(r for r in line if r["target_m"] > 0)  # level 0 may ask for none at all
            spreads[prompt] = math.log(max(line[-1]["m"], 1e-12) / max(least["m"], 1e-12))
            asked.append(math.log(line[-1]["target_m"] / least["target_m"]))
        found = bootstrap_interval(correlations)
        entry: dict[str, Any] = {"variant": name, "prompts": len(correlations)}
        entry |= {"spearman": found["mean"], "interval_95": [found["low"], found["high"]]}
        entry |= {
            "log_m_spread": round(statistics.mean(spreads.values()), 3),
            "asked": round(statistics.mean(asked), 3),
        }
        default = spreads if name == "default" else default
        over = bootstrap_interval([spreads[p] - default[p] for p in spreads if p in default and name != "default"])
        entry["spread_over_default"] = {"mean": over["mean"], "interval_95": [over["low"], over["high"]]}
        entries.append(entry)
    return entries


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
