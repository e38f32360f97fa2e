"""Worker processes that may hang, crash or eat memory without harm to anything but the task they are at.

A `Pool` starts fresh interpreters (nothing is forked: OpenGL and thread pools do not survive that), gives each one task at a
time and watches it: the time since its last message, its resident memory, its death. A worker that breaks a limit is killed
and replaced. Workers end by themselves when the process that started them is gone.

What comes back from a worker is JSON, never pickle: it has handled files that nobody vouches for.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from ..errors import InputError

Emit = Callable[[dict[str, Any]], None]
Handler = Callable[[Any, Emit], None]
"""Does one task: (task, emit)."""
POLL_SECONDS = 0.1
STALL_SECONDS = 1.0
"""A look at the workers that comes so much later than it should: this process was stopped, and they perhaps with it."""
START_SECONDS = 300.0
START_ATTEMPTS = 3
KILL_SECONDS = 10.0
MAX_WORKERS = 1024
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_NEAR_LIMIT = 0.8


@dataclass(kw_only=True, frozen=True)
class Limits:
    """timeout: seconds between two messages of a worker. memory_gib: resident memory of a worker."""

    timeout: float = 120.0
    memory_gib: float = 4.0

    def __post_init__(self) -> None:
        if not 0.1 <= self.timeout <= 1e6:
            raise InputError(f"--timeout: expected 0.1 to 1000000 seconds, got {self.timeout:g}")
        if not 0.5 <= self.memory_gib <= 1e4:
            raise InputError(
                f"--memory-gib: expected 0.5 to 10000 (a worker itself needs 0.4), got {self.memory_gib:g}"
            )

    @property
    def bytes(self) -> int:
        return int(self.memory_gib * 2**30)


@dataclass(kw_only=True, frozen=True)
class Event:
    """What a worker did with `task`: sent a message, finished it, or died over it.

    `cause` of a death: timeout, memory, crash, error, or killed: by somebody else, which says nothing about the task.
    """

    task: Any
    what: Literal["message", "finished", "died"]
    body: dict[str, Any] = field(default_factory=dict)
    cause: str = ""
    reason: str = ""


class CannotGoOn(InputError):
    """Raised by a handler where no task can be done any more (a full disk): `Pool.run` raises it as an InputError."""


class Pool:
    """Up to `workers` processes, started when there is work. A context manager: leaving it kills them.

    `start(common)` runs once in each and returns the handler of its tasks; both must be importable by their names. A
    handler that raises ends its worker: the death's cause is memory for MemoryError, error for anything else. An
    InputError from `start` itself (no OpenGL here) is raised by `run`.
    """

    def __init__(self, start: Callable[[Any], Handler], common: Any, *, workers: int, limits: Limits) -> None:
        if not 1 <= workers <= MAX_WORKERS:
            raise ValueError(f"a pool has 1 to {MAX_WORKERS} workers, not {workers}")
        self.limits, self.count = limits, workers
        self._setup = pickle.dumps((start, common, limits.bytes))
        self._workers: list[_Worker] = []
        self._failed_starts = 0
        self._looked = 0.0

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()
        self._workers = []

    def run(self, tasks: deque[Any]) -> Iterator[Event]:
        """Do the tasks, taken from the left; the caller may add others while it runs. Events come as they happen."""
        self._looked = time.monotonic()
        while tasks or any(w.busy for w in self._workers):
            self._provide(tasks)
            for connection in wait([w.connection for w in self._workers if not w.idle], timeout=POLL_SECONDS):
                worker = next(w for w in self._workers if w.connection is connection)
                yield from self._receive(worker)
            for worker in [w for w in self._workers if not w.idle]:
                self._excuse()
                verdict = worker.verdict()
                if verdict is not None:
                    worker.process.kill()
                    yield from self._receive(worker, verdict)

    def _excuse(self) -> None:
        """Before a verdict: where it comes late, this process or its caller was held up, and the time since is nobody's."""
        now = time.monotonic()
        late, self._looked = now - self._looked - POLL_SECONDS, now
        if late > STALL_SECONDS:
            for worker in self._workers:
                worker.excuse(late)

    def _provide(self, tasks: deque[Any]) -> None:
        for worker in list(self._workers):
            if worker.idle and worker.resident() > (worker.base + self.limits.bytes) / 2:
                # What earlier tasks left behind must not count against the next one.
                worker.kill()
                self._workers.remove(worker)
            elif worker.idle and tasks:
                worker.give(tasks.popleft())
        starting = sum(not w.ready for w in self._workers)
        while len(self._workers) < self.count and starting < len(tasks):
            self._workers.append(_Worker(self._setup, self.limits))
            starting += 1

    def _receive(self, worker: _Worker, verdict: tuple[str, str] | None = None) -> Iterator[Event]:
        """What the worker has sent; all of it, and its death, when a verdict killed it."""
        while True:
            if verdict is not None and not worker.connection.poll(KILL_SECONDS):  # a process of its own holds the pipe
                yield from self._bury(worker, verdict)
                return
            try:
                body = json.loads(worker.connection.recv_bytes())
            except (EOFError, OSError):
                yield from self._bury(worker, verdict)
                return
            worker.heard()
            match body:
                case {"__ready__": _}:
                    worker.ready, worker.base, self._failed_starts = True, worker.resident(), 0
                case {"__broken__": str(message)}:
                    raise InputError(message)
                case {"__done__": _}:
                    task, worker.task = worker.task, _NOTHING
                    yield Event(task=task, what="finished")
                case {"__raised__": [str(cause), str(reason)]}:
                    verdict = (cause, reason)
                    worker.process.kill()  # all is said: it must not take its time to end
                case _:
                    yield Event(task=worker.task, what="message", body=body)
            if verdict is None and not worker.connection.poll():
                return

    def _bury(self, worker: _Worker, verdict: tuple[str, str] | None) -> Iterator[Event]:
        self._workers.remove(worker)
        cause, reason = verdict or worker.autopsy()
        worker.kill()
        if worker.busy:
            yield Event(task=worker.task, what="died", cause=cause, reason=reason)
        elif not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= START_ATTEMPTS:
                raise InputError(f"rendering: the worker processes do not start: {reason}")


