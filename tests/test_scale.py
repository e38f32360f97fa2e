"""Ray makes the same samples and the same manifest, and loses nothing when a worker of its dies."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import sys
import threading
import time
from collections import deque
from pathlib import Path

import pytest
from engine_fixtures import PLAN, lines_of, samples_of, several, wait_until, workers_of

from orbit4d.assets.toybox import write_toybox
from orbit4d.data.engine import render_assets
from orbit4d.data.isolate import Limits
from orbit4d.data.jobs import Job, Settings
from orbit4d.data.scale import run_on_ray
from orbit4d.data.sources import find_sources
from orbit4d.errors import InputError

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install orbit4d[scale]"
)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


@needs_ray
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc, which is not there")
def test_ray_equals_one_process_though_a_worker_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    write_toybox(folder, count=4, progress=False)
    for i in range(4):
        (folder / f"several_{i}.glb").write_bytes(several(["walk", "run", "jump"], seed=i))
    (folder / "damaged.glb").write_bytes(b"glTF")
    render_assets([folder], out=tmp_path / "one", plan=PLAN, workers=1, progress=False)
    mark = random.randrange(10**9)
    monkeypatch.setenv("ORBIT4D_TEST_RUN", str(mark))
    killed: list[int] = []
    over = threading.Event()

    def kill_one() -> None:
        while not over.is_set() and not killed:
            workers = workers_of(mark)
            if workers and len(list(out.glob("samples/*.tar"))) >= 3:
                killed.append(parent_of(workers[0]))
                os.kill(killed[0], signal.SIGKILL)
            time.sleep(0.01)

    killer = threading.Thread(target=kill_one)
    killer.start()
    try:
        summary = render_assets([folder], out=out, plan=PLAN, ray="local", workers=2, progress=False)
    finally:
        over.set()
        killer.join()
    assert killed and killed[0] not in (os.getpid(), 1)
    assert (summary.inputs, summary.rendered, summary.failed) == (9, 16, 1)
    assert samples_of(out) == samples_of(tmp_path / "one") and lines_of(out) == lines_of(tmp_path / "one")
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    wait_until(lambda: not workers_of(mark))


@needs_ray
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc, which is not there")
def test_a_run_that_is_given_up_leaves_no_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a Ray that goes on after it: the folder's lock is free then, and others may write there."""
    ray = importlib.import_module("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    mark = random.randrange(10**9)
    monkeypatch.setenv("ORBIT4D_TEST_RUN", str(mark))
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (out / "samples").mkdir(parents=True)
    (folder / "a.glb").write_bytes(several(["walk"]))
    for name in "bc":
        (folder / f"{name}.glb").write_bytes(several(["walk"] * 200))
    jobs = deque(Job(source=source) for source in find_sources([folder]))
    paths = os.pathsep.join(path for path in sys.path if path)
    runtime = {"env_vars": {"PYTHONPATH": paths}}
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, runtime_env=runtime)
    try:
        outcomes = run_on_ray(jobs, Settings(out=out, plan=PLAN), Limits(), address="auto")
        assert next(outcomes).record
        wait_until(lambda: list(out.glob("samples/[bc]_*.tar")))
        outcomes.close()
        wait_until(lambda: not workers_of(mark), seconds=30)
        assert ray.is_initialized() and len(list(out.glob("samples/*.tar"))) < 401
    finally:
        ray.shutdown()


@needs_ray
def test_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.glb").write_bytes(several(["walk"]))
    with pytest.raises(InputError, match=r"--ray 127\.0\.0\.1:1: no Ray there") as error:
        render_assets([tmp_path / "a.glb"], out=tmp_path / "out", plan=PLAN, ray="127.0.0.1:1", progress=False)
    assert "\n" not in str(error.value)


def test_without_ray_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "a.glb").write_bytes(several(["walk"]))
    jobs = deque(Job(source=source) for source in find_sources([tmp_path]))
    with pytest.raises(InputError, match=r"pip install orbit4d\[scale\]"):
        list(run_on_ray(jobs, Settings(out=tmp_path, plan=PLAN), Limits(), address="local"))
