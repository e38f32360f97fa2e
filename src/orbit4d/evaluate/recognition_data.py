"""Real clips for the recogniser: orbits of the training set's latents, decoded, small, kept in a folder.

What is kept out of training is decided here: of every clip the orbits that start at held-out azimuths, among them azimuth 0,
where generated clips start; and of toys, whole toys.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from ..data.latent_set import LatentStore
from ..data.plan import Pair
from ..data.sample import Sample
from ..data.sample_set import SampleSet
from ..errors import InputError
from ..files import atomic_path, digest
from .recognition import FRAMES, SIZE, TOY, Label, label_of, thumbnails

BATCH = 4
"""Frames decoded at a time: small batches stay in the cache of a CPU."""
TOY_SHARE = 5
"""Every so many toys of a kind, one is held out."""
FEWEST_ORBITS = 4


@dataclass(kw_only=True)
class RealClip:
    """The orbits of one clip as thumbnails.

    orbits: {start view: (FRAMES, 4, SIZE, SIZE) uint8}. static: the orbit of start 0 with time frozen, None where it is not
    known. views: of the grid. held_out: start views never trained on; all of them for a held-out toy.
    """

    key: str
    label: Label
    orbits: dict[int, Tensor]
    static: Tensor | None
    views: int
    held_out: tuple[int, ...]
    toy_held_out: bool

    @property
    def trained(self) -> list[int]:
        """Start views that are trained on."""
        return [] if self.toy_held_out else [s for s in self.orbits if s not in self.held_out]

    @property
    def tested(self) -> list[int]:
        """Start views that are tested on: the same of every clip, toys too."""
        return [s for s in self.orbits if s in self.held_out]


@dataclass(kw_only=True)
class Source:
    """One clip, wherever it is read from. `look(rows, through)`: thumbnails of its frames `rows` of `pairs`, through the
    autoencoder or as rendered; `rendered` says whether the latter can be had. `identity` changes when the frames do.
    """

    key: str
    kind: str
    captions: list[str]
    pairs: list[Pair]
    frames: int
    static_time: int
    identity: str
    rendered: bool
    look: Callable[[list[int], bool], Tensor]


def latent_sources(store: LatentStore, autoencoder: Any) -> Iterator[Source]:
    """The clips of a latent set: their frames can only be had decoded.

    Damped ones are left out: they have two orbits, and words that say nothing of how little is left of the motion.
    """
    for index, file in enumerate(store.files):
        clip = store[index]
        if clip.meta.get("damped"):
            continue
        yield Source(
            key=clip.key,
            kind=clip.meta["kind"] or "",
            captions=clip.captions,
            pairs=clip.pairs,
            frames=len(clip.meta["times"]),
            static_time=int(clip.meta.get("static_time", 0)),
            identity=digest([file]),
            rendered=False,
            look=lambda rows, through, clip=clip: decode_thumbnails(autoencoder, clip.latents[rows]),
        )


def sample_sources(samples: SampleSet, autoencoder: Any, *, kinds: Sequence[str] | None = None) -> Iterator[Source]:
    """The clips of a rendered set; with `kinds` the others are not even read."""
    for index, entry in enumerate(samples.entries):
        if kinds is not None and entry.kind not in kinds:
            continue
        sample = samples[index]
        yield Source(
            key=sample.key,
            kind=sample.meta.get("kind") or "",
            captions=sample.captions,
            pairs=sample.pairs,
            frames=len(sample.meta["times"]),
            static_time=int(sample.meta.get("static_time", 0)),
            identity=entry.identity(),
            rendered=True,
            look=lambda rows, through, sample=sample: _look(sample, rows, autoencoder if through else None),
        )


@torch.inference_mode()
def _look(sample: Sample, rows: list[int], autoencoder: Any) -> Tensor:
    """Thumbnails of a sample's frames, encoded and decoded where there is an autoencoder."""
    out = []
    for k in range(0, len(rows), BATCH):
        part = [sample.pairs[r] for r in rows[k : k + BATCH]]
        rgba = torch.from_numpy(np.stack([sample.rgba(p) for p in part])).permute(0, 3, 1, 2).float() / 255
        if autoencoder is None:
            out.append(thumbnails(rgba[:, :3], rgba[:, 3:]))
        else:
            both = torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], dim=1)
            out.append(decode_thumbnails(autoencoder, autoencoder.encode(both)))
    return torch.cat(out)


