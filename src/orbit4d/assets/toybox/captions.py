"""True captions in many wordings: a small grammar over `words.json`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np

UNCOUNTED = ("sand",)


@dataclass(kw_only=True)
class Facts:
    """What is true of a toy. `features`: (part, colour or ""); speed: slow, normal, fast; amplitude: small, normal, large."""

    kind: str
    noun: str
    motion: str
    main: str
    second: str
    pattern: str
    features: list[tuple[str, str]]
    speed: str
    amplitude: str


@lru_cache(maxsize=1)
def words() -> dict:
    return json.loads((files("orbit4d.assets.toybox") / "words.json").read_text(encoding="utf-8"))


def caption_all(facts: Facts, rng: np.random.Generator) -> list[str]:
    """Six or so distinct captions, from the shortest to the most detailed."""
    table = words()
    dressed = " dressed" if facts.noun in table["they"] else ""
    out: list[str] = []
    for style, count in (("short", 2), ("plain", 3), ("detailed", 3)):
        templates = table["templates"][style + dressed]
        for k in rng.permutation(len(templates))[:count]:
            out.append(_fill(templates[k], facts, rng))
    return list(dict.fromkeys(out))


def _fill(template: str, facts: Facts, rng: np.random.Generator) -> str:
    table = words()

    def one(options: list[str]) -> str:
        return options[int(rng.integers(len(options)))]

    special = table["special"]
    verbs = next(
        (special[k] for k in (f"{facts.noun} {facts.motion}", f"{facts.kind} {facts.motion}") if k in special),
        table["motions"][facts.motion],
    )
    verb = one(verbs)
    if facts.noun in table["they"]:
        verb = verb.replace("its ", "their ")
    manner = " ".join(w for w in (facts.speed, facts.amplitude) if w != "normal")
    text = template.format(
        kind=one(table["kinds"][facts.noun]),
        look=one(table["looks"][facts.pattern]).format(main=facts.main, second=facts.second),
        verb=verb,
        parts=_parts(facts.features, rng),
        manner=" " + one(table["manners"][manner]) if manner else "",
    )
    text = re.sub(r"\s+", " ", text).strip().replace("toy toy", "toy")
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)


def _parts(features: list[tuple[str, str]], rng: np.random.Generator) -> str:
    if not features:
        return ""
    kept = [features[i] for i in sorted(rng.permutation(len(features))[:2])]
    return " with " + " and ".join(_phrase(name, color) for name, color in kept)


def _phrase(name: str, color: str) -> str:
    plural = (name.endswith("s") and not name.endswith("ss")) or name in UNCOUNTED or name == "antennae"
    whole = f"{color} {name}".strip()
    return whole if plural else f"a {whole}"
