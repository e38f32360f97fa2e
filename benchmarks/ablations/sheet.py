"""Look at runs: one row each of decoded one-step estimates from pure noise, above them the truth.

python benchmarks/ablations/sheet.py --latents LATENTS --autoencoder AE --runs OUT/views-base-1000-0 --variants base --out sheet.png
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from held_out import questions, split_clips
from PIL import Image
from score import _flow
from torch import Tensor
from variants import VARIANTS

from orbit4d.diffusion.autoencoder import RGBAAutoencoder
from orbit4d.diffusion.batches import LatentSet


@dataclass(kw_only=True)
class Arguments:
    latents: Path
    autoencoder: Path
    runs: tuple[Path, ...]
    variants: tuple[str, ...]
    """The variant of each run."""
    out: Path
    clips: tuple[int, ...] = (2, 11)
    """Which of the assets: numbers among the held-out clips that are shown."""


@torch.inference_mode()
def main(a: Arguments) -> None:
    data = LatentSet(a.latents)
    split = split_clips(data)
    decoder = RGBAAutoencoder.from_pretrained(a.autoencoder).eval().float()
    models = []
    for run, name in zip(a.runs, a.variants, strict=True):
        model = VARIANTS[name].build()
        model.load_state_dict(torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)["ema"])
        models.append(model.eval())
    shown, rows = questions(data, split.shown, task="views", both=True), []
    for clip in a.clips:
        q = shown[clip]
        rows.append(_row(q.truth[0], decoder))
        rows += [_row(_flow(model, q, 1.0)[1][0], decoder) for model in models]
    array = (torch.cat(rows, dim=1).clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
    Image.fromarray(array).save(a.out)


def _row(latents: Tensor, decoder: RGBAAutoencoder) -> Tensor:
    rgba = decoder.decode(latents[[0, 1, 3, 6, 9, 12, 15, 18, 21]])
    return torch.cat(list(rgba[:, :3] + 1 - rgba[:, 3:]), dim=-1)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
