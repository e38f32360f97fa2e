"""Rendering one asset file: `render_source` makes its samples, `supervise` does that for many in a `Pool`.

`render_source` is a function of the file, the settings and the code alone: equal arguments make equal bytes, wherever it
runs and whatever was rendered before.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from ..assets.gltf import ALTERNATIVES, Asset, load_glb, without
from ..errors import InputError
from .captions import CaptionTable
from .drawing import Drawer
from .isolate import CannotGoOn, Emit, Event, Pool
from .manifest import Record, cannot_write, make_record
from .plan import RenderPlan
from .sample import Sample, encode_frame, load_sample, save_sample
from .selection import measured_motion
from .sources import Source, content_digest

_LOG = logging.getLogger(__name__)
MAX_DEATHS = 3
"""Animations of one file that may kill their worker before the rest of them is given up."""

MAX_WARNINGS = 1000


@dataclass(kw_only=True, frozen=True)
class Settings:
    """What is the same for all files of a run."""

    out: Path
    plan: RenderPlan
    animations: Literal["all", "first"] = "all"
    only: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """File name -> its animations that are wanted; of a file that is not named, what `animations` says."""
    hide: tuple[str, ...] = ()
    captions: CaptionTable = field(default_factory=CaptionTable)

    def wanted(self, source: Source, count: int) -> list[int]:
        """Which of a file's `count` animations are rendered."""
        chosen = self.only.get(PurePosixPath(source.input).name)
        if chosen is None:
            return list(range(count if self.animations == "all" else min(count, 1)))
        return [i for i in range(count) if i in chosen]


@dataclass(kw_only=True, frozen=True)
class Job:
    """A file, without the animations in `skip`, which are done."""

    source: Source
    skip: tuple[int, ...] = ()


@dataclass(kw_only=True, frozen=True)
class Outcome:
    """Something a job came to: a manifest line, or (finished) its end with the file's digest and signature."""

    source: Source
    record: Record | None = None
    finished: bool = False
    digest: str | None = None
    signature: tuple[tuple[int, int], ...] = ()


def sample_path(out: Path, key: str) -> Path:
    return out / "samples" / f"{key}.tar"


def render_source(
    job: Job,
    settings: Settings,
    *,
    drawer: Drawer | None = None,
    report: Callable[[dict[str, Any]], None] | None = None,
) -> list[Record]:
    """Render the wanted animations of one file, loaded once; a sample that is already there, and right, is kept.

    Each sample appears under its name when whole. Returns a manifest line for each animation, or one for the file when
    it cannot be read or has none; whatever is wrong with the file becomes a line. `report` hears of each step:
    {"digest", "signature"}, {"opened": {...}}, {"begin": animation}, {"record": line}.

    Raises CannotGoOn, an InputError, when a sample cannot be written: that is no fault of the file's.
    """
    if drawer is None:
        with Drawer(settings.plan) as own:
            return render_source(job, settings, drawer=own, report=report)
    source, tell, lines = job.source, report or (lambda _: None), []

    def add(line: Record) -> None:
        lines.append(line)
        tell({"record": line})

    digest, signature = content_digest(source.path)
    tell({"digest": digest, "signature": signature})
    known: Record = {"input": source.input, "input_sha256": digest, "hide": list(settings.hide)}
    try:
        if not source.path.is_file():
            raise InputError(f"{source.input}: no such file, or a folder; expected a .glb or .gltf")
        asset = load_glb(source.path)
        asset = without(asset, _matching(asset, settings.hide))
    except (InputError, OSError) as error:
        add(make_record(**known, key=source.stem, cause="unreadable", reason=_reason(error, source)))
        return lines
    asset.metadata = source.facts | asset.metadata
    names = [animation.name for animation in asset.animations]
    known["animations"] = len(names)
    wanted = settings.wanted(source, len(names))
    tell({"opened": {"animations": names, "wanted": wanted}})
    if not names:
        reason = f"{source.input}: has no animation"
        add(make_record(**known, key=source.stem, cause="no-animation", reason=reason))
    for i in wanted:
        if i not in job.skip:
            tell({"begin": i})
            add(_animation(asset, i, source=source, settings=settings, drawer=drawer, known=known))
    return lines


