"""3D-aware guidance against plain classifier-free guidance and none, on clips of which the truth is known.

    python benchmarks/guidance.py --weights DIR --work out/guidance --out benchmarks/results/guidance.json

Orbits by image and prompt (view 0, time 0 of the true orbit is given) and by prompt alone, of animations of the vocabulary's
assets. Of each sampled orbit:

- foreground PSNR and SSIM against the true orbit, frame 0 left out. A prompt alone fixes neither pose nor phase, so by prompt
  these are strict; what counts is how variants differ;
- view consistency: a short construction without every 4th frame, scored on these (`view_consistency`), and by how much the
  frames that it was made from score better;
- time consistency: the warp error of the clip by the construction's own motion, and as a share of the error without following;
- sharpness: neighbouring pixels' mean difference within the object, relative to the true clip's: blur looks consistent;
- m of that construction, relative to the true clip's: guidance that freezes the object would score well otherwise. Both are from
  short constructions without a static orbit, so the ratio means something and each alone little.

`truth` is the true orbit through the same measures. A finished case is a line of WORK/rows.jsonl and is not done again.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from known_clips import CLIPS
from rows import Rows
from shared import frame_scores, write_report
from strips import save_sheet, save_strip, strip_path

from orbit4d.clip import OrbitalClip
from orbit4d.diffusion.pipeline import DEFAULT_STEPS, Orbit4DPipeline
from orbit4d.evaluate.consistency import scene_time_consistency, view_consistency
from orbit4d.evaluate.metrics import FOREGROUND
from orbit4d.evaluate.motion import asset_motion
from orbit4d.evaluate.resampling import bootstrap_interval

VARIANTS: dict[str, tuple[float, float]] = {
    "none": (1.0, 0.0),
    "plain 1.5": (1.5, 0.0),
    "plain 2": (2.0, 0.0),
    "plain 3": (3.0, 0.0),
    "plain 5": (5.0, 0.0),
    "3D only 0.25": (1.0, 0.25),
    "3D only 0.5": (1.0, 0.5),
    "3D only 1": (1.0, 1.0),
    "plain 2 + 3D 0.25": (2.0, 0.25),
    "plain 2 + 3D 0.5": (2.0, 0.5),
    "plain 2 + 3D 1": (2.0, 1.0),
}
"""Name -> (guidance scale in diffusers' convention: 1 is none; weight of the 3D-aware term)."""
Mode = Literal["image", "text"]
Figures = dict[str, float | None]
"""{one of FIGURES: its value, None where nothing could be measured}."""
CASE = ("weights", "mode", "prompt", "variant", "seed", "steps", "fit_steps")
FIGURES = (
    "foreground_psnr",
    "ssim",
    "held_out_foreground_psnr",
    "gap",
    "warp_error",
    "warp_of_unwarped",
    "m_of_truth",
    "sharpness",
)
SHOWN = [0, 4, 8, 12, 16, 20]


@dataclass(kw_only=True)
class Arguments:
    work: Path = Path("out/guidance")
    """Folder of rows.jsonl and the pictures; an interrupted run is taken up from it."""
    out: Path | None = None
    """JSON report; printed only when left out."""
    pictures: Path | None = None
    """Folder for a sheet a mode: a column a clip, a row a variant, truth first."""
    weights: Path | None = None
    """Another model; the built-in one when left out."""
    modes: tuple[Mode, ...] = ("image", "text")
    variants: tuple[str, ...] = tuple(VARIANTS)
    clips: int = len(CLIPS)
    """How many of the clips."""
    seeds: tuple[int, ...] = (0, 1)
    steps: int = DEFAULT_STEPS
    """Sampling steps."""
    fit_steps: int = 300
    """Of each construction."""


def main(arguments: Arguments) -> None:
    pipe = Orbit4DPipeline.from_pretrained(arguments.weights)
    rows = Rows(arguments.work / "rows.jsonl", key=CASE)
    common = {"weights": pipe.weights_hash, "steps": arguments.steps, "fit_steps": arguments.fit_steps}
    wanted = []
    for known in CLIPS[: arguments.clips]:
        truth = None
        for mode in arguments.modes:
            for seed in arguments.seeds:
                for variant in ("truth", *arguments.variants):
                    if variant == "truth" and (mode, seed) != (arguments.modes[0], arguments.seeds[0]):
                        continue
                    case = common | {"mode": mode, "prompt": known.prompt, "variant": variant, "seed": seed}
                    if variant == "truth":  # of no model, no mode and no seed but the construction's
                        case |= {"weights": "", "mode": "truth", "steps": 0}
                    wanted.append(case)
                    if case in rows:
                        continue
                    truth = truth or known.orbit()
                    rows.add(case | run(pipe, case, truth, work=arguments.work))
    found = [rows[case] for case in wanted]
    report = {"benchmark": "guidance", **common, "seeds": list(arguments.seeds), "clips": arguments.clips}
    write_report(arguments.out, report | {"table": table(found, arguments), "rows": found})
    if arguments.pictures is not None:
        for mode in arguments.modes:
            sheets(found, mode, arguments)


def run(pipe: Orbit4DPipeline, case: dict, truth: OrbitalClip, *, work: Path) -> dict:
    """Sample one case, and measure it."""
    started = time.monotonic()
    clip = truth if case["variant"] == "truth" else sample(pipe, case, truth)
    sampled = time.monotonic()
    scores = (
        None if clip is truth else frame_scores(clip.on_background()[1:], truth.on_background()[1:], truth.alpha[1:])
    )
    views, scene = view_consistency(clip, steps=case["fit_steps"], size=128, seed=case["seed"])
    motion = asset_motion(scene, clip.cameras, clip.times)
    save_strip(clip.on_background()[SHOWN], strip_path(work, {k: case[k] for k in CASE}))
    return {
        "against_truth": scores,
        "view": {k: views[k] for k in ("held_out_foreground_psnr", "fitted_foreground_psnr", "gap")},
        "time": scene_time_consistency(scene, clip.cameras, clip.times, clip=clip),
        "asset": motion,
        "sharpness": round(sharpness(clip) / sharpness(truth), 4),
        "seconds": {"sample": round(sampled - started, 1), "measure": round(time.monotonic() - sampled, 1)},
    }


def sharpness(clip: OrbitalClip) -> float:
    """Mean absolute difference of neighbouring pixels where both are foreground: blur has little."""
    changes = []
    for step in ((1, 0), (0, 1)):
        near = clip.rgb.roll(step, (2, 3)), clip.alpha.roll(step, (2, 3))
        inside = ((clip.alpha > FOREGROUND) & (near[1] > FOREGROUND)).expand_as(clip.rgb)
        changes.append((clip.rgb - near[0]).abs()[inside])
    return float(torch.cat(changes).mean())


def sample(pipe: Orbit4DPipeline, case: dict, truth: OrbitalClip) -> OrbitalClip:
    scale, weight_3d = VARIANTS[case["variant"]]
    return pipe(
        prompt=case["prompt"],
        image=torch.cat([truth.rgb[0], truth.alpha[0]]) if case["mode"] == "image" else None,
        guidance_scale=scale,
        guidance_3d=weight_3d,
        steps=case["steps"],
        seed=case["seed"],
        progress=False,
    )


def figures(row: dict, true_m: dict[str, float]) -> Figures:
    """The row's figures; `true_m`: prompt -> m of the construction of its true orbit."""
    against, reference = row["against_truth"] or {}, true_m.get(row["prompt"])
    warp, unwarped = row["time"]["mean_absolute"], row["time"]["unwarped"]
    return {
        "foreground_psnr": against.get("foreground_psnr"),
        "ssim": against.get("ssim"),
        "held_out_foreground_psnr": row["view"]["held_out_foreground_psnr"],
        "gap": row["view"]["gap"],
        "warp_error": warp,
        "warp_of_unwarped": warp / unwarped if warp is not None and unwarped else None,
        "m_of_truth": row["asset"]["m"] / reference if reference else None,
        "sharpness": row["sharpness"],
    }


def table(rows: list[dict], arguments: Arguments) -> list[dict]:
    """Means over clips and seeds a mode and variant, and the mean difference to no guidance with its 95 % interval, paired.

    A figure that one variant lacks for a clip and seed (nothing could be followed there) is left out for all of them.
    """
    entries, true_m = [], {row["prompt"]: row["asset"]["m"] for row in rows if row["variant"] == "truth"}
    for mode in ("truth", *arguments.modes):
        found = [(row, figures(row, true_m)) for row in rows if row["mode"] == mode]
        lacking = {name: {(r["prompt"], r["seed"]) for r, of in found if of[name] is None} for name in FIGURES}
        for variant in ("truth", *arguments.variants):
            group = [(row, of) for row, of in found if row["variant"] == variant]
            if not group:
                continue
            entry: dict = {"mode": mode, "variant": variant, "samples": len(group)}
            for name in FIGURES:
                of_all = [of[name] for row, of in group if (row["prompt"], row["seed"]) not in lacking[name]]
                values = [v for v in of_all if v is not None]
                entry[name] = round(statistics.mean(values), 4) if values else None
            plain = {(row["prompt"], row["seed"]): of for row, of in found if row["variant"] == "none"}
            entry["over_none"] = {} if variant in ("truth", "none") else over_none(group, plain)
            entries.append(entry)
    return entries


def over_none(group: list[tuple[dict, Figures]], plain: dict[tuple[str, int], Figures]) -> dict:
    """Of each figure, variant minus no guidance for the same clip and seed: mean and 95 % interval over clips.

    The gains of a clip's seeds are averaged first: they are not independent.
    """
    found = {}
    for name in FIGURES:
        gains: dict[str, list[float]] = {}
        for row, of in group:
            ours, none = of[name], plain.get((row["prompt"], row["seed"]), {}).get(name)
            if ours is not None and none is not None:
                gains.setdefault(row["prompt"], []).append(ours - none)
        if gains:
            over = bootstrap_interval([statistics.mean(v) for v in gains.values()])
            found[name] = {"mean": over["mean"], "interval_95": [over["low"], over["high"]]}
    return found


def sheets(rows: list[dict], mode: Mode, arguments: Arguments) -> None:
    columns = []
    for known in CLIPS[: arguments.clips]:
        column = []
        for row in rows:
            if row["prompt"] != known.prompt or row["mode"] not in (mode, "truth") or row["seed"] != arguments.seeds[0]:
                continue
            path = strip_path(arguments.work, {k: row[k] for k in CASE})
            column.append((row["variant"], path))
        order = ["truth", *arguments.variants]
        columns.append((known.prompt, sorted(column, key=lambda entry: order.index(entry[0]))))
    assert arguments.pictures is not None
    save_sheet(columns, arguments.pictures / f"guidance_{mode}.png")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
