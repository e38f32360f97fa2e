"""Curating a rendered folder: every input once, other thresholds without frames, damage and duplicates named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from curation_fixtures import curation_lines, disc, failed, make_sample, rendered, write_manifest

from orbit4d.data import curate
from orbit4d.data.curate import Measured, curate_folder, read_manifest
from orbit4d.data.curation import CurationRules
from orbit4d.errors import InputError

RULES = CurationRules()


def run(folder: Path, rules: CurationRules = RULES, **options):
    return curate_folder(folder, rules=rules, progress=False, **({"report": False} | options))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two that move, one that rests, one failed file and one without animation, in this order."""
    records = [
        rendered(tmp_path, make_sample(disc(step=0.25), key="slow"), motion_magnitude=0.01),
        failed("sub/broken.glb", cause="unreadable", reason="sub/broken.glb: damaged glTF; export the file again"),
        rendered(tmp_path, make_sample(disc(), key="still"), motion_magnitude=0.0),
        rendered(tmp_path, make_sample(disc(step=0.33, radius=0.15), key="fast"), motion_magnitude=0.04),
        failed("statue.glb", cause="no-animation", reason="statue.glb: has no animation"),
    ]
    write_manifest(tmp_path, records)
    return tmp_path


def test_every_input_once_in_the_manifests_order(folder: Path) -> None:
    summary = run(folder)
    lines = curation_lines(folder)
    assert [line["key"] for line in lines] == ["slow", "sub_broken_glb", "still", "fast", "statue_glb"]
    assert [line["rule"] for line in lines] == [None, "unreadable", "static", None, "no-animation"]
    assert (summary.total, summary.kept, summary.dropped) == (5, 2, 3)
    assert summary.by_rule == {"no-animation": 1, "static": 1, "unreadable": 1}
    assert [line["motion_quantile"] for line in lines] == [0.0, None, None, 1.0, None]
    assert "SSIM 1.000 at 1/4" in lines[2]["reason"]
    assert lines[1]["reason"] == "sub/broken.glb: damaged glTF; export the file again" and lines[1]["measures"] == {}
    for line in lines:
        assert set(line) >= {
            "key", "input", "animation", "animation_name", "decision", "rule", "reason", "measures", "motion_magnitude",
            "motion_quantile", "sample", "sha256", "captions", "kind",
        }  # fmt: skip
        assert (line["decision"] == "kept") == (line["rule"] is None) == (line["reason"] is None)


