"""Training of the RGBA autoencoder, and encoding of samples into the latent set that the denoiser trains on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from ..data.latent_set import LATENT_INDEX, latent_metadata
from ..data.plan import Pair
from ..data.sample import Sample
from ..data.sample_set import SampleSet, open_samples
from ..data.selection import measured_motion
from ..errors import InputError
from ..files import atomic_path, digest
from .autoencoder import RGBAAutoencoder, reconstruction_loss
from .machine import cpu_multiplies_bf16
from .trainer import fit
from .training import TrainingConfig, save_half, with_weights


@dataclass(kw_only=True)
class AutoencoderConfig(TrainingConfig):
    """Settings of one run."""

    steps: int = 3000
    batch: int = 24
    crop: int = 64
    """Side of the square training crops, in pixels; most of a frame is empty, crops lie where the object is."""
    lr: float = 2e-3
    memory_mib: int = 2048
    """Frames that are kept in memory; of more data a random part of each sample is trained on."""
    save_every: int = 250
    log_every: int = 50


def check_side(sample: Sample, size: int | None) -> None:
    """Raises InputError unless the frames can be brought to `size` (None: to no other size, a multiple of 8)."""
    width, height = int(sample.meta["width"]), int(sample.meta["height"])
    if size is None and (width % 8 or height % 8):
        raise InputError(
            f"{sample.key}: frames are {width} x {height}, the autoencoder needs sides that are multiples of 8; render or "
            "import with such a --size"
        )
    if size is not None and (width != height or width < size):
        raise InputError(
            f"{sample.key}: frames are {width} x {height}, the model is trained on {size} x {size}; render or import with "
            f"--size {size} or more"
        )


def premultiplied(sample: Sample, pairs: Sequence[Pair], *, size: int | None = None) -> Tensor:
    """(n, 4, h, w) uint8 premultiplied RGBA of these pairs, area-averaged to `size` x `size`; see `check_side`."""
    check_side(sample, size)
    rgba = np.stack([sample.rgba(pair) for pair in pairs])
    rgba[..., :3] = (rgba[..., :3].astype(np.uint16) * rgba[..., 3:] + 127) // 255
    frames = torch.from_numpy(rgba).permute(0, 3, 1, 2).contiguous()
    if size is None or frames.shape[-1] == size:
        return frames
    return functional.interpolate(frames.float(), size=(size, size), mode="area").round().byte()


def training_frames(samples: SampleSet, *, memory_mib: int, seed: int, size: int | None = None) -> Tensor:
    """(n, 4, h, w) uint8 premultiplied RGBA: all frames of all samples if they fit, else a random part of each.

    More samples than frames that fit: one frame of a random part of them. Raises InputError where the sizes differ.
    """
    rng = np.random.default_rng(seed)
    frames, filled = torch.empty(0, 4, 1, 1, dtype=torch.uint8), 0
    order = rng.permutation(len(samples))
    share, limit = 0, len(order)
    for number, index in enumerate(tqdm(order, desc="load", unit="sample")):
        sample = samples[int(index)]
        shape = (int(sample.meta["height"]), int(sample.meta["width"])) if size is None else (size, size)
        if not number:
            limit = max(memory_mib * 2**20 // (4 * shape[0] * shape[1]), 1)
            share = max(limit // len(order), 1)
            # Not touched before it is filled, so that a small set does not cost the whole limit.
            frames = torch.empty(limit, 4, *shape, dtype=torch.uint8)
        if shape != tuple(frames.shape[2:]):
            raise InputError(
                f"{samples.source}: {sample.key} has frames of {shape[1]} x {shape[0]}, others of {frames.shape[3]} x "
                f"{frames.shape[2]}; render them with one size"
            )
        pairs = sample.pairs
        chosen = np.sort(rng.permutation(len(pairs))[:share])
        part = premultiplied(sample, [pairs[i] for i in chosen], size=size)
        frames[filled : filled + len(part)] = part
        filled += len(part)
        if filled >= limit:
            break
    return frames[:filled]


def train_autoencoder(
    data: Path,
    out: Path,
    *,
    config: AutoencoderConfig | None = None,
    model: RGBAAutoencoder | None = None,
    size: int | None = None,
) -> Path:
    """Train on the frames in `data` (shards or a rendered folder, see `orbit4d.data.sample_set.open_samples`), area-averaged
    to `size` where they are larger.

    Checkpoint and log in `out`; the result is the diffusers folder `out/autoencoder`.
    """
    config = config or AutoencoderConfig()
    torch.manual_seed(config.seed)
    model = model or RGBAAutoencoder()
    frames = training_frames(open_samples(data), memory_mib=config.memory_mib, seed=config.seed, size=size)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fit(model, AutoencoderTask(frames, config, model, out=out), out, config=config)
    return out / "autoencoder"


@dataclass(kw_only=True)
class Crops:
    """(b, 4, crop, crop) premultiplied RGBA in [0, 1]."""

    target: Tensor


class AutoencoderTask:
    """What `fit` trains: crops, and how well they come back."""

    name = "autoencoder"
    data = ""  # `train` compares the samples themselves
    frames = 1

    def __init__(self, frames: Tensor, config: AutoencoderConfig, model: RGBAAutoencoder, *, out: Path) -> None:
        self.pictures, self.config, self.model, self.out = frames, config, model, out
        self.samples = config.batch

    def draw(self, generator: torch.Generator, part: slice) -> Crops:
        return Crops(target=_crops(self.pictures, self.config, generator)[part])

    def loss(self, model: nn.Module, batch: Crops, dtype: torch.dtype) -> tuple[Tensor, dict[str, Tensor]]:
        target = batch.target.contiguous(memory_format=torch.channels_last)
        with torch.autocast(target.device.type, dtype, enabled=dtype != torch.float32):
            output = model(target)
        loss = reconstruction_loss(output.float(), target)
        return loss, {"loss": loss, "mse": ((output.detach().float() - target) ** 2).mean()}

    def export(self, values: dict[str, Tensor], *, step: int, seconds: float) -> None:
        """The last step's weights alone become the autoencoder, with its latents' mean and deviation measured."""
        if step < self.config.steps:
            return
        model = with_weights(self.model, values)
        _measure_latents(model, self.pictures, torch.Generator().manual_seed(self.config.seed))
        save_half(model, model.state_dict(), self.out / "autoencoder")

    def sheet(self, values: dict[str, Tensor]) -> Tensor:
        """Eight frames of the training set, and below how they come back."""
        model = with_weights(self.model, values).eval()
        frames = self.pictures[torch.linspace(0, len(self.pictures) - 1, 8).long()].float() / 255
        with torch.inference_mode():
            shown = torch.stack([frames, model.decode_raw(model.encode_raw(frames)).clamp(0, 1)])
        rows = (shown[:, :, :3] + 1 - shown[:, :, 3:]).clamp(0, 1)
        return torch.cat([torch.cat(list(row), dim=-1) for row in rows], dim=1)


def _crops(frames: Tensor, config: AutoencoderConfig, generator: torch.Generator) -> Tensor:
    """(batch, 4, crop, crop): each crop is centred (on the 8-pixel lattice) near a random foreground pixel of its frame."""
    size, crop, out = frames.shape[-1], min(config.crop, frames.shape[-1]), []
    index = torch.randint(len(frames), (config.batch,), generator=generator)
    for frame in frames[index]:
        covered = torch.nonzero(frame[3, ::8, ::8])
        row, column = size // 2, size // 2
        if len(covered):
            row, column = (covered[int(torch.randint(len(covered), (), generator=generator))] * 8).tolist()
        jitter = torch.randint(-3, 4, (2,), generator=generator) * 8
        y = min(max(row - crop // 2 + int(jitter[0]), 0), size - crop) // 8 * 8
        x = min(max(column - crop // 2 + int(jitter[1]), 0), size - crop) // 8 * 8
        out.append(frame[:, y : y + crop, x : x + crop])
    return torch.stack(out).float() / 255


@torch.no_grad()
def _measure_latents(model: RGBAAutoencoder, frames: Tensor, generator: torch.Generator) -> None:
    index = torch.randint(len(frames), (512,), generator=generator)
    raw = model.encode_raw(frames[index].float() / 255)
    model.latent_mean.copy_(raw.mean((0, 2, 3)))
    model.latent_std.copy_(raw.std((0, 2, 3)).clamp_min(1e-3))


@torch.no_grad()
def encode_training_set(
    data: Path, autoencoder: Path, out: Path, *, size: int | None = None, damped: Sequence[Path] = ()
) -> Path:
    """Encode every sample of `data` (shards or a rendered folder), at `size` where frames are larger, to
    `out/KEY.safetensors`; those that this autoencoder has encoded already are kept, unless the sample has changed.

    `damped`: the same animations with less motion; those of the n-th folder become KEY-dN. Each file holds `latents` fp16
    (n, c, h / 8, w / 8), their `pairs` (n, 2) of (view, time) indices, and the sample's `camera_to_world` (V, 4, 4),
    `intrinsics` (V, 3, 3) and `times` (T,). Its metadata: `clip` (JSON: key, captions, kind, motion magnitude, orbits, `damped` N,
    ...), and what it was made by and from. `out/clips.json` lists the keys, once all are there.
    """
    model = RGBAAutoencoder.from_pretrained(autoencoder, low_cpu_mem_usage=False).eval().float()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    out.mkdir(parents=True, exist_ok=True)
    sources = [open_samples(folder) for folder in (data, *damped)]
    weights = digest(sorted(autoencoder.glob("*.safetensors")))
    keys: list[str] = []
    with tqdm(total=sum(map(len, sources)), desc="encode", unit="sample") as bar:
        for damping, samples in enumerate(sources):
            suffix = f"-d{damping}" if damping else ""
            for index, entry in enumerate(samples.entries):
                made_of = {"autoencoder": weights, "sample": entry.identity()}
                made_of |= {} if size is None else {"size": str(size)}
                keys.append(entry.key + suffix)
                target = out / f"{keys[-1]}.safetensors"
                if not made_of.items() <= _made_of(target).items():
                    sample = samples[index]
                    meta = _clip_metadata(sample) | {"key": keys[-1]} | ({"damped": damping} if damping else {})
                    with atomic_path(target) as temporary:
                        tensors = _encoded(sample, model, size=size)
                        save_file(tensors, temporary, metadata=made_of | {"clip": json.dumps(meta)})
                bar.update()
    with atomic_path(out / LATENT_INDEX) as temporary:
        temporary.write_text(json.dumps(sorted(keys)))
    return out


def _encoded(sample: Sample, model: RGBAAutoencoder, *, size: int | None) -> dict[str, Tensor]:
    """What a latent clip holds. bf16 where the CPU has it: the latents differ by 0.006 of their deviation, in half the time."""
    parts = [sample.pairs[i : i + 32] for i in range(0, len(sample.pairs), 32)]
    latents = []
    for part in parts:
        frames = premultiplied(sample, part, size=size).float() / 255
        with torch.autocast("cpu", torch.bfloat16, enabled=cpu_multiplies_bf16()):
            latents.append(model.encode(frames.contiguous(memory_format=torch.channels_last)).half())
    return {
        "latents": torch.cat(latents).contiguous(),
        "pairs": torch.tensor(sample.pairs, dtype=torch.int32),
        "camera_to_world": torch.tensor(sample.meta["camera_to_world"], dtype=torch.float32),
        "intrinsics": torch.tensor(sample.meta["intrinsics"], dtype=torch.float32),
        "times": torch.tensor(sample.meta["times"], dtype=torch.float32),
    }


def _clip_metadata(sample: Sample) -> dict[str, Any]:
    names = ("captions", "kind", "motion_magnitude", "width", "height", "orbits", "static_time", "front_view")
    meta = {name: sample.meta[name] for name in names if name in sample.meta} | {"key": sample.key}
    if meta.get("motion_magnitude") is None:
        try:
            meta["motion_magnitude"] = measured_motion(sample)
        except InputError:  # no orbit or no static orbit, as in D-NeRF's folders: it has no m
            meta["motion_magnitude"] = None
    return meta


def _made_of(file: Path) -> dict[str, str]:
    """The metadata of a latent clip; empty when there is no readable one."""
    try:
        return latent_metadata(file)
    except InputError:
        return {}