def _animation(asset: Asset, i: int, *, source: Source, settings: Settings, drawer: Drawer, known: Record) -> Record:
    """The manifest line of one animation, its sample written."""
    started, key = time.perf_counter(), source.key(i)
    base = make_record(**known, key=key, animation=i, animation_name=asset.animations[i].name)
    duration = asset.animations[i].duration
    if not duration > 0:
        reason = f"{source.input}: animation {i} lasts {duration:g} s, nothing moves in it"
        return base | {"cause": "no-animation", "reason": reason}
    path = sample_path(settings.out, key)
    kept = _adopt(path, base, settings.plan)
    if kept is not None:
        return kept
    try:
        sample = _sample(asset, i, source=source, settings=settings, drawer=drawer, base=base)
    except MemoryError:
        raise  # a process that has met its limit is not used any further
    except Exception as error:  # whatever an asset makes the code do costs this animation only
        return base | {"cause": "error", "reason": _reason(error, source)}
    try:
        save_sample(sample, path)
        record = _filed(sample.meta["record"], path)
    except InputError as error:
        raise CannotGoOn(str(error)) from error
    except OSError as error:
        raise CannotGoOn(cannot_write(settings.out, error)) from error
    return record | {"seconds": round(time.perf_counter() - started, 3)}


def _sample(asset: Asset, i: int, *, source: Source, settings: Settings, drawer: Drawer, base: Record) -> Sample:
    plan, cameras = settings.plan, settings.plan.cameras()
    described = settings.captions.describe(source.input, asset=asset, animation=i, root=source.root)
    drawing = drawer.draw(asset, i, seed=_seed(plan, base["key"]))
    members: dict[str, bytes] = {}
    for pair, frame in drawing.frames:
        members |= encode_frame(frame, pair, depth_max=drawing.depth_max)
    meta = {
        "captions": described.captions,
        "kind": described.kind,
        "times": plan.times(),
        "pairs": [list(pair) for pair in plan.pairs()],
        "camera_to_world": cameras.camera_to_world.tolist(),
        "intrinsics": cameras.intrinsics.tolist(),
        "width": plan.size,
        "height": plan.size,
        "depth_max": drawing.depth_max,
        "plan": plan.digest(),
        "orbits": [[list(pair) for pair in plan.orbit(k)] for k in range(plan.orbits)],
        "lighting": drawing.lighting.to_dict(),
        "input": source.input,
        "animation": i,
        "animation_name": base["animation_name"],
        "license": described.license,
        "metadata": dict(sorted(asset.metadata.items())),
    }
    sample = Sample(key=base["key"], meta=meta, members=members)
    meta["motion_magnitude"] = measured_motion(sample)
    record = base | {"status": "rendered", "sample": f"samples/{base['key']}.tar", "frames": len(plan.pairs())}
    record |= {"captions": described.captions, "kind": described.kind, "motion_magnitude": meta["motion_magnitude"]}
    meta["record"] = {k: v for k, v in record.items() if k not in ("sha256", "bytes", "seconds")}
    return sample


