"""Latents of samples: one file a sample, KEY.safetensors, served by the same selections as the samples are.

    latents (n, c, h / 8, w / 8) fp16 of pairs (n, 2) (view, time); camera_to_world (V, 4, 4), intrinsics (V, 3, 3), times (T,)
    metadata: clip (JSON: key, captions, kind, motion magnitude, orbits, ...), autoencoder and sample (digests)

Files of the first format hold no cameras and times: theirs are the default orbit's, whose last view has a number of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..cameras import Orbit
from ..errors import InputError
from ..files import parse_json
from .plan import Pair

LATENT_INDEX = "clips.json"


@dataclass(kw_only=True)
class LatentClip:
    """A sample whose frames are latents: latents (n, c, h / 8, w / 8) fp16 of `pairs`; `meta` as a sample's."""

    key: str
    meta: dict[str, Any]
    pairs: list[Pair]
    latents: Tensor
    made_of: tuple[str, str] = ("", "")
    """Digests of the autoencoder and of the sample, where a file says them."""

    @property
    def captions(self) -> list[str]:
        return list(self.meta["captions"])


@dataclass(kw_only=True)
class LatentStore:
    """A folder of latent clips, KEY.safetensors each, all of one autoencoder; read as asked for."""

    source: Path
    files: list[Path]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> LatentClip:
        return load_latents(self.files[index])

    @property
    def keys(self) -> list[str]:
        return [file.stem for file in self.files]


def open_latents(folder: str | Path, *, autoencoder: str | None = None) -> LatentStore:
    """The latent clips that `diffusion.train_autoencoder.encode_training_set` wrote to `folder`: those that `clips.json`
    lists, for clips of other data may lie beside them, or without it all.

    Raises InputError when there are none, or one is of another `autoencoder` (a digest; None: of another than the first).
    """
    from .sample import KEY  # here: what takes latents from elsewhere needs neither image library nor safetensors

    folder = Path(folder)
    listed = folder / LATENT_INDEX
    if listed.is_file():
        keys = parse_json(listed.read_bytes(), source=listed)
        if not isinstance(keys, list) or not all(isinstance(k, str) and KEY.fullmatch(k) for k in keys):
            raise InputError(f"{listed}: expected a list of keys; delete it and encode again")
        files = [folder / f"{key}.safetensors" for key in keys]
    else:
        files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InputError(
            f"{folder}: expected latent clips (*.safetensors), found none; run `orbit4d train` with --stage latents first"
        )
    for file in files:
        found = latent_metadata(file).get("autoencoder")
        autoencoder = found if autoencoder is None else autoencoder
        if found != autoencoder:
            raise InputError(f"{file}: made by autoencoder {found}, expected {autoencoder}; delete it and encode again")
    return LatentStore(source=folder, files=files)


def latent_metadata(file: Path) -> dict[str, str]:
    """What a latent clip says of itself: `clip` (JSON), `autoencoder`, `sample` (digests). Raises InputError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as handle:
            return dict(handle.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise _not_latents(file, error) from error


def load_latents(file: Path) -> LatentClip:
    """One latent clip. Files of the first format hold no cameras: theirs are the default orbit's. Raises InputError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as handle:
            said = handle.metadata()
            meta = json.loads(said["clip"])
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a dict)
        latents, pairs = tensors["latents"], tensors["pairs"]
        frames = int(pairs[:, 1].max()) + 1
        if "camera_to_world" not in tensors:
            cameras = Orbit(frames=frames).cameras(128)
            meta |= {"width": 128, "height": 128}
            tensors |= {"camera_to_world": cameras.camera_to_world, "intrinsics": cameras.intrinsics}
        times = tensors.get("times", torch.arange(frames) / max(frames - 1, 1))
        poses = tensors["camera_to_world"]
        good = latents.ndim == 4 and len(latents) == len(pairs) and bool((pairs >= 0).all())
        good &= int(pairs[:, 0].max()) < len(poses) and frames <= len(times)
        if not good or not all(isinstance(c, str) for c in meta["captions"]):
            raise ValueError("latents, pairs, cameras and captions do not fit together")
        meta |= {"camera_to_world": poses, "intrinsics": tensors["intrinsics"], "times": times.tolist()}
    except (OSError, ValueError, KeyError, TypeError, IndexError, RuntimeError, SafetensorError) as error:
        raise _not_latents(file, error) from error
    meta.setdefault("kind", None)
    meta.setdefault("motion_magnitude", None)
    return LatentClip(
        key=file.stem,
        meta=meta,
        pairs=[(int(i), int(j)) for i, j in pairs.tolist()],
        latents=latents,
        made_of=(said.get("autoencoder", ""), said.get("sample", "")),
    )


def _not_latents(file: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:100]
    return InputError(
        f"{file}: not a latent clip ({reason}); delete it and run `orbit4d train` with --stage latents again"
    )
