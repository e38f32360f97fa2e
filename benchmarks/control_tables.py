"""What docs/results.md and control.md show of what a user can steer, motion and guidance, and of consistency; see tables.py."""

from __future__ import annotations

import statistics

from markdown_tables import table

from orbit4d.splat.amount import LARGEST_GAIN

MEASURES = {
    "matched_m": "m of the matched asset",
    "matched_m_elsewhere": "the same from above, where matching did not look",
    "matched_m_smoothed": "the same with smoothed paths",
    "m": "m of the network's own asset",
    "m_smoothed": "the same with smoothed paths",
    "clip_m": "m of the sampled clip",
    "clip_m_over_0": "the same against the clip of level 0",
}
LEVEL_HEAD = [
    "motion",
    "m of the quantile",
    "m, matched",
    "the same from above",
    "m, own",
    "m, own, smoothed",
    "m of the clip",
]
LEVEL_HEAD += ["the same against level 0"]
LEVEL_HEAD += ["drift of still parts", "flicker"]
MODES = {"image": "image + prompt", "text": "prompt"}
GUIDED = {"guidance": "guidance_scale", "3D-aware": "guidance_3d", "on motion": "guidance_motion"}
FIGURES = {
    "foreground_psnr": "foreground dB",
    "ssim": "SSIM",
    "held_out_foreground_psnr": "view consistency, dB",
    "gap": "fitted views above held-out, dB",
    "warp_error": "warp error",
    "warp_of_unwarped": "of the error without following",
    "m_of_truth": "m / m of the true orbit",
    "sharpness": "sharpness / the truth's",
}


def motion_control(report: dict, reports: dict) -> str:
    if not report["prompts"]:
        return "## Motion control\n\nNo prompt was measured at two levels yet."
    s, still = report["settings"], report["still_parts"]
    ranks = [
        [
            title,
            _interval(report["spearman"][name], 3),
            f"{report['spearman'][name]['least']:.2f}",
            _interval(report["spearman_above_0"][name], 3),
        ]
        for name, title in MEASURES.items()
    ]
    columns = ("target_m", "matched_m", "matched_m_elsewhere", "m", "m_smoothed", "clip_m", "clip_m_over_0")
    columns += ("still_drift", "still_flicker")
    levels = [[f"{e['level']:.2f}", *(_number(e[c]) for c in columns)] for e in report["by_level"]]
    guided = ", ".join(f"{name} {s[key]:g}" for name, key in GUIDED.items())
    calibration = reports.get("motion_calibration")
    return f"""## Motion control

{report["prompts"]} prompts x {len(report["levels"])} levels, m measured on the generated asset (`motion_control.py`,
{s["steps"]} sampling steps, constructions of {s["fit_steps"]} steps, {guided};
[control.md](control.md) says how it is measured). The *matched asset* is made as `orbit4d generate --motion` does: its motion
multiplied towards what was asked for, {_matching(report)}. The *network's own asset* is what it was before that, the
*sampled clip* what it was constructed from. Spearman's correlation of requested and measured motion: mean over prompts with its
95 % interval, and the prompt with the least; and without level 0, where a matched asset stands still by definition:

{table(["ranked", "mean", "least", "without level 0"], ranks)}

At level 0 the network's own asset has {_share(report["m_at_0_of_median"])} of the median m of its prompt's; an asset of the
static orbit with running times, which is what construction adds, {_share(report["floor_of_median"])}. Parts of the network's own
assets that stand still ({_share(still["of_object"])} of the object): drift {_number(still["drift"])}, flicker
{_number(still["flicker"])}. Medians a
level:

{table(LEVEL_HEAD, levels)}
{_calibration(calibration) if calibration else ""}"""


def _matching(report: dict) -> str:
    """By how much, and how far that came."""
    gain, limit, reached = _number(report["gain"]), _share(report["at_limit"]), _share(report["matched_of_target"])
    return (
        f"by {gain} in the median above level 0, at most by {LARGEST_GAIN} ({limit} of them came to that limit); seen from above "
        f"it then has {reached} of the m asked for (median)"
    )


