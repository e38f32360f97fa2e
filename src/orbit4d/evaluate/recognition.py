"""What a clip shows, told by a small network: which kind of thing (a fox) and which motion (running).

The recogniser is a judge of generated clips, not a part of the model. It is trained on real clips that went through the
autoencoder (`recognition_training`), and its figures on real clips that it was not trained on stand beside every score.
It knows only the kinds and motions it was trained on. See docs/recognition.md.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from ..clip import OrbitalClip
from ..data.wordings import noun_of
from ..errors import InputError
from ..files import atomic_path
from .resampling import bootstrap_interval

SIZE = 64
FRAMES = 24
MAX_FILE = 64 * 2**20
MAX_CLASSES = 4096
FORMAT = "orbit4d-recogniser-1"
TOY = "toy "
"""Kinds of generated toys begin with this."""


@dataclass(kw_only=True, frozen=True)
class Label:
    """What a clip shows. `motion` None: its caption names none."""

    kind: str
    motion: str | None


def label_of(kind: str, captions: Sequence[str]) -> Label:
    """Kind and motion of a clip from its kind and its captions, the plainest first.

    "a fox", ["a fox attacking", ...] -> attacking. Where the caption does not begin with the kind, its noun is told by its
    verb. The captions of toys are free: a known wording is looked for in them, and the motion's first wording is its name,
    so that "a spotted bird taking a walk" is walking.
    """
    if not captions:
        return Label(kind=kind, motion=None)
    if kind.startswith(TOY):
        found = next((motion for caption in captions if (motion := _toy_motion(caption))), None)
        return Label(kind=kind, motion=found)
    first = " ".join(captions[0].split())
    named = re.match(rf"(?:(?:an?|the) )?{re.escape(kind)} ", first)
    noun = named[0] if named else noun_of(first) or first
    motion = first[len(noun) :].strip()
    return Label(kind=kind, motion=motion or None)


def _toy_motion(caption: str) -> str | None:
    text = caption.lower().replace("their ", "its ")
    return next((name for wording, name in _toy_wordings() if re.search(rf"\b{re.escape(wording)}\b", text)), None)


@lru_cache(maxsize=1)
def _toy_wordings() -> list[tuple[str, str]]:
    """(wording, the first wording of its motion), the longest first."""
    from ..assets.toybox.captions import words

    table = words()
    names = {motion: wordings[0] for motion, wordings in table["motions"].items()}
    found = {w: names[key.split()[-1]] for key, wordings in table["special"].items() for w in wordings}
    found |= {w: names[motion] for motion, wordings in table["motions"].items() for w in wordings}
    return sorted(found.items(), key=lambda item: -len(item[0]))


@dataclass(kw_only=True, frozen=True)
class Classes:
    """The kinds and motions that are told apart, and which motions each kind was seen with."""

    kinds: tuple[str, ...]
    motions: tuple[str, ...]
    motions_of: Mapping[str, tuple[str, ...]]

    @staticmethod
    def of(labels: Iterable[Label]) -> Classes:
        """All that occur, sorted."""
        seen: dict[str, set[str]] = {}
        for label in labels:
            seen.setdefault(label.kind, set()).update([label.motion] if label.motion else [])
        motions = sorted(set().union(*seen.values()))
        return Classes(
            kinds=tuple(sorted(seen)),
            motions=tuple(motions),
            motions_of={k: tuple(sorted(seen[k])) for k in sorted(seen)},
        )

    def motion_mask(self, kinds: Sequence[str]) -> Tensor:
        """(n, motions) True where the kind was seen with the motion; all False for a kind that is not known."""
        rows = [[motion in self.motions_of.get(kind, ()) for motion in self.motions] for kind in kinds]
        return torch.tensor(rows, dtype=torch.bool).view(len(kinds), len(self.motions))


class Recogniser(nn.Module):
    """Frames by a small convolutional network, then attention over the frames; two heads.

    The kind is told from the frames' mean features, the motion from what attention over the frames makes of them. Input is
    premultiplied RGBA, so that what an empty pixel would show has no influence.
    """

    def __init__(self, classes: Classes, *, width: int = 24, dim: int = 128, layers: int = 2) -> None:
        super().__init__()
        self.classes = classes
        self.config = {"width": width, "dim": dim, "layers": layers}
        channels = (4, width, 2 * width, 4 * width, 5 * width)
        self.frames = nn.Sequential()
        for a, b in pairwise(channels):
            self.frames += nn.Sequential(
                nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(b), nn.SiLU()
            )
        self.project = nn.Linear(channels[-1] * (SIZE // 16) ** 2, dim)
        self.norm = nn.LayerNorm(dim)
        self.position = nn.Parameter(_waves(FRAMES, dim))
        self.time = nn.ModuleList(
            nn.TransformerEncoderLayer(
                dim, 4, 2 * dim, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.dropout = nn.Dropout(0.2)
        self.kind = nn.Linear(dim, len(classes.kinds))
        self.motion = nn.Linear(dim, max(len(classes.motions), 1))

    def forward(self, frames: Tensor, positions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits (n, kinds), (n, motions) of premultiplied RGBA frames (n, f, 4, SIZE, SIZE) in [0, 1].

        positions: (f,) which of the FRAMES frames of a clip they are; None: all.
        """
        n, f = frames.shape[:2]
        x = self.frames(frames.flatten(0, 1) - 0.5).flatten(1)
        x = self.norm(self.project(x)).view(n, f, -1)
        kind = self.kind(self.dropout(x.mean(dim=1)))
        x = x + (self.position if positions is None else self.position[positions])
        for layer in self.time:
            x = layer(x)
        return kind, self.motion(self.dropout(x.mean(dim=1)))