_NOTHING = object()


class _Worker:
    """The parent's side of one process."""

    def __init__(self, setup: bytes, limits: Limits) -> None:
        self.limits, self.ready, self.task, self.peak = limits, False, _NOTHING, 0
        self.base = 0
        """Bytes that it used when it was ready, before any task."""
        self.connection, theirs = Pipe()
        lifeline, self._lifeline = os.pipe()
        self._noise = tempfile.TemporaryFile()  # noqa: SIM115 (closed by kill)
        fcntl.fcntl(self._noise, fcntl.F_SETFL, os.O_APPEND)
        environment = os.environ | dict.fromkeys(_ONE_THREAD, "1") | {"OMP_WAIT_POLICY": "PASSIVE"}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        code = f"from orbit4d.data.isolate import serve; serve({theirs.fileno()}, {lifeline})"
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", code],
            env=environment,
            pass_fds=[theirs.fileno(), lifeline],
            stdin=subprocess.DEVNULL,
            stdout=self._noise,
            stderr=self._noise,
        )
        theirs.close()
        os.close(lifeline)
        self.heard()
        with contextlib.suppress(OSError):  # it died at once: seen at the next look
            self.connection.send_bytes(setup)

    @property
    def busy(self) -> bool:
        return self.task is not _NOTHING

    @property
    def idle(self) -> bool:
        return self.ready and not self.busy

    def give(self, task: Any) -> None:
        self.task, self.peak = task, 0
        self._noise.truncate(0)
        self.heard()
        with contextlib.suppress(OSError):
            self.connection.send_bytes(pickle.dumps(task))

    def heard(self) -> None:
        self._since = time.monotonic()

    def excuse(self, seconds: float) -> None:
        """Do not count so much of its silence: nobody listened."""
        self._since = min(time.monotonic(), self._since + seconds)

    def resident(self) -> int:
        """Bytes of memory it uses now."""
        size = resident_bytes(self.process.pid)
        self.peak = max(self.peak, size)
        return size

    def verdict(self) -> tuple[str, str] | None:
        """(cause, reason) when it has broken a limit."""
        waited = time.monotonic() - self._since
        if not self.ready:
            return ("crash", f"not ready after {START_SECONDS:g} s") if waited > START_SECONDS else None
        if self.resident() > self.limits.bytes:
            return (
                "memory",
                f"needed more than {self.limits.memory_gib:g} GiB; simplify the asset or raise --memory-gib",
            )
        if waited > self.limits.timeout:
            return "timeout", f"took longer than {self.limits.timeout:g} s; simplify the asset or raise --timeout"
        return None

    def autopsy(self) -> tuple[str, str]:
        """(cause, reason) of a death that nobody here brought about."""
        try:
            code = self.process.wait(timeout=KILL_SECONDS)
        except subprocess.TimeoutExpired:
            return "crash", "the worker process closed its connection"
        name = signal.Signals(-code).name if code < 0 else f"exit {code}"
        if self.peak > _NEAR_LIMIT * self.limits.bytes:
            return "memory", f"the worker process died ({name}) near its {self.limits.memory_gib:g} GiB of memory"
        if code == -signal.SIGKILL:
            return "killed", "the worker process was killed from outside, most likely because memory ran out"
        return "crash", f"the worker process crashed ({name}{self._last_words()})"

    def _last_words(self) -> str:
        self._noise.seek(0, os.SEEK_END)
        self._noise.seek(max(0, self._noise.tell() - 2000))
        lines = self._noise.read().decode("utf-8", "replace").split("\n")
        last = next((" ".join(line.split()) for line in reversed(lines) if line.strip()), "")
        return f": {last[:160]}" if last else ""

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            self.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # a file system may hold a process that is dead
            self.process.wait(timeout=KILL_SECONDS)
        self.connection.close()
        with contextlib.suppress(OSError):
            os.close(self._lifeline)
            self._lifeline = -1
        self._noise.close()


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        if Path("/proc/self/statm").exists():
            return 0
    listed = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return int(listed.stdout.strip() or 0) * 1024


