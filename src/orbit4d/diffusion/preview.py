"""Sample sheets while the denoiser trains: the same few prompts and references, from the same noise, again and again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..cameras import Orbit
from ..errors import InputError
from .autoencoder import RGBAAutoencoder, unpremultiply
from .batches import LatentSet, pipeline_record
from .denoiser import Denoiser
from .pipeline import Orbit4DPipeline
from .schedulers import make_scheduler
from .training import with_weights

PROMPTS, REFERENCES, FRAMES, STEPS, SEED = 3, 1, 6, 12, 0


class Preview:
    """Rows of a sheet: an orbit for each of PROMPTS prompts, then one for the first frame of each of REFERENCES clips, which is
    shown in front. Prompts and clips are taken evenly from the training set."""

    def __init__(self, latents: LatentSet, autoencoder: Path) -> None:
        if not (autoencoder / "config.json").is_file():
            raise InputError(
                f"--sample-every: {autoencoder} holds no autoencoder; train it first, or leave --sample-every out"
            )
        self.autoencoder = RGBAAutoencoder.from_pretrained(autoencoder, low_cpu_mem_usage=False).eval().float()
        self.record = pipeline_record(latents)
        self.prompts = [captions[0] for captions in _evenly(list(latents.prompts.values()), PROMPTS)]
        clips = _evenly(list(range(len(latents.clips))), REFERENCES)
        first = torch.stack([latents.latents[latents.still[clip, 0]].float() for clip in clips])
        with torch.inference_mode():
            self.images = torch.cat(unpremultiply(self.autoencoder.decode(first)), dim=1)

    def sheet(self, model: Denoiser, values: dict[str, Tensor]) -> Tensor:
        """(3, rows h, columns w) on white: what `model` draws with the weights `values`. No random number of the training run is
        used up."""
        denoiser: Any = with_weights(model, values)
        pipeline = Orbit4DPipeline(
            autoencoder=self.autoencoder,
            denoiser=denoiser,
            scheduler=make_scheduler("euler"),
            motion=self.record,
        )
        cases: list[tuple[str | None, Tensor | None]] = [(prompt, None) for prompt in self.prompts]
        cases += [(None, image) for image in self.images]
        rows = []
        for prompt, image in cases:
            clip = pipeline(
                prompt=prompt, image=image, steps=STEPS, seed=SEED, orbit=Orbit(frames=FRAMES), progress=False
            )
            frames = clip.on_background(1.0)
            shown = torch.ones_like(frames[0]) if image is None else image[:3] * image[3:] + 1 - image[3:]
            rows.append(torch.cat([shown, *frames], dim=-1))
        return torch.cat(rows, dim=1)


def _evenly(items: list[Any], count: int) -> list[Any]:
    """At most `count` of the items, from the first on, evenly spaced."""
    return [items[i * len(items) // min(count, len(items))] for i in range(min(count, len(items)))]
