"""`DIR/manifest.jsonl`: what became of every input, one JSON object a line; and the lock on DIR.

One writer appends. A line is in the file as soon as its sample is whole, so that a killed run loses none; a torn last line
is cut off by the next one. When a run ends the lines are put in order (input, then animation), so that equal runs make equal
manifests whatever their workers' number.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ..errors import InputError
from ..files import atomic_path, ensure_writable_parent, lock_folder, parse_json
from .plan import RenderPlan
from .sample import KEY

Record = dict[str, Any]
CAUSES = ("unreadable", "no-animation", "timeout", "memory", "crash", "error")
MAX_LINE = 1 << 20
SYNC_SECONDS = 2.0
MAX_ANIMATION = 10**7
_NONE = type(None)
_TYPES: dict[str, tuple[type, ...]] = {
    "input": (str,), "key": (str,), "status": (str,), "captions": (list,), "bytes": (int,), "animation": (int, _NONE),
    "animation_name": (str, _NONE), "reason": (str, _NONE), "cause": (str, _NONE), "sample": (str, _NONE),
    "sha256": (str, _NONE), "kind": (str, _NONE), "motion_magnitude": (int, float, _NONE),
}  # fmt: skip
_OPTIONAL: dict[str, tuple[type, ...]] = {"input_sha256": (str, _NONE), "animations": (int, _NONE), "hide": (list,)}
"""Only rendering needs these: lines by other means may lack them."""


@dataclass(slots=True, frozen=True)
class Line:
    """What the writer remembers of a line."""

    offset: int
    size: int
    animation: int | None
    key: str
    status: str
    cause: str | None
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


def check_record(record: Any, *, source: str) -> None:
    """Raises InputError, naming `source`, unless `record` is a line that rendering or an import writes."""
    if not isinstance(record, dict):
        raise InputError(f"{source}: expected a JSON object, got {type(record).__name__}; render into a new folder")
    for name, types in (_TYPES | {name: types for name, types in _OPTIONAL.items() if name in record}).items():
        if name not in record or not isinstance(record[name], types) or isinstance(record[name], bool):
            raise InputError(f"{source}: `{name}` is missing or malformed; expected a line that rendering wrote")
    good = KEY.fullmatch(record["key"]) and record["status"] in ("rendered", "failed")
    good = good and all(isinstance(text, str) for text in [*record["captions"], *record.get("hide", [])])
    good = good and math.isfinite(record["motion_magnitude"] or 0) and 0 <= record["bytes"] < 2**63
    counts = record["animation"], record.get("animations")
    good = good and all(count is None or 0 <= count < MAX_ANIMATION for count in counts)
    # No path from a file is ever followed.
    good = good and record["sample"] == (f"samples/{record['key']}.tar" if record["status"] == "rendered" else None)
    if not good:
        raise InputError(
            f"{source}: `key`, `status`, `sample`, `captions`, `hide`, `motion_magnitude` or a number is malformed; "
            "render into a new folder"
        )


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
        record, problem = None, f"longer than {MAX_LINE >> 20} MiB"
        if len(line) <= MAX_LINE:
            try:
                record = parse_json(line, source="it")
                check_record(record, source="it")
                problem = None
            except InputError as error:
                problem = str(error).removeprefix("it: ").partition(";")[0]
        if problem is not None:
            if len(line) <= MAX_LINE and not isinstance(record, dict) and not handle.read(1):
                return  # the power went off: the file's last block is not what was written
            raise InputError(
                f"{path}: line {number} is damaged ({problem}); delete it to have its animation rendered again"
            )
        assert isinstance(record, dict)
        yield offset, len(line), record
        offset += len(line)


class Manifest:
    """The one writer of a folder of samples; a context manager that holds its lock.

    `plan` says how the folder is rendered; None is for samples that came by other means: plan.json is then neither
    written nor expected. Raises InputError when another run holds the lock, when the folder was rendered with another plan
    (or, for None, with any), cannot be written, or holds something else. So do all writes that the system refuses.
    """

    def __init__(self, folder: Path, plan: RenderPlan | None) -> None:
        self.folder, self.path = folder, folder / "manifest.jsonl"
        ensure_writable_parent(self.path)
        ensure_writable_parent(folder / "samples" / "KEY.tar")
        self._lock = lock_folder(folder)
        try:
            with self._writing():
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
        try:
            if error is None:
                with self._writing():
                    os.fsync(self._handle.fileno())
            else:  # which says more than what this might raise
                with suppress(OSError):
                    os.fsync(self._handle.fileno())
        finally:
            self._handle.close()
            self._lock.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(cannot_write(self.folder, error)) from error

    def _read(self) -> None:
        self._handle = open(self.path, "a+b")  # noqa: SIM115 (kept open: closed by __exit__)
        self._handle.seek(0)
        self._lines: dict[str, dict[int | None, Line]] = {}
        keys: dict[str, tuple[str, int | None]] = {}
        end = 0
        for offset, size, record in _records(self._handle, self.path):
            named = record["input"], record["animation"]
            if keys.setdefault(record["key"], named) != named:
                self._handle.close()
                raise InputError(
                    f"{self.path}: key {record['key']!r} names more than one animation; render into a new folder"
                )
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
            key=record["key"],
            status=record["status"],
            cause=record["cause"],
            bytes=record["bytes"],
            input_sha256=record.get("input_sha256"),
            animations=record.get("animations"),
            hide=tuple(record.get("hide", ())),
        )

    def lines(self, input: str) -> list[Line]:
        """What is known of an input."""
        return list(self._lines.get(input, {}).values())

    def hidden(self) -> set[tuple[str, ...]]:
        """The patterns of --hide that lines were rendered with; one set of them in a folder that one rule made."""
        return {tuple(sorted(set(line.hide))) for lines in self._lines.values() for line in lines.values()}

    def append(self, record: Record) -> None:
        """Add a line; on the disk after at most two seconds, in the file at once, whole or not at all."""
        check_record(record, source=f"{self.path}: a new line")
        data = json.dumps(record, separators=(",", ":"), sort_keys=True).encode() + b"\n"
        if len(data) > MAX_LINE:
            raise InputError(f"{self.path}: a line of {len(data)} bytes, at most {MAX_LINE}; shorten the asset's names")
        try:
            written = 0
            while written < len(data):  # past the buffer, which would keep what a full disk refuses
                written += os.write(self._handle.fileno(), data[written:])
        except OSError as error:
            with suppress(OSError):
                self._handle.truncate(self._end)
            raise InputError(cannot_write(self.folder, error)) from error
        self._remember(self._end, len(data), record)
        self._end += len(data)
        if time.monotonic() - self._synced > SYNC_SECONDS:
            with self._writing():
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
        with self._writing(), atomic_path(self.path) as temporary, open(temporary, "wb") as out:
            for _, line in ordered:
                self._handle.seek(line.offset)
                out.write(self._handle.read(line.size))
            out.flush()
            os.fsync(out.fileno())
        self._handle.close()
        self._read()


def cannot_write(folder: Path, error: OSError) -> str:
    """What to say when the system refuses a write in the folder."""
    reason = error.strerror or type(error).__name__
    return f"{folder}: cannot be written ({reason}); make room or repair it, and run again: what is done stays"


def _check_plan(path: Path, plan: RenderPlan | None) -> None:
    """Write the plan, or compare it with the one that is there."""
    if plan is None:
        if path.exists():
            raise InputError(f"{path.parent}: holds what `orbit4d data render` made (plan.json); choose another --out")
        return
    if not path.exists():
        if (path.parent / "manifest.jsonl").exists():
            raise InputError(
                f"{path}: missing beside a manifest; restore it, or (where it was no rendering) use a new folder"
            )
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
