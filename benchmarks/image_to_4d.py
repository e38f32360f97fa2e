"""One image to a moving orbit, against the true orbit, beside what repeating the image or remembering a clip would get.

    python benchmarks/image_to_4d.py --latents out/latents --weights out/weights --cases 8 --folder out/image_to_4d \
        --out benchmarks/results/image_to_4d.json

Splits: `azimuth` (trained clips, seen from azimuths half way between trained views), `animation` (animations of trained assets
that were kept out of training), `rig` (assets of families never trained on, data/split.json). The condition is the true orbit's
first frame, which is left out of all scores. Beside the generated clip stand the image repeated, the nearest training orbit by
the image, the best training orbit that could have been chosen (`oracle`), and the true orbit through the autoencoder, the
ceiling. docs/recognition.md says more. A run that was stopped goes on: finished cases are not sampled again.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from shared import DATA, save_sheet, write_report
from torch import Tensor

from orbit4d.cameras import Orbit
from orbit4d.clip import OrbitalClip
from orbit4d.data.latent_set import LatentStore, open_latents
from orbit4d.data.training_set import vocabulary
from orbit4d.data.vocabulary import KAYKIT_ANIMATIONS, NAMES, UNWANTED
from orbit4d.diffusion.pipeline import DEFAULT_STEPS, Orbit4DPipeline
from orbit4d.errors import InputError
from orbit4d.evaluate.metrics import SSIM_WINDOW, foreground_psnr, psnr, ssim
from orbit4d.evaluate.nearest import TrainingOrbits, half_way_azimuth
from orbit4d.evaluate.resampling import bootstrap_interval
from orbit4d.files import atomic_path, digest, json_digest, parse_json

Split = Literal["azimuth", "animation", "rig"]
SHOWN = [0, 4, 8, 12, 16, 20, 23]
SHEET_SIDE = 96
METHODS = ("generated", "repeated", "nearest", "oracle", "autoencoder")
SHORTEST = 0.3
"""Seconds of an animation that counts as one."""
KEY = re.compile(r"(?P<stem>.+?)(?:_[0-9a-f]{8})?__(?P<animation>\d+)")


@dataclass(kw_only=True)
class Arguments:
    latents: Path
    """Latents of the model's training set: searched for the nearest clip, and what tells trained from unseen."""
    folder: Path
    """For finished cases and pictures."""
    weights: Path | None = None
    """The model; the built-in one when left out."""
    splits: tuple[Split, ...] = ("azimuth", "animation", "rig")
    cases: int = 8
    """Of each split."""
    seeds: tuple[int, ...] = (0,)
    prompt: bool = False
    """Give the caption, too."""
    caption: bool = True
    """Without --prompt: the model's captioner finds words for the picture, as `generate` has it do."""
    as_front: bool = False
    """Do not tell the model from where the image was taken: call it azimuth 0, as a user's image is."""
    steps: int = DEFAULT_STEPS
    guidance_scale: float = 2.0
    guidance_3d: float = 0.5
    motion: Literal["usual", "unsaid"] = "usual"
    """usual: the amount that `generate` asks for by default (of a picture alone: the median); unsaid: left to the model."""
    data: Path = DATA
    """Folder with assets/."""
    chosen_by: int = 0
    """Seed of the choice of cases."""
    out: Path | None = None
    """JSON report; printed only when left out."""


@dataclass(kw_only=True, frozen=True)
class Case:
    split: Split
    file: str
    animation: int
    animation_name: str
    azimuth: float
    caption: str | None = None
    declared: bool = True
    """Of unseen animations: listed in HELD_OUT_ANIMATIONS; else one that training merely does not use."""

    @property
    def name(self) -> str:
        return f"{self.split}__{Path(self.file).stem}__{self.animation:03d}__{round(10 * self.azimuth):04d}"


def trained_animations(store: LatentStore) -> dict[str, set[int]]:
    """{asset's stem: numbers of its trained animations}, by the keys of the latents."""
    out: dict[str, set[int]] = {}
    for key in store.keys:
        if (found := KEY.fullmatch(key)) is not None:
            out.setdefault(found["stem"], set()).add(int(found["animation"]))
    return out


