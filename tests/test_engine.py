"""The data engine as a whole: what goes in comes out or is accounted for, in the same bytes, whatever happens between."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engine_fixtures import PLAN, instant, lines_of, samples_of, several, start_faulty, still, wait_until, workers_of

from orbit4d.assets.toybox import write_toybox
from orbit4d.data import engine
from orbit4d.data.engine import render_assets
from orbit4d.data.manifest import Manifest
from orbit4d.data.plan import RenderPlan
from orbit4d.data.sample import load_sample
from orbit4d.errors import InputError


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five generated toys, one with three animations of which two share a name, and the usual bad files."""
    folder = tmp_path_factory.mktemp("toys")
    write_toybox(folder, count=5, progress=False)
    (folder / "sub").mkdir()
    (folder / "sub" / "Three moves.glb").write_bytes(several(["walk", "walk", "run"]))
    (folder / "still.glb").write_bytes(still())
    (folder / "instant.glb").write_bytes(instant())
    (folder / "damaged.glb").write_bytes(several(["walk"])[:2000])
    (folder / "text.gltf").write_text("[" * 3000)
    return folder


@pytest.fixture(scope="module")
def rendered(toys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one worker makes of `toys` without interruption."""
    out = tmp_path_factory.mktemp("rendered") / "out"
    summary = render_assets([toys], out=out, plan=PLAN, workers=1, progress=False)
    assert (summary.inputs, summary.rendered, summary.reused, summary.failed) == (10, 8, 0, 4)
    assert summary.causes == {"no-animation": 2, "unreadable": 2}
    assert summary.frames == 8 * len(PLAN.pairs()) and "2 unreadable" in str(summary)
    return out


def test_every_input_has_its_lines(toys: Path, rendered: Path) -> None:
    lines = lines_of(rendered)
    assert {line["input"] for line in lines} == {p.relative_to(toys).as_posix() for p in toys.rglob("*.gl*")}
    assert len({line["key"] for line in lines}) == len(lines) == 12
    for line in lines:
        assert (line["status"] == "rendered") == (line["cause"] is None) == (line["reason"] is None)
        if line["status"] == "failed":
            assert line["sample"] is None and line["sha256"] is None and line["input"] in line["reason"]
            assert "\n" not in line["reason"] and str(toys) not in line["reason"]
    moves = [line for line in lines if line["input"] == "sub/Three moves.glb"]
    assert [line["animation_name"] for line in moves] == ["walk", "walk", "run"]
    assert [line["key"][-5:] for line in moves] == ["__000", "__001", "__002"]
    assert moves[0]["key"].startswith("sub_Three_moves_")
    assert {line["cause"] for line in lines if line["input"] in ("still.glb", "instant.glb")} == {"no-animation"}
    assert json.loads((rendered / "plan.json").read_text()) == PLAN.to_json()


def test_samples_hold_what_the_manifest_says(rendered: Path) -> None:
    files = samples_of(rendered)
    for line in lines_of(rendered):
        if line["status"] == "failed":
            continue
        sample = load_sample(rendered / line["sample"])
        assert files.pop(sample.key + ".tar") == line["sha256"]
        assert (rendered / line["sample"]).stat().st_size == line["bytes"]
        assert sample.meta["record"] == {k: v for k, v in line.items() if k not in ("sha256", "bytes")}
        assert sample.pairs == PLAN.pairs() and sample.meta["plan"] == PLAN.digest() and line["captions"]
        assert sample.meta["orbits"] == [[list(pair) for pair in PLAN.orbit()]]
        orbit, static = sample.clip(PLAN.orbit()), sample.clip([(i, 0) for i, _ in PLAN.orbit()])
        m = float((orbit.on_background(1.0) - static.on_background(1.0)).square().mean())
        assert line["motion_magnitude"] == pytest.approx(m, rel=1e-4, abs=1e-9)
        assert sample.clip(PLAN.orbit(), depth=True).depth.max() < sample.meta["depth_max"]
    assert not files


def test_equal_runs_make_equal_bytes_whatever_their_workers(toys: Path, rendered: Path, tmp_path: Path) -> None:
    render_assets([toys], out=tmp_path / "out", plan=PLAN, workers=3, progress=True)
    assert samples_of(tmp_path / "out") == samples_of(rendered)
    assert lines_of(tmp_path / "out") == lines_of(rendered)


def test_a_finished_run_does_nothing(
    toys: Path, rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(rendered, tmp_path / "out")
    before = (tmp_path / "out" / "manifest.jsonl").stat().st_mtime_ns

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a finished run opened a file")

    monkeypatch.setattr(engine, "Pool", never)
    for cache in (True, False):
        if not cache:
            (tmp_path / "out" / ".inputs.jsonl").unlink()
        summary = render_assets([toys], out=tmp_path / "out", plan=PLAN, progress=False)
        assert (summary.rendered, summary.reused, summary.failed, summary.frames) == (0, 8, 4, 0)
    assert (tmp_path / "out" / "manifest.jsonl").stat().st_mtime_ns == before


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from engine_fixtures import PLAN
from orbit4d.data.engine import render_assets
render_assets([Path({toys!r})], out=Path({out!r}), plan=PLAN, workers=2, progress=False)
"""


def test_a_killed_run_goes_on_where_it_stopped(toys: Path, rendered: Path, tmp_path: Path) -> None:
    out, rng = tmp_path / "out", random.Random(0)
    script = SCRIPT.format(tests=str(Path(__file__).parent), toys=str(toys), out=str(out))
    mark = str(rng.randrange(10**9))
    kept: dict[str, tuple[int, int]] = {}
    for wanted in (1, 3, 6):
        run = subprocess.Popen([sys.executable, "-c", script], env=os.environ | {"ORBIT4D_TEST_RUN": mark})
        while run.poll() is None and len(list(out.glob("samples/*.tar"))) < wanted:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.2))
        run.kill()
        run.wait()
        wait_until(lambda: not workers_of(int(mark)))  # they end by themselves
        stats = {p.name: p.stat() for p in out.glob("samples/*.tar") if not p.name.startswith(".")}
        now = {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}
        assert {name: now.get(name) for name in kept} == kept, "a finished sample was rendered again"
        for name in now:
            load_sample(out / "samples" / name)
        kept = now
    (out / "samples" / ".toy_000000_44fbccae__000.abcd_123.tar").write_bytes(b"half")
    with open(out / "manifest.jsonl", "a") as handle:
        handle.write('{"input": "torn')
    summary = render_assets([toys], out=out, plan=PLAN, workers=2, progress=False)
    assert summary.rendered + summary.reused == 8 and summary.failed == 4
    assert samples_of(out) == samples_of(rendered) and lines_of(out) == lines_of(rendered)
    assert {n: (p.stat().st_ino, p.stat().st_mtime_ns) for n in kept if (p := out / "samples" / n)} == kept


