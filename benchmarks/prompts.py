"""Which prompts a benchmark uses: a rule with a seed, not a hand."""

from __future__ import annotations

import random
from collections import Counter

from orbit4d.data.training_set import vocabulary
from orbit4d.data.vocabulary import NAMES
from orbit4d.errors import InputError

RESTING = ("standing", "idling", "aiming", "sitting", "holding still", "breathing", "hovering", "moving")
"""First words of what an object does when it hardly moves, or of a caption that does not say what moves."""


def prompts_by_kind(config: dict) -> dict[str, list[str]]:
    """{kind: captions} of a model's pipeline.json; of older models, which do not say, from the assets of its kinds.

    Raises InputError where neither tells.
    """
    if config.get("prompts"):
        return {str(kind): [str(p) for p in captions] for kind, captions in config["prompts"].items()}
    from shared import DATA

    known: dict[str, set[str]] = {}
    for wording in vocabulary(DATA / "assets").values():
        if wording.kind in config.get("vocabulary", []):
            known.setdefault(wording.kind, set()).add(wording.captions[0])
    if not known:
        raise InputError(
            "pipeline.json: neither `prompts` nor a vocabulary of known assets; name the prompts by --prompts"
        )
    return {kind: sorted(captions) for kind, captions in known.items()}


def moving(kind: str, caption: str) -> str | None:
    """What the object does, None where it hardly moves: ("a fox", "a fox running") -> "running"."""
    if not caption.startswith(kind + " "):
        return None
    motion = caption[len(kind) + 1 :]
    return None if motion.startswith(RESTING) else motion


def choose_prompts(by_kind: dict[str, list[str]], *, count: int, seed: int) -> list[str]:
    """`count` prompts with motion: kinds in a seeded order, one each, again and again; of a kind's prompts the one whose motion
    was taken least often so far. Toys are left out.

    Raises InputError where there are fewer.
    """
    rng = random.Random(seed)
    kinds = sorted(kind for kind in by_kind if not kind.startswith("toy "))
    left = {kind: sorted(c for c in set(by_kind[kind]) if moving(kind, c)) for kind in kinds}
    rng.shuffle(kinds)
    chosen, taken = [], Counter()
    while len(chosen) < count:
        open_kinds = [kind for kind in kinds if left[kind]]
        if not open_kinds:
            raise InputError(f"--count: expected at most {len(chosen)} prompts with motion, got {count}")
        for kind in open_kinds[: count - len(chosen)]:
            rng.shuffle(left[kind])
            best = min(left[kind], key=lambda caption: taken[moving(kind, caption)])
            left[kind].remove(best)
            taken[moving(kind, best)] += 1
            chosen.append(best)
    return chosen


def asset_of(kind: str) -> str | None:
    """The file that a kind of the vocabulary is rendered from."""
    return next((file for file, names in NAMES.items() if names[0] == kind), None)