def choose_cases(store: LatentStore, assets: Path, *, splits: tuple[Split, ...], count: int, seed: int) -> list[Case]:
    """`count` cases of each split (fewer where there are not so many), assets in turn, chosen by `seed`."""
    trained = {f"{s}.glb": n for s, n in trained_animations(store).items() if (assets / f"{s}.glb").is_file()}
    captions = {k: w.captions[0] for held in (False, True) for k, w in vocabulary(assets, held_out=held).items()}
    out: list[Case] = []
    if "azimuth" in splits:
        rng = random.Random(f"azimuth {seed}")
        pool = [(f, a, n, True) for f in trained for a, n in _animations(assets / f) if a in trained[f]]
        for k, (file, animation, name, _) in enumerate(_in_turn(pool, count, rng)):
            azimuth = half_way_azimuth((1, 7, 13, 18)[k % 4])
            caption = captions.get((file, animation))
            out.append(_case("azimuth", file, animation, name, azimuth=azimuth, caption=caption))
    if "animation" in splits:
        rng = random.Random(f"animation {seed}")
        declared = vocabulary(assets, held_out=True)
        pool = [
            (f, a, n, (f, a) in declared) for f in trained for a, n in _animations(assets / f) if a not in trained[f]
        ]
        known = {f: {n for a, n in _animations(assets / f) if a in trained[f]} for f in trained}
        pool = [p for p in pool if p[3] or (p[2] not in UNWANTED and p[2] not in known[p[0]] and _extra(p[0], p[2]))]
        listed = _in_turn([p for p in pool if p[3]], count, rng)
        rest = _in_turn([p for p in pool if not p[3]], count - len(listed), rng)
        for file, animation, name, is_declared in listed + rest:
            caption = captions.get((file, animation))
            out.append(_case("animation", file, animation, name, caption=caption, declared=is_declared))
    if "rig" in splits:
        rng = random.Random(f"rig {seed}")
        pool = [
            (f, a, n, True) for f in held_out_assets(assets) if f not in trained for a, n in _animations(assets / f)
        ]
        out += [_case("rig", file, animation, name) for file, animation, name, _ in _in_turn(pool, count, rng)]
    return out


def _case(split: Split, file: str, animation: int, name: str, *, azimuth: float = 0.0, **more: Any) -> Case:
    return Case(split=split, file=file, animation=animation, animation_name=name, azimuth=azimuth, **more)


def _extra(file: str, name: str) -> bool:
    """Whether an animation that training leaves out is a motion by itself: KayKit's that are not used and not poses."""
    return file in NAMES and file.startswith("kaykit") and name not in KAYKIT_ANIMATIONS and "Pose" not in name


def _animations(asset: Path) -> list[tuple[int, str]]:
    from orbit4d.assets.gltf import load_glb

    if asset not in _LOADED:
        named = [(a.name.rsplit("|", 1)[-1], a.duration) for a in load_glb(asset).animations]
        _LOADED[asset] = [(i, name) for i, (name, seconds) in enumerate(named) if seconds >= SHORTEST]
    return _LOADED[asset]


_LOADED: dict[Path, list[tuple[int, str]]] = {}


def held_out_assets(assets: Path) -> list[str]:
    """Files of the families that the committed split keeps out of all training, as far as they are at hand."""
    from importlib.resources import files

    split = json.loads((files("orbit4d.data") / "split.json").read_text(encoding="utf-8"))
    names = [f for family in split["families"].values() if family["side"] == "held_out" for f in family["assets"]]
    return sorted(name for name in names if (assets / name).is_file())


