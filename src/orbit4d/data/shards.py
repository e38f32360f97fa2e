"""Shards: a curated folder as WebDataset tar files with an index, for training on one machine or many.

    OUT/shard-000000.tar   samples one after the other, each as `data.sample` lays it out: KEY.json, KEY.v00t00.rgba.png, ...
    OUT/index.json         written last: where every sample lies, checksums, counts, captions, statistics of motion

Any program that reads WebDataset reads the tar files, without the index; `data.sample_set.open_samples` uses the index to
reach any sample in one read. Equal samples, seed and size make equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..errors import InputError
from ..files import atomic_path, ensure_writable_parent, file_sha256, lock_folder, parse_json
from .manifest import cannot_write
from .sample import add_to_tar, load_sample, tar_members
from .sample_set import (
    FORMAT,
    SHARD_NAME,
    VERSION,
    check_shard,
    folder_lines,
    motion_statistics,
    open_samples,
    overrides,
    read_index,
    sample_file,
)

MIB = 2**20
_TEMPORARY = re.compile(r"\.shard-\d{6}\.[^.]+\.tar|\.\.shard-\d{6}\.tar\.[^.]+\.json|\.index\.[^.]+\.json")
"""What `atomic_path` writes beside a shard, its record and the index; a killed run leaves it."""


@dataclass(kw_only=True, frozen=True)
class ShardSummary:
    """How much was written: bytes of all tar files."""

    samples: int
    shards: int
    bytes: int


@dataclass(kw_only=True, frozen=True)
class _Planned:
    """One shard to be: its records, and a digest of all that decides its bytes."""

    name: str
    lines: list[dict[str, Any]]
    sources: str


def write_shards(
    folder: str | Path,
    *,
    out: str | Path,
    shard_mib: int = 256,
    seed: int = 0,
    include_dropped: bool = False,
    progress: bool = True,
) -> ShardSummary:
    """Write the samples that curation kept to shards in `out`.

    Args:
        folder: rendered and curated. shard_mib: no shard is larger, unless a single sample is.
        seed: of the one shuffle that makes any prefix of the shards a fair subset.
        include_dropped: take all rendered samples, whatever curation said and whether or not there was one.

    A run that was stopped goes on: finished shards whose checksum is right are kept. `index.json` is there only when all
    shards are and no others, which is when any program may read `shard-*.tar`.
    Raises InputError: nothing to write, a folder that was not curated, samples that changed since, another run in `out`.
    """
    folder, out = Path(folder), Path(out)
    if not 1 <= shard_mib <= 2**20:
        raise InputError(f"--shard-mib: expected 1 to {2**20}, got {shard_mib}")
    if out.resolve() == folder.resolve():
        raise InputError(f"--out: {out} is the rendered folder itself; name another, e.g. {out / 'shards'}")
    if not include_dropped and not (folder / "curation.jsonl").is_file():
        raise InputError(f"{folder}: not curated (no curation.jsonl); curate it first, or pass --include-dropped")
    planned = _plan(folder, limit=shard_mib * MIB, seed=seed, include_dropped=include_dropped)
    if not planned:
        raise InputError(f"{folder}: no sample was kept, nothing to shard; see its curation report")
    ensure_writable_parent(out / "index.json")
    with lock_folder(out) as lock:
        try:
            return _write_all(folder, out, planned, seed=seed, progress=progress)
        except OSError as error:
            raise InputError(cannot_write(out, error)) from error
        finally:
            lock.truncate(0)


def _write_all(folder: Path, out: Path, planned: list[_Planned], *, seed: int, progress: bool) -> ShardSummary:
    """What is missing of the planned shards, then the index; what else lies there of shards goes."""
    for file in out.iterdir():
        if _TEMPORARY.fullmatch(file.name):
            file.unlink()
    known = _known_records(out)
    _check_same(out, planned)
    names = {shard.name for shard in planned}
    stale = [file for file in out.iterdir() if SHARD_NAME.fullmatch(file.name) and file.name not in names]
    if stale:
        # From here on the old index would describe shards that are no longer there.
        (out / "index.json").unlink(missing_ok=True)
    for file in stale:
        file.unlink()
    total = sum(len(shard.lines) for shard in planned)
    records, captions = [], _Captions()
    with tqdm(total=total, desc="shard", unit="sample", disable=not progress) as bar:
        for shard in planned:
            record = known.get(shard.name)
            if record is None or not _is_finished(out, shard, record):
                (out / "index.json").unlink(missing_ok=True)
                record = _write_shard(folder, out, shard)
            _write_json(_record_file(out, shard.name), record)
            captions.add(record)
            records.append(record)
            bar.update(len(shard.lines))
    index = {
        "format": FORMAT,
        "version": VERSION,
        "plan": _rendering_plan(folder),
        "seed": seed,
        "samples": total,
        "bytes": sum(record["bytes"] for record in records),
        "captions": captions.to_json(),
        "kinds": dict(sorted(Counter(str(s["kind"]) for r in records for s in r["samples"]).items())),
        "motion": motion_statistics([s["motion_magnitude"] for r in records for s in r["samples"]]),
        "shards": records,
    }
    _write_json(out / "index.json", index)
    for file in out.glob(".shard-*.tar.json"):
        file.unlink()
    return ShardSummary(samples=total, shards=len(records), bytes=index["bytes"])


def _plan(folder: Path, *, limit: int, seed: int, include_dropped: bool) -> list[_Planned]:
    """Which samples go into which shard. The order of the records, which many workers wrote, does not matter."""
    lines = sorted(folder_lines(folder, include_dropped=include_dropped), key=lambda line: line["key"])
    groups: list[list[dict[str, Any]]] = []
    filled = limit
    for number in np.random.default_rng(seed).permutation(len(lines)):
        line = lines[number]
        try:
            size = sample_file(folder, line).stat().st_size
        except OSError as error:
            raise InputError(f"{sample_file(folder, line)}: missing ({error.strerror}); render it again") from error
        if filled + size > limit:
            groups.append([])
            filled = 0
        groups[-1].append(line)
        filled += size
    out = []
    for number, group in enumerate(groups):
        text = json.dumps(
            [
                VERSION,
                [[line["key"], line.get("sha256"), line.get("caption_sources"), overrides(line)] for line in group],
            ]
        )
        digest = hashlib.sha256(text.encode()).hexdigest()
        out.append(_Planned(name=f"shard-{number:06d}.tar", lines=group, sources=digest))
    return out


def _write_shard(folder: Path, out: Path, shard: _Planned) -> dict[str, Any]:
    samples = []
    with atomic_path(out / shard.name) as temporary:
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
            for line in shard.lines:
                samples.append(_add_sample(tar, sample_file(folder, line), line))
        size, digest = temporary.stat().st_size, file_sha256(temporary)
        with open(temporary, "rb") as handle:
            for sample in samples:
                handle.seek(sample["offset"])
                sample["sha256"] = hashlib.sha256(handle.read(sample["length"])).hexdigest()
    return {"file": shard.name, "bytes": size, "sha256": digest, "sources": shard.sources, "samples": samples}


def _add_sample(tar: tarfile.TarFile, file: Path, line: dict[str, Any]) -> dict[str, Any]:
    expected = line.get("sha256")
    if isinstance(expected, str) and file_sha256(file) != expected:
        raise InputError(
            f"{file}: not the file that was curated (its checksum differs); if it was rendered again, curate the folder; if it "
            "is damaged, delete it, render and curate again"
        )
    sample = load_sample(file)
    if sample.key != line["key"]:
        raise InputError(f"{file}: holds sample {sample.key}, expected {line['key']}; render it again")
    sample.meta |= overrides(line)
    start = tar.offset
    for name, data in tar_members(sample):
        add_to_tar(tar, name, data)
    return {
        "key": sample.key,
        "offset": start,
        "length": tar.offset - start,
        "kind": sample.meta.get("kind"),
        "motion_magnitude": sample.meta.get("motion_magnitude"),
        "captions": sample.captions,
        "caption_sources": [str(name) for name in line.get("caption_sources") or ["render"] * len(sample.captions)],
    }


class _Captions:
    """Counts of the captions and of where they came from."""

    def __init__(self) -> None:
        self.total, self.distinct, self.sources = 0, set(), Counter()

    def add(self, record: dict[str, Any]) -> None:
        for sample in record["samples"]:
            self.total += len(sample["captions"])
            self.distinct.update(sample["captions"])
            self.sources.update(sample["caption_sources"])

    def to_json(self) -> dict[str, Any]:
        return {"total": self.total, "distinct": len(self.distinct), "sources": dict(sorted(self.sources.items()))}


def _record_file(out: Path, name: str) -> Path:
    return out / f".{name}.json"


def _check_same(out: Path, planned: list[_Planned]) -> None:
    """Raises InputError where a finished set of shards holds none of the samples to be written: it is of other data."""
    there: set[str] = set()
    with suppress(InputError):  # one that cannot be read says nothing
        there = {sample["key"] for shard in read_index(out)["shards"] for sample in shard["samples"]}
    if there and there.isdisjoint(line["key"] for shard in planned for line in shard.lines):
        raise InputError(
            f"{out}: holds shards of other samples ({min(there)}, ...); choose another --out, or delete them"
        )


def _known_records(out: Path) -> dict[str, dict[str, Any]]:
    """What earlier runs say of their shards; whether it is still true is for `_is_finished`.

    What is damaged or of another version says nothing: its shards are written again.
    """
    known: dict[str, dict[str, Any]] = {}
    if (out / "index.json").is_file():
        with suppress(InputError):
            known |= {record["file"]: record for record in read_index(out)["shards"] if _has_captions(record)}
    for file in sorted(out.glob(".shard-*.tar.json")):
        with suppress(InputError):
            record = parse_json(file.read_bytes(), source=file)
            check_shard(record, source=file)
            if _has_captions(record):
                known[record["file"]] = record
    return known


def _has_captions(record: dict[str, Any]) -> bool:
    """Whether a checked record also tells what the index's counts need."""
    lists = [sample.get(name) for sample in record["samples"] for name in ("captions", "caption_sources")]
    good = all(isinstance(words, list) and all(isinstance(word, str) for word in words) for words in lists)
    motion = [sample.get("motion_magnitude") for sample in record["samples"]]
    return good and all(m is None or isinstance(m, int | float) for m in motion)


