"""What docs/results.md and docs/orster.md show of the transfer experiment, of its costs and of its pilot; see tables.py."""

from __future__ import annotations

from markdown_tables import table

HIGHER = ("foreground dB", "ssim", "views dB")
"""Figures that are better when they are higher; all others, losses and distances, when they are lower."""
TITLES = {
    "foreground dB": "foreground dB",
    "ssim": "SSIM",
    "flow 0.5": "flow loss at .5",
    "flow 0.7": "flow loss at .7",
    "flow 0.9": "flow loss at .9",
    "flow 0.98": "flow loss at .98",
    "views dB": "view consistency in dB",
    "warp error": "warp error",
    "row 0.9": "row loss (static set) at .9",
    "column 0.9": "column loss (videos) at .9",
    "Frechet frames": "Frechet distance of frames",
    "Frechet motion": "Frechet distance of differences",
}
BUDGETS = {"steps": "equal steps", "wall": "equal processor time"}
TEACHERS = {"spatial": "row loss", "temporal": "column loss"}


def orster(report: dict, reports: dict) -> str:
    parts = ["\n\n".join([_title(t), _means(t), *_compared(t), *_forgetting(t)]) for t in report["tables"]]
    return (
        """## Does the transfer pay?

Networks of 0.4 million parameters, trained alike but for what is made of two teachers, scored on toys that nothing was trained on
(`orster/`; [orster.md](orster.md) says what each row is). In brackets 95 % intervals that resample assets, and seeds where there
are several; "no interval" where that cannot be done. Differences are paired by asset and seed and **positive where the first is
better**, whichever way a figure runs.

"""
        + ("\n\n".join(parts) or "No row is finished yet.")
        + "\n\n![training losses](../benchmarks/results/orster_curves.png)"
    )


def _title(t: dict) -> str:
    seeds = {name: entry["seeds"] for name, entry in t["rows"].items()}
    of = "; ".join(f"`{name}`: {', '.join(map(str, found))}" for name, found in seeds.items())
    text = f"**{t['assets']} assets in 4D, {t['steps']:,} steps, {BUDGETS[t['budget']]}.** Seeds of {of}."
    if not t.get("protocol"):
        text += " These rows are of an older version of the experiment, which did not write down its settings."
    if all(len(found) == 1 for found in seeds.values()):
        text += " One seed: the intervals say how assets differ, not how runs do."
    return text


def _means(t: dict) -> str:
    """A figure a line, a row of the experiment a column."""
    rows = []
    for figure in TITLES:
        cells = [_figure(entry, figure) for entry in t["rows"].values()]
        if any(cells):
            rows.append([f"{TITLES[figure]} {'(higher)' if figure in HIGHER else '(lower)'}", *cells])
    rows.append(["seconds of training", *(f"{entry['train_seconds']:.0f}" for entry in t["rows"].values())])
    return table(["mean, which way is better", *t["rows"]], rows)


def _figure(entry: dict, figure: str) -> str:
    found = entry["figures"].get(figure)
    if found is None and figure.startswith("Frechet"):  # of an older report
        value = entry.get("frechet", {}).get(figure.removeprefix("Frechet "))
        return "" if value is None else f"{value:.4g}"
    return "" if found is None or found["mean"] is None else f"{found['mean']:.4g}"


def _differences(t: dict) -> dict[str, dict[str, dict[str, dict]]]:
    """What is compared -> over what -> figure -> interval; of an older report, over no transfer alone."""
    if "differences" in t:
        return t["differences"]
    whole = t["rows"].get("orster")
    return {} if whole is None else {"orster": {"none": whole["gain"]}}


def _compared(t: dict) -> list[str]:
    """For each row that is compared: a table of differences, and in words where it is better, worse and neither."""
    parts = []
    for name, others in _differences(t).items():
        if not others:
            parts.append(f"Nothing to compare `{name}` with yet.")
            continue
        rows = []
        for figure in TITLES:
            cells = [_interval(found.get(figure)) for found in others.values()]
            if any(cells):
                rows.append([TITLES[figure] + _of_fewer(figure, others), *cells])
        parts.append(table([f"`{name}` better by", *(f"than `{other}`" for other in others)], rows))
        parts += [_verdict(name, other, found) for other, found in others.items()]
    return parts


def _of_fewer(figure: str, others: dict[str, dict[str, dict]]) -> str:
    """Says of how many assets a figure is where others are of more."""
    counts = [e["assets"] for found in others.values() for e in found.values() if e["mean"] is not None]
    own = [found[figure]["assets"] for found in others.values() if figure in found]
    return f" ({max(own)} assets)" if own and max(own) < max(counts) else ""


