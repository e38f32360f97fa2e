"""The toybox: an unlimited, seeded supply of animated, captioned toys as real skinned glTF.

Five kinds, each with five motions; proportions, colours and patterns vary with the seed. Every animation is a seamless
loop of one second.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..errors import InputError
from ..files import atomic_path, parse_json
from .glb_writer import write_skinned_glb
from .toybox_kinds import BUILDERS
from .toybox_motions import MOTIONS, animate

KINDS = tuple(BUILDERS)
MAX_COUNT = 1_000_000
VERSION = 1
_KEYFRAMES = 25
_COLORS = {
    "red": (0.75, 0.08, 0.07),
    "orange": (0.85, 0.3, 0.04),
    "yellow": (0.9, 0.62, 0.06),
    "green": (0.12, 0.5, 0.1),
    "teal": (0.04, 0.45, 0.42),
    "blue": (0.07, 0.2, 0.72),
    "purple": (0.33, 0.1, 0.6),
    "pink": (0.87, 0.3, 0.45),
    "brown": (0.28, 0.13, 0.05),
    "grey": (0.32, 0.33, 0.35),
    "white": (0.8, 0.8, 0.78),
    "black": (0.035, 0.035, 0.045),
}
_PATTERNS = ("plain", "striped", "spotted", "two-tone")
_WORDS = {
    "walk": ("walking", "taking a walk"),
    "run": ("running", "running fast"),
    "jump": ("jumping", "leaping up and down"),
    "nod": ("nodding", "nodding its head"),
    "spin": ("spinning", "turning around"),
    "wave": ("waving", "waving a hand"),
    "flap": ("flapping its wings", "flying"),
    "swim": ("swimming", "swishing its tail"),
    "sway": ("swaying", "swaying from side to side"),
}


@dataclass(kw_only=True)
class Toy:
    """One toy: its GLB bytes and what it is."""

    glb: bytes
    caption: str
    kind: str
    motion: str
    seed: int


def make_toy(seed: int, *, kind: str | None = None, motion: str | None = None) -> Toy:
    """Make the toy of this seed; the same arguments give the same bytes.

    Raises InputError for a negative seed and for unknown kinds or motions.
    """
    _check_seed(seed)
    rng = np.random.default_rng([VERSION, seed])
    drawn_kind, drawn = KINDS[rng.integers(len(KINDS))], rng.integers(1 << 30)
    kind = kind or drawn_kind
    if kind not in BUILDERS:
        raise InputError(f"toybox: expected a kind of {', '.join(KINDS)}, got {kind!r}")
    motion = motion or MOTIONS[kind][drawn % len(MOTIONS[kind])]
    if motion not in MOTIONS[kind]:
        raise InputError(f"toybox: a {kind} can {', '.join(MOTIONS[kind])}, got {motion!r}")
    names = rng.choice(list(_COLORS), 2, replace=False)
    pattern = _PATTERNS[rng.integers(len(_PATTERNS))]
    main, second = (np.clip(np.array(_COLORS[n]) * rng.uniform(0.85, 1.15, 3), 0, 1) for n in names)
    builder, noun = BUILDERS[kind](rng, main, second, pattern)
    times = np.linspace(0, 1, _KEYFRAMES)
    tracks = animate(builder, kind, motion, times, amplitude=float(rng.uniform(0.8, 1.2)))
    verb = _WORDS[motion][rng.integers(2)]
    look = {"plain": str(names[0]), "two-tone": f"{names[0]} and {names[1]}"}.get(pattern, f"{pattern} {names[0]}")
    caption = f"a {look} {noun} {verb}" if rng.random() < 0.6 else f"a toy {noun}, {look}, {verb}"
    caption = caption.replace("a orange", "an orange")
    extras = {"caption": caption, "kind": kind, "motion": motion, "seed": seed}
    data = write_skinned_glb(
        builder.mesh(), builder.joints, tracks, times=times, animation=motion, name=kind, extras=extras
    )
    return Toy(glb=data, caption=caption, kind=kind, motion=motion, seed=seed)


def write_toybox(folder: str | Path, *, count: int, seed: int = 0, progress: bool = True) -> list[Path]:
    """Write `count` toys and `manifest.json` into `folder`: kinds and motions in turn, so that all are covered.

    Resumable: files already listed in the manifest with the same seed are kept. Raises InputError for a bad count, seed
    or folder.
    """
    folder = Path(folder)
    _check_seed(seed)
    if not 1 <= count <= MAX_COUNT:
        raise InputError(f"--count: expected 1 to {MAX_COUNT}, got {count}")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: expected a folder (or nothing) there, found a file; choose another --out")
    manifest = folder / "manifest.json"
    with atomic_path(folder / ".writable"):
        pass
    (folder / ".writable").unlink()
    known = {}
    if manifest.is_file():
        try:
            known = {e["file"]: e for e in parse_json(manifest.read_bytes(), source=manifest)["toys"]}
        except (LookupError, TypeError, ValueError) as error:
            raise InputError(f"{manifest}: not a toybox manifest ({error}); choose another --out") from error
    entries, paths = [], []
    for i in tqdm(range(count), desc="toybox", unit="toy", disable=not progress):
        kind = KINDS[i % len(KINDS)]
        motion = MOTIONS[kind][i // len(KINDS) % len(MOTIONS[kind])]
        path = folder / f"toy_{i:06d}.glb"
        entry = known.get(path.name)
        if not (path.is_file() and entry and entry.get("seed") == seed + i and entry.get("version") == VERSION):
            toy = make_toy(seed + i, kind=kind, motion=motion)
            with atomic_path(path) as temporary:
                temporary.write_bytes(toy.glb)
            entry = {
                "file": path.name,
                "caption": toy.caption,
                "kind": kind,
                "motion": motion,
                "seed": toy.seed,
                "version": VERSION,
            }
        entries.append(entry)
        paths.append(path)
        if i % 100 == 99 or i == count - 1:
            with atomic_path(manifest) as temporary:
                temporary.write_text(json.dumps({"toys": entries}, indent=0))
    return paths


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**63:
        raise InputError(f"--seed: expected a number from 0 to 2^63 - 1, got {seed}")
