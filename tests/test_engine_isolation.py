"""Whatever an asset does to its worker, it costs that asset's animation and nothing else."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

import pytest
from engine_fixtures import PLAN, lines_of, samples_of, several, start_faulty, start_restless, wait_until, workers_of
from pool_tasks import start

from orbit4d.data import engine, isolate
from orbit4d.data.engine import render_assets
from orbit4d.data.isolate import Event, Limits, Pool
from orbit4d.errors import InputError


def run(tasks: list[str], *, timeout: float = 60, memory_gib: float = 4, workers: int = 1) -> list[Event]:
    with Pool(start, "", workers=workers, limits=Limits(timeout=timeout, memory_gib=memory_gib)) as pool:
        return list(pool.run(deque(tasks)))


def test_deaths_are_told_apart_and_cost_one_task_each() -> None:
    tasks = ["fine", "crash", "exit", "kill", "bug", "memory", "fine"]
    events = run(tasks)
    assert [e.body["doing"] for e in events if e.what == "message"] == tasks
    assert [(e.task, e.what) for e in events if e.what != "message"] == [
        (task, "finished" if task == "fine" else "died") for task in tasks
    ]
    deaths = {e.task: (e.cause, e.reason) for e in events if e.what == "died"}
    assert {task: cause for task, (cause, _) in deaths.items()} == {
        "crash": "crash", "exit": "crash", "kill": "killed", "bug": "error", "memory": "memory",
    }  # fmt: skip
    assert "SIGABRT: last words" in deaths["crash"][1] and "exit 7" in deaths["exit"][1]
    assert "a\\nbug" in deaths["bug"][1] and all("\n" not in reason for _, reason in deaths.values())
    assert len({e.body["pid"] for e in events if e.what == "message"}) == 6  # only the first is still the second's
    assert {e.body["threads"] for e in events if e.what == "message"} == {"1"}


def test_silence_is_what_a_timeout_measures() -> None:
    events = run(["hang", "hold", "slow"], timeout=1)
    ends = {e.task: (e.what, e.cause) for e in events if e.what != "message"}
    assert ends == {"hang": ("died", "timeout"), "hold": ("died", "timeout"), "slow": ("finished", "")}


def test_a_stopped_parent_is_no_fault_of_its_workers() -> None:
    """Ctrl-Z stops them all; the time until `fg` is nobody's."""
    ends, resumers = [], []
    with Pool(start, "", workers=2, limits=Limits(timeout=2)) as pool:
        for event in pool.run(deque(["slow", "slow"])):
            if "pid" in event.body:
                os.kill(event.body["pid"], signal.SIGSTOP)
                resumers.append(threading.Timer(0.5, os.kill, (event.body["pid"], signal.SIGCONT)))
                if len(resumers) == 2:
                    time.sleep(3)
                    for resumer in resumers:  # the parent looks first
                        resumer.start()
            elif event.what != "message":
                ends.append((event.what, event.cause))
    for resumer in resumers:
        resumer.join()
    assert ends == [("finished", "")] * 2


def test_a_worker_that_has_raised_need_not_end() -> None:
    events = run(["linger", "fine"])
    ends = {e.task: (e.what, e.cause) for e in events if e.what != "message"}
    assert ends == {"linger": ("died", "error"), "fine": ("finished", "")}


def test_memory_is_capped() -> None:
    events = run(["hog", "fine"], memory_gib=0.6)
    ends = {e.task: (e.what, e.cause) for e in events if e.what != "message"}
    assert ends == {"hog": ("died", "memory"), "fine": ("finished", "")}


def test_a_worker_that_needs_most_of_the_limit_from_the_start_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolate, "resident_bytes", lambda pid: int(0.45 * 2**30))
    ends = {e.task: e.what for e in run(["one", "two", "three"], memory_gib=0.5) if e.what != "message"}
    assert ends == dict.fromkeys(("one", "two", "three"), "finished")


def test_tasks_may_be_added_while_it_runs() -> None:
    seen, tasks = [], deque(["a", "b"])
    with Pool(start, "", workers=2, limits=Limits()) as pool:
        for event in pool.run(tasks):
            if event.what == "finished":
                seen.append(event.task)
                if len(event.task) < 4:
                    tasks.append(event.task * 2)
    assert sorted(seen) == ["a", "aa", "aaaa", "b", "bb", "bbbb"]


def test_workers_that_cannot_start_end_the_run() -> None:
    for common, match in (("refuse", "^nothing works here$"), ("die", "do not start.*SIGABRT")):
        with Pool(start, common, workers=2, limits=Limits()) as pool, pytest.raises(InputError, match=match):
            list(pool.run(deque(["fine"])))


