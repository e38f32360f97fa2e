"""Deciding about every animation of a rendered folder: DIR/manifest.jsonl + DIR/samples -> DIR/curation.jsonl.

    DIR/curation.jsonl                one line for every input, in the manifest's order: kept, or dropped with its reason
    DIR/curation/measures.jsonl       measures by key and sha256, so that other thresholds need no frames
    DIR/curation/thumbnails/KEY.webp  four frames of the orbit, for the report
    DIR/curation/captions.jsonl       a captioning model's words, by key, sha256 and model

A killed run continues: measures are appended as they come, a torn last line is ignored.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..errors import InputError
from ..files import atomic_path, file_sha256, parse_json
from .curation import FRAME_MEASURES, MEASURES, MEASURES_VERSION, CurationRules, Decision, decide, quantiles
from .curation_report import thumbnail_path, write_curation_report
from .manifest import check_record

MAX_LINE = 4 * 2**20
_SMALL = 8
"""Up to so many samples are measured in this process: starting others would take longer."""


@dataclass(kw_only=True, frozen=True)
class CurationSummary:
    """How many inputs there were and what became of them; `by_rule` counts the dropped."""

    total: int
    kept: int
    dropped: int
    by_rule: dict[str, int]


@dataclass(kw_only=True, frozen=True)
class Measured:
    """A sample's measures and the digest of its frames, or the one-line problem that prevented them."""

    measures: dict[str, float]
    digest: str | None = None
    problem: str | None = None
    rule: str = "unreadable"


def curate_folder(
    folder: str | Path,
    *,
    rules: CurationRules,
    captioner: str | None = None,
    report: bool = True,
    workers: int | None = None,
    progress: bool = True,
) -> CurationSummary:
    """Decide about every line of `folder`/manifest.jsonl and write `folder`/curation.jsonl, which appears only when whole.

    Args:
        captioner: name or folder of an image-to-text model that describes the kept samples (see `captioner.py`).
        report: whether to write `folder`/curation/report.html.
        workers: processes that measure; by default one for each core.

    Damaged, missing or failed samples are dropped with their reason. Raises InputError when `folder` is no rendered folder.
    """
    folder = Path(folder)
    if workers is not None and not 1 <= workers <= 1024:
        raise InputError(f"--workers: expected 1 to 1024, got {workers}")
    records = read_manifest(folder)
    model = None
    if captioner is not None:  # before the measuring, so that a wrong name is known at once
        from .captioner import Captioner

        model = Captioner.load(captioner)
    measured = _measure_all(folder, records, workers=workers, progress=progress)
    decided = _decide_all(records, measured, rules)
    lines = [_line(r, measured.get(r["key"]), d) for r, d in zip(records, decided, strict=True)]
    kept = [line for line in lines if line["decision"] == "kept"]
    for line, quantile in zip(kept, quantiles([line["motion_magnitude"] for line in kept]), strict=True):
        line["motion_quantile"] = quantile
    if model is not None:
        from .captioner import caption_kept

        caption_kept(folder, kept, model=model, progress=progress)
    write_lines(folder / "curation.jsonl", lines)
    if report:
        write_curation_report(folder, lines, rules=rules)
    by_rule = Counter(str(line["rule"]) for line in lines if line["decision"] == "dropped")
    return CurationSummary(
        total=len(lines), kept=len(kept), dropped=len(lines) - len(kept), by_rule=dict(sorted(by_rule.items()))
    )


def read_manifest(folder: str | Path) -> list[dict[str, Any]]:
    """The records of `folder`/manifest.jsonl, each (input, animation) once: where one was tried again, its last line counts.

    A torn last line is left out. Raises InputError, naming the line, for anything else that is no record.
    """
    path = Path(folder) / "manifest.jsonl"
    if not path.is_file():
        raise InputError(f"{path}: not found; render assets into this folder first")
    records: dict[tuple[str, int | None], dict[str, Any]] = {}
    for number, record in read_lines(path):
        check_record(record, source=f"{path}:{number}")
        records[record["input"], record["animation"]] = record
    twice = [key for key, count in Counter(r["key"] for r in records.values()).items() if count > 1]
    if twice:
        raise InputError(f"{path}: key {twice[0][:80]!r} names more than one animation; render into a new folder")
    return list(records.values())


