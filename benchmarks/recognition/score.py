"""Sample every prompt of the model's grammar (kind and motion), and let the recogniser say what it sees.

    python benchmarks/recognition/score.py --weights out/weights --seeds 0 1 \
        --clips out/recognition/clips --out benchmarks/results/recognition_generated.json --pictures out/recognition

Every sampled clip is kept as one small picture in --clips, so that a run that was stopped goes on, and another recogniser can
judge the same clips. Beside each score stand chance and the same recogniser's figures on held-out real clips.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from PIL import Image
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from drawing import confusion_picture, contact_sheet
from shared import DATA, write_report

from orbit4d.clip import OrbitalClip
from orbit4d.data.training_set import vocabulary
from orbit4d.diffusion.pipeline import BUILT_IN, DEFAULT_STEPS, Orbit4DPipeline
from orbit4d.errors import InputError
from orbit4d.evaluate.recognition import (
    FRAMES,
    SIZE,
    TOY,
    Judgement,
    Label,
    Recogniser,
    accuracies,
    chance,
    clip_thumbnails,
    judge,
    label_of,
    load_recogniser,
)
from orbit4d.files import atomic_path, digest, json_digest, parse_json


@dataclass(kw_only=True)
class Arguments:
    clips: Path
    """Folder for the sampled clips."""
    recogniser: Path = Path(__file__).parent / "recogniser.safetensors"
    """What benchmarks/recognition/train.py wrote; the committed one reads the built-in model's kinds."""
    weights: Path | None = None
    """The model; the built-in one when left out."""
    seeds: tuple[int, ...] = (0,)
    kinds: tuple[str, ...] = ()
    """Only these kinds; when left out all of the model but toys."""
    max_prompts: int | None = None
    """Only so many prompts, evenly chosen."""
    held_out: bool = False
    """Also prompt for the kinds' animations that are kept out of training (HELD_OUT_ANIMATIONS): scored apart."""
    steps: int = DEFAULT_STEPS
    guidance_scale: float = 2.0
    guidance_3d: float = 0.5
    motion: Literal["usual", "unsaid"] = "usual"
    """usual: the amount that clips of the prompt's kind and motion have, as `generate` asks for; unsaid: left to the model."""
    out: Path | None = None
    """JSON report; printed only when left out."""
    pictures: Path | None = None
    """Folder for the confusion pictures and the contact sheet."""
    data: Path = DATA
    """Folder with assets/: for models whose pipeline.json lists no prompts, and for --held-out."""


@dataclass(kw_only=True, frozen=True)
class Prompt:
    text: str
    label: Label
    trained: bool = True


def grammar(weights: Path, assets: Path, *, held_out: bool = False) -> list[Prompt]:
    """The prompts of a model: those its pipeline.json lists, else KIND MOTION of the vocabulary's clips of its kinds.

    Prompts whose label is the same (two toys that walk) count once. `held_out` adds compositions never trained on.
    """
    model = parse_json((weights / "pipeline.json").read_bytes(), source=weights / "pipeline.json")
    listed, kinds = model.get("prompts"), [str(k) for k in model.get("vocabulary", [])]
    pairs: list[tuple[str, str, bool]] = []
    if listed is not None:
        if not isinstance(listed, dict) or not all(isinstance(v, list) for v in listed.values()):
            raise InputError(f"{weights / 'pipeline.json'}: prompts: expected {{kind: [captions]}}")
        pairs += [(str(kind), str(text), True) for kind, texts in listed.items() for text in texts]
        kinds = kinds or list(listed)
    else:
        wordings = [w for w in vocabulary(assets).values() if w.kind in kinds]
        pairs += [(w.kind, w.captions[0], True) for w in wordings]
    if held_out:
        pairs += [(w.kind, w.captions[0], False) for w in vocabulary(assets, held_out=True).values() if w.kind in kinds]
    found: dict[Label, Prompt] = {}
    for kind, text, trained in sorted(pairs, key=lambda p: (not p[2], *p)):
        label = label_of(kind, [text])
        if label.motion is not None:
            found.setdefault(label, Prompt(text=text, label=label, trained=trained))
    return sorted(found.values(), key=lambda p: (not p.trained, p.label.kind, p.text))


