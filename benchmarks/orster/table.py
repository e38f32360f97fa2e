"""Gather finished rows into a report: means, paired gains over no transfer with intervals, plots.

    python benchmarks/orster/table.py --work out/orster --out benchmarks/results/orster.json

Intervals: 95 %, by resampling assets and seeds, both with replacement; gains are paired asset by asset and seed by seed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from recipes import ROWS, TEACHERS
from shared_paths import add_benchmarks

add_benchmarks()
from shared import write_report  # noqa: E402

from orbit4d.errors import InputError  # noqa: E402

DRAWS = 4000
FIGURES = {  # path in an asset's figures, True when higher is better
    "foreground dB": ("foreground_psnr", True),
    "ssim": ("ssim", True),
    "flow 0.7": ("loss/0.7", False),
    "flow 0.9": ("loss/0.9", False),
    "flow 0.98": ("loss/0.98", False),
    "views dB": ("consistency/view_psnr", True),
    "warp error": ("consistency/time/mean_absolute", False),
    "row 0.9": ("row_loss/0.9", False),
    "column 0.9": ("column_loss/0.9", False),
}
Values = dict[int, dict[str, float]]
"""seed -> asset -> figure."""


@dataclass(kw_only=True)
class Arguments:
    work: Path = Path("out/orster")
    out: Path = Path("benchmarks/results/orster.json")


def main(a: Arguments) -> None:
    file = a.work / "rows.jsonl"
    if not file.is_file():
        raise InputError(f"{file}: no finished row; run experiment.py first")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    teachers = {r["row"]: r for r in rows if r["row"] in TEACHERS}
    tables = []
    students = [r for r in rows if r["row"] in ROWS]
    for assets, steps, budget in sorted({(r["assets"], r["steps"], r["budget"]) for r in students}):
        chosen = [r for r in students if (r["assets"], r["steps"], r["budget"]) == (assets, steps, budget)]
        plain = [r for r in chosen if not r["transfer"]]
        tables.append({"assets": assets, "steps": steps, "budget": budget, "rows": table(plain, teachers)})
        print(markdown(tables[-1]), end="\n\n")
    costs = a.work / "step_costs.json"
    report = {"what": "Orster against its ablations on held-out assets", "tables": tables, "rows": rows}
    report["step_costs"] = json.loads(costs.read_text()) if costs.is_file() else None
    write_report(a.out, report)
    draw(students, a.out.with_name(a.out.stem + "_curves.png"))


def at(record: Any, path: str) -> float | None:
    """A number in nested dictionaries; None where it is not there."""
    for key in path.split("/"):
        if not isinstance(record, dict) or key not in record:
            return None
        record = record[key]
    return float(record) if isinstance(record, int | float) else None


def values_of(rows: list[dict], path: str) -> Values:
    found: Values = {}
    for row in rows:
        each = {asset: at(figures, path) for asset, figures in row["assets_scored"].items()}
        found[row["seed"]] = {asset: value for asset, value in each.items() if value is not None}
    return {seed: each for seed, each in found.items() if each}


def interval(values: Values, *, seed: int = 0) -> dict[str, float | int | None]:
    """Mean over seeds and assets, and its 95 % interval; resampled seeds and, the same for all of them, resampled assets."""
    seeds = sorted(values)
    assets = sorted(set.intersection(*(set(values[s]) for s in seeds))) if seeds else []
    if not assets:
        return {"mean": None, "low": None, "high": None, "seeds": 0, "assets": 0}
    grid = torch.tensor([[values[s][x] for x in assets] for s in seeds], dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    which_seeds = torch.randint(len(seeds), (DRAWS, len(seeds)), generator=generator)
    which_assets = torch.randint(len(assets), (DRAWS, len(assets)), generator=generator)
    means = grid[which_seeds[:, :, None], which_assets[:, None, :]].mean((1, 2))
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return {
        "mean": round(float(grid.mean()), 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "seeds": len(seeds),
        "assets": len(assets),
    }


def gains(values: Values, base: Values, *, higher: bool) -> Values:
    """Better by how much, for the seeds and assets that both have; positive is better."""
    sign = 1 if higher else -1
    return {
        s: {x: sign * (v - base[s][x]) for x, v in each.items() if x in base[s]}
        for s, each in values.items()
        if s in base and set(each) & set(base[s])
    }


def table(rows: list[dict], teachers: dict[str, dict]) -> dict[str, Any]:
    base = [r for r in rows if r["row"] == "none"]
    found: dict[str, Any] = {}
    for name in [n for n in ROWS if any(r["row"] == n for r in rows)]:
        mine = [r for r in rows if r["row"] == name]
        entry: dict[str, Any] = {"seeds": sorted(r["seed"] for r in mine), "figures": {}, "gain": {}}
        for figure, (path, higher) in FIGURES.items():
            values = values_of(mine, path)
            entry["figures"][figure] = interval(values)
            entry["gain"][figure] = interval(gains(values, values_of(base, path), higher=higher))
        entry["frechet"] = {
            kind: round(sum(r["frechet"][kind] for r in mine) / len(mine), 4) for kind in ("frames", "motion")
        }
        entry["forgetting"] = forgetting(mine, teachers)
        entry["train_seconds"] = round(sum(r["train_seconds"] for r in mine) / len(mine), 1)
        found[name] = entry
    return found


def forgetting(rows: list[dict], teachers: dict[str, dict]) -> dict[str, Any]:
    """How much worse a student is at a teacher's own task than the teacher, on the same held-out assets and noise (flow 0.9)."""
    found = {}
    for name, path in (("teacher-spatial", "row_loss/0.9"), ("teacher-temporal", "column_loss/0.9")):
        if name in teachers:
            teacher = values_of([teachers[name]], path)
            one = next(iter(teacher.values()), {})
            found[TEACHERS[name]] = interval(gains(values_of(rows, path), {r["seed"]: one for r in rows}, higher=True))
    return found