def _calibration(report: dict) -> str:
    rows = []
    for e in report["by_steps"]:
        low, middle, high = e["ratio_to_truth"]
        floor = _number(e["floor_m"][1]) if e["floor_m"] else "-"
        ranks = [f"{e[name]:.3f}" for name in ("spearman", "spearman_with_longest")]
        rows.append([e["steps"], *ranks, f"{middle:.2f} ({low:.2f} to {high:.2f})", floor])
    head = ["steps", "Spearman with the true m", "with the longest", "m / true m: median (least to most)"]
    head.append("static orbit with running times: m")
    clips = report["by_steps"][0]["clips"]
    return f"""
How short the constructions may be (`motion_calibration.py`): m of assets of {clips} true clips against the clips' own m.

{table(head, rows)}"""


def guidance(report: dict, reports: dict) -> str:
    rows, gains = [], []
    for e in report["table"]:
        given = MODES.get(e["mode"], "")
        name = "the truth" if e["variant"] == "truth" else e["variant"]
        rows.append([given, name, e["samples"], *(_number(e[f]) for f in FIGURES)])
        if e["over_none"]:
            gains.append([given, name, *(_interval(e["over_none"].get(f), 3) for f in FIGURES)])
    seeds = len(report["seeds"])
    return f"""## Guidance

Orbits of {report["clips"]} animations of which the truth is known, {seeds} seed{"s" if seeds > 1 else ""} each
(`guidance.py`, {report["steps"]} sampling steps): no guidance, plain classifier-free guidance (scale in diffusers' convention: 1 is
none), the 3D-aware term alone, and both. *foreground* and *SSIM* against the true orbit without frame 0: by prompt they are strict,
for a prompt fixes neither pose nor phase. Blur makes consistency and warp errors look good: the columns beside them and
*sharpness* tell. Means are over clips of which all variants have the figure. [control.md](control.md) says what each column is.

{table(["given", "guidance", "clips", *FIGURES.values()], rows)}

Gains over no guidance, same clip and seed, with 95 % intervals where there are five clips or more:

{table(["given", "guidance", *FIGURES.values()], gains)}"""


def consistency(report: dict, reports: dict) -> str:
    rows = []
    for name, figures in report["figures"].items():
        for clip, found in figures.items():
            if "view" in found:
                view, warp = found["view"], found["time"]["clip_by_scene_motion"]["mean_absolute"]
                scores = f"{view['held_out_foreground_psnr']:.1f} / {view['fitted_foreground_psnr']:.1f}"
                rows.append([name, clip, scores, "-" if warp is None else f"{warp:.3f}"])
    return f"""## Consistency of clips

How well a clip agrees with itself (`consistency.py`, {report["size"]} pixels, {report["steps"]} steps, one seed;
[evaluation.md](evaluation.md)): a construction from three quarters of its frames, scored on the others and on those; and what
is left when each frame is warped onto the next along the scene's motion.

{table(["object", "clip", "held-out / fitted foreground dB", "warp error"], rows)}{_samples(report)}"""


SAMPLED = ("true orbit", "by prompt", "by image + prompt")


def _samples(report: dict) -> str:
    if not report.get("samples"):
        return ""
    rows = []
    for s in report["samples"]:
        rows.append([s["prompt"], "the true flow", "-", "-", _number(s["true_flow"]["mean_absolute"]), "-"])
        for name in SAMPLED:
            view, static, warp = s[name]["view"], s[name]["static_view"], s[name]["time"]["clip_by_scene_motion"]
            scores = [
                f"{v['held_out_foreground_psnr']:.1f} / {v['fitted_foreground_psnr']:.1f}" for v in (view, static)
            ]
            covered = "-" if warp["mean_absolute"] is None else _share(warp["covered"])
            rows.append([s["prompt"], name, *scores, _number(warp["mean_absolute"]), covered])
    head = [
        "asked for",
        "clip",
        "held-out / fitted foreground dB",
        "the same of the static orbit",
        "warp error",
        "followed",
    ]
    return f"""

Sampled clips beside the true ones, all through the same construction; warp errors of true clips by the renderer's flow are the
least there is:

{table(head, rows)}"""


def _motion_headline(report: dict, reports: dict) -> str:
    if not report["prompts"]:
        return ""
    s, above = report["spearman"], report["spearman_above_0"]
    rows = [
        [title, _interval(s[m], 2), _interval(above[m], 2), _interval(s[smoothed], 2) if smoothed else ""]
        for title, m, smoothed in ASSETS
    ]
    head = ["", "Spearman", "without level 0", "with smoothed paths"]
    floor, drift = _share(report["floor_of_median"]), _number(report["still_parts"]["drift"])
    return f"""**Measured** on {report["prompts"]} prompts: Spearman's correlation of requested and measured motion, with its 95 %
interval:

{table(head, rows)}

At level 0 the network's own asset has {_share(report["m_at_0_of_median"])} of the median m of its prompt's, what construction
adds is {floor} of it, and the still parts of all drift by {drift}. Motion was multiplied {_matching(report)}."""


