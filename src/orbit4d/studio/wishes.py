"""What a user of the studio asks for, checked before it reaches a worker: the browser's values are anyone's."""

from __future__ import annotations

import inspect
import math
import re
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import InputError

MAX_PROMPT = 300
MAX_FIT_STEPS = 20_000
MAX_SAMPLING_STEPS = 100
MAX_TITLE = 60
GUESS_WORDS = "Guess its words"
"""What the page calls `caption`."""
_DIGITS = re.compile(r"^[0-9a-f]{16}-")
KINDS: dict[str, tuple[str, ...]] = {
    "image": (".png", ".jpg", ".jpeg", ".webp"),
    "video": (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif", ".webp", ".png", ".apng"),
    "static": (".glb", ".ply", ".splat"),
    "mask": (".png", ".jpg", ".jpeg", ".webp", ".mp4", ".mov", ".webm", ".mkv", ".avi", ".gif"),
}
"""Suffixes that may be uploaded as each condition."""
BEGINNINGS = {".glb": b"glTF", ".ply": b"ply"}
"""How files of a suffix begin, where only the run would find that they are none."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """Arguments of `orbit4d.generate`, JSON-ready; files are paths that the studio itself has chosen."""

    prompt: str | None = None
    image: str | None = None
    video: str | None = None
    static: str | None = None
    static_up: str | None = None
    mask: str | None = None
    caption: bool = True
    azimuth: float | None = None
    motion: float | None = None
    guidance_scale: float = 2.0
    guidance_3d: float = 0.5
    seed: int = 0
    steps: int | None = None
    size: int = 128
    orbits: int = 1
    fit_steps: int | None = None
    sample_static: bool = True
    weights: str | None = None

    def __post_init__(self) -> None:
        for name in ("prompt", "image", "video", "static", "static_up", "mask", "weights"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise InputError(f"{name}: expected text, got {type(value).__name__}")
        if self.prompt is not None and (len(self.prompt) > MAX_PROMPT or not self.prompt.isprintable()):
            raise InputError(f"prompt: expected one line of at most {MAX_PROMPT} characters")
        self._check_numbers()
        given = [name for name in ("image", "video", "static") if getattr(self, name) is not None]
        if self.prompt is None and not given:
            raise InputError("nothing to make: type a prompt, or upload an image, a video or an asset")
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)}: one of them, please; each combines with a prompt")

    def _check_numbers(self) -> None:
        bounds: dict[str, tuple[type, float, float]] = {
            "azimuth": (float, -360, 360),
            "motion": (float, 0, 1),
            "guidance_scale": (float, 0, 100),
            "guidance_3d": (float, 0, 100),
            "seed": (int, 0, 2**53),
            "steps": (int, 1, MAX_SAMPLING_STEPS),
            "size": (int, 64, 128),
            "orbits": (int, 1, 4),
            "fit_steps": (int, 1, MAX_FIT_STEPS),
        }
        for name, (kind, low, high) in bounds.items():
            value = getattr(self, name)
            if value is None and name in ("azimuth", "motion", "steps", "fit_steps"):
                continue
            if not _is_number(value, kind) or not low <= float(value or 0) <= high:
                raise InputError(f"{name.replace('_', ' ')}: expected a number from {low} to {high}, got {value!r:.40}")

    @property
    def title(self) -> str:
        """A short line for people."""
        shown = next((v for v in (self.image, self.video, self.static) if v), None)
        text = self.prompt or (shown_name(shown) if shown else "") or "untitled"
        return text if len(text) <= MAX_TITLE else text[: MAX_TITLE - 1] + "…"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Wish:
        """From `as_dict`. Raises InputError for other keys."""
        known = {f.name for f in fields(cls)}
        if strange := sorted(set(values) - known):
            raise InputError(f"wish: no setting {strange[0]!r:.40}")
        return cls(**values)


def _is_number(value: Any, kind: type) -> bool:
    return type(value) in ((int,) if kind is int else (int, float)) and math.isfinite(value)


def defaults() -> dict[str, Any]:
    """The defaults of `orbit4d.generate`, by name."""
    from ..pipeline import generate

    parameters = inspect.signature(generate).parameters
    return {f.name: parameters[f.name].default for f in fields(Wish)}


def checked_name(name: object, kind: str) -> str:
    """The lower-case suffix of an uploaded file, which is all of its name that is used. Raises InputError for others."""
    suffix = Path(name).suffix.lower() if isinstance(name, str) else ""
    if suffix not in KINDS[kind]:
        raise InputError(f"{kind}: expected {', '.join(KINDS[kind])}, got {suffix or 'no suffix'!r:.20}")
    return suffix


def kept_name(name: str, content: bytes, kind: str) -> str:
    """A file name for an upload: 16 random digits, of its own name letters, digits and dashes, and its suffix.

    Raises InputError for suffixes that `kind` does not take, and for content that is not what the suffix says.
    """
    suffix = checked_name(name, kind)
    plain = slug(Path(name).stem, empty=kind)
    if not content.startswith(BEGINNINGS.get(suffix, b"")):
        raise InputError(f"{plain}{suffix}: does not begin as a {suffix} file does; export it again")
    return f"{secrets.token_hex(8)}-{plain}{suffix}"


def shown_name(path: str | Path) -> str:
    """What people are shown of a file: of uploads without the random digits."""
    return _DIGITS.sub("", Path(path).name, count=1)


def slug(text: str, *, empty: str = "run") -> str:
    """Letters, digits and dashes of `text`, at most 40, for a file's or folder's name; `empty` where there are none."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-") or empty