def test_samples_without_lines_are_adopted(toys: Path, rendered: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(rendered, out)
    before = {p.name: p.stat().st_ino for p in (out / "samples").iterdir()}
    lines = (out / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (out / "manifest.jsonl").write_bytes(b"".join(lines[::3]) + lines[-1][:50])
    render_assets([toys], out=out, plan=PLAN, workers=2, progress=False)
    assert lines_of(out) == lines_of(rendered)
    assert {p.name: p.stat().st_ino for p in (out / "samples").iterdir()} == before


def test_changed_lost_and_damaged_are_rendered_again(rendered: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.glb").write_bytes(several(["walk", "run"]))
    render_assets([folder], out=out, plan=PLAN, workers=1, progress=False)
    first = {line["key"]: line for line in lines_of(out)}
    a, b, c = (sorted(k for k in first if k.startswith(name)) for name in "abc")
    (folder / "a.glb").write_bytes(several(["jump"], seed=7))
    (out / first[b[0]]["sample"]).unlink()
    (out / first[c[1]]["sample"]).write_bytes(b"short")
    summary = render_assets([folder], out=out, plan=PLAN, workers=1, progress=False)
    assert (summary.rendered, summary.reused, summary.failed) == (3, 2, 0)
    second = {line["key"]: line for line in lines_of(out)}
    assert set(second) == {*a[:1], *b, *c} and second[a[0]]["sha256"] != first[a[0]]["sha256"]
    assert all(second[key] == first[key] for key in (*b, *c))
    assert set(samples_of(out)) == {f"{key}.tar" for key in second}


def test_first_then_all_and_hide(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "a.glb").write_bytes(several(["walk", "run"]))
    assert render_assets([folder], out=out, plan=PLAN, animations="first", workers=1, progress=False).rendered == 1
    summary = render_assets([folder], out=out, plan=PLAN, workers=1, progress=False)
    assert (summary.rendered, summary.reused) == (1, 1)
    # Other rules are other settings: nothing that was rendered is deleted for them, not even where they fit nothing.
    before = samples_of(out), lines_of(out)
    with pytest.raises(InputError, match=r"rendered with --hide nothing \(now sword\*\); use it again") as error:
        render_assets([folder], out=out, plan=PLAN, hide=["sword*"], workers=1, progress=False)
    assert "\n" not in str(error.value) and (samples_of(out), lines_of(out)) == before
    # A rule that fits nothing here is none; one that leaves nothing says so.
    hidden = tmp_path / "hidden"
    summary = render_assets([folder], out=hidden, plan=PLAN, hide=["sword*", "b"], workers=1, progress=False)
    assert (summary.rendered, summary.failed) == (2, 0)
    summary = render_assets([folder], out=hidden, plan=PLAN, hide=["b", "sword*", "b"], workers=1, progress=False)
    assert (summary.rendered, summary.reused) == (0, 2)
    summary = render_assets([folder], out=tmp_path / "all", plan=PLAN, hide=["*"], workers=1, progress=False)
    assert (summary.rendered, summary.failed, summary.causes) == (0, 1, {"unreadable": 1})


def test_files_that_are_away_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder that is not mounted, a disk that does not answer, a mirror that is incomplete."""
    folder, out, listing = tmp_path / "in", tmp_path / "out", tmp_path / "list.txt"
    folder.mkdir()
    (folder / "a.glb").write_bytes(several(["walk", "run"]))
    (folder / "bad.glb").write_bytes(b"glTF")
    listing.write_text("in/a.glb\nin/bad.glb\nin/never.glb\n")
    summary = render_assets([listing], out=out, plan=PLAN, workers=1, progress=False)
    assert (summary.rendered, summary.failed, summary.away) == (2, 2, 0)
    before = samples_of(out), lines_of(out)
    folder.rename(tmp_path / "elsewhere")
    summary = render_assets([listing], out=out, plan=PLAN, workers=1, progress=False, retry_failed=True)
    assert (samples_of(out), lines_of(out)) == before
    assert (summary.rendered, summary.reused, summary.failed, summary.away) == (0, 2, 2, 2)
    assert "2 files that were rendered before cannot be read now, e.g. in/a.glb" in caplog.text
    assert "2 files cannot be read now" in str(summary)
    (tmp_path / "elsewhere").rename(folder)
    (out / ".inputs.jsonl").unlink()
    with monkeypatch.context() as patch:  # it is listed, but reading it fails
        patch.setattr(engine, "content_digest", lambda path: (None, []))
        summary = render_assets([listing], out=out, plan=PLAN, workers=1, progress=False)
    assert (samples_of(out), lines_of(out), summary.away) == (*before, 2)
    (folder / "never.glb").write_bytes(several(["jump"], seed=3))
    summary = render_assets([listing], out=out, plan=PLAN, workers=1, progress=False)
    assert (summary.rendered, summary.reused, summary.failed, summary.away) == (1, 2, 1, 0)
    assert before[0].items() < samples_of(out).items()


def test_a_manifest_of_others_deletes_nothing(toys: Path, rendered: Path, tmp_path: Path) -> None:
    out, victim = tmp_path / "out", tmp_path / "victim"
    shutil.copytree(rendered, out)
    victim.write_text("precious")
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    for sample in ("../victim", str(victim), "samples/../../victim"):
        told = [line | {"input_sha256": "0" * 64} | ({"sample": sample} if line["sample"] else {}) for line in lines]
        (out / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told))
        with pytest.raises(InputError, match=r"line \d+ is damaged"):
            render_assets([toys], out=out, plan=PLAN, workers=1, progress=False)
        assert victim.read_text() == "precious" and samples_of(out) == samples_of(rendered)


def test_random_light_is_the_keys(tmp_path: Path) -> None:
    (tmp_path / "a.glb").write_bytes(several(["walk", "run"]))
    lights = []
    for name, seed in (("out", 0), ("again", 0), ("other", 1)):
        plan = RenderPlan(frames=3, size=16, supersample=1, light="random", seed=seed)
        render_assets([tmp_path / "a.glb"], out=tmp_path / name, plan=plan, workers=1, progress=False)
        lights.append(
            [load_sample(tmp_path / name / line["sample"]).meta["lighting"] for line in lines_of(tmp_path / name)]
        )
    assert lights[0] == lights[1] and samples_of(tmp_path / "out") == samples_of(tmp_path / "again")
    assert lights[0][0] != lights[0][1] and lights[0][0] != lights[2][0]


def test_runs_that_must_not_start(toys: Path, rendered: Path, tmp_path: Path) -> None:
    def refused(match: str, **changes: object) -> None:
        arguments = {"out": tmp_path / "new", "plan": PLAN, "progress": False} | changes
        with pytest.raises(InputError, match=match) as error:
            render_assets([toys], **arguments)  # type: ignore[arg-type]
        assert "\n" not in str(error.value)

    refused("rendered with other settings: size 16", out=rendered, plan=RenderPlan(frames=3, size=24, supersample=1))
    with Manifest(tmp_path / "busy", PLAN):
        refused(f"another run is writing there.*{os.getpid()}", out=tmp_path / "busy")
    (tmp_path / "file").write_text("")
    refused("choose an --out", out=tmp_path / "file")
    refused("choose an --out", out=tmp_path / "file" / "below")
    refused("--timeout", timeout=0.0)
    refused("--memory-gib", memory_gib=0.01)
    refused("--workers", workers=0)
    refused("--animations", animations="some")
    assert not (tmp_path / "new" / "manifest.jsonl").exists() or not lines_of(tmp_path / "new")


def test_no_opengl_stops_the_run_in_one_line(toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORBIT4D_EGL_DEVICE", "99")
    with pytest.raises(InputError, match=r"OpenGL|EGL|device") as error:
        render_assets([toys], out=tmp_path / "out", plan=PLAN, workers=1, progress=False)
    assert "\n" not in str(error.value) and lines_of(tmp_path / "out") == []


INTERRUPTED = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell are started deaf to it
sys.path.insert(0, {tests!r})
from engine_fixtures import PLAN, start_faulty
from orbit4d.data import engine
engine.start_rendering = start_faulty
engine.render_assets([Path({folder!r})], out=Path({out!r}), plan=PLAN, workers=2, progress=False)
"""


def test_an_interrupt_leaves_the_manifest_whole(tmp_path: Path) -> None:
    """It comes while one worker hangs, so that the run cannot be over."""
    folder, out, mark = tmp_path / "in", tmp_path / "out", str(random.randrange(10**9))
    folder.mkdir()
    for i, names in enumerate((["walk", "hang", "run"], ["walk", "run"])):
        (folder / f"{i}.glb").write_bytes(several(names, seed=i))
    render_assets([folder], out=tmp_path / "whole", plan=PLAN, workers=1, progress=False)
    script = INTERRUPTED.format(tests=str(Path(__file__).parent), folder=str(folder), out=str(out))
    environment = os.environ | {"ORBIT4D_TEST_RUN": mark}
    run = subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE)
    try:
        listed = out / "manifest.jsonl"
        wait_until(lambda: listed.is_file() and listed.read_bytes().count(b"\n") == 3)
        run.send_signal(signal.SIGINT)
        _, words = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == -signal.SIGINT and words.decode().rstrip().endswith("KeyboardInterrupt")
    wait_until(lambda: not workers_of(int(mark)))
    assert listed.read_bytes().endswith(b"\n") and len(lines_of(out)) == 3
    render_assets([folder], out=out, plan=PLAN, workers=1, progress=False)
    assert samples_of(out) == samples_of(tmp_path / "whole") and lines_of(out) == lines_of(tmp_path / "whole")


def test_a_full_disk_ends_the_run_and_blames_no_asset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "a.glb").write_bytes(several(["walk", "full", "run"]))
    with monkeypatch.context() as patch:
        patch.setattr(engine, "start_rendering", start_faulty)
        with pytest.raises(InputError, match=r"cannot be written \(File too large\); make room") as error:
            render_assets([folder], out=out, plan=PLAN, workers=1, progress=False)
    assert str(error.value).startswith(f"{out}: ") and "\n" not in str(error.value)
    assert [line["status"] for line in lines_of(out)] == ["rendered"]
    summary = render_assets([folder], out=out, plan=PLAN, workers=1, progress=False)
    assert (summary.rendered, summary.reused, summary.failed) == (2, 1, 0)


def test_workers_end_before_the_lock_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(3):
        (tmp_path / f"{i}.glb").write_bytes(several(["walk", "run"], seed=i))
    mark = random.randrange(10**9)
    monkeypatch.setenv("ORBIT4D_TEST_RUN", str(mark))
    ends: list[list[int]] = []

    def refuse(*_: object) -> None:
        raise InputError("no room")

    leave = Manifest.__exit__
    monkeypatch.setattr(Manifest, "append", refuse)
    monkeypatch.setattr(
        Manifest, "__exit__", lambda self, *error: (ends.append(workers_of(mark)), leave(self, *error))[1]
    )
    with pytest.raises(InputError, match="no room"):
        render_assets([tmp_path], out=tmp_path / "out", plan=PLAN, workers=1, progress=False)
    assert ends == [[]]


def test_tables_of_others_beside_an_asset_are_no_captions(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(2):
        (tmp_path / f"{i}.glb").write_bytes(several(["walk"], seed=i))
    for table in ("path\tsha1\na\tb\n", "\x00\xff"):
        (tmp_path / "MANIFEST.tsv").write_text(table, encoding="latin-1")
        caplog.clear()
        out = tmp_path / f"out{len(table)}"
        summary = render_assets([tmp_path], out=out, plan=PLAN, workers=1, progress=False)
        assert (summary.rendered, summary.failed) == (2, 0) and all(line["captions"] for line in lines_of(out))
        assert caplog.text.count("MANIFEST.tsv") == 1
