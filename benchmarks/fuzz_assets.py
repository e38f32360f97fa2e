"""Tens of thousands of hostile glTF files through the reader, in processes that are watched from outside.

    python benchmarks/fuzz_assets.py --count 50000 --work out/fuzz --out benchmarks/results/fuzz_assets.json

Every file must either load, and then pose finitely at three times, or be refused by one InputError of one line. All else is
bad: another exception, a signal, more memory or time than allowed, numbers that are not finite. Bad files are kept in
``--work``/bad with their number; ``--replay N`` runs one number in this process. A stopped run goes on where it was.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import tempfile
import time
import traceback
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from fuzz_mutations import mutated
from fuzz_originals import prepare
from shared import DATA, write_report

from orbit4d.assets.gltf import Asset, load_glb
from orbit4d.data.render import find_animation, place
from orbit4d.errors import InputError

MAX_MESSAGE = 400
BATCH = 60
"""Numbers that a process has at hand, so that it never waits."""
PLACED = 40
"""One loaded file of so many is also placed in the world, which poses it 25 times."""


@dataclass(kw_only=True)
class Arguments:
    count: int = 50_000
    seed: int = 0
    work: Path = Path("out/fuzz")
    """Folder of the log that makes the run resumable, and of the bad files."""
    out: Path | None = None
    """JSON report; printed only when left out."""
    assets: Path | None = DATA / "assets"
    """Further originals beside the toybox."""
    processes: int = 2
    seconds: float = 20.0
    """Processor time for one file; ten times as much on the clock, since other programs may run."""
    memory_mib: int = 3072
    """Address space for one process beyond what it has after its imports."""
    retry: bool = False
    """Run the bad ones of an earlier run again."""
    replay: int | None = None
    """Run this number only, here, without limits."""


@dataclass(kw_only=True)
class Worker:
    """A process and the numbers it was given: the first of `pending` is the one it works on."""

    process: Any
    pipe: Connection
    pending: deque[int] = field(default_factory=deque)
    since: float = 0.0
    cpu: float = 0.0
    """Clock, and processor seconds of the process, when it was last heard of."""

    def heard(self) -> None:
        self.since, self.cpu = time.monotonic(), _cpu_seconds(self.process.pid)


def main(arguments: Arguments) -> None:
    if arguments.replay is not None:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(_examine(arguments, arguments.replay, Path(folder)), indent=1))
        return
    arguments.work.mkdir(parents=True, exist_ok=True)
    log = arguments.work / f"seed{arguments.seed}.jsonl"
    done = {entry["number"]: entry for entry in _entries(log) if not (arguments.retry and entry["outcome"] == "bad")}
    todo = iter([n for n in range(arguments.count) if n not in done])
    print(f"{len(done)} of {arguments.count} done before", flush=True)
    prepare()
    started, last = time.monotonic(), 0.0
    workers = [_start(arguments) for _ in range(arguments.processes)]
    with log.open("a") as file:
        while True:
            for i, worker in enumerate(workers):
                entries, ended = _collect(worker, arguments.seconds)
                for entry in entries:
                    done[entry["number"]] = entry
                    file.write(json.dumps(entry) + "\n")
                    if entry["outcome"] == "bad":
                        _keep(arguments, entry)
                if ended:
                    workers[i] = _start(arguments)
                    _give(workers[i], worker.pending)
                _give(workers[i], itertools.islice(todo, BATCH - len(workers[i].pending)))
            if not any(w.pending for w in workers):
                break
            time.sleep(0.2)  # they have enough at hand
            if time.monotonic() - last > 20:
                last = time.monotonic()
                file.flush()
                bad = sum(e["outcome"] == "bad" for e in done.values())
                print(f"{len(done)} of {arguments.count}, {bad} bad, {last - started:.0f} s", flush=True)
    for worker in workers:
        worker.process.kill()
    write_report(arguments.out, _report(arguments, [done[n] for n in sorted(done) if n < arguments.count]))


@cache
def _assets(folder: Path | None) -> list[Path]:
    """Originals, the smallest first."""
    return sorted(folder.glob("*.glb"), key=lambda p: (p.stat().st_size, p.name)) if folder else []


def _entries(log: Path) -> list[dict]:
    """Finished cases; a last line that was cut off is left out."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _start(arguments: Arguments) -> Worker:
    context = multiprocessing.get_context("fork")  # a second after the imports, and without their time again
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there, arguments), daemon=True)
    process.start()
    there.close()
    return Worker(process=process, pipe=here)


def _give(worker: Worker, numbers: Iterable[int]) -> None:
    for number in numbers:
        if not worker.pending:
            worker.heard()
        worker.pending.append(number)
        worker.pipe.send(number)


