"""One picture of what every row makes of the same held-out assets: the truth, then a line a row.

    python benchmarks/orster/samples.py --work out/orster --assets 25 --seed 0 --out benchmarks/results/orster_samples.png

Read from the samples.png of finished rows, all of one protocol: nothing is trained or sampled here. A row that is not there is
left out and named.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from comparison import groups, label, read_rows
from experiment import MOMENTS
from PIL import Image, ImageDraw
from recipes import ROWS
from shared_paths import add_benchmarks
from torch import Tensor

add_benchmarks()
from shared import save_sheet  # noqa: E402

from orbit4d.errors import InputError  # noqa: E402

MARGIN = 110
"""Pixels for a row's name."""


@dataclass(kw_only=True)
class Arguments:
    work: Path = Path("out/orster")
    assets: int = 25
    seed: int = 0
    steps: int = 1000
    budget: str = "steps"
    shown: tuple[int, ...] = (0, 1, 2)
    """Which of the saved held-out assets, by number."""
    out: Path = Path("benchmarks/results/orster_samples.png")


def main(a: Arguments) -> None:
    found = {name: read_sheet(a.work / "runs" / run / "samples.png") for name, run in runs_of(a).items()}
    if missing := [name for name in ROWS if name not in found]:
        print(f"not there: {', '.join(missing)}")
    save_sheet(side_by_side(found, shown=a.shown), a.out)


def runs_of(a: Arguments) -> dict[str, str]:
    """Row -> folder of its run. Raises InputError when there is none, or rows of several protocols."""
    asked = (a.assets, a.steps, a.budget)
    chosen = [g for s, g in groups(read_rows(a.work / "rows.jsonl")) if (s["assets"], s["steps"], s["budget"]) == asked]
    of_seed = [
        {label(r): r["run"] for r in g if r["seed"] == a.seed and label(r) in ROWS and "run" in r} for g in chosen
    ]
    found = [runs for runs in of_seed if runs]
    if len(found) != 1:
        raise InputError(f"{a.work}: {len(found)} protocols have rows of {asked}, seed {a.seed}, expected one")
    return {name: found[0][name] for name in ROWS if name in found[0]}


def read_sheet(file: Path) -> Tensor:
    """(assets, 2, 3, h, w): strips of MOMENTS moments, truth and sample, as `experiment.sheet` writes them."""
    with Image.open(file) as image:
        pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 255
    side = pixels.shape[2] // MOMENTS
    if pixels.shape[2] != MOMENTS * side or pixels.shape[1] % (2 * side):
        raise InputError(
            f"{file}: expected truth and samples in {MOMENTS} columns, got {tuple(pixels.shape[1:])} pixels"
        )
    return pixels.unflatten(1, (-1, 2, side)).permute(1, 2, 0, 3, 4)


def side_by_side(found: dict[str, Tensor], *, shown: tuple[int, ...]) -> list[Tensor]:
    """Named strips (3, h, MARGIN + w): of each asset the truth and what each row made of it. `found` as `read_sheet` gives them.
    Raises InputError for rows of different assets."""
    first_name, first = next(iter(found.items()))
    for name, strips in found.items():
        if strips.shape != first.shape or not torch.equal(strips[:, 0], first[:, 0]):
            raise InputError(f"{name}: its samples are of other assets than those of {first_name}")
    if max(shown) >= len(first):
        raise InputError(f"--shown: expected numbers below {len(first)}, got {max(shown)}")
    lines = []
    for asset in shown:
        lines.append(named("truth", first[asset, 0]))
        lines += [named(name, strips[asset, 1]) for name, strips in found.items()]
    return lines


def named(name: str, strip: Tensor) -> Tensor:
    """A strip (3, h, w) with its name on the left."""
    margin = Image.new("RGB", (MARGIN, strip.shape[1]), "white")
    ImageDraw.Draw(margin).text((4, strip.shape[1] // 2 - 6), name, fill="black")
    return torch.cat([torch.from_numpy(np.array(margin)).permute(2, 0, 1).float() / 255, strip], dim=2)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
