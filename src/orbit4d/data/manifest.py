"""`DIR/manifest.jsonl`: what became of every input, one JSON object a line; and the lock on DIR.

One writer appends. A line is in the file as soon as its sample is whole, so that a killed run loses none; a torn last line
is cut off by the next one. When a run ends the lines are put in order (input, then animation), so that equal runs make equal
manifests whatever their workers' number.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ..errors import InputError
from ..files import atomic_path, ensure_writable_parent, lock_folder, parse_json
from .plan import RenderPlan

Record = dict[str, Any]
CAUSES = ("unreadable", "no-animation", "timeout", "memory", "crash", "error")
MAX_LINE = 1 << 20
SYNC_SECONDS = 2.0
_REQUIRED = ("input", "animation", "key", "status", "sample", "input_sha256", "animations", "hide")


@dataclass(slots=True, frozen=True)
class Line:
    """What the writer remembers of a line."""

    offset: int
    size: int
    animation: int | None
    status: str
    cause: str | None
    sample: str | None
    bytes: int
    input_sha256: str | None
    animations: int | None
    hide: tuple[str, ...]


def make_record(
    *, input: str, key: str, animation: int | None = None, animation_name: str | None = None, **values: Any
) -> Record:
    """A manifest line with all of its keys; what is not given is empty."""
    record: Record = {
        "input": input,
        "animation": animation,
        "animation_name": animation_name,
        "key": key,
        "status": "failed",
        "reason": None,
        "cause": None,
        "sample": None,
        "sha256": None,
        "bytes": 0,
        "frames": 0,
        "seconds": 0.0,
        "captions": [],
        "kind": None,
        "motion_magnitude": None,
        "input_sha256": None,
        "animations": None,
        "hide": [],
    }
    unknown = set(values) - set(record)
    if unknown:
        raise ValueError(f"no such keys in a manifest line: {sorted(unknown)}")
    return record | values


def read_manifest(folder: str | Path) -> Iterator[Record]:
    """The lines of a rendered folder, in their order. Raises InputError, with the line's number, for damaged ones.

    A torn last line, which a killed run leaves, is left out.
    """
    path = Path(folder) / "manifest.jsonl"
    if not path.is_file():
        raise InputError(f"{folder}: holds no manifest.jsonl; expected a folder written by `orbit4d data render`")
    with open(path, "rb") as handle:
        for _, _, record in _records(handle, path):
            yield record


def _records(handle: IO[bytes], path: Path) -> Iterator[tuple[int, int, Record]]:
    """(offset, size, record) of each whole line."""
    offset, number = 0, 0
    while line := handle.readline(MAX_LINE + 1):
        number += 1
        if not line.endswith(b"\n") and len(line) <= MAX_LINE:
            return
        try:
            record = parse_json(line, source=path)
            whole = isinstance(record, dict) and all(k in record for k in _REQUIRED) and len(line) <= MAX_LINE
        except InputError:
            whole = False
        if not whole:
            if len(line) <= MAX_LINE and not handle.read(1):
                return  # the power went off: the file's last block is not what was written
            raise InputError(f"{path}: line {number} is damaged; delete it to have its animation rendered again")
        yield offset, len(line), record
        offset += len(line)


class Manifest:
    """The one writer of a rendered folder; a context manager that holds its lock.

    Raises InputError when another run holds the lock, when DIR was rendered with another plan, cannot be written, or
    holds something else.
    """

    def __init__(self, folder: Path, plan: RenderPlan | None) -> None:
        """plan: what it is rendered with; None: not rendered, plan.json is neither written nor compared."""
        self.folder, self.path = folder, folder / "manifest.jsonl"
        ensure_writable_parent(self.path)
        ensure_writable_parent(folder / "samples" / "KEY.tar")
        self._lock = lock_folder(folder)
        try:
            if plan is not None:
                _check_plan(folder / "plan.json", plan)
            self._read()
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Manifest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.flush()
        os.fsync(self._handle.fileno())
        self._handle.close()
        self._lock.close()

    def _read(self) -> None:
        self._handle = open(self.path, "a+b")  # noqa: SIM115 (kept open: closed by __exit__)
        self._handle.seek(0)
        self._lines: dict[str, dict[int | None, Line]] = {}
        end = 0
        for offset, size, record in _records(self._handle, self.path):
            self._remember(offset, size, record)
            end = offset + size
        if self._handle.seek(0, os.SEEK_END) > end:
            self._handle.truncate(end)
        self._end = end
        self._synced = time.monotonic()

    def _remember(self, offset: int, size: int, record: Record) -> None:
        self._lines.setdefault(record["input"], {})[record["animation"]] = Line(
            offset=offset,
            size=size,
            animation=record["animation"],
            status=record["status"],
            cause=record.get("cause"),
            sample=record["sample"],
            bytes=int(record.get("bytes") or 0),
            input_sha256=record["input_sha256"],
            animations=record["animations"],
            hide=tuple(record["hide"]),
        )

    def lines(self, input: str) -> list[Line]:
        """What is known of an input."""
        return list(self._lines.get(input, {}).values())

    def append(self, record: Record) -> None:
        """Add a line; on the disk after at most two seconds, in the file at once."""
        data = json.dumps(record, separators=(",", ":"), sort_keys=True).encode() + b"\n"
        self._handle.write(data)
        self._handle.flush()
        self._remember(self._end, len(data), record)
        self._end += len(data)
        if time.monotonic() - self._synced > SYNC_SECONDS:
            os.fsync(self._handle.fileno())
            self._synced = time.monotonic()

    def rewrite(self, keep: Callable[[str, Line], bool] = lambda _input, _line: True) -> None:
        """Replace the file, at once and as a whole, by the lines to keep, in order. An ordered file stays as it is."""
        ordered = [
            (input, line)
            for input in sorted(self._lines)
            for line in sorted(self._lines[input].values(), key=lambda x: -1 if x.animation is None else x.animation)
            if keep(input, line)
        ]
        offset = 0
        for _, line in ordered:
            if line.offset != offset:
                break
            offset += line.size
        else:
            if offset == self._end:
                return
        with atomic_path(self.path) as temporary, open(temporary, "wb") as out:
            for _, line in ordered:
                self._handle.seek(line.offset)
                out.write(self._handle.read(line.size))
            out.flush()
            os.fsync(out.fileno())
        self._handle.close()
        self._read()


def _check_plan(path: Path, plan: RenderPlan) -> None:
    """Write the plan, or compare it with the one that is there."""
    if not path.exists():
        if (path.parent / "manifest.jsonl").exists():
            raise InputError(f"{path}: missing beside a manifest; restore it, or render into a new folder")
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(plan.to_json(), indent=1) + "\n")
        return
    try:
        there = RenderPlan.from_json(parse_json(path.read_bytes(), source=path), source=str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    if there != plan:
        old, new = there.to_json(), plan.to_json()
        changed = ", ".join(f"{name} {old[name]} (now {new[name]})" for name in old if old[name] != new[name])
        raise InputError(f"{path.parent}: was rendered with other settings: {changed}; use them again or another --out")
