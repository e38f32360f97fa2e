"""Clean frames in a public teacher's own latent space: encoded once, kept on disk, in the rows of the student's latents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from ..data.sample_set import SampleSet
from ..diffusion.batches import LatentSet, undamped_key
from ..diffusion.train_autoencoder import premultiplied
from ..errors import InputError
from ..files import atomic_path
from .teacher import Teacher

CHUNK = 16


def encoded_rows(teacher: Teacher, data: LatentSet, sources: Sequence[SampleSet], folder: Path) -> Tensor:
    """(rows, c, h, w) fp16, row for row those of `data.latents`, from the frames of `sources`: the data, and the damped ones, whose
    n-th holds the clips KEY-dn. `folder` keeps KEY.safetensors of every clip; those of another teacher or sample are made anew.
    Raises InputError when a clip's sample is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = {
        (damping, entry.key): (samples, number, entry)
        for damping, samples in enumerate(sources)
        for number, entry in enumerate(samples.entries)
    }
    parts = []
    for clip, rows in zip(tqdm(data.clips, desc="encode for teacher", unit="clip"), data.rows, strict=True):
        key, place = str(clip["key"]), (int(clip.get("damped") or 0), undamped_key(clip))
        if place not in entries:
            raise InputError(
                f"{sources[0].source}: no sample of clip {key}, which is among the latents; pass its --data and --damped"
            )
        samples, number, entry = entries[place]
        made_of = {"teacher": teacher.identity(), "sample": entry.identity(), "frames": str(len(rows))}
        file = folder / f"{key}.safetensors"
        found = _read(file, made_of)
        if found is None:
            sample = samples[number]
            pairs = [(int(i), int(j)) for i, j in data.pairs[rows].tolist()]
            frames = [premultiplied(sample, pairs[k : k + CHUNK]).float() / 255 for k in range(0, len(pairs), CHUNK)]
            encoded = [teacher.encode(part) for part in frames]
            found = torch.cat([part.half().cpu() for part in encoded if part is not None])
            with atomic_path(file) as temporary:
                save_file({"latents": found.contiguous()}, temporary, metadata=made_of)
        parts.append(found)
    return torch.cat(parts)


def _read(file: Path, made_of: dict[str, str]) -> Tensor | None:
    """What an earlier run encoded; None when it is not there, damaged, or of something else."""
    try:
        with safe_open(file, framework="pt") as handle:
            return handle.get_tensor("latents") if handle.metadata() == made_of else None
    except (OSError, SafetensorError):
        return None