def _in_turn(
    pool: list[tuple[str, int, str, bool]], count: int, rng: random.Random
) -> list[tuple[str, int, str, bool]]:
    """`count` of the pool: one of each file, files shuffled, then a second of each, and so on."""
    by_file: dict[str, list[tuple[str, int, str, bool]]] = {}
    for entry in pool:
        by_file.setdefault(entry[0], []).append(entry)
    names = sorted(by_file)
    rng.shuffle(names)
    for name in names:
        rng.shuffle(by_file[name])
    longest = max(map(len, by_file.values()), default=0)
    ordered = [by_file[name][k] for k in range(longest) for name in names if k < len(by_file[name])]
    return ordered[: max(count, 0)]


def scores(prediction: Tensor, truth: OrbitalClip) -> dict[str, float]:
    """Of straight RGBA frames (t, 4, h, w) against the true orbit, on white, the first frame left out.

    foreground_ssim is SSIM in the box that holds the object in all frames.
    """
    frames, true, alpha = prediction[1:], truth.on_background()[1:], truth.alpha[1:]
    white = frames[:, :3] * frames[:, 3:] + 1 - frames[:, 3:]
    seen = (alpha > 0.5).any(dim=0)[0]
    inside = (..., *(_span(seen.any(dim=1 - axis)) for axis in (0, 1)))
    both = ((frames[:, 3:] > 0.5) & (alpha > 0.5)).flatten(1).sum(1)
    either = ((frames[:, 3:] > 0.5) | (alpha > 0.5)).flatten(1).sum(1).clamp_min(1)
    found = {
        "foreground_psnr": foreground_psnr(white, true, alpha).clamp_max(60).nanmean(),
        "foreground_ssim": ssim(white[inside], true[inside]).mean(),
        "whole_psnr": psnr(white, true).clamp_max(60).mean(),
        "ssim": ssim(white, true).mean(),
        "alpha_iou": (both / either).mean(),
    }
    return {name: round(float(value), 4) for name, value in found.items()}


def _span(seen: Tensor) -> slice:
    """From the first to the last place that is seen, SSIM's window at least; everything where nothing is."""
    places = seen.nonzero().flatten().tolist() or [0, len(seen) - 1]
    first = min(places[0], len(seen) - SSIM_WINDOW)
    return slice(first, max(places[-1] + 1, first + SSIM_WINDOW))


@torch.inference_mode()
def run_case(case: Case, seed: int, *, pipe: Any, training: TrainingOrbits, arguments: Arguments) -> dict[str, Any]:
    """Scores of all methods; writes the case's picture."""
    from orbit4d.data.render import render_clip
    from orbit4d.diffusion.autoencoder import decode_straight, premultiply

    asset = arguments.data / "assets" / case.file
    truth = render_clip(asset, size=128, azimuth=case.azimuth, animation=case.animation)
    image = torch.cat([truth.rgb[0], truth.alpha[0]])
    told = 0.0 if arguments.as_front else case.azimuth  # the orbit begins where the image was taken, and both are told
    seen = pipe.caption(image) if arguments.caption and not arguments.prompt else None
    found_words = None if seen is None else seen.text
    clip = pipe(
        image=image,
        prompt=case.caption if arguments.prompt else found_words,
        caption=False,
        azimuth=told,
        orbit=Orbit(azimuth_start_deg=told),
        guidance_scale=arguments.guidance_scale,
        guidance_3d=arguments.guidance_3d,
        motion="usual" if arguments.motion == "usual" else None,
        steps=arguments.steps,
        seed=seed,
        progress=False,
    )
    nearest, oracle = training.by_image(truth.rgb[0], truth.alpha[0]), training.by_orbit(truth)
    latents = pipe.autoencoder.encode(premultiply(truth.rgb, truth.alpha))
    frames = {
        "generated": torch.cat([clip.rgb, clip.alpha], dim=1),
        "repeated": image.expand(len(truth), -1, -1, -1),
        "nearest": nearest.frames,
        "oracle": oracle.frames,
        "autoencoder": torch.cat(decode_straight(pipe.autoencoder, latents), dim=1),
    }
    shown = {"truth": torch.cat([truth.rgb, truth.alpha], dim=1)} | frames
    rows = [_row(shown[name]) for name in ("truth", "generated", "nearest", "oracle")]
    save_sheet(rows, arguments.folder / f"{case.name}__seed{seed}.png")
    found = {
        name: {"key": f.key, "start": f.start, "caption": f.caption}
        for name, f in (("nearest", nearest), ("oracle", oracle))
    }
    return asdict(case) | {
        "seed": seed,
        "said": found_words,
        "found": found,
        "scores": {name: scores(f, truth) for name, f in frames.items()},
    }


