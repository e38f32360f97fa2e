"""Where samples lie, and how one is reached: in shards, or in a rendered (and curated) folder.

`open_samples` picks by what it finds, so that whoever reads samples need not know whether they were sharded:

    index.json                          shards (`data.shards`): one seek and one read a sample
    curation.jsonl, manifest.jsonl      a rendered folder: the kept samples, or all that were rendered
    samples/*.tar, *.tar                samples and nothing else
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import json_digest, parse_json
from .motion_scale import log_motion
from .sample import KEY, MAX_SAMPLE, Sample, load_sample, sample_from_members, tar_contents

FORMAT, VERSION = "orbit4d-shards", 1
MAX_INDEX = 2 * 2**30
_BLOCK = 512
_TARS = ("samples/*.tar", "*.tar")
SHARD_NAME = re.compile(r"shard-\d{6}\.tar")


@dataclass(kw_only=True, frozen=True, slots=True)
class Entry:
    """One sample's place. `length` None: the whole file. `overrides` go over its metadata (what curation decided).
    `sha256`: of its bytes, where that is on record.
    """

    key: str
    file: Path
    offset: int = 0
    length: int | None = None
    sha256: str | None = None
    kind: str | None = None
    motion_magnitude: float | None = None
    overrides: dict[str, Any] = field(default_factory=dict)

    def identity(self) -> str:
        """Changes when the sample does; without reading it."""
        state = None if self.sha256 else self.file.stat()
        known = self.sha256 if state is None else f"{state.st_size} {state.st_mtime_ns}"
        return json_digest([self.key, known, self.overrides])


@dataclass(kw_only=True)
class SampleSet:
    """Samples by number or key; nothing is read before it is asked for. Cheap to send to another process."""

    source: Path
    entries: list[Entry]

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int | str) -> Sample:
        """The sample number `index`, or of the key `index`. Raises InputError for a file that is absent or damaged."""
        if isinstance(index, str):
            index = next((i for i, e in enumerate(self.entries) if e.key == index), len(self))
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        entry = self.entries[index]
        if entry.length is None:
            sample = load_sample(entry.file)
        else:
            source = f"{entry.file} ({entry.key})"
            data = _read(entry.file, entry.offset, entry.length)
            sample = sample_from_members(tar_contents(data, source=source), source=source)
        if sample.key != entry.key:
            raise InputError(f"{entry.file}: holds sample {sample.key}, expected {entry.key}; shard or render again")
        sample.meta |= entry.overrides
        return sample

    @property
    def keys(self) -> list[str]:
        return [entry.key for entry in self.entries]

    def subset(self, indices: Sequence[int]) -> SampleSet:
        """Only these samples, in this order: for a split, or to look at a few."""
        return SampleSet(source=self.source, entries=[self.entries[i] for i in indices])


def open_samples(path: str | Path) -> SampleSet:
    """The samples of a folder: shards, a rendered folder (curated or not), or sample tars.

    Raises InputError, in one line, for a folder without samples, a damaged index, and shards that are missing or cut short.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; expected shards, or a folder written by `orbit4d data render`")
    if (path / "index.json").is_file():
        entries = _shard_entries(path)
    elif (path / "curation.jsonl").is_file() or (path / "manifest.jsonl").is_file():
        entries = [_entry(path, line) for line in folder_lines(path)]
    else:
        tars = next((found for pattern in _TARS if (found := sorted(path.glob(pattern)))), [])
        entries = [Entry(key=file.stem, file=file) for file in tars]
    if not entries:
        raise InputError(
            f"{path}: holds no samples (index.json, manifest.jsonl or *.tar); render or shard some, or check curation"
        )
    return SampleSet(source=path, entries=entries)


def is_sample_folder(path: str | Path) -> bool:
    """Whether `open_samples` would find something to open; nothing is validated."""
    path = Path(path)
    marks = ("index.json", "curation.jsonl", "manifest.jsonl")
    return any((path / mark).is_file() for mark in marks) or any(any(path.glob(p)) for p in _TARS)


def folder_lines(folder: Path, *, include_dropped: bool = False) -> list[dict[str, Any]]:
    """The records of a rendered folder's samples: those that curation kept, or, not curated (or `include_dropped`), all.

    Raises InputError when the curation is not of these samples: some were rendered, or rendered again, after it, or are gone.
    """
    manifest, curation = folder / "manifest.jsonl", folder / "curation.jsonl"
    rendered = _lines_by_key(manifest) if manifest.is_file() else {}
    if not curation.is_file():
        return list(rendered.values())
    decided = _lines_by_key(curation)
    lines = [line for line in decided.values() if include_dropped or line.get("decision") == "kept"]
    if manifest.is_file():
        new = [key for key in rendered if key not in decided]
        changed = [k for k in rendered if k in decided and rendered[k].get("sha256") != decided[k].get("sha256")]
        gone = [line["key"] for line in lines if line["key"] not in rendered]
        for keys, what in (
            (new, "were rendered after it"),
            (changed, "were rendered again after it"),
            (gone, "that it lists are no longer in manifest.jsonl"),
        ):
            if keys:
                raise InputError(f"{curation}: {len(keys)} samples {what}, e.g. {keys[0]}; curate the folder again")
    return lines


