"""The manifest file: appended, cut where a killed run tore it, refused where it is damaged, ordered at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit4d.data.manifest import Manifest, Record, make_record, read_manifest
from orbit4d.data.plan import RenderPlan
from orbit4d.errors import InputError

PLAN = RenderPlan(frames=3, size=16)


def record(name: str, animation: int | None = None, **values: object) -> Record:
    return make_record(input=name, key=f"{name}_{animation}", animation=animation, **values)


def test_lines_are_there_at_once_and_in_order_at_the_end(tmp_path: Path) -> None:
    with Manifest(tmp_path / "new" / "out", PLAN) as manifest:
        for line in (record("b", 10), record("b", 2), record("c"), record("a", 0, reason="é\n\u2028")):
            manifest.append(line)
            assert list(read_manifest(manifest.folder))[-1] == line
        assert [line.animation for line in manifest.lines("b")] == [10, 2] and manifest.lines("x") == []
        manifest.rewrite()
        assert [r["key"] for r in read_manifest(manifest.folder)] == ["a_0", "b_2", "b_10", "c_None"]
        inode = manifest.path.stat().st_ino
        manifest.rewrite()
        assert manifest.path.stat().st_ino == inode
        manifest.append(record("a", 0, status="rendered"))  # the later line counts
        manifest.rewrite(lambda name, _: name != "c")
        assert [r["status"] for r in read_manifest(manifest.folder)] == ["rendered", "failed", "failed"]
    assert sorted(p.name for p in manifest.folder.iterdir()) == [".lock", "manifest.jsonl", "plan.json", "samples"]


@given(cut=st.integers(1, 400), tail=st.sampled_from([b"", b"\0" * 100, b"\0\n", b"{}\n", b"\xff\n"]))
def test_a_torn_end_is_cut_off(tmp_path_factory: pytest.TempPathFactory, cut: int, tail: bytes) -> None:
    folder = tmp_path_factory.mktemp("out")
    lines = [json.dumps(record(name)).encode() + b"\n" for name in "abc"]
    with Manifest(folder, PLAN):
        pass
    whole = b"".join(lines)
    left = whole[: max(0, len(whole) - cut)] if not tail else whole
    (folder / "manifest.jsonl").write_bytes(left + tail)
    expected = [line for line in lines if left.startswith(b"".join(lines[: lines.index(line) + 1]))]
    assert len(list(read_manifest(folder))) == len(expected)
    with Manifest(folder, PLAN) as manifest:
        assert manifest.path.read_bytes() == b"".join(expected)
        manifest.append(record("d"))
    assert manifest.path.read_bytes().startswith(b"".join(expected))
    assert [r["input"] for r in read_manifest(folder)] == [*"abc"[: len(expected)], "d"]


def test_damage_before_the_end_is_not_passed_over(tmp_path: Path) -> None:
    with Manifest(tmp_path, PLAN) as manifest:
        for name in "abc":
            manifest.append(record(name))
    good = manifest.path.read_bytes().splitlines(keepends=True)
    for bad in (b"{}\n", b"[]\n", b"[" * 5000 + b"\n", b"\xff\n", b"x" * 2**21 + b"\n", b'{"input": 1}\n'):
        manifest.path.write_bytes(good[0] + bad + good[2])
        with pytest.raises(InputError, match="line 2 is damaged"):
            list(read_manifest(tmp_path))
        with pytest.raises(InputError, match="line 2 is damaged"):
            Manifest(tmp_path, PLAN)
    manifest.path.write_bytes(b"".join(good))
    with Manifest(tmp_path, PLAN):  # the failed attempts hold no lock
        pass


def test_one_writer(tmp_path: Path) -> None:
    hold = (
        "import sys; from pathlib import Path; from orbit4d.data.manifest import Manifest; "
        "from orbit4d.data.plan import RenderPlan; m = Manifest(Path(sys.argv[1]), RenderPlan(frames=3, size=16)); "
        "print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
    )
    assert other.stdout is not None and other.stdout.readline() == b"held\n"
    with pytest.raises(InputError, match=f"another run is writing there .process {other.pid} on") as error:
        Manifest(tmp_path, PLAN)
    assert "\n" not in str(error.value)
    other.kill()
    other.wait()
    with Manifest(tmp_path, PLAN):
        pass


def test_the_plan_belongs_to_the_folder(tmp_path: Path) -> None:
    with Manifest(tmp_path, PLAN):
        pass
    assert json.loads((tmp_path / "plan.json").read_text()) == PLAN.to_json()
    with pytest.raises(InputError, match=r"frames 3 \(now 5\)") as error:
        Manifest(tmp_path, RenderPlan(frames=5, size=16))
    assert "\n" not in str(error.value)
    (tmp_path / "plan.json").write_text('{"frames": 3}')
    with pytest.raises(InputError, match=r"plan\.json: expected the settings"):
        Manifest(tmp_path, PLAN)
    (tmp_path / "plan.json").unlink()
    with pytest.raises(InputError, match="missing beside a manifest"):
        Manifest(tmp_path, PLAN)


def test_folders_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "samples").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "odd"):
        with pytest.raises(InputError, match="choose an") as error:
            Manifest(folder, PLAN)
        assert "\n" not in str(error.value)


def test_records_have_all_keys_and_no_others() -> None:
    assert set(record("a")) == set(record("b", 1, status="rendered", bytes=3))
    with pytest.raises(ValueError, match="no such keys"):
        record("a", colour="red")
    with pytest.raises(InputError, match="holds no manifest"):
        list(read_manifest(Path("nowhere")))
