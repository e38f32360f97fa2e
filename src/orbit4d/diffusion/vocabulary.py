"""What a model was trained on, in words: its kinds and their motions, and what to say of a prompt outside them."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import TypeGuard

import torch
from torch import Tensor

from ..data.vocabulary import NAMES
from ..data.wordings import with_article
from .text import encode_text

TYPO = 0.75
"""difflib's ratio from which a word counts as another one misspelt."""
MAX_KINDS = 4096
MAX_PROMPTS = 65536
MAX_NAME = 300
_ARTICLES = ("a", "an", "the", "some")
_PLAIN = {
    *_ARTICLES, "and", "or", "of", "on", "in", "at", "to", "with", "its", "his", "her", "their", "that", "who", "which", "is",
    "are", "very", "slowly", "quickly", "fast", "slow", "gently", "wildly", "happily", "around", "up", "down", "it", "while",
    "model", "character", "figure", "toy", "low-poly", "cartoon", "cute", "small", "large", "big", "little", "young", "old",
    "looping", "moving",
}  # fmt: skip
_BEFORE_NOUNS = (*_ARTICLES, "in", "of", "with", "on", "its", "his", "her", "their")
_NOT_VERBS = {
    "king",
    "ring",
    "wing",
    "thing",
    "string",
    "viking",
    "duckling",
    "being",
    "ceiling",
    "building",
    "earring",
    "swing",
}