def _waves(count: int, dim: int) -> Tensor:
    """(count, dim) sines and cosines from half a wave over all frames to one every two frames: where positions start from."""
    frequencies = torch.logspace(math.log10(0.5), math.log10(count / 2), dim // 2)
    angles = 2 * math.pi * torch.arange(count)[:, None] / count * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def thumbnails(rgb: Tensor, alpha: Tensor) -> Tensor:
    """(t, 4, SIZE, SIZE) uint8 straight RGBA of straight frames rgb (t, 3, h, w), alpha (t, 1, h, w) in [0, 1]; h = w."""
    both = torch.cat([rgb * alpha, alpha], dim=1)
    if both.shape[-1] != SIZE:
        how: dict[str, Any] = {"mode": "area"} if both.shape[-1] > SIZE else {"mode": "bilinear"}
        both = functional.interpolate(both, size=(SIZE, SIZE), **how)
    alpha = both[:, 3:]
    straight = torch.cat([(both[:, :3] / alpha.clamp_min(1e-4)).clamp(0, 1) * (alpha > 1e-3), alpha], dim=1)
    return (straight * 255).round().clamp(0, 255).byte().contiguous()


def clip_thumbnails(clip: OrbitalClip) -> Tensor:
    """(FRAMES, 4, SIZE, SIZE) uint8 of a clip; of one with another number of frames, those nearest in order."""
    if clip.rgb.shape[-1] != clip.rgb.shape[-2]:
        raise InputError(f"expected square frames, got {clip.rgb.shape[-1]} x {clip.rgb.shape[-2]}")
    chosen = torch.linspace(0, len(clip) - 1, FRAMES).round().long()
    return thumbnails(clip.rgb[chosen], clip.alpha[chosen])


def network_input(frames: Tensor) -> Tensor:
    """Premultiplied float RGBA of straight uint8 RGBA (*, 4, h, w)."""
    rgba = frames.float() / 255
    return torch.cat([rgba[..., :3, :, :] * rgba[..., 3:, :, :], rgba[..., 3:, :, :]], dim=-3)


@torch.inference_mode()
def recognise(model: Recogniser, clips: Tensor, *, batch: int = 16) -> tuple[Tensor, Tensor]:
    """Logits (n, kinds), (n, motions) of clips (n, FRAMES, 4, SIZE, SIZE) uint8 straight RGBA (`clip_thumbnails`)."""
    model.eval()
    if clips.shape[1:] != (FRAMES, 4, SIZE, SIZE) or clips.dtype != torch.uint8:
        raise ValueError(
            f"clips must have shape (n, {FRAMES}, 4, {SIZE}, {SIZE}) uint8, got {tuple(clips.shape)} {clips.dtype}"
        )
    parts = [model(network_input(part)) for part in clips.split(batch)]
    return torch.cat([k for k, _ in parts]), torch.cat([m for _, m in parts])


@dataclass(kw_only=True)
class Judgement:
    """Told labels and whether they are right, one row a clip.

    kind, motion, motion_of_kind: what was told; `motion_of_kind` is the best among the motions of the *true* kind.
    motion_right and motion_of_kind_right are None where the clip's label names no motion.
    """

    kind: list[str]
    motion: list[str]
    motion_of_kind: list[str]
    kind_right: list[bool]
    motion_right: list[bool | None]
    motion_of_kind_right: list[bool | None]


def judge(model: Recogniser, clips: Tensor, labels: Sequence[Label]) -> Judgement:
    """What the recogniser tells of clips (n, FRAMES, 4, SIZE, SIZE), against their labels.

    A label that the recogniser does not know can never be told and counts as wrong.
    """
    classes = model.classes
    kinds, motions = recognise(model, clips)
    mask = classes.motion_mask([label.kind for label in labels])
    limited = motions.masked_fill(~mask & mask.any(dim=1, keepdim=True), float("-inf"))
    kind = [classes.kinds[i] for i in kinds.argmax(dim=1).tolist()]
    motion, of_kind = ([classes.motions[i] for i in m.argmax(dim=1).tolist()] for m in (motions, limited))
    return Judgement(
        kind=kind,
        motion=motion,
        motion_of_kind=of_kind,
        kind_right=[told == label.kind for told, label in zip(kind, labels, strict=True)],
        motion_right=[_right(told, label) for told, label in zip(motion, labels, strict=True)],
        motion_of_kind_right=[_right(told, label) for told, label in zip(of_kind, labels, strict=True)],
    )


def _right(told: str, label: Label) -> bool | None:
    return None if label.motion is None else told == label.motion


def chance(classes: Classes, labels: Sequence[Label]) -> dict[str, float]:
    """What guessing gets on these labels: `uniform` among all classes, and `most_frequent`, always the commonest one.

    `motion_of_kind_uniform`: among the motions of the true kind.
    """
    moving = [label for label in labels if label.motion]
    kinds, motions = [label.kind for label in labels], [label.motion for label in moving]
    shares = [1 / max(len(classes.motions_of.get(label.kind, ())), 1) for label in moving]
    return {
        "kind_uniform": 1 / max(len(classes.kinds), 1),
        "kind_most_frequent": _most_frequent(kinds),
        "motion_uniform": 1 / max(len(classes.motions), 1),
        "motion_most_frequent": _most_frequent(motions),
        "motion_of_kind_uniform": sum(shares) / max(len(shares), 1),
    }


def _most_frequent(values: Sequence[Any]) -> float:
    return max((values.count(v) for v in set(values)), default=0) / max(len(values), 1)


def accuracies(told: Judgement, chosen: Sequence[bool], *, cases: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """Mean accuracies of the chosen rows with bootstrap intervals over cases (the mean of a case's rows is one value)."""
    out = {}
    rows = {"kind": told.kind_right, "motion": told.motion_right, "motion_of_kind": told.motion_of_kind_right}
    for name, right in rows.items():
        of_case: dict[str, list[float]] = {}
        for case, take, value in zip(cases, chosen, right, strict=True):
            if take and value is not None:
                of_case.setdefault(case, []).append(float(value))
        out[name] = bootstrap_interval([sum(v) / len(v) for v in of_case.values()], seed=seed)
    return out | {"clips": sum(chosen)}


def save_recogniser(model: Recogniser, path: str | Path, *, about: Mapping[str, Any]) -> Path:
    """Write the weights in fp16 as one safetensors file; its metadata hold the classes and `about` (JSON values)."""
    classes = model.classes
    header = {
        "format": FORMAT,
        "kinds": list(classes.kinds),
        "motions": list(classes.motions),
        "motions_of": {kind: list(motions) for kind, motions in classes.motions_of.items()},
        "config": model.config,
        "about": dict(about),
    }
    tensors = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(
            {k: v.contiguous() for k, v in tensors.items()}, temporary, metadata={"recogniser": json.dumps(header)}
        )
    return Path(path)


def load_recogniser(path: str | Path) -> tuple[Recogniser, dict[str, Any]]:
    """The recogniser of a file that `save_recogniser` wrote, and what it says about itself.

    Raises InputError where the file is missing, is none, or its weights do not fit: nothing is ever left untrained.
    """
    path = Path(path)
    if not path.is_file() or path.stat().st_size > MAX_FILE:
        raise InputError(
            f"{path}: expected the weights of a recogniser; train one with benchmarks/recognition/train.py"
        )
    try:
        with safe_open(path, framework="pt") as handle:
            header = json.loads((handle.metadata() or {})["recogniser"])
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a dict)
        if header["format"] != FORMAT or max(len(header["kinds"]), len(header["motions"])) > MAX_CLASSES:
            raise ValueError(f"format {str(header['format'])[:40]!r}")
        classes = Classes(
            kinds=tuple(map(str, header["kinds"])),
            motions=tuple(map(str, header["motions"])),
            motions_of={str(k): tuple(map(str, v)) for k, v in header["motions_of"].items()},
        )
        width, dim, layers = (int(header["config"][name]) for name in ("width", "dim", "layers"))
        if not (1 <= width <= 128 and 4 <= dim <= 1024 and dim % 4 == 0 and 0 <= layers <= 8):
            raise ValueError(f"config {str(header['config'])[:80]}")
        model = Recogniser(classes, width=width, dim=dim, layers=layers)
        floats = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
        model.load_state_dict(floats)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: not the weights of a recogniser ({reason}); train one again") from error
    return model.eval(), dict(header["about"])