def _row(rgba: Tensor) -> Tensor:
    white = (rgba[:, :3] * rgba[:, 3:] + 1 - rgba[:, 3:])[SHOWN]
    small = torch.nn.functional.interpolate(white, size=(SHEET_SIDE, SHEET_SIDE), mode="area")
    return torch.cat(list(small), dim=-1)


def summary(results: list[dict[str, Any]], *, seed: int = 0) -> dict[str, Any]:
    """Means by split and method with bootstrap intervals over cases (seeds averaged), and differences to the baselines."""

    def values(cases: Iterable[list[dict]], method: str, metric: str) -> list[float]:
        return [sum(s[method][metric] for s in case) / len(case) for case in cases]

    out: dict[str, Any] = {}
    for split in sorted({r["split"] for r in results}):
        of_case: dict[tuple[str, int, float], list[dict[str, dict[str, float]]]] = {}
        for r in results:
            if r["split"] == split:
                of_case.setdefault((r["file"], r["animation"], r["azimuth"]), []).append(r["scores"])

        cases = list(of_case.values())
        metrics = list(cases[0][0]["generated"])
        out[split] = {m: {x: bootstrap_interval(values(cases, m, x), seed=seed) for x in metrics} for m in METHODS}
        for other in ("repeated", "nearest", "oracle"):
            ours, theirs = (values(cases, m, "foreground_psnr") for m in ("generated", other))
            gains = [a - b for a, b in zip(ours, theirs, strict=True)]
            out[split][f"foreground_psnr_over_{other}"] = bootstrap_interval(gains, seed=seed)
    return out


def main(arguments: Arguments) -> None:
    assets = arguments.data / "assets"
    if not assets.is_dir():
        raise InputError(f"{assets}: no such folder; pass --data with the animated assets")
    pipe = Orbit4DPipeline.from_pretrained(arguments.weights)
    store = open_latents(arguments.latents)
    cases = choose_cases(store, assets, splits=arguments.splits, count=arguments.cases, seed=arguments.chosen_by)
    training = lru_cache(maxsize=1)(
        lambda: TrainingOrbits(store, pipe.autoencoder)
    )  # minutes, for nothing where all is done
    names = ("prompt", "caption", "as_front", "steps", "guidance_scale", "guidance_3d", "motion")
    settings = {name: getattr(arguments, name) for name in names}
    latents = digest(store.files)  # `nearest` and `oracle` are of this training set
    words = pipe.captioner_hash if arguments.caption and not arguments.prompt else ""
    stamp = json_digest([pipe.weights_hash, words, latents, settings])[:12]
    results = []
    for case in cases:
        for seed in arguments.seeds:
            file = arguments.folder / stamp / f"{case.name}__seed{seed}.json"
            if not file.is_file():
                result = run_case(case, seed, pipe=pipe, training=training(), arguments=arguments)
                with atomic_path(file) as temporary:
                    temporary.write_text(json.dumps(result, indent=1))
            results.append(parse_json(file.read_bytes(), source=file))
            print(case.name, {m: s["foreground_psnr"] for m, s in results[-1]["scores"].items()}, flush=True)
    report = {
        "benchmark": "image to 4D: one image to a moving orbit, frame 0 left out",
        "weights_hash": pipe.weights_hash,
        "captioner": words,
        "training_clips": len(store),
        "latents": latents,
        "settings": settings,
        "seeds": list(arguments.seeds),
        "cases": len(cases),
        "means": summary(results),
        "results": results,
    }
    write_report(arguments.out, report)
    for split, means in report["means"].items():
        print(split, {m: means[m]["foreground_psnr"]["mean"] for m in METHODS})


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
