"""Folders of toys: a process pool, resumable, with a manifest."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from ...errors import InputError
from ...files import atomic_path, parse_json
from .kinds import KINDS, MOTIONS
from .toys import VERSION, check_seed, make_toy

MAX_COUNT = 1_000_000
_SAVE_EVERY = 200
Job = tuple[int, int, str, str, str]


def write_toybox(
    folder: str | Path, *, count: int, seed: int = 0, progress: bool = True, workers: int | None = None
) -> list[Path]:
    """Write `count` toys and `manifest.json` into `folder`: kinds and motions in turn, so that all are covered.

    Toy i has the seed `seed + i`; the bytes do not depend on `workers` (None: one a core, 0: no other processes).
    Resumable: files that the manifest lists with the same seed, kind, motion, version and contents are kept. Toys beyond
    `count` stay.

    Raises InputError for a bad count, seed, number of workers or folder.
    """
    folder = Path(folder)
    check_seed(seed)
    if not 1 <= count <= MAX_COUNT:
        raise InputError(f"--count: expected 1 to {MAX_COUNT}, got {count}")
    if workers is not None and not 0 <= workers <= 1024:
        raise InputError(f"--workers: expected 0 to 1024, got {workers}")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: expected a folder (or nothing) there, found a file; choose another --out")
    manifest = folder / "manifest.json"
    with atomic_path(folder / ".writable"):
        pass
    (folder / ".writable").unlink()
    known = _known(manifest)
    other = next((r for r in known.values() if r.get("seed") != _index(r) + seed or r.get("version") != VERSION), None)
    if other is not None:
        raise InputError(
            f"{folder}: holds toys of another --seed or version ({other['file']} has seed {other.get('seed')}); "
            "choose another --out"
        )
    if not manifest.is_file() and any(folder.glob("*.gl[bt]*")):
        raise InputError(f"{folder}: holds assets that are no toys of ours; choose another --out")
    names = list(KINDS)
    records: list[dict | None] = []
    jobs: list[Job] = []
    for i in range(count):
        kind = names[i % len(names)]
        motion = MOTIONS[kind][i // len(names) % len(MOTIONS[kind])]
        path = folder / f"toy_{i:06d}.glb"
        record = known.get(path.name, {})
        wanted = {"seed": seed + i, "version": VERSION, "kind": kind, "motion": motion}
        whole = all(record.get(k) == v for k, v in wanted.items()) and _sha256(path) == record.get("sha256")
        records.append(record if whole else None)
        if not whole:
            jobs.append((i, seed + i, kind, motion, str(path)))
    if not manifest.is_file():
        _save(manifest, [])  # what is killed now is known for ours by it
    done = 0
    with tqdm(total=count, initial=count - len(jobs), desc="toybox", unit="toy", disable=not progress) as bar:
        for i, record in _made(jobs, _workers(workers, len(jobs))):
            records[i] = record
            done += 1
            bar.update()
            if done % _SAVE_EVERY == 0:
                _save(manifest, records + [r for r in known.values() if _index(r) >= count])
    kept = [known[name] for name in sorted(known) if _index(known[name]) >= count]
    _save(manifest, records + kept)
    return [folder / f"toy_{i:06d}.glb" for i in range(count)]


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _index(record: dict) -> int:
    """Number of the toy that a record is about; -1 for a name of another kind."""
    found = re.fullmatch(r"toy_(\d{6})\.glb", str(record.get("file")))
    return int(found[1]) if found else -1


def _known(manifest: Path) -> dict[str, dict]:
    if not manifest.is_file():
        return {}
    try:
        entries = parse_json(manifest.read_bytes(), source=manifest)["toys"]
        return {e["file"]: e for e in entries if isinstance(e, dict)}
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"{manifest}: not a toybox manifest ({error}); choose another --out") from error


def _save(manifest: Path, records: list[dict | None]) -> None:
    made = [r for r in records if r is not None]
    with atomic_path(manifest) as temporary:
        temporary.write_text(json.dumps({"version": VERSION, "toys": made}, indent=0))


def _workers(wanted: int | None, jobs: int) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = cores if wanted is None else wanted
    return 0 if workers < 2 or jobs < 32 else min(workers, jobs // 8)


def _made(jobs: list[Job], workers: int) -> Iterator[tuple[int, dict]]:
    if workers == 0:
        yield from map(_make, jobs)
        return
    # Processes that start anew: a fork of a program with threads (PyTorch's, OpenGL's) may deadlock.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            yield from pool.map(_make, jobs, chunksize=8)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _make(job: Job) -> tuple[int, dict]:
    """Write one toy; its record of the manifest."""
    index, seed, kind, motion, path = job
    toy = make_toy(seed, kind=kind, motion=motion)
    with atomic_path(path) as temporary:
        temporary.write_bytes(toy.glb)
    return index, {
        "file": Path(path).name,
        "caption": toy.caption,
        "captions": toy.captions,
        "kind": kind,
        "motion": motion,
        "attributes": toy.attributes,
        "seed": seed,
        "version": VERSION,
        "sha256": hashlib.sha256(toy.glb).hexdigest(),
        "triangles": toy.triangles,
    }
