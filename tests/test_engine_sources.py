"""What the inputs of a rendering run name, and Objaverse from a small copy of its layout."""

from __future__ import annotations

import gzip
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from engine_fixtures import PLAN, lines_of, several
from hypothesis import given
from hypothesis import strategies as st

from orbit4d.data import objaverse as catalogue
from orbit4d.data import sources
from orbit4d.data.engine import render_assets
from orbit4d.data.sample import KEY, load_sample
from orbit4d.data.sources import Source, content_digest, find_sources, signature
from orbit4d.errors import InputError


def names(*inputs: object, **more: Any) -> list[str]:
    return [source.input for source in find_sources([Path(str(entry)) for entry in inputs], **more)]


def refused(match: str, *inputs: object, **more: Any) -> None:
    with pytest.raises(InputError, match=match) as error:
        names(*inputs, **more)
    assert "\n" not in str(error.value)


def test_folders_files_and_lists(tmp_path: Path) -> None:
    folder = tmp_path / "assets"
    for name in ("b.glb", "a/deep/scene.gltf", "a/x.GLB", ".hidden.glb", ".git/y.glb", "a/readme.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    outside = tmp_path / "outside.glb"
    outside.write_text("")
    (folder / "link.glb").symlink_to(outside)
    (folder / "inner.glb").symlink_to(folder / "b.glb")
    (folder / "linked").symlink_to(tmp_path)
    found = find_sources([folder])
    assert [s.input for s in found] == ["b.glb", "inner.glb", "link.glb", "a/x.GLB", "a/deep/scene.gltf"]
    assert [s.input for s in found if s.problem] == ["link.glb"]
    assert names(folder / "b.glb", outside) == ["b.glb", "outside.glb"]
    listing = folder / "list.txt"
    listing.write_text(f"# a list\n\na/x.GLB\n../outside.glb\nabsent.glb\n{folder}/b.glb\n" + "objaverse:" + "0" * 32)
    listed = find_sources([listing], objaverse_root=mirror(tmp_path / "mirror", {}))
    assert [s.input for s in listed] == ["a/x.GLB", "../outside.glb", "absent.glb", "b.glb", "0" * 32]
    assert [s.input for s in listed if s.problem] == ["absent.glb", "0" * 32]
    # A file that is named twice is one source.
    assert names(folder, folder / "b.glb", listing, objaverse_root=tmp_path / "mirror").count("b.glb") == 1


def test_refused_inputs(tmp_path: Path) -> None:
    refused("got none")
    refused("no such file", tmp_path / "absent")
    refused("holds no .glb", tmp_path)
    (tmp_path / "list.txt").write_text("\n# nothing\n")
    refused("found none", tmp_path / "list.txt")
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe")
    refused("expected UTF-8", tmp_path / "list.txt")
    (tmp_path / "list.txt").write_text("objaverse:../../x\n")
    refused("32 hexadecimal", tmp_path / "list.txt")
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.glb").write_text(folder)
    refused("both are called 'same.glb'", tmp_path / "one", tmp_path / "two")
    assert len(names(tmp_path)) == 2


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200), unique=True))
def test_keys_are_file_names_and_differ(inputs: list[str]) -> None:
    keys = {Source(path=Path(name), input=name, root=Path()).key(k) for name in inputs for k in (None, 0, 12, 1234)}
    assert len(keys) == 4 * len(inputs)
    assert all(KEY.fullmatch(key) for key in keys)


def test_the_digest_covers_the_files_that_a_gltf_names(tmp_path: Path) -> None:
    path, part = tmp_path / "scene.gltf", tmp_path / "a part.bin"
    document = {"buffers": [{"uri": "a%20part.bin"}, {"uri": "data:x"}], "images": [{"uri": "../secret"}, 3]}
    document["images"].pop()
    path.write_text(json.dumps(document))
    assert content_digest(path) == (None, [])
    part.write_text("one")
    first, stats = content_digest(path)
    assert first and stats == signature(path) and len(stats) == 2
    part.write_text("other")
    assert content_digest(path)[0] != first and signature(path) != stats
    for junk in ("[1]", "[" * 9999, '{"buffers": 3}', '{"buffers": [{"uri": "a\\u0000"}]}'):
        path.write_text(junk)
        assert content_digest(path)[0]