def test_other_thresholds_need_no_frames(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(folder)
    first = (folder / "curation.jsonl").read_bytes()

    def refuse(*_):
        raise AssertionError("frames were read again")

    monkeypatch.setattr(curate, "measure_file", refuse)
    assert run(folder, CurationRules(static_ssim=1.0)).kept == 3
    assert run(folder).kept == 2
    assert (folder / "curation.jsonl").read_bytes() == first


def test_a_sample_rendered_again_is_measured_again(folder: Path) -> None:
    run(folder)
    records = read_manifest(folder)
    records[2] = rendered(folder, make_sample(disc(step=0.3), key="still"))
    write_manifest(folder, records)
    assert run(folder).kept == 3


@pytest.mark.parametrize("damage", ["truncated", "absent", "other", "garbage"])
def test_damaged_samples_are_dropped_with_a_reason(folder: Path, damage: str) -> None:
    path = folder / "samples" / "slow.tar"
    data = path.read_bytes()
    match damage:
        case "truncated":
            path.write_bytes(data[: len(data) // 2])
        case "absent":
            path.unlink()
        case "other":
            path.write_bytes((folder / "samples" / "fast.tar").read_bytes())
        case "garbage":
            path.write_bytes(b"x" * len(data))
    run(folder)
    line = curation_lines(folder)[0]
    assert line["decision"] == "dropped" and line["rule"] == "unreadable" and line["measures"] == {}
    assert "\n" not in line["reason"] and str(folder) not in line["reason"]


def test_damaged_frames_are_dropped_with_a_reason(tmp_path: Path) -> None:
    sample = make_sample(disc(step=0.25), key="torn")
    sample.members["v03t03.rgba.png"] = sample.members["v03t03.rgba.png"][:60]
    write_manifest(tmp_path, [rendered(tmp_path, sample), rendered(tmp_path, make_sample(disc(step=0.3), key="good"))])
    assert run(tmp_path).by_rule == {"unreadable": 1}
    assert "v03t03.rgba.png" in curation_lines(tmp_path)[0]["reason"]


def test_duplicates_name_the_first_that_is_kept(tmp_path: Path) -> None:
    keys = ["one", "two", "still_1", "still_2"]
    draws = [disc(step=0.25), disc(step=0.25), disc(), disc()]
    write_manifest(tmp_path, [rendered(tmp_path, make_sample(d, key=k)) for k, d in zip(keys, draws, strict=True)])
    assert run(tmp_path).by_rule == {"duplicate": 1, "static": 2}
    assert curation_lines(tmp_path)[1]["reason"] == "exactly the frames of one, which is kept"
    assert run(tmp_path, CurationRules(duplicates=False)).kept == 2


def test_processes_agree_with_this_one(tmp_path: Path) -> None:
    records = [rendered(tmp_path, make_sample(disc(step=0.02 * i), key=f"k{i}")) for i in range(10)]
    (tmp_path / "samples" / "k3.tar").write_bytes(b"")
    write_manifest(tmp_path, records)
    run(tmp_path, workers=2)
    several = (tmp_path / "curation.jsonl").read_bytes()
    (tmp_path / "curation" / "measures.jsonl").unlink()
    run(tmp_path, workers=1)
    assert (tmp_path / "curation.jsonl").read_bytes() == several


def _fatal(_: str | None, path: str, thumbnail: str) -> Measured:
    """Stands for a sample that takes all memory: its process is gone."""
    if thumbnail == "fatal":
        os._exit(1)
    return Measured(measures={"length": float(len(path))})


def test_a_sample_that_ends_its_process_is_dropped_alone() -> None:
    jobs = [(f"k{i}", None, "x" * i, "fatal" if i == 0 else "") for i in range(9)]
    found = dict(curate._run(jobs, workers=2, task=_fatal))
    assert sorted(found) == [f"k{i}" for i in range(9)]
    assert [key for key, m in found.items() if m.problem] == ["k0"] and found["k0"].rule == "crash"
    assert all(found[f"k{i}"].measures == {"length": i} for i in range(1, 9))


def test_a_killed_run_continues(folder: Path) -> None:
    run(folder)
    whole = (folder / "curation.jsonl").read_bytes()
    cache = folder / "curation" / "measures.jsonl"
    for torn in (b"", b'{"key": "slow"', b"\xff\xfe\n[1]\nnull\n" + cache.read_bytes()[:-20], b"[" * 100000):
        cache.write_bytes(torn)
        run(folder)
        assert (folder / "curation.jsonl").read_bytes() == whole
        assert len(cache.read_text().splitlines()) == 3


def test_torn_manifests_and_second_attempts(folder: Path) -> None:
    records = read_manifest(folder)
    again = failed("statue.glb", cause="timeout", reason="took longer than 120 s")
    write_manifest(folder, [*records, again], torn='{"input": "half')
    found = read_manifest(folder)
    assert len(found) == 5 and found[4]["cause"] == "timeout"


@pytest.mark.parametrize(
    "line",
    [
        '{"input": "half',
        "[]",
        "{}",
        json.dumps(failed("a.glb", cause="error", reason="x") | {"key": "../a"}),
        json.dumps(failed("a.glb", cause="error", reason="x") | {"status": "rendered", "sample": "/etc/passwd"}),
        json.dumps(failed("a.glb", cause="error", reason="x") | {"captions": [1]}),
        json.dumps(failed("a.glb", cause="error", reason="x") | {"motion_magnitude": float("nan")}),
        json.dumps(failed("other.glb", cause="error", reason="x") | {"key": "slow"}),
    ],
)
def test_bad_manifest_lines_are_refused_in_one_line(folder: Path, line: str) -> None:
    with open(folder / "manifest.jsonl", "a") as handle:
        handle.write(line + "\n")
    with pytest.raises(InputError, match=r"manifest\.jsonl") as error:
        run(folder)
    assert "\n" not in str(error.value)


def test_not_a_rendered_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="render assets"):
        run(tmp_path)
    with pytest.raises(InputError, match="--workers"):
        run(tmp_path, workers=0)
