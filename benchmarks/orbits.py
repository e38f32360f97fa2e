"""Several orbits of one object: sampled together, or one by one with shared reference frames: which agree better, at what cost?

    python benchmarks/orbits.py --out benchmarks/results/orbits.json --weights runs/mine/weights

An animation of the vocabulary is rendered; its first frame is shown to the model (and the prompt, if asked), and K orbits are
sampled in each way. Figures: *frames*: foreground PSNR of the samples against the renders of the same cameras and times
(the frame that was shown does not count); *view*: held-out and fitted foreground PSNR of a construction from all orbits
(`view_consistency`); *novel*: that construction against renders of an orbit half-way between the first two.
The same figures of the true renders stand beside them. A finished case is a line of WORK/rows.jsonl with its clip beside it,
and is not done again; other settings are another case.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from rows import Rows
from schedulers import ASSETS
from shared import DATA, row, save_sheet, score, write_report

from orbit4d.clip import OrbitalClip, join_clips, load_clip, save_clip
from orbit4d.data.render import render_clip
from orbit4d.diffusion.pipeline import Orbit4DPipeline
from orbit4d.evaluate.consistency import view_consistency
from orbit4d.evaluate.metrics import foreground_psnr

MODES = {"together": 0, "shared 4": 4, "shared 8": 8}
"""Way -> `shared_frames`."""
CASE = ("weights", "case", "orbits", "mode", "seed", "text", "steps", "fit_steps")
"""What tells one case from another."""


@dataclass(kw_only=True)
class Arguments:
    out: Path | None = None
    """JSON report; printed only when left out. A sheet is written beside it."""
    work: Path = Path("out/orbits")
    weights: str | None = None
    """Folder or hub name of a model; the built-in one when left out."""
    cases: tuple[str, ...] = tuple(ASSETS)
    orbits: tuple[int, ...] = (1, 2, 3)
    modes: tuple[str, ...] = tuple(MODES)
    seeds: tuple[int, ...] = (0,)
    steps: int | None = None
    """Sampling steps; the pipeline's when left out."""
    fit_steps: int = 400
    text: bool = True
    """Give the prompt as well as the first frame."""


def renders(case: str, orbits: int, *, offset: float = 0.0) -> OrbitalClip:
    file, animation = ASSETS[case]
    parts: list[OrbitalClip] = [
        render_clip(
            DATA / "assets" / file, trajectory="orbit", size=128, animation=animation, azimuth=offset + 360 * k / orbits
        )
        for k in range(orbits)
    ]
    return join_clips(parts)


def figures(clip: OrbitalClip, truth: OrbitalClip, novel: OrbitalClip, case: dict[str, Any]) -> dict:
    frames = foreground_psnr(clip.on_background(), truth.on_background(), truth.alpha)[1:]
    view, scene = view_consistency(clip, steps=case["fit_steps"], seed=case["seed"])
    return {
        "frames_foreground_psnr": None if frames.isinf().all() else round(float(frames[frames.isfinite()].mean()), 3),
        "view": view,
        "novel": score(scene, novel),
    }


def case_of(name: str, orbits: int, mode: str, seed: int, *, weights: str, arguments: Arguments) -> dict[str, Any]:
    """What tells a case from others; what the truth does not depend on is left empty, so that other models reuse it."""
    case = {"case": name, "orbits": orbits, "mode": mode, "seed": seed, "fit_steps": arguments.fit_steps}
    if mode == "truth":
        return case | {"weights": "", "text": None, "steps": None}
    return case | {"weights": weights, "text": arguments.text, "steps": arguments.steps}


def clip_folder(work: Path, case: dict[str, Any]) -> Path:
    """Where the clip of a case is kept."""
    name = json.dumps([case[k] for k in CASE])
    return work / "clips" / hashlib.sha256(name.encode()).hexdigest()[:16]


def measure(pipe: Orbit4DPipeline, case: dict[str, Any], rows: Rows, *, work: Path) -> dict:
    """One case, from `rows` where it is finished."""
    if case in rows:
        return rows[case]
    orbits = case["orbits"]
    truth, novel = renders(case["case"], orbits), renders(case["case"], 1, offset=180 / max(orbits, 2))
    clip, seconds = truth, 0.0
    if case["mode"] != "truth":
        started = time.perf_counter()
        clip = pipe(
            prompt=case["case"] if case["text"] else None,
            references=truth[:1],
            orbits=orbits,
            shared_frames=MODES[case["mode"]],
            steps=case["steps"],
            seed=case["seed"],
            progress=False,
        )
        seconds = time.perf_counter() - started
    found = figures(clip, truth, novel, case)
    folder = clip_folder(work, case)
    if not folder.exists():  # else of a run that was stopped before its line was written: the same seed, the same clip
        folder.parent.mkdir(parents=True, exist_ok=True)
        save_clip(clip, folder)
    rows.add(case | {"seconds": round(seconds, 1)} | found)
    return rows[case]


def main(arguments: Arguments) -> None:
    pipe = Orbit4DPipeline.from_pretrained(arguments.weights)
    done = Rows(arguments.work / "rows.jsonl", key=CASE)
    entries, pictures = [], []
    for name in arguments.cases:
        for orbits in arguments.orbits:
            modes = ["truth", *(arguments.modes if orbits > 1 else arguments.modes[:1])]
            for mode in modes:
                for seed in arguments.seeds[: 1 if mode == "truth" else None]:
                    case = case_of(name, orbits, mode, seed, weights=pipe.weights_hash, arguments=arguments)
                    entries.append(measure(pipe, case, done, work=arguments.work))
                    if orbits == max(arguments.orbits) and seed == arguments.seeds[0]:
                        # One moment from all orbits, then the next: in a row, the object should only turn.
                        clip = load_clip(clip_folder(arguments.work, case))
                        count = len(clip) // orbits
                        shown = [k * count + i for i in (count // 4, count // 2) for k in range(orbits)]
                        pictures.append(row(clip.on_background(), shown))
    means = []
    for orbits in arguments.orbits:
        for mode in ("truth", *arguments.modes):
            of = [e for e in entries if e["orbits"] == orbits and e["mode"] == mode]
            if of:
                values = {
                    "frames_foreground_psnr": [e["frames_foreground_psnr"] for e in of],
                    "held_out_foreground_psnr": [e["view"]["held_out_foreground_psnr"] for e in of],
                    "gap": [e["view"]["gap"] for e in of],
                    "novel_foreground_psnr": [e["novel"]["foreground_psnr"] for e in of],
                    "seconds": [e["seconds"] for e in of],
                }
                average = {k: None if None in v else round(float(torch.tensor(v).mean()), 3) for k, v in values.items()}
                means.append({"orbits": orbits, "mode": mode, "samples": len(of)} | average)
    report = {
        "benchmark": "several orbits: sampled together, or one by one with shared frames",
        "weights_hash": pipe.weights_hash,
        "steps": arguments.steps,
        "fit_steps": arguments.fit_steps,
        "seeds": arguments.seeds,
        "text": arguments.text,
        "means": means,
        "cases": entries,
    }
    write_report(arguments.out, report)
    if arguments.out is not None and pictures:
        save_sheet(pictures, arguments.out.with_name("orbits_sheet.png"))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
