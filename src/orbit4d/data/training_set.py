"""The built-in model's training set: every animation of its vocabulary, and toys, rendered by the engine.

The engine renders the wanted animations of the vocabulary's assets; which of them the model is trained on, and what they
are called, is written as the folder's curation. Rendering goes on where it stopped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import atomic_path
from .plan import RenderPlan
from .vocabulary import HELD_OUT_ANIMATIONS, KAYKIT_ANIMATIONS, NAMES, UNWANTED, motion_words
from .wordings import combine

PLAN = RenderPlan(size=128, orbits=8, outputs=())
"""What the built-in model was trained on: eight phase-shifted orbits, the static orbit and the front clip."""


@dataclass(kw_only=True, frozen=True)
class Wording:
    """What an animation may be called."""

    captions: list[str]
    kind: str


Chosen = dict[tuple[str, int], Wording]
"""(file name, animation) -> its wording, of the animations that are trained on."""


def vocabulary(assets: Path, *, held_out: bool = False, names: dict[str, list[str]] = NAMES) -> Chosen:
    """The clips of the built-in vocabulary; with `held_out` those of its assets' animations that are kept for testing.
    `names`: files and what they are called, those of the recognition bench or ALL_NAMES.

    Raises InputError when an asset is missing.
    """
    from ..assets.gltf import load_glb

    chosen: Chosen = {}
    for file, called in names.items():
        path = assets / file
        if not path.is_file():
            raise InputError(
                f"{path}: missing; this preset needs the built-in vocabulary's assets. To train on your own, pass --data a "
                "folder that `orbit4d data render` or `orbit4d data shard` wrote"
            )
        seen = set()
        for index, animation in enumerate(load_glb(path).animations):
            name = animation.name.rsplit("|", 1)[-1]
            unwanted = name in UNWANTED or (file.startswith("kaykit") and name not in KAYKIT_ANIMATIONS)
            if unwanted or name in seen or animation.duration <= 0.05:
                continue
            seen.add(name)
            if (HELD_OUT_ANIMATIONS.get(file) == name) == held_out:
                chosen[file, index] = Wording(captions=combine(called, motion_words(name)), kind=called[0])
    return chosen


def toys(folder: Path, count: int, *, seed: int = 0) -> Chosen:
    """The clips of `count` generated toys, which are written to `folder`."""
    from ..assets.toybox import write_toybox

    write_toybox(folder, count=count, seed=seed)
    manifest = json.loads((folder / "manifest.json").read_text())
    entries = manifest["toys"] if isinstance(manifest, dict) else manifest
    return {(e["file"], 0): Wording(captions=e["captions"], kind=f"toy {e['kind']}") for e in entries}


def render_training_set(
    out: Path,
    *,
    assets: Path | None,
    toy_folder: Path,
    toy_count: int,
    plan: RenderPlan = PLAN,
    names: dict[str, list[str]] = NAMES,
    workers: int | None = None,
) -> Path:
    """Render the vocabulary in `assets` (None: none; `names` of it) and the toys into `out`, and write its curation; returns `out`.

    An animation that cannot be rendered is in the manifest with its reason; the others are trained on.
    Raises InputError when an asset is missing, when nothing could be rendered, and where there is no OpenGL.
    """
    from .engine import render_assets

    chosen = vocabulary(assets, names=names) if assets is not None else {}
    only = {file: [animation for name, animation in chosen if name == file] for file, _ in chosen}
    inputs = [assets / file for file in names] if assets is not None else []
    if toy_count:
        chosen |= toys(toy_folder, toy_count)
        inputs.append(toy_folder)
    render_assets(inputs, out=out, plan=plan, only=only, workers=workers)
    write_curation(out, chosen)
    return out


def render_damped(
    out: Path, *, assets: Path, amplitude: float, plan: RenderPlan = PLAN, names: dict[str, list[str]] = NAMES
) -> Path:
    """The vocabulary again with `amplitude` of its motion, on two orbits, in the folder `out`: same words, another m."""
    return render_training_set(
        out,
        assets=assets,
        toy_folder=out,
        toy_count=0,
        names=names,
        plan=replace(plan, amplitude=amplitude, orbits=min(2, plan.orbits)),
    )


def write_curation(folder: Path, chosen: Chosen) -> None:
    """Say in the rendered folder's curation.jsonl which animations are kept, and what they are called."""
    from .manifest import read_manifest

    lines = [_curated(record, chosen) for record in read_manifest(folder)]
    if not any(line["decision"] == "kept" for line in lines):
        raise InputError(
            f"{folder}: nothing of the training set could be rendered; see the reasons in its manifest.jsonl"
        )
    with atomic_path(folder / "curation.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))


def _curated(record: dict[str, Any], chosen: Chosen) -> dict[str, Any]:
    name, animation = Path(record["input"]).name, record["animation"]
    wording = None if animation is None else chosen.get((name, animation))
    rule, reason = None, None
    if record["status"] != "rendered":
        rule, reason = "rendered", record["reason"]
    elif wording is None:
        rule, reason = "vocabulary", f"{name}: animation {animation} is not in the vocabulary"
    wordings = [] if wording is None else wording.captions
    return {
        "key": record["key"],
        "input": record["input"],
        "animation": animation,
        "animation_name": record["animation_name"],
        "decision": "kept" if rule is None else "dropped",
        "rule": rule,
        "reason": reason,
        "measures": {},
        "motion_magnitude": record["motion_magnitude"],
        "motion_quantile": None,
        "sample": record["sample"],
        "sha256": record["sha256"],
        "captions": wordings,
        "caption_sources": ["vocabulary"] * len(wordings),
        "kind": None if wording is None else wording.kind,
    }