@dataclass(frozen=True)
class Vocabulary:
    """Names are without articles.

    Attributes:
        kinds: plain name ("fox") -> its motions ("running", ...), sorted. toys: the same of generated toys ("bird").
        toy_names: what toys are called in captions ("owl") -> the toy ("bird").
        amounts: kind -> motion, in all its wordings -> how much it moves as authored, a quantile in [0, 1] of the training set's
            motion magnitude.
        other_names: more names that the model was trained with ("dog") -> the plain one ("husky").
    """

    kinds: dict[str, tuple[str, ...]]
    toys: dict[str, tuple[str, ...]] = field(default_factory=dict)
    toy_names: dict[str, str] = field(default_factory=dict)
    other_names: dict[str, str] = field(default_factory=dict)
    amounts: dict[str, dict[str, float]] = field(default_factory=dict)

    @classmethod
    def of_record(cls, record: dict) -> Vocabulary:
        """From `pipeline.json`: `vocabulary` (kinds) and, in newer models, `prompts` (a kind's plainest captions) and `amounts` (a
        kind's motions and their quantiles).

        The file may be anyone's: what is no name (empty, very long, or not printable) is left out.
        """
        names, prompts = record.get("vocabulary", []), record.get("prompts", {})
        names = [n for n in names if _is_name(n)][:MAX_KINDS] if isinstance(names, list) else []
        prompts = prompts if isinstance(prompts, dict) else {}
        kinds: dict[str, tuple[str, ...]] = {}
        toys: dict[str, tuple[str, ...]] = {}
        toy_names: dict[str, str] = {}
        for name in sorted({*names, *[n for n in prompts if _is_name(n)][:MAX_KINDS]}):
            captions = prompts.get(name, [])
            captions = [c for c in captions if _is_name(c)][:MAX_PROMPTS] if isinstance(captions, list) else []
            toy = name.startswith("toy ")
            (toys if toy else kinds)[_bare(name)] = tuple(sorted({motion_words(c, name) for c in captions} - {""}))
            if toy:
                toy_names |= {n: _bare(name) for n in (_bare(name), *(subject_words(c, name) for c in captions)) if n}
        told = record.get("amounts", {})
        told = [(k, of) for k, of in told.items() if isinstance(of, dict)][:MAX_KINDS] if isinstance(told, dict) else []
        amounts = {
            _bare(k): {m: q for m, q in [*of.items()][:MAX_PROMPTS] if _is_name(m) and _is_share(q)} for k, of in told
        }
        others = {_bare(n): _bare(names[0]) for names in NAMES.values() if _bare(names[0]) in kinds for n in names[1:]}
        others = {n: k for n, k in others.items() if n not in kinds}
        return cls(kinds=kinds, toys=toys, toy_names=toy_names, other_names=others, amounts=amounts)

    @property
    def motions(self) -> tuple[str, ...]:
        """All motions of all kinds, sorted."""
        return tuple(sorted({m for motions in self.kinds.values() for m in motions}))

    def kind_of(self, prompt: str) -> str | None:
        """The kind that the prompt names, the longest name first; plurals count. A toy ("toy bird") where it names no other, or
        says that it is one."""
        words = _words(prompt)
        kind = _named(words, {kind: kind for kind in self.kinds} | self.other_names)
        if kind is not None and "toy" not in words:
            return kind
        toy = _named(words, self.toy_names)
        return kind if toy is None else f"toy {toy}"

    def amount(self, prompt: str) -> float | None:
        """How much the motion that the prompt names (the longest of its kind's) usually moves, a quantile in [0, 1]; None where it
        names none, or a toy. Endings do not count: "stands" is standing."""
        words = _words(prompt)
        known = {} if "toy" in words else self.amounts.get(self.kind_of(prompt) or "", {})
        text = f" {' '.join(map(_stem, words))} "
        found = [m for m in known if f" {' '.join(map(_stem, _words(m)))} " in text]
        return known[max(found, key=len)] if found else None

    def warning(self, prompt: str) -> str | None:
        """One line that names the nearest known words when the prompt's kind or motion is unknown; None when all is well."""
        if not self.kinds:
            return None
        kind = self.kind_of(prompt)
        if kind is None:
            typo = self._misspelt(prompt)
            near = ", ".join(self.nearest_kinds(prompt, count=3))
            hint = f"did you mean {typo!r}? nearest in meaning: {near}" if typo else f"nearest in meaning: {near}"
            return f"{prompt!r} names no kind that this model knows; {hint} (`orbit4d vocabulary` lists all); expect a blur"
        if kind.startswith("toy "):
            return f"{prompt!r} names a toy, and of each toy the model saw few; expect a rough shape"
        return self._motion_warning(prompt, kind)

    def _motion_warning(self, prompt: str, kind: str) -> str | None:
        known = self.kinds[kind]
        if not known:
            return None
        stems = {_stem(w) for m in known for w in _words(m)}
        words = _words(prompt)
        verbs = [w for before, w in pairwise(words) if _is_verb(w, self.motions) and before not in _BEFORE_NOUNS]
        strange = [w for w in verbs if _stem(w) not in stems and w not in _words(kind)]
        if not strange:
            return None
        word = strange[0]
        close = difflib.get_close_matches(word, known, n=1, cutoff=TYPO)
        hint = (
            f"did you mean {close[0]!r}?"
            if close
            else f"nearest in meaning: {', '.join(nearest(word, [*known], count=3))}"
        )
        return f"{prompt!r}: the model knows no {kind} {word}; {hint} (`orbit4d vocabulary` lists all)"

    def nearest_kinds(self, prompt: str, *, count: int) -> list[str]:
        """The kinds nearest in meaning to the prompt less its motion, nearest first; a kind's other names count as it."""
        names = {kind: kind for kind in self.kinds} | self.other_names
        ranked = nearest(_without(prompt, self.motions), [*names], count=len(names))
        return list(dict.fromkeys(names[name] for name in ranked))[:count]

    def _misspelt(self, prompt: str) -> str | None:
        """The kind that one or two neighbouring words of the prompt nearly spell."""
        words = [w for w in _words(prompt) if w not in _PLAIN]
        tried = [*words, *(f"{a} {b}" for a, b in pairwise(words))]
        scores = {(kind, text): _likeness(text, kind.lower()) for text in tried for kind in self.kinds}
        best = max(scores, key=lambda pair: scores[pair], default=None)
        return best[0] if best is not None and scores[best] >= TYPO else None

    def as_dict(self) -> dict:
        """JSON-ready."""
        return {
            "kinds": {k: list(v) for k, v in self.kinds.items()},
            "toys": {k: list(v) for k, v in self.toys.items()},
        }

    def as_text(self, *, width: int = 100) -> str:
        """A table: a kind a line, and its motions."""
        import textwrap

        lines = []
        toys = {f"toy {name}": motions for name, motions in self.toys.items()}
        for title, table in (
            ("", self.kinds),
            (" of toys, of which the model saw few each: expect rough shapes", toys),
        ):
            if not table:
                continue
            heading = f"{len(table)} kind{'s' * (len(table) > 1)}{title}"
            lines += ["", heading] if lines else [heading]
            column = max(map(len, table)) + 4
            for kind, motions in table.items():
                first = f"  {kind}".ljust(column)
                text = ", ".join(motions)
                lines += textwrap.wrap(first + text, width, subsequent_indent=" " * column, break_long_words=False) or [
                    first
                ]
        if self.kinds:
            kind, motions = next((k, m) for k, m in sorted(self.kinds.items(), key=lambda item: not item[1]))
            example = f"{with_article(kind)} {motions[0]}" if motions else with_article(kind)
            lines += ["", f'for example: orbit4d generate --prompt "{example}" --out out/{kind.replace(" ", "_")}']
        return "\n".join(lines) if lines else "this model has no vocabulary of words"