def read_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number, value) of a JSON lines file. A torn last line, which a killed run leaves, is skipped."""
    with open(path, "rb") as handle:
        for number, line in enumerate(iter(lambda: handle.readline(MAX_LINE), b""), start=1):
            if len(line) >= MAX_LINE:
                raise InputError(f"{path}:{number}: longer than {MAX_LINE >> 20} MiB; expected one JSON object a line")
            try:
                if line.strip():
                    yield number, parse_json(line, source=f"{path}:{number}")
            except InputError:
                if line.endswith(b"\n"):
                    raise


def write_lines(path: Path, values: Sequence[Mapping[str, Any]]) -> None:
    """Write a JSON lines file that appears only when whole."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        for value in values:
            handle.write(json.dumps(value) + "\n")


def measure_file(sha256: str | None, path: str, thumbnail: str) -> Measured:
    """Measure one sample's tar file and leave its thumbnails at `thumbnail`. Whatever is wrong with it becomes its problem."""
    from .curation import frames_digest, measure
    from .curation_report import thumbnail_strip
    from .sample import load_sample

    try:
        if sha256 is not None and file_sha256(path) != sha256:
            raise InputError(
                f"{Path(path).name}: not the file that was rendered (its SHA-256 differs); render it again"
            )
        sample = load_sample(path)
        measured = Measured(measures=measure(sample), digest=frames_digest(sample))
        if not all(math.isfinite(value) for value in measured.measures.values()):
            raise InputError(f"{sample.key}: a measure is not a finite number; render it again")
        strip = thumbnail_strip(sample)
    except Exception as error:  # a file may be wrong in ways that nobody thought of; the others must go on
        kind = "" if isinstance(error, InputError) else f"{Path(path).name}: {type(error).__name__}: "
        reason = " ".join(str(error).replace(f"{Path(path).parent.parent}{os.sep}", "").split())
        return Measured(measures={}, problem=kind + reason[:400])
    with atomic_path(thumbnail) as temporary:
        temporary.write_bytes(strip)
    return measured


def _measure_all(
    folder: Path, records: Sequence[dict[str, Any]], *, workers: int | None, progress: bool
) -> dict[str, Measured]:
    """The measures of every rendered sample by key: from the cache where the sample is the same, else taken now."""
    cache = folder / "curation" / "measures.jsonl"
    known, out, missing = _read_cache(cache), {}, []
    for record in records:
        if record["status"] != "rendered":
            continue
        entry = known.get(record["key"])
        path, thumbnail = folder / "samples" / f"{record['key']}.tar", thumbnail_path(folder, record["key"])
        unchanged = path.is_file() and path.stat().st_size == record["bytes"] and thumbnail.is_file()
        if entry is not None and entry["sha256"] == record["sha256"] and unchanged:
            out[record["key"]] = Measured(measures=entry["measures"], digest=entry["digest"])
        else:
            missing.append((record["key"], record["sha256"], str(path), str(thumbnail)))
    if not missing:
        return out
    sha256 = {key: digest for key, digest, _, _ in missing}
    thumbnail_path(folder, "x").parent.mkdir(parents=True, exist_ok=True)
    write_lines(cache, list(known.values()))  # without a torn end, which the next line would continue
    with tqdm(total=len(missing), desc="measure", unit="sample", disable=not progress) as bar:
        for key, measured in _run(missing, workers=workers):
            out[key] = measured
            bar.update()
            if measured.problem is None:
                known[key] = _cache_entry(key, sha256[key], measured)
                with open(cache, "a", encoding="utf-8") as handle:
                    handle.write(json.dumps(known[key]) + "\n")
    write_lines(cache, [known[r["key"]] for r in records if r["key"] in known])
    return out


Job = tuple[str, str | None, str, str]
"""Key, sha256, path of the sample, path of its thumbnails."""


