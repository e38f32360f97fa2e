"""How often the built-in captioner says what a picture shows: the first frames of image_to_4d's clips.

    python benchmarks/captioner.py --latents RUN/latents --out benchmarks/results/captioner.json

`azimuth`: first frames of trained clips, seen from azimuths half way between two views of the training grid. `animation`:
animations of trained characters that were never trained on; the kind can be right, the motion is right if it has the
animation's own words, wrong if it has others. `rig`: characters of families that were never trained on, of which it should say
nothing. Each once as it stands in its clip, whose frame holds the whole motion, and once centred as `generate` centres a
picture, which hides how far the motion reaches. A share is of all pictures: what is not said is neither right nor wrong. Some
minutes, nearly all of them rendering.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from image_to_4d import Case, Split, choose_cases
from shared import DATA, write_report
from tqdm import tqdm

from orbit4d.conditions import centred
from orbit4d.data.latent_set import open_latents
from orbit4d.data.render import render_clip
from orbit4d.data.training_set import vocabulary
from orbit4d.diffusion.captioner import KIND_SURE, MOTION_SURE, Caption
from orbit4d.diffusion.pipeline import Orbit4DPipeline
from orbit4d.diffusion.vocabulary import motion_words
from orbit4d.errors import InputError
from orbit4d.evaluate.resampling import bootstrap_interval

SPLITS: tuple[Split, ...] = ("azimuth", "animation", "rig")


@dataclass(kw_only=True)
class Arguments:
    latents: Path
    """Of the training set: which clips are trained is read from their names."""
    weights: Path | None = None
    """The model; the built-in one when left out."""
    cases: int = 80
    """Of each split, fewer where there are not so many."""
    data: Path = DATA
    """Folder with assets/."""
    out: Path | None = None
    """JSON report; printed only when left out."""


def judged(case: Case, said: Caption | None, kind: str | None) -> dict:
    """What was said of a case, and whether it is right. `kind`: what the case shows, with its article; None for nothing known."""
    motion = motion_words(case.caption, kind) if case.caption and kind else None
    return {
        "case": case.name,
        "shows": case.caption or kind,
        "said": None if said is None else said.text,
        "kind": "unsaid" if said is None else "right" if said.kind == kind else "wrong",
        "motion": "unsaid" if said is None or said.motion is None else "right" if said.motion == motion else "wrong",
        "kind_share": None if said is None else said.kind_share,
        "motion_share": None if said is None else said.motion_share,
    }


def shares(rows: list[dict]) -> dict:
    """Shares of all rows, with 95 % intervals."""
    return {
        of: {how: bootstrap_interval([float(r[of] == how) for r in rows]) for how in ("right", "wrong", "unsaid")}
        for of in ("kind", "motion")
    }


def main(arguments: Arguments) -> None:
    pipe = Orbit4DPipeline.from_pretrained(arguments.weights)
    if pipe.captioner is None:
        raise InputError(f"{arguments.weights}: this model has no captioner; train one with --stage captioner")
    store, assets = open_latents(arguments.latents), arguments.data / "assets"
    cases = choose_cases(store, assets, splits=SPLITS, count=arguments.cases, seed=0)
    kinds = {file: words.kind for (file, _), words in vocabulary(assets).items()}
    rows: dict[str, list[dict]] = {}
    for case in tqdm(cases):
        clip = render_clip(assets / case.file, size=128, azimuth=case.azimuth, animation=case.animation)
        picture = torch.cat([clip.rgb[0], clip.alpha[0]])
        for name, shown in ((case.split, picture), (f"{case.split}, centred", centred(picture, size=128))):
            rows.setdefault(name, []).append(judged(case, pipe.caption(shown), kinds.get(case.file)))
    report = {
        "benchmark": "words that the captioner says of pictures",
        "captioner": pipe.captioner_hash,
        "parameters": sum(p.numel() for p in pipe.captioner.parameters()),
        "sure": {"kind": KIND_SURE, "motion": MOTION_SURE},
        "splits": {split: {"pictures": len(of), **shares(of)} for split, of in rows.items()},
        "rows": rows,
    }
    write_report(arguments.out, report)
    for split, of in report["splits"].items():
        print(split, of["pictures"], {k: {h: v["mean"] for h, v in of[k].items()} for k in ("kind", "motion")})


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