SCRIPT = """
import sys
from collections import deque
sys.path.insert(0, {tests!r})
from pool_tasks import start
from orbit4d.data.isolate import Limits, Pool
with Pool(start, "", workers=3, limits=Limits()) as pool:
    for event in pool.run(deque(["hang", "hold", "hold"])):
        print(event.what, flush=True)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc, which is not there")
def test_no_worker_outlives_its_parent() -> None:
    """Not even one whose native code holds Python's lock."""
    mark = random.randrange(10**9)
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    environment = os.environ | {"ORBIT4D_TEST_RUN": str(mark)}
    parent = subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert [parent.stdout.readline() for _ in range(3)] == [b"message\n"] * 3
    assert len(workers_of(mark)) == 3
    parent.kill()
    parent.wait()
    wait_until(lambda: not workers_of(mark))


FAULTS = ("hang", "hold", "crash", "exit", "killed", "hog", "leak", "bug")


def test_bad_animations_cost_only_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in FAULTS:
        (folder / f"{name}.glb").write_bytes(several(["walk", name, "run"]))
    (folder / "once.glb").write_bytes(several(["walk", "killed once", "run"]))
    monkeypatch.setenv("ORBIT4D_TEST_ONCE", str(tmp_path / "once"))
    monkeypatch.setattr(engine, "start_rendering", start_faulty)
    limits = {"workers": 2, "timeout": 10.0, "memory_gib": 1.0, "progress": False}
    summary = render_assets([folder], out=out, plan=PLAN, **limits)  # type: ignore[arg-type]
    lines = lines_of(out)
    failed = {line["animation_name"]: line for line in lines if line["status"] == "failed"}
    assert {name: line["cause"] for name, line in failed.items()} == {
        "hang": "timeout", "hold": "timeout", "crash": "crash", "exit": "crash",
        "killed": "memory", "hog": "memory", "leak": "memory", "bug": "error",
    }  # fmt: skip
    assert len(lines) == 3 * 9 and summary.rendered == 3 * 9 - len(FAULTS) and summary.failed == len(FAULTS)
    for line in failed.values():
        assert line["animation"] == 1 and line["animations"] == 3 and line["input_sha256"]
        assert "\n" not in line["reason"] and line["input"] in line["reason"]
    assert set(samples_of(out)) == {f"{line['key']}.tar" for line in lines if line["status"] == "rendered"}
    # Failed ones stay failed, until they are asked for again; here nothing is wrong any more.
    monkeypatch.undo()
    summary = render_assets([folder], out=out, plan=PLAN, **limits)  # type: ignore[arg-type]
    assert (summary.rendered, summary.reused, summary.failed) == (0, 27 - len(FAULTS), len(FAULTS))
    before = samples_of(out)
    summary = render_assets([folder], out=out, plan=PLAN, retry_failed=True, **limits)  # type: ignore[arg-type]
    assert (summary.rendered, summary.reused, summary.failed) == (len(FAULTS), 27 - len(FAULTS), 0)
    assert before.items() <= samples_of(out).items() and len(lines_of(out)) == 27


def test_a_file_that_kills_again_and_again_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.glb").write_bytes(several(["walk", *["crash"] * 5]))
    monkeypatch.setattr(engine, "start_rendering", start_faulty)
    render_assets([tmp_path / "bad.glb"], out=tmp_path / "out", plan=PLAN, workers=1, progress=False)
    lines = lines_of(tmp_path / "out")
    assert [line["cause"] for line in lines] == [None, *["crash"] * 5]
    assert ["was not tried" in (line["reason"] or "") for line in lines] == [False] * 4 + [True] * 2


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_death_between_animations_is_tried_again_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaths: int
) -> None:
    (tmp_path / "a.glb").write_bytes(several(["walk", "run", "jump"]))
    monkeypatch.setenv("ORBIT4D_TEST_ONCE", str(tmp_path / "deaths"))
    (tmp_path / "deaths").write_text("x" * deaths)
    monkeypatch.setattr(engine, "start_rendering", start_restless)
    summary = render_assets([tmp_path / "a.glb"], out=tmp_path / "out", plan=PLAN, workers=1, progress=False)
    assert (summary.rendered, summary.failed) == ((3, 0) if deaths == 1 else (2, 1))
    assert ["was not tried" in (line["reason"] or "") for line in lines_of(tmp_path / "out")][2] == (deaths == 2)


def test_the_memory_of_a_process_is_seen() -> None:
    before = isolate.resident_bytes(os.getpid())
    held = b"x" * (64 * 2**20)
    assert isolate.resident_bytes(os.getpid()) - before > len(held) // 2 and before > 0
    assert isolate.resident_bytes(2**22 + 1) == 0
