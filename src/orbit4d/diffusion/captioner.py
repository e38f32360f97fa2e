"""Words for a picture that comes without any: which kind of the vocabulary it shows, and which motion its pose begins.

A picture alone leaves the motion open, and the denoiser was told most of what it knows of motions in words. The captioner is a
small network that reads one picture and says words as training's captions have them ("a deer dying"), nothing where it is not
sure that the picture shows one of its kinds. Which motion is often a guess, for one pose fits several. See docs/generation.md for
how often it is right. (`orbit4d data curate --captioner` is another thing: BLIP, for training captions.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from ..files import atomic_path

FILE = "captioner.safetensors"
"""In a model's folder; a model need not have one."""
FORMAT = "orbit4d-captioner-1"
SIZE = 64
KIND_SURE = 0.8
"""Probability from which a kind is named."""
MOTION_SURE = 0.0
"""Probability, among the motions of the kind, from which a motion is named: always, for captions of training name one, and what
the model makes of a kind alone is worse than what it makes of a guess (docs/generation.md)."""
MOTION_GUESSED = 0.5
"""Probability below which people are told that the motion is a guess."""
MAX_FILE = 64 * 2**20
MAX_WORDS = 4096
MAX_NAME = 300
_SIZES = {"width": 128, "dim": 1024}


@dataclass(frozen=True, kw_only=True)
class Caption:
    """What a picture seems to show. `motion` None: no motion of the kind is known. The shares are probabilities."""

    text: str
    kind: str
    motion: str | None
    kind_share: float
    motion_share: float

    @property
    def is_guess(self) -> bool:
        """Whether the motion is more likely another one."""
        return self.motion is not None and self.motion_share < MOTION_GUESSED


