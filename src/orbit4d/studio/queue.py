"""Runs one after the other, each in a worker process, and says how they do."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import InputError
from .runs import Runs
from .wishes import Wish
from .worker import receive, send

_LOG = logging.getLogger(__name__)
MAX_WAITING = 8
GRACE = 10.0
"""Seconds that a cancelled run has to clean up."""
State = Literal["waiting", "running", "done", "failed", "cancelled"]


@dataclass(kw_only=True, eq=False)
class Job:
    """A wish on its way. `ran`: whether its turn has come. `message`: one line on what went wrong. `warnings`: of its inputs."""

    wish: Wish
    out: Path
    state: State
    ran: bool = False
    message: str = ""
    warnings: tuple[str, ...] = ()


Listener = Callable[[Job, dict[str, Any], bytes], None]
"""Called in the queue's thread with each message of a job's worker, and with {"kind": "state"} whenever its state changes; of
jobs that are cancelled before their turn, in the thread that cancels them."""


class Queue:
    """One job runs, up to MAX_WAITING wait."""

    def __init__(self, runs: Runs, listener: Listener, *, log: Path | None = None) -> None:
        self._runs, self._listener, self._log = runs, listener, log
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self.current: Job | None = None
        self._thread = threading.Thread(target=self._work, daemon=True, name="runs")
        self._thread.start()

    def submit(self, wish: Wish) -> Job:
        """Raises InputError when too many wait already."""
        with self._changed:
            if len(self._jobs) >= MAX_WAITING:
                raise InputError(f"{MAX_WAITING} runs are waiting already; cancel one, or come back later")
            taken = {job.out for job in self._unfinished()}
            job = Job(wish=wish, out=self._runs.new_folder(wish.title, taken=taken), state="waiting")
            self._jobs.append(job)
            self._changed.notify_all()
        return job

    @property
    def waiting(self) -> list[Job]:
        with self._changed:
            return list(self._jobs)

    @property
    def inputs(self) -> set[str]:
        """Names of the files that jobs still need."""
        with self._changed:
            jobs = self._unfinished()
        given = [getattr(j.wish, k) for j in jobs for k in ("image", "video", "static", "mask")]
        return {Path(v).name for v in given if v}

    def _unfinished(self) -> list[Job]:
        """Those that wait and the one that runs; for whoever holds the lock."""
        return [*self._jobs, *([self.current] if self.current else [])]

    def cancel(self) -> None:
        """End the running job; nothing of it is left."""
        with self._changed:
            if self.current is not None and self.current.state == "running":
                self.current.state = "cancelled"
                if self._process is not None:
                    _end(self._process)

    def cancel_waiting(self) -> int:
        """Forget the jobs that wait; how many those were."""
        with self._changed:
            dropped = list(self._jobs)
            self._jobs.clear()
            for job in dropped:
                job.state = "cancelled"
        for job in dropped:
            self._tell(job)
        return len(dropped)

    def close(self) -> None:
        """Cancel everything and wait for the worker to end."""
        with self._changed:
            self._closed = True
            self._jobs.clear()
            self._changed.notify_all()
        self.cancel()
        self._thread.join(timeout=GRACE + 5)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._jobs or self._closed):
                    self._changed.wait()
                if self._closed:
                    return
                job = self.current = self._jobs.popleft()
                job.state, job.ran = "running", True
            try:
                self._run(job)
            except Exception as error:  # whatever happens to one job, the next is taken
                job.message = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                job.state = "failed"
            with self._changed:
                self.current = None
            try:
                self._runs.sweep(job.out)
            except Exception:  # it is hidden, and no run
                _LOG.exception("what is left of %s cannot be removed", job.out.name)
            self._tell(job)

    def _run(self, job: Job) -> None:
        """From start to end of its process; sets the job's last state and message."""
        self._tell(job)
        command = [sys.executable, "-m", "orbit4d.studio.worker"]
        log = subprocess.DEVNULL if self._log is None else open(self._log, "ab")  # noqa: SIM115
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        finally:
            if not isinstance(log, int):
                log.close()
        assert process.stdin is not None and process.stdout is not None
        with self._changed:
            self._process = process
            if job.state == "cancelled":
                _end(process)
        finished = False
        try:
            send(process.stdin, {"wish": job.wish.as_dict(), "out": str(job.out)})
            for header, body in receive(process.stdout):
                finished |= header.get("kind") == "done"
                self._take(job, header, body)
        except BrokenPipeError:
            pass
        finally:
            code = _ended(process)
            with self._changed:
                self._process = None
        if finished:
            job.state = "done"
        elif job.state != "cancelled":
            job.state = "failed"
            where = f"; see {self._log}" if self._log else ""
            job.message = job.message or f"the run ended unexpectedly (exit code {code}){where}"

    def _take(self, job: Job, header: dict[str, Any], body: bytes) -> None:
        match header.get("kind"):
            case "error":
                job.message = self._runs.told(str(header.get("text", "")))
            case "warning":
                job.warnings += (self._runs.told(str(header.get("text", ""))),)
        self._listener(job, header, body)

    def _tell(self, job: Job) -> None:
        """Say that the job's state has changed. What the listener raises is its own trouble, not the queue's."""
        try:
            self._listener(job, {"kind": "state"}, b"")
        except Exception:
            _LOG.exception("the listener failed on %s, which is %s", job.out.name, job.state)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, and make it GRACE seconds later."""
    process.terminate()
    timer = threading.Timer(GRACE, process.kill)
    timer.daemon = True
    timer.start()


def _ended(process: subprocess.Popen[bytes]) -> int:
    """Its exit code, after it has been made to end."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    try:
        return process.wait(timeout=GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