def nearest(text: str, names: list[str], *, count: int) -> list[str]:
    """The `count` of `names` nearest in meaning to `text`, by the built-in text encoder, nearest first."""
    query = _meaning(" ".join(text.split()) or "a thing")
    scores = torch.stack([_meaning(name) @ query for name in names])
    return [names[int(i)] for i in scores.argsort(descending=True)[:count]]


@lru_cache(maxsize=8192)
def _meaning(text: str) -> Tensor:
    """(384,) unit sentence embedding: the mean of the token states, as the encoder was trained for."""
    states, mask = encode_text([text])
    mean = (states * mask[..., None]).sum(dim=1)[0]
    return torch.nn.functional.normalize(mean, dim=0)


def _likeness(a: str, b: str) -> float:
    """In [0, 1]; letters that changed places are likely a slip, which difflib's ratio is hard on in short words."""
    swapped = a != b and sorted(a) == sorted(b)
    return max(0.8 * swapped, difflib.SequenceMatcher(None, a, b).ratio())


def _words(text: str) -> list[str]:
    return re.findall(r"[\w'-]+", text.lower())


def _is_name(text: object) -> bool:
    """Text that can be shown: control characters would reach the terminal."""
    return isinstance(text, str) and len(text) <= MAX_NAME and text.isprintable() and bool(_bare(text).strip())


def _is_share(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _bare(kind: str) -> str:
    first, _, rest = kind.partition(" ")
    return rest if rest and first in (*_ARTICLES, "toy") else kind


def motion_words(caption: str, kind: str) -> str:
    """What the caption says besides the kind: "a fox attacking" -> "attacking"; of a toy, from its verb on."""
    caption = " ".join(caption.split())
    if caption.lower().startswith(kind.lower() + " "):
        return caption[len(kind) + 1 :]
    words = caption.split()
    verb = _verb_of(words, kind)
    return "" if verb is None else " ".join(words[verb:])


def subject_words(caption: str, kind: str) -> str:
    """What a toy's caption calls it: "an owl that is saying no" -> "owl"; empty where it has no verb."""
    words = caption.lower().split()
    verb = _verb_of(words, kind)
    subject = words[:verb] if verb else []
    if subject[-2:] == ["that", "is"]:
        subject = subject[:-2]
    return " ".join(subject[1:] if subject[:1] and subject[0] in _ARTICLES else subject)


def _verb_of(words: list[str], kind: str) -> int | None:
    """Where the verb of a toy's caption stands; "racing" of a racing car is none."""
    nouns = _bare(kind).lower().split()
    verbs = (i for i, w in enumerate(words) if _is_verb(w.lower(), ()) and words[i + 1 : i + 2] != nouns)
    return next(verbs, None)


def _named(words: list[str], names: dict[str, str]) -> str | None:
    """What the longest of `names` that stands among the words stands for."""
    text = " ".join(words)
    found = [name for name in names if re.search(rf"\b{re.escape(name.lower())}(s|es)?\b", text)]
    return names[max(found, key=len)] if found else None


def _without(prompt: str, phrases: list[str] | tuple[str, ...]) -> str:
    """The prompt less these phrases (longest first) and less the words that say little."""
    text = " ".join(_words(prompt))
    for phrase in sorted(phrases, key=len, reverse=True):
        text = re.sub(rf"\b{re.escape(phrase.lower())}(s|es)?\b", " ", text)
    return " ".join(w for w in text.split() if w not in _PLAIN)


def _is_verb(word: str, motions: tuple[str, ...]) -> bool:
    if word.endswith("ing") and len(word) > 4 and word not in _NOT_VERBS:
        return True
    return _stem(word) in {_stem(m.split()[0]) for m in motions}


def _stem(word: str) -> str:
    """running, runs, run -> run. Crude, and only compared with itself."""
    for ending in ("ing", "es", "ed", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 2:
            word = word[: -len(ending)]
            break
    if len(word) > 2 and word[-1] == word[-2]:
        word = word[:-1]
    return word.rstrip("e") if len(word) > 2 else word
