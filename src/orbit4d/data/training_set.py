"""Rendering the training set: every animation of the vocabulary's assets as pairs of a view x time grid.

Views are the 24 cameras of the default orbit, times are i / 23. Of the 576 pairs of each animation we render K
phase-shifted orbits (the first is Diffusion4D's), the static orbit (all views at time 0) and the front clip. Each clip
is one .npz that appears only when whole; a killed run continues with the next clip.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..cameras import Orbit
from ..errors import InputError
from ..files import atomic_path
from .vocabulary import KAYKIT_ANIMATIONS, NAMES, motion_words
from .wordings import combine

FRAMES = 24


@dataclass(kw_only=True, frozen=True)
class ClipSource:
    """One animation of one asset: what to render and how it may be captioned."""

    path: Path
    animation: int
    captions: list[str]
    kind: str

    @property
    def key(self) -> str:
        return f"{self.path.stem}__{self.animation:02d}"


def grid_pairs(phases: int = 8) -> list[tuple[int, int]]:
    """(view, time) index pairs: `phases` orbits shifted evenly, the static orbit, the front clip; no pair twice."""
    last = FRAMES - 1
    pairs = [(i, i) for i in range(FRAMES)]
    for k in range(1, phases):
        shift = round(k * last / phases)
        pairs += [((i + shift) % last, i) for i in range(FRAMES)]
    pairs += [(i, 0) for i in range(FRAMES)] + [(0, j) for j in range(FRAMES)]
    return list(dict.fromkeys(pairs))


def vocabulary_sources(assets: Path) -> list[ClipSource]:
    """The clips of the built-in vocabulary. Raises InputError when an asset is missing."""
    from ..assets.gltf import load_glb

    sources = []
    for file, names in NAMES.items():
        path = assets / file
        if not path.is_file():
            raise InputError(
                f"{path}: missing; the built-in vocabulary needs it, pass the folder that holds the assets"
            )
        seen = set()
        for index, animation in enumerate(load_glb(path).animations):
            name = animation.name.rsplit("|", 1)[-1]
            unwanted = file.startswith("kaykit") and name not in KAYKIT_ANIMATIONS
            if unwanted or name in seen or animation.duration <= 0.05 or "out_of_water" in name.lower():
                continue
            seen.add(name)
            words = combine(names, motion_words(name))
            sources.append(ClipSource(path=path, animation=index, captions=words, kind=names[0]))
    return sources


def toybox_sources(folder: Path, count: int, seed: int = 0) -> list[ClipSource]:
    """Clips of `count` generated toys."""
    from ..assets.toybox import write_toybox

    write_toybox(folder, count=count, seed=seed)
    manifest = json.loads((folder / "manifest.json").read_text())
    entries = manifest["toys"] if isinstance(manifest, dict) else manifest
    return [
        ClipSource(path=folder / e["file"], animation=0, captions=["toy: " + e["caption"]], kind=f"toy {e['kind']}")
        for e in entries
    ]


def render_training_set(
    sources: list[ClipSource], out: Path, *, size: int = 128, part: tuple[int, int] = (0, 1)
) -> None:
    """Render each source to `out/KEY.npz` (frames uint8 straight RGBA (n, size, size, 4), pairs (n, 2)) and its JSON.

    `part` = (i, n) renders every n-th source from i, for several processes. Files that exist are kept. A source that
    fails is reported and written to `out/failures.jsonl`; the others go on.
    """
    import torch

    from ..assets.gltf import load_glb
    from .render import Renderer, render_grid

    out.mkdir(parents=True, exist_ok=True)
    pairs, orbit = grid_pairs(), Orbit(frames=FRAMES)
    times = torch.arange(FRAMES) / (FRAMES - 1)
    asset, loaded = None, Path()
    with Renderer(size=size) as renderer:
        for source in tqdm(sources[part[0] :: part[1]], desc="render", unit="clip"):
            target = out / f"{source.key}.npz"
            if target.is_file():
                continue
            try:
                if loaded != source.path:
                    asset, loaded = load_glb(source.path), source.path
                assert asset is not None
                frames = render_grid(
                    asset,
                    views=orbit,
                    times=times,
                    pairs=pairs,
                    animation=source.animation,
                    size=size,
                    renderer=renderer,
                )
            except InputError as error:
                with open(out / "failures.jsonl", "a") as log:
                    log.write(json.dumps({"clip": source.key, "reason": str(error)}) + "\n")
                continue
            meta = {"key": source.key, "captions": source.captions, "kind": source.kind}
            with atomic_path(target) as temporary, open(temporary, "wb") as handle:
                np.savez(handle, frames=frames, pairs=np.array(pairs, dtype=np.int16), meta=json.dumps(meta))