ASSETS = (
    ("the matched asset (`generate --motion`, at this many steps)", "matched_m", "matched_m_smoothed"),
    ("the same, seen from above, where matching did not look", "matched_m_elsewhere", ""),
    ("the network's own asset", "m", "m_smoothed"),
    ("the sampled clip, against that of level 0", "clip_m_over_0", ""),
)
"""What m is measured on, and the names of its figures in the report."""


def _calibration_headline(report: dict, reports: dict) -> str:
    rows = [
        f"{e['steps']} steps: Spearman with the true m {e['spearman']:.2f}, m / true m {e['ratio_to_truth'][1]:.2f} (median)"
        for e in report["by_steps"]
    ]
    return f"**Measured** on {report['by_steps'][0]['clips']} true clips. " + "; ".join(rows) + "."


def _knobs_headline(report: dict, reports: dict) -> str:
    rows = [
        [
            e["variant"],
            e["prompts"],
            _interval({"mean": e["spearman"], **e}, 2),
            f"{e['log_m_spread']:.2f}",
            _interval(e["spread_over_default"], 2),
            f"{e['asked']:.2f}",
        ]
        for e in report["table"]
    ]
    return table(
        ["variant", "prompts", "Spearman of the clip's m", "spread of log m", "above the default's", "asked for"], rows
    )


def _guidance_headline(report: dict, reports: dict) -> str:
    columns = ["foreground_psnr", "held_out_foreground_psnr", "warp_error", "m_of_truth"]
    rows = [
        [MODES.get(e["mode"], ""), e["variant"], *(_interval(e["over_none"].get(c), 3) for c in columns)]
        for e in report["table"]
        if e["over_none"]
    ]
    return "Gains over no guidance:\n\n" + table(["given", "guidance", *(FIGURES[c] for c in columns)], rows)


def _consistency_headline(report: dict, reports: dict) -> str:
    """Means over the known animations; nothing where no clip of the model was measured."""
    samples = report.get("samples")
    if not samples:
        return ""
    rows = []
    for name in SAMPLED:
        held = statistics.mean(s[name]["view"]["held_out_foreground_psnr"] for s in samples)
        fitted = statistics.mean(s[name]["view"]["fitted_foreground_psnr"] for s in samples)
        warps = [s[name]["time"]["clip_by_scene_motion"]["mean_absolute"] for s in samples]
        known = [w for w in warps if w is not None]
        rows.append([name, f"{held:.1f} / {fitted:.1f}", _number(statistics.mean(known) if known else None)])
    true = [w for s in samples if (w := s["true_flow"]["mean_absolute"]) is not None]
    rows.insert(0, ["true orbit, by the true flow", "-", _number(statistics.mean(true) if true else None)])
    head = ["clip", "held-out / fitted foreground dB", "warp error"]
    return f"Means over {len(samples)} animations, one seed:\n\n" + table(head, rows)


def _ladder_headline(report: dict, reports: dict) -> str:
    if "mean" not in report:  # of an older version, without K
        return ""
    views = report["views"]
    rows = [[rung, *(f"{s[v]['foreground_psnr']:.2f}" for v in views)] for rung, s in report["mean"].items()]
    head = ["frames given to the construction", *(f"{v}, foreground dB" for v in views)]
    return f"Means of {len(report['assets'])} assets:\n\n" + table(head, rows)


HEADLINES = {
    "motion_control": _motion_headline,
    "motion_calibration": _calibration_headline,
    "motion_knobs": _knobs_headline,
    "guidance": _guidance_headline,
    "consistency": _consistency_headline,
    "oracle_ladder": _ladder_headline,
}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _interval(entry: dict | None, digits: int) -> str:
    if entry is None or entry["mean"] is None:
        return "-"
    low, high = entry["interval_95"]
    if low is None:  # of a single clip or prompt
        return f"{entry['mean']:.{digits}f}"
    return f"{entry['mean']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
