"""Train the recogniser (kind and motion of a clip) on decoded real clips, and measure it on those kept out.

    python benchmarks/recognition/train.py --latents out/latents --cache out/recognition --weights recogniser.safetensors \
        --out benchmarks/results/recognition.json --pictures out/recognition

Latents are those that `orbit4d train` wrote; each is decoded once into the cache (a run that was stopped goes on there), then
training takes minutes on one core. The report's figures are of held-out orbits; docs/recognition.md says what they mean.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import tyro

sys.path.insert(0, str(Path(__file__).parents[1]))

from drawing import confusion_picture
from shared import write_report

from orbit4d.data.latent_set import open_latents
from orbit4d.data.sample_set import open_samples
from orbit4d.diffusion.autoencoder import RGBAAutoencoder
from orbit4d.diffusion.pipeline import BUILT_IN
from orbit4d.errors import InputError
from orbit4d.evaluate.recognition import judge, load_recogniser, save_recogniser
from orbit4d.evaluate.recognition_data import RealClip, data_digest, latent_sources, read_clips, sample_sources
from orbit4d.evaluate.recognition_training import Settings, held_out_figures, train_recogniser
from orbit4d.files import digest


@dataclass(kw_only=True)
class Arguments:
    data: Path | None = None
    """Rendered training samples; what must be decoded is encoded first."""
    latents: Path | None = None
    """Latents of the training samples, instead of --data."""
    cache: Path
    """Folder for the clips, 64 pixels a side (about 0.4 MB an orbit)."""
    weights: Path
    """The recogniser's file: written, or, with --no-train, read."""
    autoencoder: Path = BUILT_IN / "autoencoder"
    """The autoencoder that real clips go through: that of the latents, and of the model to be judged."""
    decoded: int | None = None
    """Trained orbits of each clip that go through the autoencoder; all when left out. With --data the others are used as
    rendered: much quicker, and hardly worse."""
    out: Path | None = None
    """JSON report; printed only when left out."""
    pictures: Path | None = None
    """Folder for the confusion pictures."""
    kinds: tuple[str, ...] = ()
    """Only these kinds; all when left out."""
    train: bool = True
    """Off: only measure the recogniser in --weights."""
    only_decode: bool = False
    """Fill the cache and stop."""
    threads: int = 1
    settings: Settings = field(default_factory=Settings)


def main(arguments: Arguments) -> None:
    torch.set_num_threads(arguments.threads)
    if (arguments.data is None) == (arguments.latents is None):
        raise InputError("expected either --data or --latents")
    files = sorted(arguments.autoencoder.glob("*.safetensors"))
    if not files:
        raise InputError(f"{arguments.autoencoder}: expected an autoencoder's *.safetensors; check --autoencoder")
    autoencoder = RGBAAutoencoder.from_pretrained(arguments.autoencoder, low_cpu_mem_usage=False).eval().float()
    if arguments.data is not None:
        samples = open_samples(arguments.data)
        sources, total = sample_sources(samples, autoencoder, kinds=arguments.kinds or None), len(samples)
    else:
        assert arguments.latents is not None
        store = open_latents(arguments.latents)
        sources, total = latent_sources(store, autoencoder), len(store)
    clips = read_clips(
        sources,
        arguments.cache,
        autoencoder_digest=digest(files),
        decoded=arguments.decoded,
        kinds=arguments.kinds or None,
        total=total,
    )
    if arguments.only_decode:
        return
    started = time.monotonic()
    if arguments.train:
        data = {
            "data": data_digest(clips),
            "autoencoder": digest(files),
            "clips": len(clips),
            "decoded": arguments.decoded,
        }
        model = train_recogniser(clips, arguments.settings, log=lambda line: print(json.dumps(line), flush=True))
        about = data | {"settings": asdict(arguments.settings), "seconds": round(time.monotonic() - started, 1)}
        about |= {"held_out_starts": sorted({s for clip in clips for s in clip.held_out})}
        about |= {"toys_held_out": [clip.key for clip in clips if clip.toy_held_out]}
        save_recogniser(model, arguments.weights, about=about)
    model, about = load_recogniser(arguments.weights)  # what is measured is what the file holds
    figures = held_out_figures(model, clips, seed=arguments.settings.seed)
    if arguments.train:  # so that scores of generated clips can stand beside them
        about["real"] = {
            name: figures[name] for name in ("characters", "toys", "start0_characters", "static", "scrambled")
        }
        about["real_by_kind"] = figures["by_kind"]
        save_recogniser(model, arguments.weights, about=about)
    report = {
        "benchmark": "recognition of decoded real clips, held out by start azimuth (toys: whole toys)",
        "weights": {
            "digest": digest([arguments.weights]),
            "bytes": arguments.weights.stat().st_size,
            "parameters": sum(p.numel() for p in model.parameters()),
        },
        "about": {k: v for k, v in about.items() if not k.startswith("real")},
        "kinds": list(model.classes.kinds),
        "motions": list(model.classes.motions),
        "held_out": figures,
    }
    if arguments.pictures is not None:
        draw(model, clips, arguments.pictures)
    write_report(arguments.out, report)
    shown = {name: {k: v["mean"] for k, v in figures[name].items() if k != "clips"} for name in ("characters", "toys")}
    print(json.dumps(shown | {"chance": figures["chance"]}))


def draw(model, clips: list[RealClip], folder: Path) -> None:
    """kinds.png and motions.png: confusion of the held-out orbits."""
    tested = [(c, s) for c in clips for s in c.tested if c.label.kind in model.classes.kinds]
    tested = [(c, s) for c, s in tested if c.toy_held_out or not c.label.kind.startswith("toy ")]
    told = judge(model, torch.stack([c.orbits[s] for c, s in tested]), [c.label for c, _ in tested])
    kinds = [(c.label.kind, k) for (c, _), k in zip(tested, told.kind, strict=True)]
    motions = [(c.label.motion, m) for (c, _), m in zip(tested, told.motion, strict=True) if c.label.motion]
    confusion_picture(kinds, folder / "kinds.png", title="kind")
    confusion_picture(motions, folder / "motions.png", title="motion")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