def _cpu_seconds(pid: int) -> float:
    """Processor time of a process so far; 0 for one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _collect(worker: Worker, seconds: float) -> tuple[list[dict], bool]:
    """Entries of cases that have ended one way or another, and whether the process has ended with the last of them."""
    entries: list[dict] = []
    if not worker.pending:
        return entries, False
    alive = worker.process.is_alive()  # asked first: what it sent before it ended is still read
    try:
        while worker.pipe.poll():
            entries.append(worker.pipe.recv())
            worker.pending.popleft()
        if entries:
            worker.heard()
    except (EOFError, ConnectionError):
        alive = False
    if not alive and worker.pending:
        worker.process.join()
        code = worker.process.exitcode or 0
        name = signal.Signals(-code).name if code < 0 else f"exit {code}"
        entries.append({"number": worker.pending.popleft(), "outcome": "bad", "why": f"process ended: {name}"})
        return entries, True
    late = time.monotonic() - worker.since > 10 * seconds or _cpu_seconds(worker.process.pid) - worker.cpu > seconds
    if worker.pending and late:
        worker.process.kill()
        worker.process.join()
        entries.append({"number": worker.pending.popleft(), "outcome": "bad", "why": f"timeout after {seconds:g} s"})
        return entries, True
    return entries, False


def _work(pipe: Connection, arguments: Arguments) -> None:
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + arguments.memory_mib * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as folder:
        parent = os.getppid()
        while os.getppid() == parent:  # a killed run leaves nobody behind
            if pipe.poll(5):
                pipe.send(_examine(arguments, pipe.recv(), Path(folder)))


def _examine(arguments: Arguments, number: int, folder: Path) -> dict:
    """Make, load, pose and sometimes place case `number`."""
    assets = _assets(arguments.assets)
    entry: dict[str, Any] = {"number": number, "family": "?"}
    try:
        entry["family"], files = mutated(arguments.seed, number, assets)
        path = _write(files, folder)
    except Exception as error:  # a fault of this script: say so, do not count it as the reader's
        return entry | {"outcome": "bad", "why": f"generator: {type(error).__name__}: {error}"[:300]}
    started = time.process_time()
    try:
        asset = load_glb(path)
        _pose(asset, number)
        entry["outcome"] = "loaded"
    except InputError as error:
        message = str(error)
        entry |= {"outcome": "refused", "message": _pattern(message, folder)}
        if len(message) >= MAX_MESSAGE or not message.isprintable() or "MemoryError" in message:
            entry |= {"outcome": "bad", "why": f"message of {len(message)}: {message[:300]!r}"}
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        entry |= {"outcome": "bad", "why": f"{type(error).__name__} in {where.name}:{where.lineno}: {error}"[:300]}
    entry["seconds"] = round(time.process_time() - started, 3)
    return entry


def _pose(asset: Asset, number: int) -> None:
    """Raises FloatingPointError where something is not finite."""
    animation = find_animation(asset, None)
    duration = 0.0 if animation is None else asset.animations[animation].duration
    for moment in (0.0, 0.37, 1.0):
        posed = asset.pose(animation, moment * duration)
        for array in (*posed.positions, *posed.normals):
            if not np.isfinite(array).all():
                raise FloatingPointError("a posed vertex or normal is not finite")
    for p in asset.primitives:
        if not all(np.isfinite(a).all() for a in (p.uvs, p.colors, p.material.color, p.material.emissive)):
            raise FloatingPointError("a texture coordinate or colour is not finite")
        if len(p.indices) and not 0 <= int(p.indices.min()) <= int(p.indices.max()) < len(p.positions):
            raise IndexError("an index is outside the vertices")
    if any(len(k) > 60 or len(v) > 200 or not (k + v).isprintable() for k, v in asset.metadata.items()):
        raise ValueError("metadata is not short plain strings")
    if number % PLACED == 0:
        placement = place(asset, animation)
        for array in placement.apply(asset.pose(animation, 0.5 * duration), 0.5 * duration):
            if not np.isfinite(array).all():
                raise FloatingPointError("a placed vertex is not finite")


def _write(files: dict[str, bytes], folder: Path) -> Path:
    for old in folder.iterdir():
        old.unlink()
    for name, content in files.items():
        if content[:2] == b"->":
            (folder / name).symlink_to(content[2:].decode())
        else:
            (folder / name).write_bytes(content)
    return folder / next(iter(files))


def _pattern(message: str, folder: Path) -> str:
    """A message without what differs from file to file."""
    message = message.replace(str(folder), "")
    return re.sub(r"'[^']*'|\"[^\"]*\"|[-+0-9.e]*\d[-+0-9.e]*", "*", message)[:80]


def _keep(arguments: Arguments, entry: dict) -> None:
    """The bad case's files and what was wrong, in a folder of their own."""
    folder = arguments.work / "bad" / str(entry["number"])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "why.txt").write_text(entry["why"])
    if not entry["why"].startswith("generator:"):
        assets = _assets(arguments.assets)
        _, files = mutated(arguments.seed, entry["number"], assets)
        (folder / "files").mkdir()
        _write(files, folder / "files")


def _report(arguments: Arguments, entries: list[dict]) -> dict:
    families = sorted({e.get("family", "?") for e in entries})
    reasons = Counter(e["message"] for e in entries if e["outcome"] == "refused")
    slow = sorted((e for e in entries if "seconds" in e), key=lambda e: -e["seconds"])[:10]
    times = np.array([e["seconds"] for e in entries if "seconds" in e])
    return {
        "files": len(entries),
        "seed": arguments.seed,
        "limits": {"seconds": arguments.seconds, "memory_mib": arguments.memory_mib, "processes": arguments.processes},
        "outcomes": dict(Counter(e["outcome"] for e in entries)),
        "by_family": {f: dict(Counter(e["outcome"] for e in entries if e.get("family", "?") == f)) for f in families},
        "bad": [{k: e.get(k) for k in ("number", "family", "why")} for e in entries if e["outcome"] == "bad"],
        "seconds": {
            "median": float(np.median(times)),
            "99 %": float(np.quantile(times, 0.99)),
            "most": float(times.max()),
        },
        "slowest": [{k: e.get(k) for k in ("number", "family", "outcome", "seconds")} for e in slow],
        "distinct_reasons": len(reasons),
        "reasons": dict(reasons.most_common(40)),
    }


if __name__ == "__main__":
    main(tyro.cli(Arguments))
