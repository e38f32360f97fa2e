"""Does an asset move as much as was asked for? Requested quantile against m measured on the generated asset.

    python benchmarks/motion_control.py --weights DIR --work out/motion --out benchmarks/results/motion_control.json

20 prompts x 7 levels (0, 1/6 ... 1) of `motion`, one seed. For each: the moving orbit is sampled (the static orbit of the same
seed once a prompt), an asset is constructed from both, and m is measured on it: its moving orbit against the same orbit
frozen at 0, on white (`orbit4d.evaluate.motion.asset_motion`). Beside it: m of the sampled clip against the sampled static
orbit, and against the clip of level 0, which is free of what the two kinds of samples disagree about; m of the asset with
smoothed paths, which flicker does not survive; drift and flicker of its still parts; and what construction alone adds: m of the
asset of the static orbit played with running times.

`matched` is the same asset with its motion widened or narrowed towards the amount asked for, as `generate --motion` does (at most
1.5 times, see orbit4d.splat.amount): the loop closed by measuring, beside what the network alone makes of the number. What was
measured to close it is no test of it, so the matched asset is also measured on an orbit from above that the search does not see
(`elsewhere`), and ranks are given without level 0 as well, where the matched asset stands still by definition.

A finished (prompt, level) is a line of WORK/rows.jsonl and a strip of pictures beside it, and is not done again. A changed
model or setting is another case: one work folder can hold many; the report is of the settings asked for.
`--guidance-motion` adds w [e(y, m) - e(y, without m)] to the prediction (see orbit4d.diffusion.guidance).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import torch
import tyro
from motion_pages import CASE, SETTINGS, draw_strip, plot, sheet
from motion_pages import summary as summarise
from prompts import choose_prompts, prompts_by_kind
from rows import Rows
from shared import write_report

from orbit4d.cameras import Orbit
from orbit4d.clip import OrbitalClip
from orbit4d.diffusion.pipeline import DEFAULT_STEPS, Orbit4DPipeline
from orbit4d.evaluate.metrics import motion_magnitude
from orbit4d.evaluate.motion import asset_motion, scene_magnitude
from orbit4d.splat.amount import match_motion
from orbit4d.splat.fit import FitConfig, fit
from orbit4d.splat.gaussians import Gaussians4D

ELEVATION = 20.0
"""Of the orbit that matching does not see, in degrees."""


@dataclass(kw_only=True)
class Arguments:
    work: Path = Path("out/motion_control")
    """Folder of rows.jsonl and the pictures; an interrupted run is taken up from it."""
    out: Path | None = None
    """JSON report; printed only when left out. The plot is written beside it as PNG."""
    weights: Path | None = None
    """Another model; the built-in one when left out."""
    prompts: tuple[str, ...] = ()
    """Instead of the chosen ones."""
    count: int = 20
    """How many prompts are chosen, and the seed of the rule (`prompts.choose_prompts`)."""
    choice_seed: int = 0
    levels: int = 7
    """Evenly from 0 to 1."""
    seeds: tuple[int, ...] = (0,)
    steps: int = DEFAULT_STEPS
    """Sampling steps."""
    guidance_scale: float = 2.0
    guidance_3d: float = 0.5
    guidance_motion: float = 0.0
    fit_steps: int = 200
    """Of each construction; motion_calibration.py says how few rank motion as the truth does."""
    threads: int | None = None


def main(arguments: Arguments) -> None:
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    pipe = Orbit4DPipeline.from_pretrained(arguments.weights)
    prompts = list(arguments.prompts) or choose_prompts(
        prompts_by_kind(pipe.motion), count=arguments.count, seed=arguments.choice_seed
    )
    levels = [round(i / (arguments.levels - 1), 6) for i in range(arguments.levels)]
    rows = Rows(arguments.work / "rows.jsonl", key=CASE)
    wanted = []
    for seed in arguments.seeds:
        settings = settings_of(arguments, pipe.weights_hash, seed)
        for prompt in prompts:
            wanted += [settings | {"prompt": prompt, "level": level} for level in ["floor", *levels]]
            run_prompt(pipe, prompt, levels, settings, rows, pictures=arguments.work)
    found = [rows[case] for case in wanted]
    report = {
        "benchmark": "motion control",
        "settings": settings_of(arguments, pipe.weights_hash, None) | {"seeds": list(arguments.seeds)},
        "levels": levels,
        "choice_seed": None if arguments.prompts else arguments.choice_seed,
    }
    write_report(arguments.out, report | summarise(found) | {"rows": found})
    picture = (arguments.out or arguments.work / "report.json").with_suffix(".png")
    plot(found, picture)
    sheet(found, arguments.work, picture.with_name(picture.stem + "_sheet.png"))


def settings_of(arguments: Arguments, weights: str, seed: int | None) -> dict:
    return {"weights": weights, "seed": seed} | {name: getattr(arguments, name) for name in SETTINGS[2:]}


def run_prompt(
    pipe: Orbit4DPipeline, prompt: str, levels: list[float], settings: dict, rows: Rows, *, pictures: Path
) -> None:
    """All levels of a prompt that are not done, and its noise floor."""
    cases = [settings | {"prompt": prompt, "level": level} for level in ["floor", *levels]]
    if all(case in rows for case in cases):
        return
    options = {name: settings[name] for name in ("seed", "steps", "guidance_scale", "guidance_3d")}
    static = pipe(prompt=prompt, static=True, progress=False, **options)

    @cache
    def moving(level: float) -> OrbitalClip:
        return pipe(prompt=prompt, motion=level, guidance_motion=settings["guidance_motion"], progress=False, **options)

    for case in cases:
        if case in rows:
            continue
        started = time.monotonic()
        if case["level"] == "floor":
            times = torch.linspace(0, 1, len(static))
            clip, row = replace(static, times=times), {"target_m": None, "clip_m": None, "clip_m_over_0": None}
        else:
            clip = moving(case["level"])
            row = {
                "target_m": pipe.asked_magnitude(case["level"]),
                "clip_m": float(motion_magnitude(clip.on_background(), static.on_background())),
                "clip_m_over_0": float(motion_magnitude(clip.on_background(), moving(0.0).on_background())),
            }
        sampled = time.monotonic()
        scene = construct(clip, static, steps=settings["fit_steps"], seed=settings["seed"])
        found: dict = {"asset": asset_motion(scene, clip.cameras, clip.times)}
        seconds = {"sample": round(sampled - started, 1), "construct": round(time.monotonic() - sampled, 1)}
        if case["level"] != "floor":
            measured = partial(scene_magnitude, cameras=clip.cameras, times=clip.times)
            scene, matched = match_motion(scene, row["target_m"], magnitude=measured)
            above = Orbit(frames=len(clip), elevation_deg=ELEVATION).cameras(clip.cameras.width)
            found["matched"] = asset_motion(scene, clip.cameras, clip.times) | {
                "gain": round(matched.gain, 4),
                "m_elsewhere": scene_magnitude(scene, above, clip.times),
            }
        draw_strip(scene, clip, pictures, case)
        rows.add(case | row | found | {"seconds": seconds})


def construct(clip: OrbitalClip, static: OrbitalClip | None, *, steps: int, seed: int) -> Gaussians4D:
    config = replace(FitConfig.for_size(clip.rgb.shape[-1], steps), seed=seed)
    return fit(clip, static_clip=static, config=config, progress=False).scene


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