def serve(descriptor: int, lifeline: int) -> None:
    """A worker's whole life: called in a fresh interpreter by `Pool`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    _end_with_parent(lifeline)
    connection = Connection(descriptor)

    def emit(body: dict[str, Any]) -> None:
        connection.send_bytes(json.dumps(body).encode())

    try:
        start, common, memory = pickle.loads(connection.recv_bytes())
        try:
            handler = start(common)
        except InputError as error:
            emit({"__broken__": str(error)})
            return
        _limit_memory(memory)
        emit({"__ready__": True})
        while True:
            task = pickle.loads(connection.recv_bytes())
            try:
                handler(task, emit)
            except CannotGoOn as error:
                emit({"__broken__": str(error)})
                return
            except MemoryError:
                emit({"__raised__": ["memory", "ran out of memory; simplify the asset or raise --memory-gib"]})
                return
            except Exception as error:  # whatever it is costs this task only
                reason = " ".join(str(error).split())[:200]
                emit({"__raised__": ["error", f"{type(error).__name__}: {reason}"]})
                return
            emit({"__done__": True})
    except (EOFError, OSError):
        return


def _end_with_parent(lifeline: int) -> None:
    """End this process when the other end of `lifeline` is closed, as it is by a parent's death of any kind.

    The kernel's signal comes even while native code hangs with Python's lock held; the thread is for systems without it.
    """
    with contextlib.suppress(AttributeError, OSError):
        signal.signal(signal.SIGIO, signal.SIG_DFL)
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)

    def watch() -> None:
        os.read(lifeline, 1)  # nothing is ever written
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _limit_memory(limit: int) -> None:
    """Make the kernel refuse far more than the limit at once: the parent looks at the memory only now and then.

    RLIMIT_DATA, not RLIMIT_AS: software OpenGL and PyTorch reserve address space that they never touch.
    """
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        used = int(fields["VmData"].split()[0]) * 1024
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        bound = used + limit if hard == resource.RLIM_INFINITY else min(hard, used + limit)
        resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))
    except (OSError, KeyError, ValueError):
        return  # no /proc: the parent's look is all there is