def test_what_a_gltf_names_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file must not keep the parent, which nobody watches, busy."""
    path, part = tmp_path / "scene.gltf", tmp_path / "part.bin"
    part.write_bytes(b"x" * 2**22)
    path.write_text(
        json.dumps({"buffers": [{"uri": name} for name in ("part.bin", "./part.bin", "p%61rt.bin")] * 60_000})
    )
    reads: list[Path] = []
    original = Path.stat

    def stat(self: Path, **more: Any) -> os.stat_result:
        reads.append(self)
        return original(self, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", stat)
        digest, stats = content_digest(path)
    assert digest and len(stats) == 2 and len(reads) < 20
    path.write_text(json.dumps({"buffers": [{"uri": f"{i}.bin"} for i in range(sources.MAX_COMPANIONS + 1)]}))
    assert content_digest(path) == (None, []) and signature(path) == []
    path.write_text(json.dumps({"buffers": [{"uri": "part.bin"}]}))
    assert content_digest(path)[0]
    for name, limit in (("MAX_DECODED", 2**22), ("MAX_JSON", 10), ("MAX_JSON_VALUES", 2)):
        with monkeypatch.context() as patch:
            patch.setattr(sources, name, limit)
            assert content_digest(path) == (None, []), name


def test_the_longest_key_still_names_a_sample() -> None:
    for name in ("x" * 300, "x/" * 150, "é" * 300):
        source = Source(path=Path(name), input=name + ".glb", root=Path())
        for animation in (None, 0, 999, 1000, 1999, 999_999_999):
            assert KEY.fullmatch(source.key(animation))
    assert len(source.key(0)) < len(source.key(1999))


def test_a_folder_and_one_inside_it_hold_a_file_once(tmp_path: Path) -> None:
    (tmp_path / "all" / "sub").mkdir(parents=True)
    for name in ("a.glb", "sub/b.glb"):
        (tmp_path / "all" / name).write_text(name)
    (tmp_path / "all" / "c.glb").symlink_to(tmp_path / "all" / "a.glb")  # a file of its own: it has its own name
    (tmp_path / "linked").symlink_to(tmp_path / "all" / "sub")
    everything, sub = tmp_path / "all", tmp_path / "all" / "sub"
    assert names(everything) == ["a.glb", "c.glb", "sub/b.glb"]
    assert names(everything, sub, sub / "b.glb", tmp_path / "linked") == ["a.glb", "c.glb", "sub/b.glb"]
    assert names(sub, everything) == ["b.glb", "a.glb", "c.glb"]


def mirror(root: Path, assets: dict[str, bytes], *, counts: dict[str, int] | None = None) -> Path:
    """A copy of Objaverse's layout with these assets; ids in `counts` have metadata."""
    (root / "metadata").mkdir(parents=True)
    paths = {uid: f"glbs/000-00{i % 2}/{uid}.glb" for i, uid in enumerate([*assets, *(counts or {})])}
    for uid, data in assets.items():
        (root / paths[uid]).parent.mkdir(parents=True, exist_ok=True)
        (root / paths[uid]).write_bytes(data)
    for shard in ("000-000", "000-001"):
        table = {
            uid: {"name": f"thing {uid[:2]}", "license": "by", "animationCount": count, "tags": [{"name": "toy"}]}
            for uid, count in (counts or {}).items()
            if shard in paths[uid]
        }
        (root / "metadata" / f"{shard}.json.gz").write_bytes(gzip.compress(json.dumps(table).encode()))
    (root / "object-paths.json.gz").write_bytes(gzip.compress(json.dumps(paths).encode()))
    lvis = {"dog": list(assets)[:1]}
    (root / "lvis-annotations.json.gz").write_bytes(gzip.compress(json.dumps(lvis).encode()))
    return root


A, B, C, D = ("ab" * 16, "cd" * 16, "ef" * 16, "01" * 16)


