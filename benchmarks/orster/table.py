"""Gather finished rows into a report: means, paired differences with intervals, forgetting, training curves.

    python benchmarks/orster/table.py --work out/orster --out benchmarks/results/orster.json

What may be compared and how is said in comparison.py. `--rows` reads another file of rows, an earlier report included.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from comparison import frechet_interval, gains, groups, interval, label, read_rows, teachers_of, values_of
from recipes import ROWS, TEACHERS
from shared_paths import add_benchmarks

add_benchmarks()
from orster_tables import HIGHER, orster  # noqa: E402
from shared import write_report  # noqa: E402

FIGURES = {
    "foreground dB": "foreground_psnr",
    "ssim": "ssim",
    "flow 0.5": "loss/0.5",
    "flow 0.7": "loss/0.7",
    "flow 0.9": "loss/0.9",
    "flow 0.98": "loss/0.98",
    "views dB": "consistency/view_psnr",
    "warp error": "consistency/time/mean_absolute",
    "row 0.9": "row_loss/0.9",
    "column 0.9": "column_loss/0.9",
}
"""Figure -> its path in an asset's figures; `orster_tables.HIGHER` says which way it runs."""
FRECHET = {"Frechet frames": "frames", "Frechet motion": "motion"}
COMPARED = {
    "orster": ("none", "pointwise", "no-orthogonality", "no-distributions", "mixture"),
    "init-orster": ("init",),
}
"""Whose differences over which are reported."""


@dataclass(kw_only=True)
class Arguments:
    work: Path = Path("out/orster")
    rows: Path | None = None
    """Instead of WORK/rows.jsonl; a report (.json) is read, too."""
    out: Path = Path("benchmarks/results/orster.json")


def main(a: Arguments) -> None:
    rows = read_rows(a.rows or a.work / "rows.jsonl")
    tables = []
    for settings, chosen in groups(rows):
        tables.append(settings | report_of(chosen, teachers_of(rows, chosen)))
    report = {"what": "Orster against its ablations on held-out assets", "tables": tables, "rows": rows}
    print(orster(report, {}))
    write_report(a.out, report)
    draw(rows, a.out.with_name(a.out.stem + "_curves.png"))


def report_of(rows: list[dict], teachers: dict[str, dict]) -> dict[str, Any]:
    return {
        "rows": table(rows, teachers),
        "differences": differences(rows),
        "teachers": {name: own_task(row) for name, row in teachers.items()},
        "repeated": interval(values_of(rows[:1], "repeat_foreground_psnr")),
    }


def table(rows: list[dict], teachers: dict[str, dict]) -> dict[str, Any]:
    """By row: means of all figures, gains over `none`, forgetting, and seconds of training."""
    found: dict[str, Any] = {}
    base = [r for r in rows if label(r) == "none"]
    order = list(ROWS)
    for name in sorted({label(r) for r in rows}, key=lambda n: (order.index(n.split(",")[0]), n)):
        mine = [r for r in rows if label(r) == name]
        figures = {figure: interval(values_of(mine, path)) for figure, path in FIGURES.items()}
        figures |= {figure: frechet_interval(mine, kind) for figure, kind in FRECHET.items()}
        found[name] = {
            "seeds": sorted(r["seed"] for r in mine),
            "figures": figures,
            "gain": {} if name == "none" else difference(mine, base),
            "forgetting": forgetting(mine, teachers),
            "parameters": mine[0].get("parameters"),
            "trained_steps": mine[0].get("trained_steps", mine[0]["steps"]),
            "train_seconds": round(sum(r["train_seconds"] for r in mine) / len(mine), 1),
        }
    return found


def difference(rows: list[dict], base: list[dict]) -> dict[str, Any]:
    """By how much `rows` are better than `base`, in every figure."""
    found: dict[str, Any] = {}
    for figure, path in FIGURES.items():
        found[figure] = interval(gains(values_of(rows, path), values_of(base, path), higher=figure in HIGHER))
    return found | {figure: frechet_interval(rows, kind, base) for figure, kind in FRECHET.items()}


def differences(rows: list[dict]) -> dict[str, Any]:
    """Of the whole over no transfer, over its ablations and over the mixture: those that there are rows of."""
    of = {name: [r for r in rows if label(r) == name] for name in ROWS}
    return {
        name: {other: difference(of[name], of[other]) for other in others if of[other]}
        for name, others in COMPARED.items()
        if of[name]
    }


def own_task(teacher: dict) -> dict[str, Any]:
    """A teacher's loss at its own task."""
    figure = {"spatial": "row 0.9", "temporal": "column 0.9"}[TEACHERS[teacher["row"]]]
    return {"figure": figure, "loss": interval(values_of([teacher], FIGURES[figure])), "steps": teacher["steps"]}


def forgetting(rows: list[dict], teachers: dict[str, dict]) -> dict[str, Any]:
    """How much worse a student is at a teacher's own task than the teacher, on the same held-out assets and noise (flow 0.9)."""
    found = {}
    for name, path in (("teacher-spatial", "row_loss/0.9"), ("teacher-temporal", "column_loss/0.9")):
        if name in teachers:
            teacher = values_of([teachers[name]], path)
            one = next(iter(teacher.values()), {})
            found[TEACHERS[name]] = interval(gains(values_of(rows, path), {r["seed"]: one for r in rows}, higher=True))
    return found


def draw(rows: list[dict], path: Path) -> None:
    """Training losses by step, a panel a table of equal steps; the mean over seeds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    chosen = [(settings, students) for settings, students in groups(rows) if settings["budget"] == "steps"]
    if not chosen:
        return
    figure, axes = plt.subplots(1, len(chosen), figsize=(6 * len(chosen), 4), squeeze=False)
    for axis, (settings, students) in zip(axes[0], chosen, strict=True):
        for name in ROWS:
            curves = [r["curve"] for r in students if label(r) == name]
            if not curves:
                continue
            steps = sorted(set.intersection(*({int(s) for s in c} for c in curves)))
            means = [sum(c[str(s)]["flow"] for c in curves) / len(curves) for s in steps]
            axis.plot(steps, means, label=name, color="black" if name == "none" else None)
        title = f"{settings['assets']} assets, {settings['steps']:,} steps"
        axis.set(title=title, xlabel="step", ylabel="flow-matching loss (training)")
        axis.legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
