"""What motion_control.py's rows say: figures, the plot, and sheets of what the assets look like."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from strips import save_sheet, save_strip, strip_path

from orbit4d.clip import OrbitalClip
from orbit4d.evaluate.evaluate import render_scene
from orbit4d.evaluate.motion import spearman
from orbit4d.evaluate.resampling import bootstrap_interval
from orbit4d.files import atomic_path
from orbit4d.splat.amount import LARGEST_GAIN
from orbit4d.splat.gaussians import Gaussians4D

Row = dict[str, Any]
SETTINGS = ("weights", "seed", "steps", "guidance_scale", "guidance_3d", "guidance_motion", "fit_steps")
CASE = ("prompt", "level", *SETTINGS)
"""What tells one row from another."""
MEASURES = ("matched_m", "matched_m_elsewhere", "matched_m_smoothed", "m", "m_smoothed", "clip_m", "clip_m_over_0")
SHARES = ("m_at_0_of_median", "floor_of_median", "matched_of_target")
"""m of the network's own asset at level 0 as a share of its prompt's median over the levels; the same of what construction adds;
and, over the levels above 0, the matched asset's m on the orbit that matching does not see as a share of what was asked for."""
AT_LIMIT = 0.999 * LARGEST_GAIN
"""A gain from which on matching came to its end."""
SHOWN = (0, 4, 8, 12, 16, 20)


def summary(rows: list[Row]) -> dict:
    """Per prompt and seed, and over all of them. Empty where no prompt has two levels."""
    cases = []
    for (prompt, seed), levels in _by_prompt(rows).items():
        if len(levels) < 2:
            continue
        floor = next((r for r in rows if (r["prompt"], r["seed"], r["level"]) == (prompt, seed, "floor")), None)
        lowest = next((r for r in levels if r["level"] == 0), None)
        entry = {"prompt": prompt, "seed": seed, "levels": len(levels)}
        entry["spearman"] = _ranks(levels)
        above = [r for r in levels if r["level"] > 0]
        if len(above) > 1:
            entry["spearman_above_0"] = _ranks(above)
        entry |= {
            "m_at_0_of_median": _of_median(lowest, levels, "m"),
            "floor_of_median": _of_median(floor, levels, "m"),
            "matched_of_target": _median([_figure(r, "matched_m_elsewhere") / r["target_m"] for r in above]),
            "m": [round(r["asset"]["m"], 6) for r in levels],
            "matched_m": [round(r["matched"]["m"], 6) for r in levels],
        }
        cases.append(entry)
    if not cases:
        return {"prompts": 0}
    moved = [r for r in rows if r["level"] not in ("floor", 0)]
    return {
        "prompts": len({c["prompt"] for c in cases}),
        "spearman": {name: _mean_with_interval(cases, "spearman", name) for name in MEASURES},
        "spearman_above_0": {name: _mean_with_interval(cases, "spearman_above_0", name) for name in MEASURES},
        **{name: _median([c[name] for c in cases]) for name in SHARES},
        "by_level": _by_level(rows),
        "still_parts": {
            name: _median([r["asset"]["still"][name] for r in rows if r["level"] != "floor"])
            for name in ("drift", "flicker", "of_object")
        },
        "gain": _median([r["matched"]["gain"] for r in moved]),
        "at_limit": round(statistics.mean(r["matched"]["gain"] >= AT_LIMIT for r in moved), 4) if moved else None,
        "seconds_an_asset": round(statistics.mean(sum(r["seconds"].values()) for r in rows), 1),
        "cases": cases,
    }


def _ranks(rows: list[Row]) -> dict[str, float]:
    """Spearman's correlation of the levels of `rows` with each of MEASURES."""
    levels = [r["level"] for r in rows]
    return {name: round(spearman(levels, [_figure(r, name) for r in rows]), 4) for name in MEASURES}