def _verdict(name: str, other: str, found: dict[str, dict]) -> str:
    """Every figure by where its whole interval lies: above 0, below, or on both sides."""
    better, worse, open_, without = [], [], [], []
    for figure, title in TITLES.items():
        entry = found.get(figure)
        if entry is None or entry["mean"] is None:
            continue
        if entry["low"] is None:
            without.append(title)
        elif entry["low"] > 0:
            better.append(title)
        elif entry["high"] < 0:
            worse.append(title)
        else:
            open_.append(title)
    said = {"better": better, "worse": worse, "undecided": open_, "no interval": without}
    text = "; ".join(
        f"{what}: {', '.join(names) or 'none'}" for what, names in said.items() if names or what == "worse"
    )
    return f"`{name}` against `{other}`, by the whole interval: {text}."


def _forgetting(t: dict) -> list[str]:
    """How far students are from the teachers at the teachers' own tasks."""
    priors = [p for p in TEACHERS if any(p in entry["forgetting"] for entry in t["rows"].values())]
    if not priors:
        return []
    rows = [[name, *(_plain(entry["forgetting"].get(p)) for p in priors)] for name, entry in t["rows"].items()]
    own = {p: t["teachers"][f"teacher-{p}"]["loss"] for p in priors} if t.get("teachers") else {}
    note = "; ".join(f"{TEACHERS[p]} {_plain(loss)}" for p, loss in own.items())
    text = "How much a student's loss at a teacher's own task, t = .9, exceeds the teacher's on the same assets; lower is better."
    head = ["forgetting", *(f"{TEACHERS[p]} over the {p} teacher's" for p in priors)]
    return [text + (f" The teachers' own: {note}." if note else ""), table(head, rows)]


def orster_costs(report: dict, reports: dict) -> str:
    return f"""## What a step of the transfer costs

Processor seconds of a training step, rows in turns (`orster/step_cost.py`). The teachers have random weights, which cost what
trained ones do. {_costs(report)}"""


def _costs(report: dict) -> str:
    parts = []
    for name, found in report["networks"].items():
        rows = [
            [f"`{row}`", f"{seconds:.3f}", f"{found['relative'][row]:.2f}"] for row, seconds in found["seconds"].items()
        ]
        text = f"Network `{name}` ({found['parameters'] / 1e6:.1f} M parameters), {found['batch']} x {found['frames']} frames, "
        parts.append(text + f"medians of {found['steps']} steps:\n\n")
        parts[-1] += table(["row", "seconds a step", "times no transfer's"], rows)
    threads = report["threads"]
    return f"{threads} thread{'' if threads == 1 else 's'}.\n\n" + "\n\n".join(parts)


def orster_pilot(report: dict, reports: dict) -> str:
    return f"## How many steps the transfer experiment trains\n\n{_pilot(report, reports)}"


def _pilot(report: dict, reports: dict) -> str:
    rows = [[f"{e['steps']:,}", _plain(e["loss"]), _interval(e["gain"])] for e in report["curve"]]
    at, tolerance = report["flattens_at"], f"{100 * report['tolerance']:g} %"
    says = f"at {at:,} steps" if at is not None else "nowhere in this range"
    return f"""`none`, {report["assets"]} assets, seed {report["seed"]}, each number of steps a run of its own with its own schedule
(`orster/pilot.py`): mean flow-matching loss on held-out assets. The curve is called flat where the next number of steps gains less
than {tolerance}: {says}.

{table(["steps", "held-out loss", "better than the one before by"], rows)}"""


def _orster_headline(report: dict, reports: dict) -> str:
    parts = []
    for t in report["tables"]:
        repeated = t.get("repeated", {}).get("mean") or _repeated(report)
        note = [] if repeated is None else [f"Repeating the given picture scores {repeated:.2f} dB."]
        parts.append("\n\n".join([_title(t), _means(t), *_compared(t), *note]))
    return "\n\n".join(parts)


def _repeated(report: dict) -> float | None:
    """Foreground PSNR of the given picture shown again, which is the same for every row."""
    for row in report.get("rows", []):
        found = [f.get("repeat_foreground_psnr") for f in row["assets_scored"].values()]
        found = [v for v in found if v is not None]
        if found:
            return sum(found) / len(found)
    return None


def _costs_headline(report: dict, reports: dict) -> str:
    return "Processor seconds of a training step, " + _costs(report)


HEADLINES = {"orster": _orster_headline, "orster_costs": _costs_headline, "orster_pilot": _pilot}


def _interval(entry: dict | None) -> str:
    if entry is None or entry["mean"] is None:
        return ""
    if entry["low"] is None:
        return f"{entry['mean']:+.3g} (no interval)"
    return f"{entry['mean']:+.3g} ({entry['low']:+.3g} to {entry['high']:+.3g})"


def _plain(entry: dict | None) -> str:
    if entry is None or entry["mean"] is None:
        return ""
    return f"{entry['mean']:.4g} ({entry['low']:.4g} to {entry['high']:.4g})"
