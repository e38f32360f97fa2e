"""Which files are to be rendered: files, folders, lists of paths and Objaverse ids as one ordered list of `Source`.

Folders are searched for *.glb and *.gltf at any depth, in the order of their names; hidden files and folders are left out,
and so are linked folders. A linked file that lies outside its folder is not opened: it becomes a source with a `problem`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from ..assets.gltf_container import MAX_DECODED, MAX_JSON, MAX_JSON_VALUES
from ..errors import InputError
from ..files import parse_json

SUFFIXES = (".glb", ".gltf")
LISTS = (".txt", ".lst")
OBJAVERSE = "objaverse:"
MAX_LIST = 256 * 2**20
MAX_SOURCES = 10_000_000
MAX_COMPANIONS = 1000
"""Files that a .gltf may name."""
_SLUG = 52
"""Of a key's 72 characters: 9 go to the hash, 11 to `__` and a number of up to 9 digits."""


@dataclass(kw_only=True, frozen=True)
class Source:
    """One asset file.

    Attributes:
        path: where it lies.
        input: what it is called in the manifest: its path relative to `root`, "/"-separated, or its Objaverse id.
        root: the folder that names are relative to.
        facts: what a catalogue says of it (title, licence, ...): short strings by name.
        problem: why it cannot be read, if that is known without opening it: (cause, one line).
    """

    path: Path
    input: str
    root: Path
    facts: dict[str, str] = field(default_factory=dict)
    problem: tuple[str, str] | None = None

    @property
    def stem(self) -> str:
        """Readable, stable and unique among sources: the name as a slug and 8 digits of its hash."""
        name = self.input[: -len(Path(self.input).suffix)] if Path(self.input).suffix in SUFFIXES else self.input
        slug = re.sub(r"[^A-Za-z0-9-]+", "_", name).strip("_")[-_SLUG:].strip("_") or "asset"
        return f"{slug}_{hashlib.sha256(self.input.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"

    def key(self, animation: int | None) -> str:
        """The key of one of its animations; of the file itself for None."""
        return self.stem if animation is None else f"{self.stem}__{animation:03d}"


def find_sources(inputs: Sequence[Path], *, objaverse_root: Path | None = None) -> list[Source]:
    """The sources that `inputs` name, each file once, in the order of the inputs.

    An input is an asset file, a folder, a text file (.txt, .lst) with a path or an Objaverse id on each line (# comments),
    ``objaverse:UID``, ``objaverse:FILE`` with an id on each line, or ``objaverse:all``; see `orbit4d.data.objaverse`.

    Raises InputError for inputs that do not exist, folders without assets, and two files of one name.
    """
    if not inputs:
        raise InputError("render: expected files, folders, lists or objaverse:UID to render, got none")
    found: list[Source] = []
    uids: list[str] | None = []
    for entry in inputs:
        text = str(entry)
        if text.startswith(OBJAVERSE):
            named = _uids(text.removeprefix(OBJAVERSE))
            uids = None if named is None or uids is None else uids + named
        elif (path := Path(entry)).is_dir():
            found += _folder(path)
        elif not path.exists():
            raise InputError(
                f"{path}: no such file or folder; expected an asset, a folder of assets or a list of paths"
            )
        elif path.suffix.lower() in LISTS:
            files, listed = _list(path)
            found += files
            uids = None if uids is None else uids + listed
        else:
            found.append(Source(path=path, input=path.name, root=path.parent))
        if len(found) + len(uids or ()) > MAX_SOURCES:
            raise InputError(f"{text}: more than {MAX_SOURCES} assets; render them in several runs")
    if uids is None or uids:
        from .objaverse import objaverse_sources

        found += objaverse_sources(uids, root=objaverse_root)
    return _distinct(found)


def _folder(folder: Path) -> list[Source]:
    out: list[Source] = []
    whole = folder.resolve()

    def unreadable(error: OSError) -> None:
        raise InputError(f"{error.filename}: this folder cannot be read ({error.strerror}); check its permissions")

    for where, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith(".") or Path(name).suffix.lower() not in SUFFIXES:
                continue
            path = Path(where, name)
            problem = None
            if path.is_symlink() and not path.resolve().is_relative_to(whole):
                problem = ("unreadable", f"{name}: a link to a file outside its folder, which is not followed; copy it")
            out.append(Source(path=path, input=path.relative_to(folder).as_posix(), root=folder, problem=problem))
    if not out:
        raise InputError(f"{folder}: holds no .glb or .gltf; expected a folder of animated assets")
    return out


def _list(path: Path) -> tuple[list[Source], list[str]]:
    """The files and the Objaverse ids that a text file names."""
    files, uids = [], []
    for line in _lines(path):
        if line.startswith(OBJAVERSE):
            uid = line.removeprefix(OBJAVERSE)
            if not is_uid(uid):
                raise InputError(f"{path}: expected objaverse: and an id of 32 hexadecimal digits, got {line[:80]!r}")
            uids.append(uid)
            continue
        file = path.parent / line
        name = Path(os.path.relpath(file, path.parent)).as_posix()
        problem = None
        if not file.is_file():
            problem = ("unreadable", f"{line[:200]}: no such file, but {path.name} lists it")
        files.append(Source(path=file, input=name, root=path.parent, problem=problem))
    if not files and not uids:
        raise InputError(f"{path}: expected a path or an Objaverse id on each line, found none")
    return files, uids