class Captioner(nn.Module):
    """Convolutions over premultiplied RGBA of SIZE x SIZE pixels, two heads: one of `kinds` or none of them, one of `motions`.

    kinds: with their articles ("a fox"). motions: of all kinds. motions_of: for each kind, indices into `motions`.
    """

    def __init__(
        self,
        kinds: Sequence[str],
        motions: Sequence[str],
        motions_of: Sequence[Sequence[int]],
        *,
        width: int = 32,
        dim: int = 160,
    ) -> None:
        super().__init__()
        self.kinds, self.motions = tuple(kinds), tuple(motions)
        self.motions_of = tuple(tuple(of) for of in motions_of)
        self.sizes = {"width": width, "dim": dim}
        known = torch.zeros(len(kinds) + 1, max(len(motions), 1), dtype=torch.bool)
        for row, of in zip(known, self.motions_of, strict=False):
            row[list(of)] = True
        self.known: Tensor
        self.register_buffer("known", known, persistent=False)
        channels = (4, width, 2 * width, 4 * width, 5 * width)
        self.body = nn.Sequential()
        for a, b in pairwise(channels):
            self.body += nn.Sequential(
                nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False),
                nn.GroupNorm(4, b),
                nn.SiLU(),
                nn.Conv2d(b, b, 3, padding=1, groups=b, bias=False),
                nn.Conv2d(b, b, 1, bias=False),
                nn.GroupNorm(4, b),
                nn.SiLU(),
            )
        self.project = nn.Linear(channels[-1] * (SIZE // 16) ** 2, dim)
        self.dropout = nn.Dropout(0.2)
        self.kind = nn.Linear(dim, len(kinds) + 1)
        self.motion = nn.Linear(dim, known.shape[1])

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, kinds + 1), the last of none of them, and (n, motions) of pictures (n, 4, SIZE, SIZE) in [0, 1]."""
        x = self.dropout(F.silu(self.project(self.body(pictures - 0.5).flatten(1))))
        return self.kind(x), self.motion(x)

    def among(self, motions: Tensor, kinds: Tensor) -> Tensor:
        """Logits (n, motions), minus infinity at those that the kinds (n,) indices were never seen with."""
        mask = self.known[kinds]
        return motions.masked_fill(~mask & mask.any(dim=1, keepdim=True), float("-inf"))

    def digest(self) -> str:
        """16 hexadecimal digits that name the words, the weights as they are saved, and from when it is sure."""
        whole = hashlib.sha256(json.dumps([self.kinds, self.motions, self.motions_of, KIND_SURE, MOTION_SURE]).encode())
        for name, value in sorted(self.state_dict().items()):
            whole.update(name.encode() + value.half().cpu().numpy().tobytes())
        return whole.hexdigest()[:16]

    @torch.inference_mode()
    def caption(self, picture: Tensor) -> Caption | None:
        """Words for a premultiplied picture (4, h, w) in [0, 1], h = w; None where it seems to show none of the kinds."""
        small = F.interpolate(picture[None], size=(SIZE, SIZE), mode="area")
        kinds, motions = self.eval()(small)
        share, kind = kinds.softmax(dim=1)[0].max(dim=0)
        if int(kind) == len(self.kinds) or not share >= KIND_SURE:
            return None
        named, motion_share, motion = self.kinds[int(kind)], 0.0, None
        if self.motions_of[int(kind)]:
            best, index = self.among(motions, kind[None]).softmax(dim=1)[0].max(dim=0)
            motion_share = float(best)
            motion = self.motions[int(index)] if best >= MOTION_SURE else None
        text = f"{named} {motion}" if motion else named
        return Caption(
            text=text,
            kind=named,
            motion=motion,
            kind_share=round(float(share), 4),
            motion_share=round(motion_share, 4),
        )


def save_captioner(model: Captioner, path: Path) -> Path:
    """Write weights (fp16) and words as one safetensors file."""
    header = {
        "format": FORMAT,
        "kinds": model.kinds,
        "motions": model.motions,
        "motions_of": model.motions_of,
        "sizes": model.sizes,
    }
    tensors = {k: v.half().contiguous() for k, v in model.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"captioner": json.dumps(header)})
    return path


def load_captioner(path: Path) -> Captioner:
    """What `save_captioner` wrote. Raises InputError where the file is none, or its weights do not fit."""
    try:
        if path.stat().st_size > MAX_FILE:
            raise ValueError(f"larger than {MAX_FILE >> 20} MiB")
        with safe_open(path, framework="pt") as handle:
            header = json.loads((handle.metadata() or {})["captioner"])
            tensors = {name: handle.get_tensor(name).float() for name in handle.keys()}  # noqa: SIM118 (not a dict)
        if not all(bool(t.isfinite().all()) for t in tensors.values()):
            raise ValueError("some weights are no numbers")
        if header["format"] != FORMAT:
            raise ValueError(f"format {str(header['format'])[:40]!r}")
        kinds, motions = _names(header["kinds"], least=1), _names(header["motions"], least=0)
        model = Captioner(kinds, motions, _indices(header["motions_of"], kinds, motions), **_sizes(header["sizes"]))
        model.load_state_dict(tensors)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: not the weights of a captioner ({reason}); check --weights") from error
    return model.eval()


def _names(value: Any, *, least: int) -> list[str]:
    """Words that can be shown: control characters would reach the terminal."""
    good = isinstance(value, list) and least <= len(value) <= MAX_WORDS
    good = good and all(isinstance(n, str) and 0 < len(n.strip()) <= MAX_NAME and n.isprintable() for n in value)
    if not good:
        raise ValueError("expected kinds and motions as lists of names")
    return value


def _indices(value: Any, kinds: Sequence[str], motions: Sequence[str]) -> list[list[int]]:
    good = isinstance(value, list) and len(value) == len(kinds)
    good = good and all(isinstance(of, list) and len(of) <= len(motions) for of in value)
    if not good or not all(type(i) is int and 0 <= i < len(motions) for of in value for i in of):
        raise ValueError("expected motions_of as indices for each kind")
    return value


def _sizes(value: Any) -> dict[str, int]:
    good = isinstance(value, dict) and value.keys() == _SIZES.keys()
    if not good or not all(
        type(value[k]) is int and 4 <= value[k] <= most and not value[k] % 4 for k, most in _SIZES.items()
    ):
        raise ValueError(f"sizes {str(value)[:60]}")
    return value
