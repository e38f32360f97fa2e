"""`render_assets`: many animated files to samples, every input accounted for, on this machine or on a Ray cluster.

    DIR/plan.json         what is rendered of each animation
    DIR/manifest.jsonl    a line for every animation, rendered or not and why; for files without any, a line for the file
    DIR/samples/KEY.tar   the samples

A run that was killed goes on where it stopped; a run that is done does nothing. Files are known by their content: one that
has changed is rendered again. `DIR/.inputs.jsonl` remembers size and time of change, to save reading unchanged files; it may be
deleted. Captions are those of the time of rendering.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections import Counter, deque
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from ..errors import InputError
from .captions import CaptionTable
from .isolate import MAX_WORKERS, Limits, Pool
from .jobs import Job, Outcome, Settings, sample_path, start_rendering, supervise
from .manifest import Line, Manifest, cannot_write, make_record
from .plan import RenderPlan
from .sources import Source, content_digest, find_sources, signature

_LOG = logging.getLogger(__name__)
_TEMPORARY = re.compile(r"\.[A-Za-z0-9_-]{1,72}\.[a-z0-9_]{8}\.tar")
"""What `save_sample` leaves when it is killed: `.KEY.random.tar`."""


@dataclass(kw_only=True)
class RenderSummary:
    """What a run did.

    Attributes:
        inputs: files that were named. rendered: animations rendered by this run. reused: those rendered before.
        failed: animations, and files, without a sample, those of earlier runs included; `causes` counts them by cause.
        away: files that were rendered before and cannot be read now; what is there of them is kept, and counted above.
        frames: rendered by this run. seconds: of this run.
    """

    inputs: int = 0
    rendered: int = 0
    failed: int = 0
    reused: int = 0
    away: int = 0
    frames: int = 0
    seconds: float = 0.0
    causes: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        failed = f"{self.failed} failed" + (
            f" ({', '.join(f'{n} {cause}' for cause, n in sorted(self.causes.items()))})" if self.causes else ""
        )
        rate = f"{self.frames} frames in {self.seconds:.1f} s, {self.frames / max(self.seconds, 1e-9):.1f} a second"
        away = f", {self.away} files cannot be read now and keep what they have" if self.away else ""
        return f"{self.inputs} files: {self.rendered} animations rendered, {self.reused} reused, {failed}{away}; {rate}"


def render_assets(
    inputs: Sequence[Path],
    *,
    out: Path,
    plan: RenderPlan,
    captions: Path | None = None,
    animations: Literal["all", "first"] = "all",
    only: Mapping[str, Sequence[int]] | None = None,
    hide: Sequence[str] = (),
    workers: int | None = None,
    timeout: float = 120.0,
    memory_gib: float = 4.0,
    ray: str | None = None,
    retry_failed: bool = False,
    progress: bool = True,
    objaverse_root: Path | None = None,
) -> RenderSummary:
    """Render the animations of all inputs into the folder `out`, going on from what is there.

    Args:
        inputs: files, folders, lists of paths, Objaverse ids; see `orbit4d.data.sources.find_sources`.
        captions: a table of captions; see `orbit4d.data.captions`.
        animations: all of each file, or only its first. only: file name -> its animations that are wanted, where not so.
        hide: mesh names to leave out where they occur, see `orbit4d.assets.gltf.without`.
        workers: processes; None: one a core (on a cluster: one a CPU of it).
        timeout: seconds for loading a file, and for each of its animations. memory_gib: of a process.
        ray: None: processes of this machine; ``local``: a Ray of its own; ``auto`` or an address: a running cluster,
            whose machines all see `inputs` and `out` under the same paths.
        retry_failed: render again what failed before.
        objaverse_root: a local copy of Objaverse.

    Raises InputError for bad arguments, inputs that do not exist, an `out` that cannot be written, whose disk is full, that
    another run is writing or that was rendered with another plan or `hide`, and where there is no OpenGL. A file that cannot
    be rendered never raises: its line in the manifest says why. One that was rendered and cannot be read any more keeps
    what it has. An interrupted run leaves the manifest whole.
    """
    started = time.perf_counter()
    limits = Limits(timeout=timeout, memory_gib=memory_gib)
    if animations not in ("all", "first"):
        raise InputError(f"--animations: expected all or first, got {animations!r}")
    if workers is not None and not 1 <= workers <= MAX_WORKERS:
        raise InputError(f"--workers: expected 1 to {MAX_WORKERS}, got {workers}")
    sources = find_sources(inputs, objaverse_root=objaverse_root)
    settings = Settings(
        out=Path(out).resolve(),
        plan=plan,
        animations=animations,
        only={name: tuple(wanted) for name, wanted in (only or {}).items()},
        hide=tuple(sorted(set(hide))),
        captions=CaptionTable.load(captions, dict.fromkeys(source.root for source in sources)),
    )
    summary, causes = RenderSummary(inputs=len(sources)), Counter[str]()
    with Manifest(settings.out, plan) as manifest, _InputCache(settings.out / ".inputs.jsonl") as cache:
        _check_hide(manifest, settings)
        _remove_temporaries(settings.out)
        jobs, summary.away = _survey(sources, manifest, cache, settings, retry_failed=retry_failed)
        waiting = {job.source.input for job in jobs}
        for source in sources:
            for line in manifest.lines(source.input):
                _count(summary, causes, line.status, line.cause, new=False)
        shown = time.perf_counter()
        # Closed here, so that no worker writes any more when the lock goes, whatever ends the loop.
        with (
            closing(_run(jobs, settings, limits, workers=workers, ray=ray)) as outcomes,
            tqdm(total=len(jobs), desc="render", unit="file", disable=not progress) as bar,
        ):
            for outcome in outcomes:
                if outcome.record is not None:
                    manifest.append(outcome.record)
                    _count(summary, causes, outcome.record["status"], outcome.record["cause"], new=True)
                    summary.frames += outcome.record["frames"]
                if outcome.finished:
                    waiting.discard(outcome.source.input)
                    cache.note(outcome.source, outcome.digest, outcome.signature)
                    bar.update()
                rate = summary.frames / max(time.perf_counter() - started, 1e-9)
                done = f"{summary.rendered} rendered, {summary.failed} failed, {summary.reused} reused"
                bar.set_postfix_str(f"{done}, {rate:.0f} frames/s", refresh=False)
                if time.perf_counter() - shown > 1:  # between files, too: one may hold a hundred animations
                    shown = time.perf_counter()
                    bar.refresh()
        if waiting:
            raise RuntimeError(f"rendering ended with {len(waiting)} files left, e.g. {sorted(waiting)[0]}")
        _remove_temporaries(settings.out)
        manifest.rewrite()
    summary.seconds, summary.causes = round(time.perf_counter() - started, 3), dict(causes)
    return summary


def _run(
    jobs: deque[Job], settings: Settings, limits: Limits, *, workers: int | None, ray: str | None
) -> Generator[Outcome]:
    for job in jobs:
        if job.source.problem is not None:
            cause, reason = job.source.problem
            hide = list(settings.hide)
            line = make_record(input=job.source.input, key=job.source.stem, cause=cause, reason=reason, hide=hide)
            yield Outcome(source=job.source, record=line)
            yield Outcome(source=job.source, finished=True)
    jobs = deque(job for job in jobs if job.source.problem is None)
    if not jobs:
        return
    if ray is not None:
        from .scale import run_on_ray

        yield from run_on_ray(jobs, settings, limits, address=ray, workers=workers)
        return
    with Pool(start_rendering, settings, workers=workers or available_cpus(), limits=limits) as pool:
        yield from supervise(pool, jobs, settings)


def available_cpus() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _count(summary: RenderSummary, causes: Counter[str], status: str, cause: str | None, *, new: bool) -> None:
    if status != "rendered":
        summary.failed += 1
        causes[str(cause)] += 1
    elif new:
        summary.rendered += 1
    else:
        summary.reused += 1


def _check_hide(manifest: Manifest, settings: Settings) -> None:
    """Other patterns are other settings: rendering again what they fit would delete what was asked for before."""
    for before in manifest.hidden() - {settings.hide}:
        then, now = (" ".join(patterns) or "nothing" for patterns in (before, settings.hide))
        raise InputError(
            f"{settings.out}: was rendered with --hide {then[:120]} (now {now[:120]}); use it again or another --out"
        )


def _survey(
    sources: Sequence[Source], manifest: Manifest, cache: _InputCache, settings: Settings, *, retry_failed: bool
) -> tuple[deque[Job], int]:
    """What is left to do, and of how many files nothing is known now but what earlier runs made.

    Lines that hold no more leave the manifest, and after it their samples the folder. Only a file that can be read, and is
    another one, does that: a folder that is not mounted changes nothing.
    """
    jobs: deque[Job] = deque()
    away: list[str] = []
    stale: set[tuple[str, int | None]] = set()
    rewritten: set[Path] = set()
    for source in sources:
        lines = manifest.lines(source.input)
        digest = cache.digest(source) if lines and source.problem is None else None
        if digest is None and any(_was_read(line, source) for line in lines):
            away.append(source.input)
            continue
        keep = [line for line in lines if _holds(line, source, digest) and _sample_there(line, settings.out)]
        rewritten |= {
            sample_path(settings.out, line.key) for line in lines if line not in keep and line.status == "rendered"
        }
        keep = [line for line in keep if line.status == "rendered" or not retry_failed]
        stale |= {(source.input, line.animation) for line in lines if line not in keep}
        if not _complete(keep, source, settings):
            jobs.append(Job(source=source, skip=tuple(line.animation for line in keep if line.animation is not None)))
    if away:
        _LOG.warning(
            "%d files that were rendered before cannot be read now, e.g. %s; their lines and samples are kept",
            len(away),
            away[0],
        )
    if stale:
        manifest.rewrite(lambda input, line: (input, line.animation) not in stale)
        for path in rewritten:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise InputError(cannot_write(settings.out, error)) from error
    return jobs, len(away)


def _was_read(line: Line, source: Source) -> bool:
    """Whether the line came of a file that could be read then, and so says more than that it cannot be read now."""
    return line.input_sha256 is not None or (source.problem is not None and line.status == "rendered")


def _holds(line: Line, source: Source, digest: str | None) -> bool:
    """Whether the file is the one that the line is about."""
    if source.problem is not None:
        return line.cause == source.problem[0]
    return line.input_sha256 == digest


def _sample_there(line: Line, out: Path) -> bool:
    if line.status != "rendered":
        return True
    path = sample_path(out, line.key)
    try:
        return path.stat().st_size == line.bytes
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:  # a disk that does not answer has lost nothing yet
        raise InputError(f"{path}: cannot be read ({error.strerror}); repair its folder and run again") from error


def _complete(lines: Sequence[Line], source: Source, settings: Settings) -> bool:
    if any(line.animation is None for line in lines):
        return True
    if not lines or lines[0].animations is None:
        return False
    return set(settings.wanted(source, lines[0].animations)) <= {line.animation for line in lines}


def _remove_temporaries(out: Path) -> None:
    """Delete what killed workers were writing. Only under the lock: nobody else writes here."""
    with os.scandir(out / "samples") as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name):
                Path(entry.path).unlink(missing_ok=True)


class _InputCache:
    """Digests of input files by their size and time of change. A context manager; lines it cannot read are forgotten."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, tuple[list[list[int]], str]] = {}
        if path.is_file():
            with open(path, "rb") as handle:
                for line in handle:
                    try:
                        entry = json.loads(line)
                        self._known[str(entry["input"])] = entry["signature"], str(entry["digest"])
                    except (KeyError, TypeError, ValueError, RecursionError):
                        continue

    def __enter__(self) -> _InputCache:
        try:
            self._handle = open(self.path, "ab", buffering=0)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror}); delete it and run again") from error
        self._write(b"\n")  # a killed run may have torn the last line
        return self

    def __exit__(self, *exception: object) -> None:
        self._handle.close()

    def _write(self, data: bytes) -> None:
        with suppress(OSError):  # what is not remembered is read again
            self._handle.write(data)

    def digest(self, source: Source) -> str | None:
        """The digest of a source's file as it is now; None when it cannot be read."""
        now, (then, known) = signature(source.path), self._known.get(source.input, ([], ""))
        if now and now == then:
            return known
        digest, now = content_digest(source.path)
        self.note(source, digest, now)
        return digest

    def note(self, source: Source, digest: str | None, signature: Sequence[Sequence[int]]) -> None:
        if digest is not None:
            entry = {"input": source.input, "digest": digest, "signature": [list(pair) for pair in signature]}
            self._write(json.dumps(entry).encode() + b"\n")