def plot(rows: list[Row], path: Path) -> None:
    """Requested quantile against measured m: a line a prompt, their median, and what the training set's quantiles mean."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4.6), dpi=120)
    for levels in _by_prompt(rows).values():
        axes.plot([r["level"] for r in levels], [r["asset"]["m"] for r in levels], color="#8899bb", lw=0.8, alpha=0.7)
    by_level = _by_level(rows)
    x = [e["level"] for e in by_level]
    axes.plot(x, [e["m"] for e in by_level], color="#113377", lw=2.4, label="median of the assets")
    axes.plot(x, [e["matched_m"] for e in by_level], color="#228855", lw=1.8, label="the same, matched")
    axes.plot(x, [e["target_m"] for e in by_level], color="#cc5522", lw=1.4, ls="--", label="training set's quantile")
    floors = [r["asset"]["m"] for r in rows if r["level"] == "floor"]
    if floors:
        axes.axhline(statistics.median(floors), color="#888888", lw=1, ls=":", label="static orbit with running times")
    axes.set(
        yscale="log",
        xlabel="requested motion (quantile)",
        ylabel="m of the asset",
        title=f"prompts: {len(_by_prompt(rows))}",
    )
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight")
    pyplot.close(figure)


def draw_strip(scene: Gaussians4D, clip: OrbitalClip, folder: Path, row: Row) -> None:
    """The asset at some times, seen half from the side by one camera, kept for `sheet`."""
    times = clip.times[[min(i, len(clip) - 1) for i in SHOWN]]
    frames, _ = render_scene(scene, clip.cameras[[len(clip) // 8] * len(times)], times)
    save_strip(frames, strip_path(folder, _case(row)))


def sheet(rows: list[Row], folder: Path, path: Path, *, prompts: int = 4) -> None:
    """The first prompts' matched assets side by side: rows are levels, columns moments."""
    groups = list(_by_prompt(rows).items())[:prompts]
    columns = [
        (
            prompt,
            [(f"motion {r['level']:.2f}   m {r['matched']['m']:.4f}", strip_path(folder, _case(r))) for r in levels],
        )
        for (prompt, _), levels in groups
    ]
    save_sheet(columns, path)


def _case(row: Row) -> Row:
    return {name: row[name] for name in CASE}


def _by_prompt(rows: list[Row]) -> dict[tuple[str, int], list[Row]]:
    """(prompt, seed) -> its levels in ascending order, in the order in which prompts were first seen."""
    found: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        if row["level"] != "floor":
            found.setdefault((row["prompt"], row["seed"]), []).append(row)
    return {key: sorted(levels, key=lambda r: r["level"]) for key, levels in found.items()}


def _by_level(rows: list[Row]) -> list[dict]:
    entries = []
    for level in sorted({r["level"] for r in rows if r["level"] != "floor"}):
        at = [r for r in rows if r["level"] == level]
        entry: dict[str, Any] = {"level": level, "assets": len(at), "target_m": at[0]["target_m"]}
        entry |= {name: round(statistics.median(_figure(r, name) for r in at), 6) for name in MEASURES}
        entries.append(
            entry | {f"still_{n}": _median([r["asset"]["still"][n] for r in at]) for n in ("drift", "flicker")}
        )
    return entries


def _figure(row: Row, name: str) -> float:
    if name.startswith("clip_m"):
        return row[name]
    return row["matched"][name.removeprefix("matched_")] if name.startswith("matched_") else row["asset"][name]


def _of_median(row: Row | None, levels: list[Row], name: str) -> float | None:
    """The row's figure `name` as a share of the median of the levels'; None without a row or where nothing moves."""
    middle = statistics.median(_figure(r, name) for r in levels)
    return None if row is None or middle == 0 else round(_figure(row, name) / middle, 4)


def _mean_with_interval(cases: list[dict], kind: str, name: str) -> dict | None:
    """Over prompts: seeds of one prompt are averaged first, for they are not independent. `least` is of a single seed."""
    of_prompt: dict[str, list[float]] = {}
    for case in cases:
        if kind in case:
            of_prompt.setdefault(case["prompt"], []).append(case[kind][name])
    if not of_prompt:
        return None
    found = bootstrap_interval([statistics.mean(v) for v in of_prompt.values()])
    least = min(min(v) for v in of_prompt.values())
    return {"mean": found["mean"], "interval_95": [found["low"], found["high"]], "least": least}


def _median(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return round(statistics.median(known), 5) if known else None
