"""Training of the RGBA autoencoder, and encoding of rendered clips into the latent set that the denoiser trains on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from ..errors import InputError
from ..files import atomic_path, digest
from .autoencoder import RGBAAutoencoder, reconstruction_loss
from .training import EMA, Log, Optimizers, learning_rate_factor, load_checkpoint, save_checkpoint, save_half


@dataclass(kw_only=True)
class AutoencoderConfig:
    """Settings of one run; `steps` may be raised or lowered on resume."""

    steps: int = 3000
    batch: int = 24
    crop: int = 64
    """Side of the square training crops, in pixels; most of a frame is empty, crops lie where the object is."""
    lr: float = 2e-3
    ema: float = 0.998
    seed: int = 0
    save_every: int = 250
    bf16: bool = True


def rendered_clips(folder: Path) -> list[Path]:
    """The rendered clips in `folder`, by name. Raises InputError when there are none."""
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise InputError(
            f"{folder}: expected rendered clips (*.npz), found none; run `orbit4d train` with --stage data first"
        )
    return files


def load_frames(file: Path) -> tuple[dict, Tensor, Tensor]:
    """(meta, frames uint8 (n, 4, h, w) premultiplied RGBA, pairs (n, 2)) of one rendered clip."""
    with np.load(file, allow_pickle=False) as data:
        rgba = data["frames"]
        meta, pairs = json.loads(str(data["meta"])), torch.from_numpy(data["pairs"].astype(np.int64))
    premultiplied = rgba.copy()
    premultiplied[..., :3] = (rgba[..., :3].astype(np.uint16) * rgba[..., 3:] + 127) // 255
    return meta, torch.from_numpy(premultiplied).permute(0, 3, 1, 2).contiguous(), pairs


def train_autoencoder(
    data: Path, out: Path, *, config: AutoencoderConfig | None = None, model: RGBAAutoencoder | None = None
) -> Path:
    """Train on the frames in `data`; checkpoint and log in `out`; the result is the diffusers folder `out/autoencoder`."""
    config = config or AutoencoderConfig()
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    model = model or RGBAAutoencoder()
    frames = torch.cat([load_frames(file)[1] for file in tqdm(rendered_clips(data), desc="load", unit="clip")])
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    ema, optimizers = EMA(model, config.ema), Optimizers(model, lr=config.lr, muon=False)
    generator = torch.Generator().manual_seed(config.seed)
    start, seconds, checkpoint = 0, 0.0, out / "checkpoint.pt"
    if checkpoint.is_file():
        start, seconds = load_checkpoint(checkpoint, model=model, ema=ema, optimizers=optimizers, generator=generator)
    log = Log(out / "log.jsonl", start_seconds=seconds)
    for step in (bar := tqdm(range(start, config.steps), initial=start, total=config.steps, desc="autoencoder")):
        target = _crops(frames, config, generator).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
            output = model.decode_raw(model.encode_raw(target))
        loss = reconstruction_loss(output.float(), target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers.step(learning_rate_factor(step, steps=config.steps))
        ema.update(model)
        log.add(loss=loss, mse=((output.detach().float() - target) ** 2).mean())
        if (step + 1) % 50 == 0 or step + 1 == config.steps:
            line = log.write(step + 1)
            bar.set_postfix(loss=line["loss"], psnr=round(-10 * float(np.log10(line["mse"])), 2))
        if (step + 1) % config.save_every == 0 or step + 1 == config.steps:
            save_checkpoint(
                checkpoint,
                model=model,
                ema=ema,
                optimizers=optimizers,
                step=step + 1,
                generator=generator,
                seconds=log.seconds,
            )
    model.load_state_dict(ema.values)
    _measure_latents(model, frames, generator)
    save_half(model, model.state_dict(), out / "autoencoder")
    return out / "autoencoder"


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
def encode_training_set(data: Path, autoencoder: Path, out: Path) -> Path:
    """Encode every rendered clip KEY.npz in `data` to `out/KEY.safetensors`; clips that this autoencoder has encoded already
    are kept.

    Each file holds `latents` fp16 (n, c, h / 8, w / 8) and `pairs` (n, 2) of (view, time) indices; its metadata holds the
    captions, the kind and the motion magnitude m (orbit against static orbit, on white; docs/conventions.md).
    """
    model = RGBAAutoencoder.from_pretrained(autoencoder, low_cpu_mem_usage=False).eval().float()
    out.mkdir(parents=True, exist_ok=True)
    weights = digest(sorted(autoencoder.glob("*.safetensors")))
    for file in tqdm(rendered_clips(data), desc="encode", unit="clip"):
        target = out / f"{file.stem}.safetensors"
        if _encoded_by(target) == weights:
            continue
        meta, frames, pairs = load_frames(file)
        latents = torch.cat([model.encode(chunk.float() / 255) for chunk in frames.split(32)]).half()
        meta = meta | {"motion_magnitude": _motion_magnitude(frames, pairs)}
        with atomic_path(target) as temporary:
            save_file(
                {"latents": latents.contiguous(), "pairs": pairs.int()},
                temporary,
                metadata={"clip": json.dumps(meta), "autoencoder": weights},
            )
    return out


def _encoded_by(file: Path) -> str | None:
    """The hash of the autoencoder that wrote a latent clip; None when there is no readable one."""
    try:
        with safe_open(file, framework="pt") as handle:
            return handle.metadata().get("autoencoder")
    except (OSError, SafetensorError, AttributeError):
        return None


def _motion_magnitude(frames: Tensor, pairs: Tensor) -> float:
    index = {tuple(p): i for i, p in enumerate(pairs.tolist())}
    count = max(v for v, _ in index) + 1
    white = frames.float() / 255
    white = white[:, :3] + 1 - white[:, 3:]
    orbit = white[[index[i, i] for i in range(count)]]
    static = white[[index[i, 0] for i in range(count)]]
    return float(((orbit - static) ** 2).mean())