def orbit_rows(pairs: Sequence[Pair], frames: int) -> dict[int, list[int]]:
    """{start view: the places in `pairs` of its frames, in the order of time} of all whole orbits.

    An orbit's pairs are ((j + start) mod V, j) with V = frames - 1. In latents of the first format the last view of orbit 0
    has a number of its own, V, which is view 0 again.
    """
    views = frames - 1
    row = {(v % views, j): n for n, (v, j) in reversed(list(enumerate(pairs)))}
    chains = {s: [row.get(((j + s) % views, j)) for j in range(frames)] for s in range(views)}
    return {s: [r for r in chain if r is not None] for s, chain in chains.items() if None not in chain}


def static_rows(pairs: Sequence[Pair], frames: int, *, time: int) -> list[int] | None:
    """Places of the static orbit from view 0 (all views at one time, the first again at the end); None where it is not whole."""
    views = frames - 1
    row = {(v % views, j): n for n, (v, j) in reversed(list(enumerate(pairs)))}
    rows = [row.get((i % views, time)) for i in range(frames)]
    return None if None in rows else [r for r in rows if r is not None]


def held_out_starts(starts: Sequence[int]) -> tuple[int, ...]:
    """The first start view and the one half way around, of sorted `starts`: never trained on."""
    return (starts[0], starts[len(starts) // 2])


def held_out_toys(keys_and_kinds: Sequence[tuple[str, str]]) -> set[str]:
    """Keys of the toys that are never trained on: of every kind, in the order of keys, one in TOY_SHARE, the third first."""
    counts: dict[str, int] = {}
    out = set()
    for key, kind in sorted(keys_and_kinds):
        if kind.startswith(TOY):
            number = counts[kind] = counts.get(kind, -1) + 1
            if number % TOY_SHARE == 2:
                out.add(key)
    return out


@torch.inference_mode()
def decode_thumbnails(autoencoder: Any, latents: Tensor) -> Tensor:
    """(t, 4, SIZE, SIZE) uint8 of latents (t, c, h, w), decoded as sampling does it (haze of alpha removed)."""
    from ..diffusion.autoencoder import decode_straight

    parts = []
    for part in latents.split(BATCH):
        parts.append(thumbnails(*decode_straight(autoencoder, part.float())))
    return torch.cat(parts)


def read_clips(
    sources: Iterable[Source],
    cache: Path,
    *,
    autoencoder_digest: str,
    decoded: int | None = None,
    kinds: Sequence[str] | None = None,
    total: int | None = None,
) -> list[RealClip]:
    """The clips as thumbnails, kept in `cache` (KEY.safetensors), so that nothing is decoded twice.

    decoded: how many of the trained orbits of each clip go through the autoencoder, evenly chosen; None: all. The others are
    as they were rendered, or left out where only latents are at hand. The held-out ones and the static orbit are always decoded.
    kinds: only these. Raises InputError for a clip without kind, with too few orbits, or of another number of frames.
    """
    cache.mkdir(parents=True, exist_ok=True)
    found: list[RealClip] = []
    for source in tqdm(sources, desc="decode", unit="clip", total=total):
        if kinds is not None and source.kind not in kinds:
            continue
        if not source.kind:
            raise InputError(f"{source.key}: has no kind, which recognition needs; curate the data with kinds")
        rows = orbit_rows(source.pairs, source.frames)
        if len(rows) < FEWEST_ORBITS or source.frames != FRAMES:
            raise InputError(
                f"{source.key}: expected {FEWEST_ORBITS} orbits or more of {FRAMES} frames, got {len(rows)} of {source.frames}"
            )
        held = held_out_starts(sorted(rows))
        others = [s for s in sorted(rows) if s not in held]
        count = len(others) if decoded is None else min(decoded, len(others))
        through = {*held, *(others[k * len(others) // count] for k in range(count))}
        wanted = {f"orbit{s}": (rows[s], True) for s in through}
        if source.rendered:
            wanted |= {f"rendered{s}": (rows[s], False) for s in others if s not in through}
        still = static_rows(source.pairs, source.frames, time=source.static_time)
        if still is not None:
            wanted["static"] = (still, True)
        identity = f"{source.identity} {autoencoder_digest} {SIZE}"
        thumbs = _cached(cache / f"{source.key}.safetensors", source, wanted, identity=identity)
        orbits = {int(re.sub(r"\D", "", name)): frames for name, frames in thumbs.items() if name != "static"}
        found.append(
            RealClip(
                key=source.key,
                label=label_of(source.kind, source.captions),
                orbits=dict(sorted(orbits.items())),
                static=thumbs.get("static"),
                views=source.frames - 1,
                held_out=held,
                toy_held_out=False,
            )
        )
    if not found:
        raise InputError(f"no clip of the kinds {', '.join(kinds or ())}; check --kinds")
    out_toys = held_out_toys([(clip.key, clip.label.kind) for clip in found])
    return [replace(clip, toy_held_out=clip.key in out_toys) for clip in found]


def _cached(
    path: Path, source: Source, wanted: dict[str, tuple[list[int], bool]], *, identity: str
) -> dict[str, Tensor]:
    """The thumbnails that are wanted: those in the file, and what it lacks, which is added to it."""
    made_of = hashlib.sha256(identity.encode()).hexdigest()[:16]
    known = _read_cache(path, made_of=made_of)
    missing = [name for name in wanted if name not in known]
    for name in missing:
        rows, through = wanted[name]
        known[name] = source.look(rows, through)
    if missing:
        with atomic_path(path) as temporary:
            save_file(known, temporary, metadata={"made_of": made_of})
    return {name: known[name] for name in wanted}


def _read_cache(path: Path, *, made_of: str) -> dict[str, Tensor]:
    """What the file holds; nothing where there is none, it is damaged, or made of other latents."""
    try:
        with safe_open(path, framework="pt") as handle:
            if (handle.metadata() or {}).get("made_of") != made_of:
                return {}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError):
        return {}
    shape = (FRAMES, 4, SIZE, SIZE)
    return {k: v for k, v in tensors.items() if tuple(v.shape) == shape and v.dtype == torch.uint8}


def scrambled(clip: RealClip, start: int, generator: torch.Generator) -> Tensor:
    """The orbit from `start` with its camera as it is, each frame from a random time: of any orbit that passes the view.

    What only poses give away stays; what their order gives away is lost.
    """
    out = []
    for i in range(FRAMES):
        view = (i + start) % clip.views
        choices = [frames[(view - s) % clip.views] for s, frames in clip.orbits.items()]
        if clip.static is not None:
            choices.append(clip.static[view])
        out.append(choices[int(torch.randint(len(choices), (), generator=generator))])
    return torch.stack(out)


def data_digest(clips: Sequence[RealClip]) -> str:
    """16 hexadecimal digits that name the clips: their keys, labels and thumbnails."""
    whole = hashlib.sha256()
    for clip in sorted(clips, key=lambda c: c.key):
        whole.update(f"{clip.key} {clip.label}".encode())
        for start, frames in clip.orbits.items():
            whole.update(str(start).encode() + frames.numpy().tobytes())
    return whole.hexdigest()[:16]
