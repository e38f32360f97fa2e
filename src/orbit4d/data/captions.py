"""What a rendered animation may be called: from a caption file, from files beside the asset, or from its own names.

Nothing is invented. Words come from, in this order:

1. the caption file that the user names,
2. a caption file found beside the asset: ``manifest.json`` (as the toybox writes it) or ``MANIFEST.tsv``,
3. the file's metadata (``caption``, then ``title`` or ``name``), else its name; with the animation's name worded by a table.

A caption file is tab- or comma-separated with a header, or JSON. Columns: ``file`` (a path below the asset folder, a file name or
an id) and ``caption`` (one caption) and/or ``captions`` (a JSON list); optional ``kind``, ``license``, and ``animation`` (a name)
and ``animation_index``. Several rows of one file add up. A row that names an animation describes that animation only: for
the asset's other animations its noun is taken and the motion comes from their names. JSON is ``{file: caption or [captions]}``, or
a list of objects with these columns, bare or under one key as in ``{"toys": [...]}``.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..files import parse_json
from .wordings import clean_name, combine, motion_words, noun_of, with_article

if TYPE_CHECKING:
    from ..assets.gltf import Asset

MAX_FILE = 256 * 2**20
MAX_CELL = 2**20
MAX_CAPTION = 300
MAX_CAPTIONS = 32
SIBLINGS = ("manifest.json", "MANIFEST.tsv")
_LOG = logging.getLogger(__name__)


@dataclass(kw_only=True, frozen=True)
class Description:
    """Captions of one animation, the plainest first; its kind and licence where they are known.

    `source` is where the captions are from: ``file``, ``beside``, ``metadata`` or ``name``.
    """

    captions: list[str]
    kind: str | None
    license: str | None = None
    source: str = "name"


class NoTable(InputError):
    """The file is none of captions, rather than a wrong one."""


@dataclass(kw_only=True, frozen=True)
class Row:
    """One row of a caption file. An `animation` or `index` limits it to that animation."""

    captions: list[str]
    kind: str | None = None
    license: str | None = None
    animation: str | None = None
    index: int | None = None


Rows = dict[str, list[Row]]


@dataclass(kw_only=True)
class CaptionTable:
    """Where captions are looked up. Plain data: it can be sent to other processes.

    Attributes:
        rows: of the caption file, by file. roots: the folders (or files) that inputs are relative to.
    """

    rows: Rows = field(default_factory=dict)
    roots: list[Path] = field(default_factory=list)
    _beside: dict[Path, Rows] = field(default_factory=dict, repr=False)

    @staticmethod
    def load(path: Path | None, roots: Iterable[Path] = ()) -> CaptionTable:
        """Read the caption file, if one is given. Raises InputError, naming the file and line, where it is none."""
        return CaptionTable(rows=read_captions(path) if path is not None else {}, roots=[Path(r) for r in roots])

    def describe(self, input: str, *, asset: Asset, animation: int | None, root: Path | None = None) -> Description:
        """Captions, kind and licence of one animation.

        `input` is the asset's path relative to its root, or an id; `root` says which, where several have the same path.
        Raises InputError for a malformed caption file beside the asset.
        """
        given, beside = _lookup(self.rows, input), self._siblings(input, root)
        noun, captions, source = None, [], "file"
        for rows, name in ((given, "file"), (beside, "beside")):
            mine = [row for row in rows if _describes(row, asset, animation)]
            captions, source = [c for row in mine for c in row.captions], name
            if captions:
                break
            noun = noun or next((n for row in rows for c in row.captions if (n := noun_of(c))), None)
            if noun is not None:
                break
        if not captions:
            captions, source = _composed(input, asset, animation, noun=noun, source=source)
        known = [*given, *beside]
        own = {key.lower(): value for key, value in asset.metadata.items()}
        return Description(
            captions=list(dict.fromkeys(captions))[:MAX_CAPTIONS],
            kind=next((row.kind for row in known if row.kind), None) or _text(own.get("kind")),
            license=next((row.license for row in known if row.license), None) or _text(own.get("license")),
            source=source,
        )

    def _siblings(self, input: str, root: Path | None) -> list[Row]:
        """The rows about `input` in the caption file beside it."""
        parts = PurePosixPath(input)
        if parts.is_absolute() or ".." in parts.parts:
            return []
        for candidate in [root] if root is not None else self.roots:
            asset = candidate if candidate.is_file() else candidate / parts
            if not asset.is_file():
                continue
            if asset.parent not in self._beside:
                self._beside[asset.parent] = _read_siblings(asset.parent)
            return _lookup(self._beside[asset.parent], asset.name)
        return []


def read_captions(path: str | Path) -> Rows:
    """The rows of a .tsv, .csv or .json caption file, by file. Raises InputError, naming the file and line."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_FILE:
            raise NoTable(f"{path}: larger than {MAX_FILE >> 20} MiB; expected a caption file")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a caption file") from error
    except UnicodeDecodeError as error:
        raise NoTable(f"{path}: is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    match path.suffix.lower():
        case ".json":
            entries = _json_entries(parse_json(text, source=path), source=path)
        case ".tsv" | ".csv" as suffix:
            entries = _table_entries(text, "\t" if suffix == ".tsv" else ",", source=path)
        case suffix:
            raise InputError(f"{path}: expected a .tsv, .csv or .json caption file, got {suffix or 'no suffix'}")
    rows: Rows = {}
    for where, entry in entries:
        file = entry.get("file") or entry.get("input") or entry.get("id")
        if not isinstance(file, str) or not file.strip():
            raise InputError(f"{where}: names no `file`; expected the file that the caption describes")
        rows.setdefault(file.strip().removeprefix("./"), []).append(_row(entry, where=where))
    return rows


def _composed(
    input: str, asset: Asset, animation: int | None, *, noun: str | None, source: str
) -> tuple[list[str], str]:
    """(captions, source) from a noun that a caption file gave, else from the file's metadata or name, and the animation's name."""
    own = {key.lower(): value for key, value in asset.metadata.items()}
    if noun is None:
        told, source = _text(own.get("caption")), "metadata"
        if told and len(asset.animations) <= 1:  # it describes what the file shows
            return [told], source
        noun = noun_of(told) if told else None
    if noun is None:
        title = clean_name(_text(own.get("title")) or _text(own.get("name")) or "")
        source = "metadata" if title else "name"
        noun = with_article(title or clean_name(input) or "object")
    if animation is None:
        return [noun], source
    return combine([noun], motion_words(asset.animations[animation].name)), source


def _describes(row: Row, asset: Asset, animation: int | None) -> bool:
    """Whether the row is about this animation. Its index decides where it has one: names need not be unique."""
    if row.animation is None and row.index is None:
        return True
    if animation is None:
        return False
    if row.index is not None:
        return row.index == animation
    name = asset.animations[animation].name
    return row.animation in (name, name.rsplit("|", 1)[-1])


def _lookup(rows: Rows, input: str) -> list[Row]:
    """Rows of the path itself, else of its file name, else of its stem (an id)."""
    path = PurePosixPath(input)
    return next((rows[key] for key in (input, path.name, path.stem) if key in rows), [])


def _read_siblings(folder: Path) -> Rows:
    """The caption file in a folder. Other tools' files of these names are none; of a MANIFEST.tsv that is said."""
    for name in SIBLINGS:
        path = folder / name
        if not path.is_file():
            continue
        if path.suffix == ".json":
            try:
                value = parse_json(path.read_bytes(), source=path) if path.stat().st_size <= MAX_FILE else None
            except InputError:
                continue
            if not (isinstance(value, dict) and isinstance(value.get("toys"), list)):
                continue
        try:
            return read_captions(path)
        except NoTable as error:
            _LOG.warning("%s; it is not used", error)
    return {}


def _table_entries(text: str, delimiter: str, *, source: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    csv.field_size_limit(MAX_CELL)
    quoting = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)
    header = [name.strip().lower() for name in reader.fieldnames or []]
    if "file" not in header or not {"caption", "captions"} & set(header):
        raise NoTable(
            f"{source}:1: expected a header with `file` and `caption` or `captions`, got {', '.join(header)[:120] or 'nothing'}"
        )
    reader.fieldnames = header
    try:
        for row in reader:
            where = f"{source}:{reader.line_num}"
            if None in row:
                raise InputError(f"{where}: has more cells than the header; check its tabs, commas and quotes")
            yield where, {str(k): v for k, v in row.items() if v}
    except csv.Error as error:
        raise InputError(f"{source}:{reader.line_num}: not a readable row ({error})") from error


def _json_entries(value: Any, *, source: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict) and len(value) == 1 and _is_objects(next(iter(value.values()))):
        value = next(iter(value.values()))
    elif isinstance(value, dict) and _is_objects(value.get("toys")):
        value = value["toys"]
    if isinstance(value, dict):
        for file, told in value.items():
            name = "captions" if isinstance(told, list) else "caption"
            yield f"{source}: {str(file)[:60]!r}", {"file": file, name: told}
    elif isinstance(value, list):
        for i, entry in enumerate(value):
            if not isinstance(entry, dict):
                raise InputError(f"{source}: entry {i}: expected an object with `file` and `caption`")
            yield f"{source}: entry {i}", entry
    else:
        raise InputError(f"{source}: expected {{file: caption}} or a list of objects with `file` and `caption`")


def _is_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, dict) for v in value)


def _row(entry: dict[str, Any], *, where: str) -> Row:
    told = entry.get("captions", [])
    if isinstance(told, str):
        told = parse_json(told, source=f"{where}: `captions`") if told.lstrip().startswith("[") else [told]
    one = entry.get("caption")
    told = [*([one] if one is not None else []), *told] if isinstance(told, list) else None
    if told is None or not all(isinstance(c, str) for c in told):
        raise InputError(f"{where}: expected `caption` to be text and `captions` a list of texts")
    index = entry.get("animation_index")
    try:
        number = None if index is None else int(index)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{where}: `animation_index`: expected a whole number, got {str(index)[:40]!r}") from None
    return Row(
        captions=[c for c in dict.fromkeys(_text(c) for c in told) if c][:MAX_CAPTIONS],
        kind=_text(entry.get("kind")),
        license=_text(entry.get("license") or entry.get("licence")),
        animation=_text(entry.get("animation")),
        index=number,
    )


def _text(value: Any) -> str | None:
    """One line of printable text of bounded length; None for anything else."""
    if not isinstance(value, str):
        return None
    return " ".join("".join(c if c.isprintable() else " " for c in value).split())[:MAX_CAPTION].strip() or None
