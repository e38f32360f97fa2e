"""How big the object appears: the sphere swept by its motion fills the frame (`swept`, ours), or the box at time 0 has side 1
(`t0`, Diffusion4D's). The same clips, framed both ways; the variant `best` trained on each, scored on its own held-out views.

    python benchmarks/ablations/framing.py --assets ASSETS --latents LATENTS --autoencoder AE --work WORK

LATENTS are the swept clips that the other ablations use. What was rendered, encoded or trained is kept in WORK. The losses of
the two are of different latents and are not compared: what is compared are views, azimuths and decibels where the object is.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from denoise import Arguments as Training
from denoise import main as train
from held_out import split_clips

from orbit4d.data.plan import RenderPlan
from orbit4d.data.training_set import render_training_set
from orbit4d.diffusion.autoencoder import RGBAAutoencoder
from orbit4d.diffusion.batches import LatentSet
from orbit4d.diffusion.train_autoencoder import encode_training_set
from orbit4d.files import atomic_path
from orbit4d.report import hardware, versions

TASK = "views"
OPAQUE = 0.5
FRAMINGS = {
    "swept": "the sphere swept by the whole motion just fits the frame",
    "t0": "the box at time 0 is centred and its largest side is 1",
}


@dataclass(kw_only=True)
class Arguments:
    assets: Path
    latents: Path
    autoencoder: Path
    work: Path
    out: Path = Path(__file__).parents[1] / "results" / "denoiser_framing.json"
    seeds: tuple[int, ...] = (0, 1)
    steps: int = 1000
    toys: int = 24
    threads: int = 2
    workers: int = 2


def main(a: Arguments) -> None:
    torch.set_num_threads(a.threads)
    folders = framed_alike(a)
    found: dict[str, Any] = {}
    for name, folder in folders.items():
        data = LatentSet(folder)
        out = a.work / f"trained-{name}"
        settings = {"variants": ("best",), "seeds": a.seeds, "steps": a.steps, "threads": a.threads, "task": TASK}
        train(Training(latents=folder, autoencoder=a.autoencoder, out=out, **settings))
        rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
        found[name] = {
            "says": FRAMINGS[name],
            "training_clips": len(split_clips(data).train),
            "seen": seen(data, RGBAAutoencoder.from_pretrained(a.autoencoder, low_cpu_mem_usage=False).eval()),
            "repeat_the_input": json.loads((out / f"baselines_{TASK}.json").read_text()),
            "rows": [r for r in rows if r["seed"] in a.seeds and r["budget_steps"] == a.steps],
        }
    report = {"what": "one denoiser on the same clips, framed two ways", "framings": found}
    report |= {"hardware": hardware(), "versions": versions()}
    with atomic_path(a.out) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n")
    for name, entry in found.items():
        print(name, entry["seen"], [r["one_step"] | r["sample"] for r in entry["rows"]])


def framed_alike(a: Arguments) -> dict[str, Path]:
    """Folders of encoded clips that both framings have, by framing."""
    rendered, encoded = a.work / "rendered-t0", a.work / "encoded-t0"
    plan = RenderPlan(size=128, outputs=(), fit="t0")
    if not (encoded / "clips.json").is_file():
        render_training_set(
            rendered, assets=a.assets, toy_folder=a.work / "toys", toy_count=a.toys, plan=plan, workers=a.workers
        )
        encode_training_set(rendered, a.autoencoder, encoded)
    sources = {"swept": a.latents, "t0": encoded}
    keys = {name: json.loads((folder / "clips.json").read_text()) for name, folder in sources.items()}
    both = [key for key in keys["t0"] if key in set(keys["swept"])]
    folders = {name: a.work / f"latents-{name}" for name in sources}
    for name, folder in folders.items():
        folder.mkdir(exist_ok=True)
        for key in both:
            link = folder / f"{key}.safetensors"
            if not link.is_symlink():
                os.symlink((sources[name] / link.name).resolve(), link)
        (folder / "clips.json").write_text(json.dumps(both))
    return folders


@torch.inference_mode()
def seen(data: LatentSet, decoder: RGBAAutoencoder) -> dict[str, float]:
    """Over held-out clips, from their decoded latents: the share of the pixels that the object covers in its static views, and the
    share of the moving orbits in which it is cut by the frame's border."""
    covered, cut = [], []
    along = torch.arange(data.count)
    for clip in split_clips(data).test:
        still = decoder.decode(data.latents[data.still[clip, along[:-1:4]]].float())[:, 3]
        moving = decoder.decode(data.latents[data.index[clip, along, along]].float())[:, 3] > OPAQUE
        covered.append(float((still > OPAQUE).float().mean()))
        edge = torch.cat([moving[:, 0], moving[:, -1], moving[:, :, 0], moving[:, :, -1]], dim=1)
        cut.append(float(edge.any()))
    return {"covered": sum(covered) / len(covered), "cut": sum(cut) / len(cut), "clips": len(cut)}


if __name__ == "__main__":
    main(tyro.cli(Arguments))
