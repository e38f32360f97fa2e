"""Objaverse 1.0 as sources: ids looked up in a copy of its published folder, or fetched by the `objaverse` package.

    ROOT/object-paths.json.gz       id -> glbs/000-023/ID.glb
    ROOT/metadata/000-023.json.gz   id -> name, license, tags, animationCount, ...
    ROOT/lvis-annotations.json.gz   category -> ids
    ROOT/glbs/000-023/ID.glb

This is what the package keeps in ~/.objaverse/hf-objaverse-v1, and what a mirror of the data set's repository holds. Nothing
but object-paths.json.gz must be there: an id whose file is missing is a failed input with its reason.
"""

from __future__ import annotations

import importlib
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import parse_json
from .sources import Source, is_uid

MAX_PATHS = 512 * 2**20
MAX_METADATA = 1024 * 2**20
_LAYOUT = re.compile(r"glbs/\d{3}-\d{3}/[0-9a-f]{32}\.glb")
_TEXT = 300


def objaverse_sources(uids: Sequence[str] | None, *, root: Path | None) -> list[Source]:
    """The sources of these ids, or of all (None), in the order of `object-paths.json.gz`'s ids.

    With `root`, a local mirror, nothing is downloaded. Without, the `objaverse` package fetches what is missing. A file
    whose metadata count no animation is a failed input that is neither fetched nor opened.

    Raises InputError for a root that is no mirror, and where neither a root nor the package is there.
    """
    if root is None:
        return _download(uids)
    paths = _paths(Path(root))
    return _sources(sorted(paths) if uids is None else sorted(set(uids)), paths=paths, root=Path(root))


def _paths(root: Path) -> dict[str, str]:
    file = root / "object-paths.json.gz"
    if not file.is_file():
        raise InputError(
            f"{root}: no copy of Objaverse: expected object-paths.json.gz, glbs/ and metadata/ in it; "
            "name the folder with --objaverse-root"
        )
    paths = _read(file, limit=MAX_PATHS)
    for uid, path in paths.items():
        # The table comes from outside: it must not name files elsewhere.
        if not is_uid(uid) or not isinstance(path, str) or not _LAYOUT.fullmatch(path):
            raise InputError(f"{file}: expected id -> glbs/000-023/ID.glb, got {uid[:40]!r} -> {str(path)[:80]!r}")
    return paths


def _sources(uids: Sequence[str], *, paths: dict[str, str], root: Path) -> list[Source]:
    categories = _categories(root)
    shards: dict[str, list[str]] = {}
    for uid in uids:
        shards.setdefault(paths[uid].split("/")[1] if uid in paths else "", []).append(uid)
    facts: dict[str, dict[str, str]] = {}
    for shard, members in shards.items():
        facts |= _facts(root / "metadata" / f"{shard}.json.gz", members) if shard else {}
    out = []
    for uid in uids:
        known = facts.get(uid, {}) | ({"category": categories[uid]} if uid in categories else {})
        path = root / paths.get(uid, f"glbs/{uid}.glb")
        problem = None
        if uid not in paths:
            problem = ("unreadable", f"{uid}: object-paths.json.gz does not list this id")
        elif known.get("animations") == "0":
            problem = ("no-animation", f"{uid}: Objaverse's metadata count no animation in it")
        elif not path.is_file():
            problem = ("unreadable", f"{uid}: {paths[uid]} is missing in the copy of Objaverse")
        out.append(Source(path=path, input=uid, root=root, facts=known, problem=problem))
    return out


def _facts(file: Path, uids: Sequence[str]) -> dict[str, dict[str, str]]:
    """What the metadata say of these ids, shortened; nothing where the file is missing."""
    if not file.is_file():
        return {}
    table, out = _read(file, limit=MAX_METADATA), {}
    for uid in uids:
        entry = table.get(uid)
        if not isinstance(entry, dict):
            continue
        fields = {"title": entry.get("name"), "license": entry.get("license"), "source": entry.get("viewerUrl")}
        fields |= {"author": _name(entry.get("user")), "tags": _names(entry.get("tags"))}
        fields |= {"categories": _names(entry.get("categories"))}
        if isinstance(entry.get("animationCount"), int):
            fields["animations"] = str(entry["animationCount"])
        out[uid] = {k: " ".join(v.split())[:_TEXT] for k, v in fields.items() if isinstance(v, str) and v.strip()}
    return out


def _name(entry: Any) -> str | None:
    return entry.get("displayName") or entry.get("username") or entry.get("name") if isinstance(entry, dict) else None


def _names(entries: Any) -> str:
    return ", ".join(str(e["name"]) for e in entries if isinstance(e, dict) and "name" in e) if entries else ""


def _categories(root: Path) -> dict[str, str]:
    """id -> LVIS category, where that table is there."""
    file = root / "lvis-annotations.json.gz"
    if not file.is_file():
        return {}
    table = _read(file, limit=MAX_PATHS)
    return {str(uid): str(name)[:_TEXT] for name, uids in table.items() if isinstance(uids, list) for uid in uids}


def _read(file: Path, *, limit: int) -> dict[str, Any]:
    """The object in a .json.gz of at most `limit` bytes unpacked: a small file may unpack to any size."""
    unpacker, parts, size = zlib.decompressobj(wbits=31), [], 0
    try:
        with open(file, "rb") as handle:
            while (block := handle.read(1 << 20)) and not unpacker.eof:
                while block:
                    parts.append(unpacker.decompress(block, 1 << 22))
                    size += len(parts[-1])
                    if size > limit:
                        raise InputError(
                            f"{file}: unpacks to more than {limit >> 20} MiB; expected Objaverse's own file"
                        )
                    block = unpacker.unconsumed_tail
        if not unpacker.eof:
            raise InputError(f"{file}: truncated; copy it again")
    except (OSError, zlib.error) as error:
        raise InputError(f"{file}: cannot be unpacked ({error}); copy it again") from error
    value = parse_json(b"".join(parts), source=file)
    if not isinstance(value, dict):
        raise InputError(f"{file}: expected a JSON object, got {type(value).__name__}; copy it again")
    return value


def _download(uids: Sequence[str] | None) -> list[Source]:
    """Fetch what is missing into the package's own folder, metadata first, so that still objects are not fetched."""
    try:
        package = importlib.import_module("objaverse")
    except ImportError as error:
        raise InputError(
            "objaverse: name a local copy with --objaverse-root, or `pip install orbit4d[objaverse]` to download"
        ) from error
    if uids is None:
        raise InputError("objaverse:all: needs a local copy (several TB), named with --objaverse-root; or name ids")
    wanted = sorted(set(uids))
    try:
        # This fetches object-paths.json.gz. The package would only warn of ids that it does not hold.
        package.load_uids()
        root = Path(package._VERSIONED_PATH)
        paths = _paths(root)
        known = [uid for uid in wanted if uid in paths]
        package.load_annotations(known)
        absent = [
            s.input for s in _sources(known, paths=paths, root=root) if s.problem and s.problem[0] == "unreadable"
        ]
        package.load_objects(absent)
    except OSError as error:
        raise InputError(
            f"objaverse: the download failed ({error}); check the network, or name a local copy with --objaverse-root"
        ) from error
    return _sources(wanted, paths=paths, root=root)