def markdown(report: dict[str, Any]) -> str:
    """Means, and in brackets the paired gain over no transfer with its interval."""
    lines = [f"| {report['assets']} assets, {report['steps']} steps ({report['budget']}) | seeds | "]
    lines[0] += " | ".join([*FIGURES, "Frechet frames", "Frechet motion"]) + " |"
    lines.append("|---" * (len(FIGURES) + 4) + "|")
    for name, entry in report["rows"].items():
        cells = [_cell(entry["figures"][f], None if name == "none" else entry["gain"][f]) for f in FIGURES]
        cells += [str(entry["frechet"][kind]) for kind in ("frames", "motion")]
        lines.append(f"| {name} | {len(entry['seeds'])} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(figure: dict[str, Any], gain: dict[str, Any] | None) -> str:
    if figure["mean"] is None:
        return ""
    text = f"{figure['mean']:.4g}"
    if gain is None or gain["mean"] is None:
        return text
    return f"{text} ({gain['mean']:+.3g}, {gain['low']:+.3g} to {gain['high']:+.3g})"


def draw(rows: list[dict], path: Path) -> None:
    """Training losses by step, a panel a set size; the mean over seeds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    sizes = sorted({r["assets"] for r in rows})
    figure, axes = plt.subplots(1, len(sizes), figsize=(6 * len(sizes), 4), squeeze=False)
    for axis, size in zip(axes[0], sizes, strict=True):
        for name in ROWS:
            curves = [r["curve"] for r in rows if r["row"] == name and r["assets"] == size and r["budget"] == "steps"]
            if not curves:
                continue
            steps = sorted(set.intersection(*({int(s) for s in c} for c in curves)))
            means = [sum(c[str(s)]["flow"] for c in curves) / len(curves) for s in steps]
            axis.plot(steps, means, label=name, color="black" if name == "none" else None)
        axis.set(title=f"{size} assets", xlabel="step", ylabel="flow-matching loss (training)")
        axis.legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