def _is_finished(out: Path, shard: _Planned, record: dict[str, Any]) -> bool:
    file = out / shard.name
    return record.get("sources") == shard.sources and file.is_file() and file_sha256(file) == record.get("sha256")


def _rendering_plan(folder: Path) -> Any:
    file = folder / "plan.json"
    return parse_json(file.read_bytes(), source=file) if file.is_file() else None


def _write_json(path: Path, value: Any) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, sort_keys=True, separators=(",", ":")) + "\n")


def verify_shards(folder: str | Path, *, progress: bool = True) -> ShardSummary:
    """Check every shard's checksum, and that each sample lies where the index says and is one.

    Raises InputError, in one line, naming the files that are bad (the first ten).
    """
    folder = Path(folder)
    if not (folder / "index.json").is_file():
        raise InputError(f"{folder}: no index.json; expected a folder that `orbit4d data shard` wrote")
    index = read_index(folder)
    bad = [
        shard["file"]
        for shard in tqdm(index["shards"], desc="verify", unit="shard", disable=not progress)
        if not (folder / shard["file"]).is_file() or file_sha256(folder / shard["file"]) != shard["sha256"]
    ]
    if bad:
        raise InputError(
            f"{folder}: {len(bad)} of {len(index['shards'])} shards are missing or damaged ({', '.join(bad[:10])}); copy them "
            "again, or shard again"
        )
    samples, at = open_samples(folder), 0
    for shard in index["shards"]:
        file = folder / shard["file"]
        try:
            with tarfile.open(file, "r:") as tar:
                names = [(info.offset, info.name) for info in tar]
        except (OSError, tarfile.TarError) as error:
            reason = " ".join(str(error).split())[:80]
            raise InputError(f"{file}: not a tar file ({reason}); shard again") from error
        if [offset for offset, name in names if name.endswith(".json")] != [s["offset"] for s in shard["samples"]]:
            raise InputError(f"{file}: its samples do not lie where index.json says; shard again")
        for _ in shard["samples"]:
            samples[at]  # reads and checks it
            at += 1
    return ShardSummary(samples=at, shards=len(index["shards"]), bytes=index["bytes"])