def chosen_prompts(prompts: list[Prompt], *, kinds: tuple[str, ...], most: int | None) -> list[Prompt]:
    """Those of `kinds` (none: all but toys), evenly thinned to `most`. Raises InputError where none is left."""
    names = {p.label.kind for p in prompts}
    if unknown := [k for k in kinds if k not in names]:
        raise InputError(f"--kinds: expected some of {', '.join(sorted(names))}, got {unknown[0]!r}")
    kept = [p for p in prompts if (p.label.kind in kinds if kinds else not p.label.kind.startswith(TOY))]
    if most is not None and most < len(kept):
        kept = [kept[i * len(kept) // most] for i in range(most)]
    if not kept:
        raise InputError("no prompts are left to score; check --kinds, --max-prompts and the model's pipeline.json")
    return kept


def sampled(
    prompts: list[Prompt], seeds: tuple[int, ...], folder: Path, *, sample: Callable[[str, int], OrbitalClip]
) -> tuple[Tensor, list[tuple[Prompt, int]]]:
    """Thumbnails (n, FRAMES, 4, SIZE, SIZE) uint8 of every prompt and seed, and which they are; `sample(text, seed)` makes
    those that `folder` does not hold.
    """
    cases = [(prompt, seed) for prompt in prompts for seed in seeds]
    out, started, made = [], time.monotonic(), 0
    for number, (prompt, seed) in enumerate(cases, 1):
        path = folder / f"{clip_name(prompt.text)}_seed{seed}.png"
        if not path.is_file():
            write_strip(clip_thumbnails(sample(prompt.text, seed)), path)
            made += 1
            seconds = (time.monotonic() - started) / made
            print(f"{number} of {len(cases)}: {prompt.text!r}, {seconds:.1f} s a clip", flush=True)
        out.append(read_strip(path))
    return torch.stack(out), cases


def clip_name(text: str) -> str:
    """A file name for a prompt: readable, and distinct by a digest."""
    readable = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60]
    return f"{readable}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def write_strip(frames: Tensor, path: Path) -> None:
    """(FRAMES, 4, SIZE, SIZE) uint8 straight RGBA as one PNG, side by side."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        Image.fromarray(torch.cat(list(frames), dim=-1).permute(1, 2, 0).numpy()).save(temporary, format="PNG")


def read_strip(path: Path) -> Tensor:
    """What `write_strip` wrote. Raises InputError for anything else."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            if picture.size != (FRAMES * SIZE, SIZE) or picture.mode != "RGBA":
                raise ValueError(f"{picture.size} {picture.mode}")
            array = np.array(picture)
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{path}: not a sampled clip ({error}); delete it and run again") from error
    return torch.from_numpy(array).permute(2, 0, 1).unflatten(2, (FRAMES, SIZE)).permute(2, 0, 1, 3).contiguous()


def report_of(
    model: Recogniser, about: dict[str, Any], frames: Tensor, cases: list[tuple[Prompt, int]]
) -> tuple[dict[str, Any], Judgement]:
    """Scores of the sampled clips with intervals over prompts, chance, the recogniser's figures on real clips, and each clip's."""
    labels, texts = [p.label for p, _ in cases], [p.text for p, _ in cases]
    told = judge(model, frames, labels)
    trained = [p.trained for p, _ in cases]
    report: dict[str, Any] = {"generated": accuracies(told, trained, cases=texts)}
    if not all(trained):
        other = accuracies(told, [not t for t in trained], cases=texts)
        report["generated_held_out_compositions"] = {k: v for k, v in other.items() if k != "motion_of_kind"}
    report["real_held_out_clips"] = about.get("real")
    report["real_same_kinds"] = real_of_kinds(about, {label.kind for label in labels})
    report["chance"] = chance(model.classes, labels)
    report["unknown_to_recogniser"] = sorted(
        {
            text
            for text, label in zip(texts, labels, strict=True)
            if label.kind not in model.classes.kinds or label.motion not in model.classes.motions
        }
    )
    rows = zip(cases, told.kind, told.motion, told.motion_of_kind, strict=True)
    report["clips"] = [
        {
            "prompt": p.text,
            "seed": seed,
            "trained": p.trained,
            "kind": kind,
            "motion": motion,
            "motion_of_kind": of_kind,
        }
        for (p, seed), kind, motion, of_kind in rows
    ]
    return report, told


def real_of_kinds(about: dict[str, Any], kinds: set[str]) -> dict[str, float | int] | None:
    """Accuracies on held-out real clips of these kinds alone, as the recogniser's file records them; None without."""
    rows = [row for kind, row in about.get("real_by_kind", {}).items() if kind in kinds and row["motion"] is not None]
    count = sum(row["clips"] for row in rows)
    if not count:
        return None
    return {name: round(sum(r[name] * r["clips"] for r in rows) / count, 4) for name in ("kind", "motion")} | {
        "clips": count
    }


def main(arguments: Arguments) -> None:
    weights = arguments.weights or BUILT_IN
    model, about = load_recogniser(arguments.recogniser)
    pipe = Orbit4DPipeline.from_pretrained(arguments.weights)
    prompts = grammar(weights, arguments.data / "assets", held_out=arguments.held_out)
    prompts = chosen_prompts(prompts, kinds=arguments.kinds, most=arguments.max_prompts)
    settings = {
        "steps": arguments.steps,
        "guidance_scale": arguments.guidance_scale,
        "guidance_3d": arguments.guidance_3d,
    }
    named = json_digest([pipe.weights_hash, settings, arguments.motion])[:12]
    amount = "usual" if arguments.motion == "usual" else None

    def sample(text: str, seed: int) -> OrbitalClip:
        return pipe(prompt=text, seed=seed, motion=amount, progress=False, **settings)

    frames, cases = sampled(prompts, arguments.seeds, arguments.clips / named, sample=sample)
    figures, told = report_of(model, about, frames, cases)
    report = {
        "benchmark": "recognition of clips generated by prompt",
        "weights_hash": pipe.weights_hash,
        "recogniser": digest([arguments.recogniser]),
        "prompts": len(prompts),
        "seeds": list(arguments.seeds),
        "settings": settings | {"motion": arguments.motion},
    } | figures
    if arguments.pictures is not None:
        confusion_picture(
            [(p.label.kind, k) for (p, _), k in zip(cases, told.kind, strict=True)],
            arguments.pictures / "generated_kinds.png",
            title="kind (generated)",
        )
        confusion_picture(
            [(p.label.motion or "", m) for (p, _), m in zip(cases, told.motion, strict=True)],
            arguments.pictures / "generated_motions.png",
            title="motion (generated)",
        )
        lines = [f"{p.text} | told: {k}, {m}" for (p, _), k, m in zip(cases, told.kind, told.motion, strict=True)]
        contact_sheet(list(zip(lines, frames, strict=True))[:60], arguments.pictures / "generated.png")
    write_report(arguments.out, report)
    print(json.dumps({k: v["mean"] for k, v in figures["generated"].items() if k != "clips"}))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
