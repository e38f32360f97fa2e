"""Gather finished runs into benchmarks/results/denoiser_ablations.json and draw the training curves.

python benchmarks/ablations/table.py --rows OUT/rows.jsonl [--times OUT/step_times.json]
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
    "sample moving dB": ("sample/moving_latent_psnr", True),
    "sample moving views": ("sample/moving_view_correlation", True),
    "sample moving foreground dB": ("sample/moving_foreground_psnr", True),
}


@dataclass(kw_only=True)
class Arguments:
    rows: Path
    times: Path | None = None
    out: Path = RESULTS / "denoiser_ablations.json"


def main(a: Arguments) -> None:
    rows = [json.loads(line) for line in a.rows.read_text().splitlines()]
    budgets = {r["budget_steps"] for r in rows}
    if len(budgets) != 1:
        raise SystemExit(f"{a.rows}: expected runs of one budget, got {sorted(budgets)}")
    baselines = json.loads((a.rows.parent / "baselines.json").read_text())
    report = {
        "what": "variants of the denoiser at equal steps, scored on held-out animations and azimuths",
        "preset": XS,
        "steps": budgets.pop(),
        "hardware": hardware(),
        "versions": versions(),
        "repeat_the_input": {k: at(baselines, p) for k, (p, _) in FIGURES.items() if at(baselines, p) is not None},
        "step_seconds": json.loads(a.times.read_text()) if a.times else None,
        "table": table(rows),
        "rows": rows,
    }
    with atomic_path(a.out) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n")
    draw(rows, a.out.with_name(a.out.stem + "_curves.png"))
    print(markdown(report))


def at(record: dict, path: str) -> float | None:
    for key in path.split("/"):
        if key not in record:
            return None
        record = record[key]
    return record  # type: ignore[return-value]


def table(rows: list[dict]) -> dict[str, dict]:
    """For each variant: seeds, the mean of every figure, and its differences to the base seed by seed (positive = better)."""
    base = {r["seed"]: r for r in rows if r["variant"] == "base"}
    found = {}
    for name in [n for n in VARIANTS if any(r["variant"] == n for r in rows)]:
        runs = sorted((r for r in rows if r["variant"] == name), key=lambda r: r["seed"])
        entry: dict = {"seeds": [r["seed"] for r in runs], "parameters": runs[0]["parameters"], "mean": {}, "gain": {}}
        for figure, (path, higher) in FIGURES.items():
            values = [float(at(r, path) or 0) for r in runs]
            entry["mean"][figure] = round(statistics.mean(values), 4)
            pairs = [(at(r, path), at(base[r["seed"]], path)) for r in runs if r["seed"] in base]
            sign = 1 if higher else -1
            entry["gain"][figure] = [round(sign * (float(x or 0) - float(y or 0)), 4) for x, y in pairs]
        found[name] = entry
    return found


def markdown(report: dict) -> str:
    shown = ["flow 0.7", "flow 0.9", "flow 0.98", "flow toys 0.9", "one step static dB", "one step azimuth deg"]
    shown += ["sample moving dB", "sample static dB", "sample azimuth deg", "sample static foreground dB"]
    lines = ["| variant | seeds | " + " | ".join(shown) + " |", "|---" * (len(shown) + 2) + "|"]
    repeat = report["repeat_the_input"]
    lines.append("| repeat the input | | " + " | ".join(_short(repeat.get(s)) for s in shown) + " |")
    for name, entry in report["table"].items():
        cells = [f"{_short(entry['mean'][s])} ({', '.join(f'{g:+.3f}' for g in entry['gain'][s])})" for s in shown]
        lines.append(f"| {name} | {len(entry['seeds'])} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def draw(rows: list[dict], path: Path) -> None:
    """Training losses, smoothed over five log lines, one panel a question."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    questions = sorted({v.question for v in VARIANTS.values() if v.question != "base"})
    questions = [q for q in questions if any(VARIANTS[r["variant"]].question == q for r in rows)] or ["base"]
    figure, axes = plt.subplots(1, len(questions), figsize=(5 * len(questions), 4), sharey=True, squeeze=False)
    for axis, question in zip(axes[0], questions, strict=True):
        for row in rows:
            kind = VARIANTS[row["variant"]].question
            if kind not in ("base", question) or row["seed"] != 0:
                continue
            steps = [int(s) for s in row["curve"]]
            values = list(row["curve"].values())
            smooth = [statistics.mean(values[max(0, i - 4) : i + 1]) for i in range(len(values))]
            axis.plot(steps, smooth, label=row["variant"], color="black" if kind == "base" else None)
        axis.set(title=question, xlabel="step", ylim=(0.3, 1.2))
        axis.legend(fontsize=8)
    axes[0][0].set_ylabel("flow-matching loss (training)")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