def _lines_by_key(path: Path) -> dict[str, dict[str, Any]]:
    """The records that have a sample; of a key that was tried again, the last."""
    lines: dict[str, dict[str, Any]] = {}
    for line in read_jsonl(path):
        key = line.get("key")
        if line.get("sample") is None or line.get("status") == "failed":
            lines.pop(str(key), None)
            continue
        if not isinstance(key, str) or not KEY.fullmatch(key):
            raise InputError(f"{path}: expected a sample's key, got {str(key)[:60]!r}; write it again")
        lines[key] = line
    return lines


def sample_file(folder: Path, line: dict[str, Any]) -> Path:
    """A record's tar file; by its key, because a path in a file may lead anywhere."""
    return folder / "samples" / f"{line['key']}.tar"


def overrides(line: dict[str, Any]) -> dict[str, Any]:
    """What a curation record knows better than the sample: captions, kind, motion."""
    names = ("captions", "kind", "motion_magnitude", "motion_quantile")
    found = {name: line[name] for name in names if line.get(name) is not None}
    captions = found.get("captions", [])
    if not isinstance(captions, list) or not all(isinstance(c, str) for c in captions):
        raise InputError(f"{line['key']}: expected a list of captions in its record; curate again")
    return found


def _entry(folder: Path, line: dict[str, Any]) -> Entry:
    return Entry(
        key=line["key"],
        file=sample_file(folder, line),
        sha256=line.get("sha256"),
        kind=line.get("kind"),
        motion_magnitude=line.get("motion_magnitude"),
        overrides=overrides(line),
    )


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a .jsonl file; a last line that was cut off while being written is left out."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); render or curate the folder first") from error
    for number, line in enumerate(text.split(b"\n")[:-1], 1):
        value = parse_json(line, source=f"{path}:{number}") if line.strip() else None
        if line.strip() and not isinstance(value, dict):
            raise InputError(f"{path}:{number}: expected a JSON object; write it again")
        if isinstance(value, dict):
            yield value


def read_index(folder: Path) -> dict[str, Any]:
    """`index.json` of shards, checked. Raises InputError."""
    path = folder / "index.json"
    try:
        if path.stat().st_size > MAX_INDEX:
            raise InputError(f"{path}: larger than {MAX_INDEX >> 30} GiB; expected the index of shards")
        index = parse_json(path.read_bytes(), source=path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); shard the folder again") from error
    try:
        if index["format"] != FORMAT or index["version"] != VERSION:
            raise InputError(f"{path}: expected {FORMAT} version {VERSION}; shard the folder again")
        if not isinstance(index["bytes"], int):
            raise TypeError("bytes")
        for shard in index["shards"]:
            check_shard(shard, source=path)
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not an index of shards ({type(error).__name__}: {str(error)[:60]})") from error
    return index


def check_shard(shard: Any, *, source: Path) -> None:
    """Raises InputError unless `shard` is what the index says of one: its file, checksum and where its samples lie."""
    try:
        good = SHARD_NAME.fullmatch(shard["file"]) and isinstance(shard["bytes"], int)
        good = good and isinstance(shard["sha256"], str)
        for sample in shard["samples"]:
            offset, length = sample["offset"], sample["length"]
            good = good and KEY.fullmatch(sample["key"]) and isinstance(offset, int) and isinstance(length, int)
            good = good and offset >= 0 and _BLOCK <= length <= MAX_SAMPLE and offset + length <= shard["bytes"]
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{source}: not an index of shards ({type(error).__name__}: {str(error)[:60]})") from error
    if not good:
        raise InputError(f"{source}: what it says of {str(shard['file'])[:60]} is malformed; shard again")


def _shard_entries(folder: Path) -> list[Entry]:
    entries = []
    for shard in read_index(folder)["shards"]:
        file = folder / shard["file"]
        size = file.stat().st_size if file.is_file() else None
        if size != shard["bytes"]:
            found = "is missing" if size is None else f"has {size} bytes"
            raise InputError(f"{file}: {found}, expected {shard['bytes']} bytes; copy it again, or shard again")
        entries += [
            Entry(
                key=sample["key"],
                file=file,
                offset=sample["offset"],
                length=sample["length"],
                sha256=sample.get("sha256"),
                kind=sample.get("kind"),
                motion_magnitude=sample.get("motion_magnitude"),
            )
            for sample in shard["samples"]
        ]
    return entries


def _read(file: Path, offset: int, length: int) -> bytes:
    try:
        with open(file, "rb", buffering=0) as handle:
            handle.seek(offset)
            parts, missing = [], length
            while missing and (part := handle.read(missing)):
                parts.append(part)
                missing -= len(part)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); copy it again, or shard again") from error
    if missing:
        size = os.path.getsize(file)
        raise InputError(f"{file}: cut short, {size} bytes where {offset + length} were expected; copy it again")
    return b"".join(parts)


def motion_statistics(magnitudes: Sequence[float | None]) -> dict[str, Any] | None:
    """Mean, standard deviation and 21 quantiles of log m over those that have one: what a model's conditioning needs."""
    logs = np.array([log_motion(m) for m in magnitudes if m is not None])
    if not len(logs):
        return None
    return {
        "samples": len(logs),
        "log_m_mean": float(logs.mean()),
        "log_m_std": float(logs.std(ddof=1)) if len(logs) > 1 else 0.0,
        "log_m_quantiles": np.quantile(logs, np.linspace(0, 1, 21)).tolist(),
    }