def _run(
    jobs: Sequence[Job], *, workers: int | None, task: Callable[..., Measured] = measure_file
) -> Iterator[tuple[str, Measured]]:
    """(key, measured) of every job as it ends. A sample that kills its process is dropped; the others go on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(workers or cores, len(jobs))
    if workers == 1 or len(jobs) <= _SMALL:
        yield from ((job[0], task(*job[1:])) for job in jobs)
        return
    waiting = {job[0]: job for job in jobs}
    while waiting:
        for key, measured in _pooled(list(waiting.values()), workers=workers, task=task):
            del waiting[key]
            yield key, measured
        # If the pool broke, it was at one of the first that wait: one at a time shows at whom.
        for key, job in list(waiting.items())[: 2 * workers + 2]:
            ended = dict(_pooled([job], workers=1, task=task))
            del waiting[key]
            crash = Measured(measures={}, problem="measuring it ended its process (out of memory?)", rule="crash")
            yield key, ended.get(key, crash)
            if key not in ended:
                break


def _pooled(jobs: Sequence[Job], *, workers: int, task: Callable[..., Measured]) -> Iterator[tuple[str, Measured]]:
    """(key, measured) of the jobs that ended before a process died, if one did."""
    # Not forked: torch's threads do not survive it.
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_single_thread)
    futures: dict[Future[Measured], str] = {}
    try:
        try:
            pool.submit(int).result()
        except BrokenProcessPool as error:  # else every sample would seem to have ended it
            raise InputError("--workers: no process can be started here; use --workers 1") from error
        with suppress(BrokenProcessPool):
            for job in jobs:
                futures[pool.submit(task, *job[1:])] = job[0]
        for future in as_completed(futures):
            if not isinstance(future.exception(), BrokenProcessPool):
                yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _single_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _decide_all(
    records: Sequence[dict[str, Any]], measured: Mapping[str, Measured], rules: CurationRules
) -> list[Decision]:
    """One decision for each record; of samples with equal frames the first that is kept stays."""
    first: dict[str, str] = {}
    out = []
    for record in records:
        key = record["key"]
        if record["status"] != "rendered":
            out.append(Decision(kept=False, rule=record["cause"] or "error", reason=record["reason"] or "not rendered"))
            continue
        m = measured[key]
        if m.problem is not None:
            out.append(Decision(kept=False, rule=m.rule, reason=m.problem))
            continue
        decision = decide(m.measures, rules)
        if decision.kept and rules.duplicates and m.digest is not None and first.setdefault(m.digest, key) != key:
            reason = f"exactly the frames of {first[m.digest]}, which is kept"
            decision = Decision(kept=False, rule="duplicate", reason=reason)
        out.append(decision)
    return out


def _line(record: Mapping[str, Any], measured: Measured | None, decision: Decision) -> dict[str, Any]:
    measures = measured.measures if measured else {}
    stored = record["motion_magnitude"]
    return {
        "key": record["key"],
        "input": record["input"],
        "animation": record["animation"],
        "animation_name": record["animation_name"],
        "decision": "kept" if decision.kept else "dropped",
        "rule": decision.rule,
        "reason": decision.reason,
        "measures": measures,
        "motion_magnitude": stored if stored is not None else measures.get("motion_magnitude"),
        "motion_quantile": None,
        "sample": record["sample"],
        "sha256": record["sha256"],
        "captions": list(record["captions"]),
        "caption_sources": ["render"] * len(record["captions"]),
        "kind": record["kind"],
    }


def _cache_entry(key: str, sha256: str | None, measured: Measured) -> dict[str, Any]:
    return {
        "key": key,
        "sha256": sha256,
        "version": MEASURES_VERSION,
        "measures": measured.measures,
        "digest": measured.digest,
    }


def _read_cache(path: Path) -> dict[str, dict[str, Any]]:
    """Usable entries by key. Whatever else the file holds only means that a sample is measured again."""
    if not path.is_file():
        return {}
    out = {}
    for line in path.read_bytes().splitlines():
        try:
            entry = parse_json(line, source=path)
            good = entry["version"] == MEASURES_VERSION and all(
                isinstance(v, float) for v in entry["measures"].values()
            )
            if (
                good
                and set(FRAME_MEASURES) <= entry["measures"].keys() <= set(MEASURES)
                and isinstance(entry["digest"], str)
                and entry["sha256"]
            ):
                out[entry["key"]] = entry
        except (AttributeError, InputError, KeyError, TypeError):
            continue
    return out