def _seed(plan: RenderPlan, key: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{plan.seed}:{key}".encode()).digest()[:7], "big")


def _matching(asset: Asset, patterns: Sequence[str]) -> list[str]:
    """The patterns that hide something of this asset: of many, a rule fits only some."""
    names = {p.name.lower() for p in asset.primitives} | {node.name.lower() for node in asset.nodes}
    return [p for p in patterns if p == ALTERNATIVES or any(fnmatchcase(name, p.lower()) for name in names)]


def _adopt(path: Path, base: Record, plan: RenderPlan) -> Record | None:
    """The line of a sample that an earlier run finished but could not list any more; None for a sample of anything else."""
    if not path.is_file():
        return None
    try:
        meta = load_sample(path).meta
    except InputError:
        return None
    record = meta.get("record")
    same = ("input", "animation", "animation_name", "key", "input_sha256", "hide")
    if not isinstance(record, dict) or set(record) != set(base) - {"sha256", "bytes", "seconds"}:
        return None
    if meta.get("plan") != plan.digest() or any(record[name] != base[name] for name in same):
        return None
    return _filed(record, path)


def _filed(record: Record, path: Path) -> Record:
    data = path.read_bytes()
    return record | {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "seconds": 0.0}


def _reason(error: Exception, source: Source) -> str:
    """One line that names the input the way the manifest does, so that it is the same wherever the file lies."""
    text = " ".join(str(error).split()).replace(str(source.path), source.input)
    text = text.replace(f"{source.root}/", "")
    return (text if isinstance(error, InputError) else f"{source.input}: {type(error).__name__}: {text}")[:400]


def start_rendering(settings: Settings) -> Callable[[Job, Emit], None]:
    """A `Pool`'s worker: one OpenGL context, kept over its files."""
    import torch

    torch.set_num_threads(1)
    warnings = _Warnings(logging.WARNING)
    logging.getLogger("orbit4d").addHandler(warnings)
    drawer = Drawer(settings.plan)

    def handle(job: Job, emit: Emit) -> None:
        warnings.told = lambda text: emit({"warning": text})
        render_source(job, settings, drawer=drawer, report=emit)

    return handle


class _Warnings(logging.Handler):
    """Hands on what is logged in a worker, whose output nobody reads."""

    told: Callable[[str], None] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.told is not None:
            self.told(" ".join(record.getMessage().split())[:500])


@dataclass
class _Progress:
    """What is known of a file whose worker may die."""

    digest: str | None = None
    signature: tuple[tuple[int, int], ...] = ()
    names: list[str] | None = None
    wanted: tuple[int, ...] = ()
    done: tuple[int, ...] = ()
    current: int | None = None
    deaths: int = 0
    spared: int | None = -1
    """The animation (None: between two) that a death which may be chance was at."""


def supervise(pool: Pool, jobs: deque[Job], settings: Settings) -> Iterator[Outcome]:
    """Do the jobs in the pool. A worker that dies costs the animation it was at; the file's others are rendered after it."""
    known: dict[str, _Progress] = {}
    warned: set[str] = set()
    for event in pool.run(jobs):
        job: Job = event.task
        state = known.setdefault(job.source.input, _Progress(done=job.skip))
        match event.what:
            case "message" if isinstance(text := event.body.get("warning"), str):
                if text not in warned and len(warned) < MAX_WARNINGS:
                    warned.add(text)
                    _LOG.warning("%s", text)
                continue
            case "message":
                line = _note(state, event.body)
                if line is not None:
                    yield Outcome(source=job.source, record=line)
                continue
            case "died":
                lines, again = _after_death(job, state, event, settings)
                for line in lines:
                    yield Outcome(source=job.source, record=line)
                if again is not None:
                    jobs.appendleft(again)
                    continue
        del known[job.source.input]
        yield Outcome(source=job.source, finished=True, digest=state.digest, signature=state.signature)


def _note(state: _Progress, body: dict[str, Any]) -> Record | None:
    """Take in what a worker says; returns the line that it may hold."""
    match body:
        case {"record": record}:
            state.current = None
            state.done += () if record["animation"] is None else (record["animation"],)
            return record
        case {"begin": animation}:
            state.current = animation
        case {"opened": opened}:
            state.names, state.wanted = opened["animations"], tuple(opened["wanted"])
        case {"digest": digest, "signature": signature}:
            state.digest, state.signature = digest, tuple((int(a), int(b)) for a, b in signature)
    return None


def _after_death(job: Job, state: _Progress, event: Event, settings: Settings) -> tuple[list[Record], Job | None]:
    """The lines that a worker's death makes, and the job that goes on after it."""
    cause, reason, current, source = event.cause, event.reason, state.current, job.source
    state.current = None
    between = current is None and state.names is not None  # it did nothing then that would be the file's fault
    if cause == "killed" or between:
        if state.spared != current:  # most likely by chance: once more
            state.spared = current
            return [], replace(job, skip=state.done)
        cause = "memory" if cause == "killed" else cause
    known: Record = {"input": source.input, "input_sha256": state.digest, "hide": list(settings.hide), "cause": cause}
    if state.names is None:
        return [make_record(**known, key=source.stem, reason=f"{source.input}: {reason}")], None
    names = state.names
    known["animations"] = len(names)

    def line(animation: int, words: str) -> Record:
        named = {"key": source.key(animation), "animation": animation, "animation_name": names[animation]}
        return make_record(**known, **named, reason=f"{source.input}: animation {animation} {words}")

    if current is None:  # once more
        return [line(i, f"was not tried: {reason}") for i in state.wanted if i not in state.done], None
    lines = [line(current, reason)]
    state.done += (current,)
    state.deaths += 1
    left = [i for i in state.wanted if i not in state.done]
    if left and state.deaths >= MAX_DEATHS:
        return lines + [line(i, f"was not tried after {MAX_DEATHS} others: {reason}") for i in left], None
    return lines, replace(job, skip=state.done) if left else None
