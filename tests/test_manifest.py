"""The manifest file: appended, cut where a killed run tore it, refused where it is damaged, ordered at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit4d.data.manifest import Manifest, Record, make_record, read_manifest
from orbit4d.data.plan import RenderPlan
from orbit4d.errors import InputError

PLAN = RenderPlan(frames=3, size=16)


def record(name: str, animation: int | None = None, **values: Any) -> Record:
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
        manifest.append(record("a", 0, status="rendered", sample="samples/a_0.tar"))  # the later line counts
        manifest.rewrite(lambda name, _: name != "c")
        assert [r["status"] for r in read_manifest(manifest.folder)] == ["rendered", "failed", "failed"]
    assert sorted(p.name for p in manifest.folder.iterdir()) == [".lock", "manifest.jsonl", "plan.json", "samples"]


@given(cut=st.integers(1, 400), tail=st.sampled_from([b"", b"\0" * 100, b"\0\n", b"{\n", b"\xff\n"]))
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


@pytest.mark.parametrize(
    "changed",
    [
        {"hide": None}, {"hide": [1]}, {"bytes": "x"}, {"bytes": -1}, {"bytes": True}, {"input": [1]}, {"sample": 5},
        {"animation": [1]}, {"animation": -1}, {"animations": "3"}, {"animations": 10**9}, {"key": "../a"}, {"key": {}},
        {"status": "done"}, {"status": "failed"}, {"sample": "../victim"}, {"sample": "samples/b.tar"}, {"captions": None},
        {"motion_magnitude": float("nan")}, {"input_sha256": 3}, {"reason": []},
    ],
)  # fmt: skip
@pytest.mark.parametrize("last", [False, True])
def test_lines_of_others_are_refused(tmp_path: Path, changed: dict[str, object], last: bool) -> None:
    whole = record("a", 0, status="rendered", sample="samples/a_0.tar", bytes=3)
    with Manifest(tmp_path, PLAN) as manifest:
        manifest.append(whole)
        with pytest.raises(InputError):
            manifest.append(whole | changed)
    lines = [json.dumps(line) + "\n" for line in (whole | changed, record("b", 0))][: 1 if last else 2]
    manifest.path.write_text("".join(lines))
    for reader in (lambda: Manifest(tmp_path, PLAN), lambda: list(read_manifest(tmp_path))):
        with pytest.raises(InputError, match="line 1 is damaged") as error:
            reader()
        assert "\n" not in str(error.value)


def test_a_key_names_one_animation(tmp_path: Path) -> None:
    with Manifest(tmp_path, PLAN) as manifest:
        manifest.append(record("a", 0))
        manifest.append(record("a", 0))
    with open(manifest.path, "a") as handle:
        handle.write(json.dumps(record("b", 0) | {"key": "a_0"}) + "\n")
    with pytest.raises(InputError, match="names more than one animation"):
        Manifest(tmp_path, PLAN)


def test_an_import_has_no_plan(tmp_path: Path) -> None:
    told = {"status": "rendered", "sample": "samples/a_b.tar", "captions": ["a cat"]}
    imported = make_record(input="a/b", key="a_b", animation=0, **told)
    for line in (imported, {k: v for k, v in imported.items() if k not in ("input_sha256", "animations", "hide")}):
        with Manifest(tmp_path / "import", None) as manifest:
            manifest.append(line)
            manifest.rewrite()
        assert list(read_manifest(manifest.folder)) == [line]
        manifest.path.unlink()
        assert not (manifest.folder / "plan.json").exists()
    manifest.path.touch()
    with pytest.raises(InputError, match="missing beside a manifest"):
        Manifest(tmp_path / "import", PLAN)
    with Manifest(tmp_path / "render", PLAN):
        pass
    with pytest.raises(InputError, match="choose another --out") as error:
        Manifest(tmp_path / "render", None)
    assert "\n" not in str(error.value)


FULL = """
import resource, sys
from pathlib import Path
from typing import Any
from orbit4d.data.manifest import Manifest, make_record
from orbit4d.errors import InputError
with Manifest(Path(sys.argv[1]), None) as manifest:
    manifest.append(make_record(input="a", key="a"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (manifest.path.stat().st_size + 100,) * 2)
    try:
        manifest.append(make_record(input="b", key="b"))
    except InputError as error:
        print(error)
"""


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{tmp_path}: cannot be written (File too large)") and done.stdout.count("\n") == 1
    assert (tmp_path / "manifest.jsonl").read_bytes().endswith(b"\n")
    assert [line["input"] for line in read_manifest(tmp_path)] == ["a"]