def test_objaverse_from_a_local_copy(tmp_path: Path) -> None:
    root = mirror(tmp_path / "hf", {A: several(["walk"]), B: several(["run"], seed=1)}, counts={A: 1, C: 0, D: 2})
    uids = tmp_path / "uids.txt"
    uids.write_text(f"{A}\n{C}\n")
    assert names(f"objaverse:{uids}", objaverse_root=root) == [A, C]
    assert names("objaverse:all", objaverse_root=root) == sorted([A, B, C, D])
    assert names(f"objaverse:{B}", f"objaverse:{A}", objaverse_root=root) == [A, B]
    out = tmp_path / "out"
    summary = render_assets([Path("objaverse:all")], out=out, plan=PLAN, workers=1, progress=False, objaverse_root=root)
    assert (summary.inputs, summary.rendered, summary.causes) == (4, 2, {"no-animation": 1, "unreadable": 1})
    lines = {line["input"]: line for line in lines_of(out)}
    assert "is missing" in lines[D]["reason"] and "count no animation" in lines[C]["reason"]
    sample = load_sample(out / lines[A]["sample"])
    assert sample.meta["license"] == "by" and sample.meta["metadata"]["title"] == f"thing {A[:2]}"
    assert sample.meta["metadata"]["category"] == "dog" and sample.meta["metadata"]["tags"] == "toy"
    again = render_assets([Path("objaverse:all")], out=out, plan=PLAN, progress=False, objaverse_root=root)
    assert (again.rendered, again.reused, again.failed) == (0, 2, 2)


def test_tables_that_are_not_objaverses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused("no copy of Objaverse", "objaverse:all", objaverse_root=tmp_path)
    refused("expected an id", "objaverse:dog", objaverse_root=tmp_path)
    table = tmp_path / "object-paths.json.gz"
    for data, match in (
        (gzip.compress(json.dumps({A: "../../etc/passwd"}).encode()), "expected id ->"),
        (gzip.compress(json.dumps({A: f"/glbs/000-000/{A}.glb"}).encode()), "expected id ->"),
        (gzip.compress(json.dumps({"x": f"glbs/000-000/{A}.glb"}).encode()), "expected id ->"),
        (gzip.compress(b"[1]"), "expected a JSON object"),
        (gzip.compress(b"{"), "does not parse"),
        (gzip.compress(b"{}" * 999)[:-9], "truncated|parse"),
        (b"not gzip", "cannot be unpacked"),
    ):
        table.write_bytes(data)
        refused(match, "objaverse:all", objaverse_root=tmp_path)
    monkeypatch.setattr(catalogue, "MAX_PATHS", 2**20)
    table.write_bytes(gzip.compress(b" " * 2**23))
    refused("unpacks to more than 1 MiB", "objaverse:all", objaverse_root=tmp_path)


def test_objaverse_by_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is asked for the metadata first, and then only for the objects that move
    and are not there."""
    monkeypatch.setitem(sys.modules, "objaverse", None)
    refused("--objaverse-root, or `pip install", f"objaverse:{A}")
    root = mirror(tmp_path / "hf", {A: b"1"}, counts={A: 1, B: 0, C: 3})
    asked: list[list[str]] = []

    def load_objects(uids: list[str]) -> dict[str, str]:
        asked.append(sorted(uids))
        for uid in uids:
            path = root / catalogue._paths(root)[uid]
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"2")
        return {}

    package = types.SimpleNamespace(
        load_uids=lambda: list(catalogue._paths(root)),
        load_annotations=lambda uids: asked.append(sorted(uids)),
        load_objects=load_objects,
        _VERSIONED_PATH=str(root),
    )
    monkeypatch.setitem(sys.modules, "objaverse", package)
    found = find_sources([Path(f"objaverse:{uid}") for uid in (A, B, C, D)])
    assert asked == [sorted([A, B, C]), [C]]
    assert {s.input: s.problem and s.problem[0] for s in found} == {
        A: None, B: "no-animation", C: None, D: "unreadable",
    }  # fmt: skip
    refused("--objaverse-root", "objaverse:all")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything: permissions cannot be tested")
def test_files_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "a.glb"
    path.write_bytes(several(["walk"]))
    path.chmod(0)
    summary = render_assets([path], out=tmp_path / "out", plan=PLAN, workers=1, progress=False)
    assert summary.causes == {"unreadable": 1}
    path.chmod(0o644)
    assert render_assets([path], out=tmp_path / "out", plan=PLAN, workers=1, progress=False).rendered == 1
