"""How fast a dataset serves clips from shards: whole orbits, six random frames, orbits with depth; one process.

    python benchmarks/dataset_speed.py --out benchmarks/results/dataset_speed.json

Renders toys, shards them and reads them for `seconds` each way; the files are in the system's cache, as they are after a
first epoch over a set that fits into memory. `cpu_clips_per_second` leaves out what other programs took of the core.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro
from shared import write_report

from orbit4d.assets.toybox import write_toybox
from orbit4d.data.dataset import ShardDataset
from orbit4d.data.engine import render_assets
from orbit4d.data.plan import RenderPlan
from orbit4d.data.sample_set import open_samples
from orbit4d.data.selection import Selection
from orbit4d.data.shards import write_shards


@dataclass(kw_only=True)
class Arguments:
    out: Path | None = None
    """JSON report; printed only when left out."""
    sizes: tuple[int, ...] = (128, 256)
    orbits: int = 4
    """Of each sample: the more a sample holds, the more is read with each clip."""
    toys: int = 4
    seconds: float = 10.0


WAYS = {
    "orbit": (Selection(), False),
    "orbit with depth": (Selection(), True),
    "6 random frames of any orbit": (Selection(phase="random", frames=6), False),
}


def measure(shards: Path, selection: Selection, *, depth: bool, seconds: float) -> dict[str, float]:
    items = iter(ShardDataset(shards, selection=selection, depth=depth))
    next(items)
    clips, started, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - started < seconds:
        next(items)
        clips += 1
    return {
        "clips_per_second": round(clips / (time.perf_counter() - started), 1),
        "cpu_clips_per_second": round(clips / (time.process_time() - cpu), 1),
    }


def main(arguments: Arguments) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        write_toybox(Path(name, "toys"), count=arguments.toys, seed=0)
        for size in arguments.sizes:
            plan = RenderPlan(size=size, orbits=arguments.orbits)
            rendered, shards = Path(name, f"rendered_{size}"), Path(name, f"shards_{size}")
            render_assets([Path(name, "toys")], out=rendered, plan=plan)
            written = write_shards(rendered, out=shards, include_dropped=True)
            started, samples = time.perf_counter(), open_samples(shards)
            for _ in range(20):
                samples[0]
            read = (time.perf_counter() - started) / 20
            row = {"size": size, "frames_of_a_sample": len(plan.pairs()), "mib_of_a_sample": None}
            row["mib_of_a_sample"] = round(written.bytes / written.samples / 2**20, 2)
            row["milliseconds_to_reach_a_sample"] = round(1000 * read, 2)
            for way, (selection, depth) in WAYS.items():
                row[way] = measure(shards, selection, depth=depth, seconds=arguments.seconds)
            rows.append(row)
    write_report(
        arguments.out, {"benchmark": "clips from shards of rendered toys (RGBA and depth), one process", "rows": rows}
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments))
