"""Pack a folder of cached latents for `train.py`: latents, cameras, captions with their text states, and the recipes.

PYTHONPATH=src python benchmarks/gpu/pack_latents.py RUN/latents --out runs/gpu/pack
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from latent_pack import text_states, write_pack
from torch import Tensor

from orbit4d.data.latent_set import LatentClip, latent_metadata, load_latents, open_latents
from orbit4d.diffusion.batches import LatentSet, pipeline_record
from orbit4d.diffusion.presets import PRESETS
from orbit4d.diffusion.text import encode_text
from orbit4d.files import atomic_folder


def recipes(clips: list[LatentClip], *, autoencoder: str, presets: tuple[str, ...] = tuple(PRESETS)) -> dict[str, Any]:
    """What training has to know besides the latents: each preset's network and settings, the pipeline's record, the digest of
    the autoencoder."""
    found: dict[str, Any] = {"autoencoder": autoencoder, "record": pipeline_record(LatentSet(clips)), "presets": {}}
    for name in presets:
        preset = PRESETS[name]()
        network = {k: v for k, v in preset.make_denoiser().config.items() if not k.startswith("_")}
        found["presets"][name] = {"network": network, "training": asdict(preset.denoiser)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("latents", type=Path, help="folder that `orbit4d train --stage latents` wrote")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--step", type=float, default=0.2, help="of the latents' grid, in their standard deviations")
    parser.add_argument("--extra", type=int, default=16, help="pairs a clip besides its main orbit and static frames")
    parser.add_argument("--extra-damped", type=int, default=0, help="the same of clips with less amplitude")
    parser.add_argument("--text-step", type=float, default=0.15)
    parser.add_argument(
        "--states", type=Path, help="file that keeps the captions' text states from one call to the next"
    )
    parser.add_argument("--every", type=int, default=1, help="take every n-th part only: to measure, not to train on")
    a = parser.parse_args()
    files = open_latents(a.latents).files
    clips = [load_latents(file) for file in files]
    autoencoder = latent_metadata(files[0])["autoencoder"]
    if a.every > 1:
        clips = [clip for i, clip in enumerate(clips) if i // 18 % a.every == 0]
    states = _states(clips, a.states)
    with atomic_folder(a.out) as folder:
        measured = write_pack(
            folder,
            clips,
            states=states,
            recipe=recipes(clips, autoencoder=autoencoder),
            step=a.step,
            extra=a.extra,
            extra_damped=a.extra_damped,
            text_step=a.text_step,
        )
    print(json.dumps(measured | {"mib": round(measured["bytes"] / 2**20, 2), "clips": len(clips)}))


def _states(clips: list[LatentClip], file: Path | None) -> dict[str, Tensor]:
    known = torch.load(file, weights_only=True) if file is not None and file.is_file() else {}

    def encode(caption: str) -> Tensor:
        return known[caption].float() if caption in known else encode_text([caption])[0][0]

    states = text_states(clips, encode)
    if file is not None:
        torch.save({k: v.half() for k, v in (known | states).items()}, file)
    return states


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    torch.set_num_threads(1)
    main()
