"""After how many steps does a student without transfer stop to learn? What fixes the equal steps of the experiment.

    python benchmarks/orster/pilot.py --work out/orster --steps 250 500 1000 2000 4000

Each number of steps is a run of its own, for the schedule ends with it; its EMA weights are scored by the flow-matching loss on
held-out assets, at the levels and under the noise of the experiment. Finished ones are lines of WORK/pilot.jsonl and are not run
again. Gains from one number to the next are paired asset by asset, with 95 % intervals.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from answers import conditions, losses
from comparison import gains, interval
from experiment import Arguments as Row
from experiment import folder_of, planned
from recipes import ROWS as RECIPES
from recipes import make_task, training_set
from shared_paths import add_benchmarks

add_benchmarks()
from rows import Rows  # noqa: E402
from shared import write_report  # noqa: E402

from orbit4d.diffusion.batches import LatentSet  # noqa: E402
from orbit4d.diffusion.denoiser import Denoiser  # noqa: E402
from orbit4d.diffusion.hub import BUILT_IN  # noqa: E402
from orbit4d.diffusion.trainer import fit  # noqa: E402

CASE = ("assets", "seed", "steps", "protocol")


@dataclass(kw_only=True)
class Arguments:
    work: Path = Path("out/orster")
    out: Path = Path("benchmarks/results/orster_pilot.json")
    assets: int = 25
    seed: int = 0
    steps: tuple[int, ...] = (250, 500, 1000, 2000, 4000)
    tolerance: float = 0.01
    """The curve is flat where the next number of steps makes the loss smaller by less than this part of it."""
    autoencoder: Path = BUILT_IN / "autoencoder"
    threads: int = 1


def main(a: Arguments) -> None:
    torch.set_num_threads(a.threads)
    rows = Rows(a.work / "pilot.jsonl", key=CASE)
    found = [trained(a, count, rows) for count in sorted(a.steps)]
    write_report(a.out, report(found, assets=a.assets, seed=a.seed, tolerance=a.tolerance))


def trained(a: Arguments, steps: int, rows: Rows) -> dict[str, Any]:
    """The row of one number of steps: held-out losses by asset."""
    row = Row(row="none", work=a.work, assets=a.assets, seed=a.seed, steps=steps, autoencoder=a.autoencoder)
    planned_case, config, held = planned(row)
    case = {name: planned_case[name] for name in CASE}
    if case not in rows:
        out = a.work / "pilot" / folder_of(planned_case)
        torch.manual_seed(a.seed)
        data = training_set(a.work, RECIPES["none"], a.assets)
        task = make_task("none", config, data, work=a.work, out=out, transfer={})
        task.model.load_state_dict(fit(task.model, task, out, config=config).values)
        rows.add(case | {"losses": held_out(task.model.eval(), held)})
    return rows[case]


@torch.inference_mode()
def held_out(model: Denoiser, held: LatentSet) -> dict[str, float]:
    """Asset -> flow-matching loss, the mean over the levels."""
    along, found = torch.arange(held.count), {}
    for clip, meta in enumerate(held.clips):
        truth = held.latents[held.index[clip, along, along]].float()[None]
        each = losses(model, truth, conditions(held, clip, along, along), clip, 0)
        found[str(meta["key"])] = round(sum(each.values()) / len(each), 5)
    return found


def report(rows: list[dict[str, Any]], *, assets: int, seed: int, tolerance: float) -> dict[str, Any]:
    """The curve over rows in order of steps, and the first number of steps after which it is flat; None when there is none."""
    curve: list[dict[str, Any]] = []
    for before, row in zip([None, *rows], rows, strict=False):
        values = {seed: row["losses"]}
        gain = None if before is None else interval(gains(values, {seed: before["losses"]}, higher=False))
        curve.append({"steps": row["steps"], "loss": interval(values), "gain": gain})
    flat = None
    for entry, after in itertools.pairwise(curve):
        if after["gain"]["mean"] < tolerance * entry["loss"]["mean"]:
            flat = entry["steps"]
            break
    what = "held-out flow-matching loss of the row `none` by number of steps"
    settings = {"assets": assets, "seed": seed, "tolerance": tolerance, "protocol": rows[0]["protocol"]}
    return {"what": what} | settings | {"curve": curve, "flattens_at": flat, "rows": rows}


if __name__ == "__main__":
    main(tyro.cli(Arguments))
