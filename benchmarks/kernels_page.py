"""Write docs/kernels.md from benchmarks/results/kernels.json, so that no figure is typed by hand.

python benchmarks/kernels_page.py --out docs/kernels.md
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import tyro
from tables import RESULTS, table

from orbit4d.files import atomic_path

BAR_TWO_THREADS, BAR_HEXPLANE = 1.7, 6.0
FLOOR = {"forward": 25, "backward": 45}
"""Cycles per 16 pixels that the inner loops alone should need with AVX-512: an estimate."""


@dataclass(kw_only=True)
class Arguments:
    report: Path = RESULTS / "kernels.json"
    out: Path = Path("docs/kernels.md")


def main(arguments: Arguments) -> None:
    text = page(json.loads(arguments.report.read_text()))
    with atomic_path(arguments.out) as temporary:
        temporary.write_text(text)


def page(report: dict) -> str:
    cells = report["rasteriser"]
    hardware, load = report["hardware"], report["load_average"][0]
    cores = hardware["cores"]
    return f"""# The CPU kernels

Written by `python benchmarks/kernels_page.py` from `benchmarks/results/kernels.json`; `kernels.py` says what is measured.
Measured {report["date"]} on {cores} cores of {hardware["cpu"]} with {report["instruction_set"]}, at a load average of {load}.
Above {cores} other work took part of the cores: wall-clock times are then too long and the gain of a second thread too small.

## How the rasteriser works

1. **Project** (`project.inl`): 16 Gaussians at a time, camera coordinates, the 2D covariance, its inverse, and the box of pixels
   where alpha can reach 1/255. Everything a pixel needs of a Gaussian is one cache line (`Splat`).
2. **Order** (`binning.cpp`): a radix sort by depth, and at the same time the count of Gaussians over each tile of 16 x 16 pixels.
3. **Entries**: every tile's list from near to far. Bands of tile rows run in parallel; each entry also names the record that the
   way back will write.
4. **Forward** (`tile.inl`): a tile's pixels stay in the first-level cache. Of each Gaussian only the rows, and in a row only the
   columns, of its ellipse are visited; a vector is 8 columns of 2 rows. Tiles stop when no pixel lets light through.
5. **Backward**: the same walk from near to far. What lies behind a Gaussian is the final image minus what came so far, so nothing
   is stored per pixel and pair. The ten sums of each (tile, Gaussian) go to a record of their own.
6. **Chain rule** (`project.inl`): records are added per Gaussian in tile order, then carried back to the parameters.

Nothing is accumulated atomically: results do not depend on the number of threads. Colours of more than three channels walk
steps 4 to 6 once for every three.

## Time

One camera, forward and backward, milliseconds. Bar for the gain of a second thread: {BAR_TWO_THREADS} in each row.

{table(["Gaussians", "side", "forward + backward", "forward", "gain of a second thread"], [_times(c) for c in cells])}

Where one thread's processor time goes, milliseconds:

{table(["Gaussians", "side", *STEPS], [_steps(c) for c in cells])}

## Pairs of a pixel and a Gaussian

*Listed* pairs are in tile lists; of *evaluated* ones alpha is computed; *contributing* ones change a pixel. *Vectors an entry*:
how many times 16 pairs are evaluated for one Gaussian in one tile; where they are few, finding its rows and columns and adding up
its ten sums cost more than the pixels do. Cycles are of the nominal clock, per 16 evaluated pairs, everything in the step
included; the inner loops alone should need about {FLOOR["forward"]} forward and {FLOOR["backward"]} backward.

{table(["Gaussians", "side", *PAIRS], [_pairs(c) for c in cells])}

## Against PyTorch

Forward and backward, taken in turns. The bar for the ST-HexPlane at 10,000 points is {BAR_HEXPLANE:.0f} times.

{table(["", "ms", "PyTorch ms", "ratio"], _ratios(report))}

The rasteriser's PyTorch twin, which tests compare it with, takes {cells[0]["twin_ratio"]} times the processor time
in the first cell.
"""


STEPS = {
    "project": "project",
    "order": "order",
    "entries": "entries",
    "forward": "forward",
    "backward": "backward",
    "chain rule": "chain_rule",
}
PAIRS = [
    "listed, millions",
    "evaluated, millions",
    "contributing",
    "vectors an entry",
    "evaluated a second: forward, backward",
    "cycles per 16: forward, backward",
]


def _times(cell: dict) -> list[object]:
    return [cell["gaussians"], cell["size"], cell["ms"], cell["ms_forward"], cell["two_threads"]]


def _steps(cell: dict) -> list[object]:
    return [cell["gaussians"], cell["size"], *(f"{cell['profile']['ms'][name]:.2f}" for name in STEPS.values())]


def _pairs(cell: dict) -> list[object]:
    p = cell["profile"]
    rates = ", ".join(f"{p['evaluated_per_second'][k] / 1e6:.0f} M" for k in FLOOR)
    cycles = ", ".join(f"{p['cycles_per_16_pixels'][k]:.0f}" for k in FLOOR)
    millions = (f"{p[k] / 1e6:.2f}" for k in ("listed", "evaluated"))
    vectors = (p["evaluated"] / 16) / (p["listed"] / 256)
    return [
        cell["gaussians"],
        cell["size"],
        *millions,
        f"{p['contributing_share']:.0%}",
        f"{vectors:.1f}",
        rates,
        cycles,
    ]


def _ratios(report: dict) -> list[list[object]]:
    rows = [(f"ST-HexPlane, {r['points']} points x {r['times']} times", r) for r in report["hexplane"]]
    rows += [
        (f"spherical harmonics, {r['gaussians']} Gaussians x {r['views']} views", r)
        for r in report["spherical_harmonics"]
    ]
    return [[title, r["ms"], r["torch_ms"], r["torch_ratio"]] for title, r in rows]


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