def _uids(text: str) -> list[str] | None:
    """The ids that ``objaverse:TEXT`` names; None for all."""
    if text == "all":
        return None
    if is_uid(text):
        return [text]
    path = Path(text)
    if not text or not path.is_file():
        raise InputError(f"objaverse:{text[:80]}: expected an id (32 hexadecimal digits), a file of ids, or all")
    uids = list(_lines(path))
    wrong = [uid for uid in uids if not is_uid(uid)]
    if wrong or not uids:
        raise InputError(f"{path}: expected an Objaverse id (32 hexadecimal digits) on each line, got {wrong[:1]}")
    return uids


def is_uid(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{32}", text) is not None


def _lines(path: Path) -> Iterator[str]:
    try:
        if path.stat().st_size > MAX_LIST:
            raise InputError(f"{path}: larger than {MAX_LIST >> 20} MiB; split the list")
        with open(path, encoding="utf-8") as handle:
            for line in handle:
                text = line.strip()
                if "\0" in text or len(text) > 4096:
                    raise InputError(f"{path}: expected text with a path on each line")
                if text and not text.startswith("#"):
                    yield text
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a list ({error}); expected UTF-8 text") from error


def _distinct(sources: Iterable[Source]) -> list[Source]:
    """Each file once, under the first of its names. Raises InputError where two files share a name, and so a key.

    A folder and one inside it hold the same files. A link is a file of its own: two assets may share their bytes.
    """
    folders: dict[Path, str] = {}
    known: set[str] = set()
    by_name: dict[str, Source] = {}
    stems: dict[str, str] = {}
    for source in sources:
        parent = source.path.parent
        if parent not in folders:
            folders[parent] = os.path.realpath(parent)
        place = os.path.join(folders[parent], source.path.name)
        if place in known:
            continue
        if source.problem is None:
            known.add(place)
        other = by_name.setdefault(source.input, source)
        if other is not source and os.path.realpath(other.path) != os.path.realpath(source.path):
            raise InputError(
                f"{other.path} and {source.path}: both are called {source.input!r} in the manifest; "
                "name a folder that holds both, or render them into two folders"
            )
        if stems.setdefault(source.stem, source.input) != source.input:
            raise InputError(f"{source.path}: its key equals that of {stems[source.stem]!r}; rename one of them")
    return list(by_name.values())


def content_digest(path: Path) -> tuple[str | None, list[list[int]]]:
    """SHA-256 of what is rendered, and (bytes, time of change) of each file it was taken from.

    A .gltf counts with the files beside it that it names. The digest is None where anything cannot be read, and where
    there is more of it than is ever loaded: this runs in a process that nobody watches.
    """
    whole = hashlib.sha256()
    stats = signature(path)
    if sum(size for size, _ in stats) > MAX_DECODED:
        return None, []
    try:
        for file, (size, _) in zip(_files(path), stats, strict=True):
            if not file.is_file():
                return None, []
            with open(file, "rb") as handle:
                while block := handle.read(min(1 << 20, size + 1)):
                    size -= len(block)
                    if size < 0:  # it grows while it is read
                        return None, []
                    whole.update(block)
    except (OSError, ValueError):
        return None, []
    return (whole.hexdigest(), stats) if stats else (None, [])


def signature(path: Path) -> list[list[int]]:
    """The second value of `content_digest`, without reading binary files; empty where anything cannot be read."""
    try:
        stats = [file.stat() for file in _files(path) if os.access(file, os.R_OK)]
    except OSError:
        return []
    return [[stat.st_size, stat.st_mtime_ns] for stat in stats]


def _files(path: Path) -> list[Path]:
    """The file and, of a .gltf, the buffers and images inside its own folder that it names; nothing where they are too many."""
    try:
        if path.suffix.lower() != ".gltf" or not path.is_file():
            return [path]
        if path.stat().st_size > MAX_JSON:
            return []
        data = path.read_bytes()
        if data.count(b",") + data.count(b"[") + data.count(b"{") > MAX_JSON_VALUES:
            return []
        document = parse_json(data, source=path)
        items = [item for kind in ("buffers", "images") for item in document.get(kind, [])]
        uris = dict.fromkeys(item["uri"] for item in items if "uri" in item)
        named = [unquote(uri) for uri in uris if isinstance(uri, str) and not uri.startswith("data:")]
        if len(named) > MAX_COMPANIONS:
            return []
        files = dict.fromkeys((path.parent / name).resolve() for name in named)
        return [path, *(file for file in files if file.is_relative_to(path.parent.resolve()))]
    except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError):
        return [path]  # the reader says what is wrong with it
