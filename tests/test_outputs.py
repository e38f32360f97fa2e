"""Output folders: nothing of the user's is replaced, and what cannot be replaced is refused before anything is computed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orbit4d.errors import InputError
from orbit4d.files import atomic_folder, atomic_path, parse_json
from orbit4d.outputs import output_folder


def _earlier_output(folder: Path) -> Path:
    (folder / "clip").mkdir(parents=True)
    (folder / "report.json").write_text('{"program": "orbit4d"}')
    for name in ("clip/transforms.json", "clip/frame_000.png", "scene.html", "scene.safetensors", "orbit.mp4"):
        (folder / name).write_text("old")
    return folder


def test_an_earlier_output_is_replaced_whole(tmp_path: Path) -> None:
    out = _earlier_output(tmp_path / "out")
    (out / ".DS_Store").write_text("litter")
    with output_folder(out) as folder:
        (folder / "new").write_text("")
    assert [p.name for p in out.iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    "name", ["notes.txt", "clip/mine.png", "frames/gt_000.png", "empty/", "scene.html.bak", "clip/deep/frame_000.png"]
)
def test_an_earlier_output_with_files_of_the_user_is_kept(tmp_path: Path, name: str) -> None:
    out = _earlier_output(tmp_path / "out")
    if name.endswith("/"):
        (out / name).mkdir()
    else:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("precious")
    before = sorted(tmp_path.rglob("*"))
    foreign = name if name.count("/") == 0 or name == "clip/mine.png" else name[: name.rindex("/") + 1]
    with pytest.raises(InputError, match=rf"--out: .* \({foreign}\)"), output_folder(out):
        pytest.fail("computed first")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("report", ["", "[" * 100_000, '{"program": %s}' % ("9" * 5000), "[1]"])
def test_a_folder_with_another_report_is_kept(tmp_path: Path, report: str) -> None:
    (tmp_path / "report.json").write_text(report)
    with pytest.raises(InputError, match="not empty"), output_folder(tmp_path):
        pytest.fail("computed first")


@pytest.mark.parametrize("out", [".", "", "..", "../here", "inner/..", "/"])
def test_the_current_folder_cannot_be_replaced(tmp_path: Path, out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    for place in (output_folder, atomic_folder):
        with pytest.raises(InputError, match="current folder") as caught, place(out):
            pytest.fail("computed first")
        assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["here", "inner"]


def test_mount_points_and_loops_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InputError, match="loop"), output_folder(tmp_path / "loop"):
        pytest.fail("computed first")
    monkeypatch.setattr(Path, "is_mount", lambda self: self == tmp_path / "volume")
    with pytest.raises(InputError, match="mount point"), output_folder(tmp_path / "volume"):
        pytest.fail("computed first")


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    with output_folder(tmp_path / "out") as folder:
        (folder / "new").write_text("")
    assert (tmp_path / "out").is_symlink()
    assert [p.name for p in (tmp_path / "disk").iterdir()] == ["new"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["disk", "out"]


def test_what_a_killed_process_left_is_removed_and_what_another_writes_is_not(tmp_path: Path) -> None:
    left, kept, mine = (tmp_path / name for name in (".out.unfinished-a", ".out2.unfinished-a", ".out.notes"))
    for folder in (left, kept, mine):
        folder.mkdir()
        (folder / "scene.html").write_text("half")
        os.utime(folder, (0, 0))
    with atomic_folder(tmp_path / "out") as first:
        os.utime(first, (0, 0))
        with atomic_folder(tmp_path / "out") as second:  # another run: the first still writes
            assert first.is_dir() and not left.exists()
            (second / "a").write_text("")
        (first / "b").write_text("")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".out.notes", ".out2.unfinished-a", "out"]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["b"]


def test_a_file_does_not_replace_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found a folder"), atomic_path(tmp_path):
        pytest.fail("computed first")


def test_json_of_any_size_and_depth() -> None:
    assert parse_json(b'{"a": [1, 2.5, -3]}', source="file") == {"a": [1, 2.5, -3]}
    assert parse_json("1" + "0" * 400, source="file") == float("inf")
    assert parse_json("-" + "9" * 5000, source="file") == -float("inf")
    for text in ("[" * 100_000, "{", b"\xff", ""):
        with pytest.raises(InputError, match=r"^file: expected JSON"):
            parse_json(text, source="file")
