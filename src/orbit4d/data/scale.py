"""The same rendering on a Ray cluster (extra ``scale``): one task a file, the samples on a folder that all machines share.

Inside each Ray worker process an isolating `Pool` of one does the work, so that limits hold there too. A task whose worker
or machine dies is run again by Ray; samples that were whole by then are kept. All lines come back to the one manifest writer.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import importlib
import os
import pickle
import socket
import sys
from collections import deque
from collections.abc import Generator, Iterator
from typing import Any

from ..errors import InputError
from .isolate import Limits, Pool
from .jobs import Job, Outcome, Settings, start_rendering, supervise
from .manifest import make_record

LOCAL_CPUS = 2
RETRIES = 5
REACH_SECONDS = 10.0
IN_FLIGHT = 4
"""Tasks submitted a CPU: enough to keep all busy, few enough to leave the queue here."""
_HERE: dict[str, Any] = {}
"""In a Ray worker process: its pool, kept over tasks, with the settings and their digest."""


def run_on_ray(
    jobs: deque[Job], settings: Settings, limits: Limits, *, address: str, workers: int | None = None
) -> Generator[Outcome]:
    """Do the jobs on Ray: ``local`` starts one of `workers` (2) CPUs here and stops it at the end; ``auto`` or an address
    joins a running cluster, of which at most `workers` CPUs are used (None: all). A process that has joined one already
    keeps it, whatever the address.

    Raises InputError when Ray is not installed or cannot be reached.
    """
    ray, joined = _connect(address, workers)
    running: dict[Any, Job] = {}
    try:
        cpus = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        shared = ray.put((settings, limits))
        name = hashlib.sha256(pickle.dumps((settings, limits))).hexdigest()
        render = ray.remote(num_cpus=1, max_retries=RETRIES, retry_exceptions=False)(render_job)
        while jobs or running:
            # Where fewer CPUs are used than there are, the tasks in flight are what bounds them.
            while jobs and len(running) < (cpus if workers and address != "local" else cpus * IN_FLIGHT):
                job = jobs.popleft()
                running[render.remote(job, name, [shared])] = job
            done, _ = ray.wait(list(running), num_returns=1)
            job = running.pop(done[0])
            yield from _outcomes(ray, done[0], job, settings)
    finally:
        _cancel(ray, list(running))
        if joined:
            ray.shutdown()


def _cancel(ray: Any, tasks: list[Any]) -> None:
    """End tasks whose results nobody takes any more, with their processes: they must not write into the folder."""
    for task in tasks:
        with contextlib.suppress(ray.exceptions.RayError, ValueError):
            ray.cancel(task, force=True)
    if tasks:
        with contextlib.suppress(ray.exceptions.RayError):
            ray.wait(tasks, num_returns=len(tasks), timeout=REACH_SECONDS)


def render_job(job: Job, name: str, held: list[Any]) -> list[Outcome]:
    """One file, in a Ray worker process. `held` is the reference to settings and limits, `name` their digest: a table of
    captions may be large, and is fetched once."""
    if _HERE.get("name") != name:
        if "pool" in _HERE:
            _HERE.pop("pool").close()
        settings, limits = importlib.import_module("ray").get(held[0])
        pool = Pool(start_rendering, settings, workers=1, limits=limits)
        atexit.register(pool.close)
        _HERE.update(name=name, settings=settings, pool=pool)
    return list(supervise(_HERE["pool"], deque([job]), _HERE["settings"]))


def _connect(address: str, workers: int | None) -> tuple[Any, bool]:
    """The module, and whether it was connected here."""
    # Before the import, which reads them. Nobody is told what is rendered here.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_DISABLE_IMPORT_WARNING", "1")
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise InputError("--ray: Ray is not installed; `pip install orbit4d[scale]`, or leave --ray out") from error
    if ray.is_initialized():
        return ray, False
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address == "local":
            paths = os.pathsep.join(path for path in sys.path if path)
            quiet |= {"num_cpus": workers or LOCAL_CPUS, "include_dashboard": False}
            ray.init(address="local", runtime_env={"env_vars": {"PYTHONPATH": paths}}, **quiet)
        else:
            _reach(address)
            ray.init(address=address, **quiet)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"--ray {address}: no Ray there ({reason}); expected local, auto or HOST:PORT") from error
    return ray, True


def _reach(address: str) -> None:
    """Raises OSError where nothing listens at HOST:PORT: Ray itself would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=REACH_SECONDS).close()


def _outcomes(ray: Any, done: Any, job: Job, settings: Settings) -> Iterator[Outcome]:
    try:
        yield from ray.get(done)
        return
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError):  # no OpenGL on that machine: nothing will work there
            raise InputError(str(error.cause)) from error
        raise
    except ray.exceptions.RayError as error:
        cause = "memory" if isinstance(error, ray.exceptions.OutOfMemoryError) else "crash"
        reason = f"{job.source.input}: its Ray worker died {RETRIES + 1} times ({type(error).__name__})"
    values = {"cause": cause, "reason": reason, "hide": list(settings.hide)}
    yield Outcome(source=job.source, record=make_record(input=job.source.input, key=job.source.stem, **values))
    yield Outcome(source=job.source, finished=True)
