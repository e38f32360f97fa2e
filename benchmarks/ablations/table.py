"""Gather finished runs into benchmarks/results/denoiser_ablations.json and draw the training curves.

python benchmarks/ablations/table.py --rows OUT/rows.jsonl [--times OUT/step_times.json]

Rows of one data set make one report: give others another --out, and name what they were trained on with --data.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path

import tyro
from variants import VARIANTS, XS

from orbit4d.files import atomic_path
from orbit4d.report import hardware, versions

RESULTS = Path(__file__).parents[1] / "results"
FIGURES = {  # what the table shows: (path in the row, True when higher is better)
    "flow 0.7": ("flow/0.7", False),
    "flow 0.9": ("flow/0.9", False),
    "flow 0.98": ("flow/0.98", False),
    "flow 1": ("flow/1.0", False),
    "flow toys 0.9": ("flow_toys/0.9", False),
    "one step static dB": ("one_step/static_latent_psnr", True),
    "one step static views": ("one_step/static_view_correlation", True),
    "one step azimuth deg": ("one_step/azimuth_error_deg", False),
    "sample static dB": ("sample/static_latent_psnr", True),
    "sample static views": ("sample/static_view_correlation", True),
    "sample azimuth deg": ("sample/azimuth_error_deg", False),
    "sample static foreground dB": ("sample/static_foreground_psnr", True),
    "one step moving dB": ("one_step/moving_latent_psnr", True),
    "one step moving views": ("one_step/moving_view_correlation", True),
    "sample moving dB": ("sample/moving_latent_psnr", True),
    "sample moving views": ("sample/moving_view_correlation", True),
    "sample moving foreground dB": ("sample/moving_foreground_psnr", True),
}


@dataclass(kw_only=True)
class Arguments:
    rows: Path
    times: tuple[Path, ...] = ()
    out: Path = RESULTS / "denoiser_ablations.json"
    data: str = "14 assets"
    """What the rows were trained on, in words."""
    base: str = "base"
    """The variant that the others are compared with."""


def main(a: Arguments) -> None:
    rows = [json.loads(line) for line in a.rows.read_text().splitlines()]
    if a.base not in {r["variant"] for r in rows}:
        raise SystemExit(f"--base: expected a variant of {a.rows}, got {a.base!r}")
    tasks = sorted({r["task"] for r in rows}, reverse=True)
    report = {
        "what": "variants of the denoiser at equal steps, scored on held-out animations and azimuths",
        "data": a.data,
        "network": XS,
        "hardware": hardware(),
        "versions": versions(),
        "step_seconds": {file.stem: json.loads(file.read_text()) for file in a.times},
        "tasks": {},
        "rows": rows,
    }
    for task in tasks:
        chosen = [r for r in rows if r["task"] == task]
        budgets = {r["budget_steps"] for r in chosen}
        if len(budgets) != 1:
            raise SystemExit(f"{a.rows}: {task}: expected runs of one budget, got {sorted(budgets)}")
        repeat = json.loads((a.rows.parent / f"baselines_{task}.json").read_text())
        report["tasks"][task] = {
            "steps": budgets.pop(),
            "repeat_the_input": {k: at(repeat, p) for k, (p, _) in FIGURES.items() if at(repeat, p) is not None},
            "noisy_views": repeat["noisy_views"],
            "base": a.base,
            "variants": table(chosen, a.base),
        }
        print(markdown(task, report["tasks"][task]), end="\n\n")
    with atomic_path(a.out) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n")
    draw(rows, a.out.with_name(a.out.stem + "_curves.png"), a.base)


def at(record: dict, path: str) -> float | None:
    for key in path.split("/"):
        if key not in record:
            return None
        record = record[key]
    return record  # type: ignore[return-value]


def table(rows: list[dict], against: str = "base") -> dict[str, dict]:
    """For each variant: seeds, the mean of every figure, and its differences to the base seed by seed (positive = better)."""
    base = {r["seed"]: r for r in rows if r["variant"] == against}
    found = {}
    for name in [n for n in VARIANTS if any(r["variant"] == n for r in rows)]:
        runs = sorted((r for r in rows if r["variant"] == name), key=lambda r: r["seed"])
        seeds = [r["seed"] for r in runs]
        entry: dict = {"seeds": seeds, "parameters": runs[0]["parameters"], "mean": {}, "each": {}, "gain": {}}
        for figure, (path, higher) in FIGURES.items():
            values = [float(at(r, path)) for r in runs if at(r, path) is not None]  # type: ignore[arg-type]
            if not values:
                continue
            entry["mean"][figure] = round(statistics.mean(values), 4)
            entry["each"][figure] = values
            pairs = [(at(r, path), at(base[r["seed"]], path)) for r in runs if r["seed"] in base]
            sign = 1 if higher else -1
            entry["gain"][figure] = [round(sign * (float(x or 0) - float(y or 0)), 4) for x, y in pairs]
        found[name] = entry
    return found


def markdown(task: str, report: dict) -> str:
    """Means, and in brackets the paired gain over the base of each seed."""
    shown = ["flow 0.98", "flow 1", "one step static dB", "one step static views", "one step azimuth deg"]
    shown += [
        "one step moving dB",
        "one step moving views",
        "sample static dB",
        "sample azimuth deg",
        "sample moving dB",
    ]
    shown = [s for s in shown if all(s in entry["mean"] for entry in report["variants"].values())]
    repeat = report["repeat_the_input"]
    lines = [
        f"| {task}, {report['steps']} steps | seeds | " + " | ".join(shown) + " |",
        "|---" * (len(shown) + 2) + "|",
    ]
    lines.append("| repeat the input | | " + " | ".join(_short(repeat.get(s)) for s in shown) + " |")
    for name, entry in report["variants"].items():
        gains = {s: ", ".join(f"{g:+.3g}" for g in entry["gain"][s]) for s in shown}
        own = name == report["base"]
        cells = [_short(entry["mean"][s]) + (f" ({gains[s]})" if gains[s] and not own else "") for s in shown]
        lines.append(f"| {name} | {len(entry['seeds'])} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def draw(rows: list[dict], path: Path, base: str) -> None:
    """Training losses of the first seed, each point the mean of eight log lines, one panel a task and question."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [r for r in rows if r["seed"] == 0]
    panels = sorted({(r["task"], VARIANTS[r["variant"]].question) for r in rows if r["variant"] != base}, reverse=True)
    figure, axes = plt.subplots(1, len(panels), figsize=(5 * len(panels), 4), squeeze=False)
    for axis, (task, question) in zip(axes[0], panels, strict=True):
        for row in rows:
            if row["task"] != task or (row["variant"] != base and VARIANTS[row["variant"]].question != question):
                continue
            steps, values = [int(s) for s in row["curve"]], list(row["curve"].values())
            smooth = [statistics.mean(values[max(0, i - 7) : i + 1]) for i in range(len(values))]
            axis.plot(steps, smooth, label=row["variant"], color="black" if row["variant"] == base else None)
        axis.set(title=f"{task}: {question}", xlabel="step", ylim=(0.6, 1.2))
        axis.legend(fontsize=8)
    axes[0][0].set_ylabel("flow-matching loss (training)")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
