"""Shards: the same bytes from the same samples, whole after any stop, readable without this package."""

from __future__ import annotations

import errno
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from sample_fixtures import disc_folder, disc_sample, write_folder

from orbit4d.data import shards
from orbit4d.data.plan import RenderPlan
from orbit4d.data.sample import load_sample, save_sample, tar_contents
from orbit4d.data.sample_set import is_sample_folder, open_samples
from orbit4d.data.shards import verify_shards, write_shards
from orbit4d.errors import InputError
from orbit4d.files import lock_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return disc_folder(tmp_path_factory.mktemp("rendered") / "data", count=7, dropped=2)


@pytest.fixture
def small_shards(monkeypatch):
    """Two samples a shard: sizes below a MiB, which the command does not offer."""
    monkeypatch.setattr(shards, "MIB", 90_000)


def _write(folder: Path, out: Path, **options):
    return write_shards(folder, out=out, shard_mib=1, progress=False, **options)


def _files(out: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(out.iterdir())}


def test_kept_samples_come_back_whole(folder, tmp_path, small_shards):
    summary = _write(folder, tmp_path / "out")
    assert summary.samples == 5 and summary.shards > 1
    assert verify_shards(tmp_path / "out", progress=False) == summary
    back = open_samples(tmp_path / "out")
    assert sorted(back.keys) == [f"disc_{i}__000" for i in range(5)] != back.keys
    for sample in back:
        original = load_sample(folder / "samples" / f"{sample.key}.tar")
        assert sample.members == original.members and sample.meta == original.meta
    assert back["disc_3__000"].key == "disc_3__000"
    assert all((tmp_path / "out" / f"shard-{i:06d}.tar").stat().st_size <= 90_000 for i in range(summary.shards))


def test_bytes_depend_on_samples_and_seed_only(folder, tmp_path, small_shards):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    lines = (folder / "curation.jsonl").read_text().splitlines(keepends=True)
    (other / "curation.jsonl").write_text("".join(reversed(lines)))  # as if other workers had finished first
    for name, source, seed in (("a", folder, 0), ("b", other, 0), ("c", folder, 1)):
        _write(source, tmp_path / name, seed=seed)
    assert _files(tmp_path / "a") == _files(tmp_path / "b")
    assert open_samples(tmp_path / "a").keys != open_samples(tmp_path / "c").keys


def test_index_tells_counts_captions_and_motion(folder, tmp_path):
    _write(folder, tmp_path / "out", include_dropped=True)
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert index["samples"] == 7 and index["kinds"] == {"disc": 7}
    assert index["captions"] == {"total": 14, "distinct": 2, "sources": {"render": 14}}
    assert index["plan"] == json.loads((folder / "plan.json").read_text())
    assert index["motion"]["samples"] == 7 and len(index["motion"]["log_m_quantiles"]) == 21
    assert (
        index["motion"]["log_m_quantiles"][0] < index["motion"]["log_m_mean"] < index["motion"]["log_m_quantiles"][-1]
    )


class Stopped(Exception):
    pass


def test_a_stopped_run_goes_on(folder, tmp_path, small_shards, monkeypatch):
    _write(folder, tmp_path / "whole")
    out, write = tmp_path / "out", shards._write_shard
    written = []

    def stop_at_second(folder, out, shard):
        written.append(shard.name)
        if len(written) == 2:
            raise Stopped
        return write(folder, out, shard)

    with monkeypatch.context() as patch:
        patch.setattr(shards, "_write_shard", stop_at_second)
        with pytest.raises(Stopped):
            _write(folder, out)
        assert not (out / "index.json").exists()
        before = (out / "shard-000000.tar").stat().st_mtime_ns
        _write(folder, out)
    assert written.count("shard-000000.tar") == 1
    assert (out / "shard-000000.tar").stat().st_mtime_ns == before
    assert _files(out) == _files(tmp_path / "whole")


def test_only_what_is_damaged_is_written_again(folder, tmp_path, small_shards, monkeypatch):
    _write(folder, tmp_path / "out")
    good, write, written = _files(tmp_path / "out"), shards._write_shard, []
    monkeypatch.setattr(shards, "_write_shard", lambda f, o, s: written.append(s.name) or write(f, o, s))
    _write(folder, tmp_path / "out")
    assert written == []
    file = tmp_path / "out" / "shard-000001.tar"
    file.write_bytes(good[file.name][:-1] + b"x")
    _write(folder, tmp_path / "out")
    assert written == ["shard-000001.tar"] and _files(tmp_path / "out") == good


def test_a_smaller_set_leaves_no_old_shards(folder, tmp_path, small_shards):
    _write(folder, tmp_path / "out", include_dropped=True)
    more = len(_files(tmp_path / "out"))
    _write(folder, tmp_path / "out")
    assert len(_files(tmp_path / "out")) < more
    verify_shards(tmp_path / "out", progress=False)


_KILLED = """
import sys
from pathlib import Path
from orbit4d.data import shards
shards.MIB = 90_000
write = shards._add_sample
def stop(tar, file, line, added=[]):
    added.append(file)
    if len(added) == 4:
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
    return write(tar, file, line)
shards._add_sample = stop
shards.write_shards(sys.argv[1], out=sys.argv[2], shard_mib=1, seed=3, include_dropped=True, progress=False)
"""


def test_what_killed_runs_leave_is_gone_at_the_end(folder, tmp_path, small_shards):
    """A run with all samples and another seed is killed, one with fewer samples follows: only its shards remain."""
    _write(folder, tmp_path / "whole")
    out = tmp_path / "out"
    _write(folder, out, include_dropped=True)
    killed = subprocess.run([sys.executable, "-c", _KILLED, folder, out], check=False)
    assert killed.returncode == -9 and not (out / "index.json").exists()
    assert len([name for name in _files(out) if re.fullmatch(r"\.shard-\d{6}\..+\.tar", name)]) == 1
    (out / "..shard-000000.tar.x1_y2z3a.json").write_text("{")
    (out / ".index.x1_y2z3a.json").write_text("{")
    (out / "shard-000009.tar").write_bytes(b"of no index")
    (out / "mine.txt").write_text("not of shards")
    _write(folder, out)
    (out / "mine.txt").unlink()
    assert _files(out) == _files(tmp_path / "whole")


def test_shards_of_other_data_are_not_replaced(folder, tmp_path):
    _write(folder, tmp_path / "out")
    plan = RenderPlan(size=16, frames=4, outputs=())
    other = write_folder(tmp_path / "other", [disc_sample(plan, key="elsewhere")], plan=plan)
    before = _files(tmp_path / "out")
    with pytest.raises(InputError, match="shards of other samples"):
        _write(other, tmp_path / "out")
    assert _files(tmp_path / "out") == before


def test_every_bad_shard_is_named(folder, tmp_path, small_shards):
    _write(folder, tmp_path)
    first, second = sorted(tmp_path.glob("shard-*.tar"))[:2]
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=rf"2 of \d+ shards .*{first.name}, {second.name}"):
        verify_shards(tmp_path, progress=False)


def test_two_runs_do_not_write_one_folder(folder, tmp_path):
    with lock_folder(tmp_path), pytest.raises(InputError, match="another run is writing there"):
        _write(folder, tmp_path)
    _write(folder, tmp_path)


def test_a_full_disk_is_one_line(folder, tmp_path, small_shards, monkeypatch):
    def full(tar, file, line):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shards, "_add_sample", full)
        with pytest.raises(InputError, match="No space left"):
            _write(folder, tmp_path / "out")
    _write(folder, tmp_path / "out")
    verify_shards(tmp_path / "out", progress=False)


@pytest.mark.parametrize("text", ["{", "[" * 9999, "{}", '{"format": "orbit4d-shards", "version": 0}', None])
def test_a_damaged_index_is_written_again(folder, tmp_path, small_shards, text):
    out = tmp_path / "out"
    _write(folder, out)
    good = _files(out)
    index = json.loads((out / "index.json").read_text())
    del index["shards"][0]["samples"][0]["captions"]
    (out / "index.json").write_text(text or json.dumps(index))
    (out / ".shard-000000.tar.json").write_text("[" if text else json.dumps(index["shards"][0]))
    _write(folder, out)
    assert _files(out) == good


def test_webdataset_reads_them(folder, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    _write(folder, tmp_path / "out")
    url = str(tmp_path / "out" / "shard-000000.tar")
    read = list(webdataset.WebDataset(url, shardshuffle=False).decode("pil"))
    assert [s["__key__"] for s in read] == open_samples(tmp_path / "out").keys
    assert read[0]["json"]["captions"] == ["a disc moving", "a disc"]
    assert read[0]["v00t00.rgba.png"].size == (16, 16)


def test_tarfile_agrees_with_the_fast_reader(folder, tmp_path):
    _write(folder, tmp_path / "out")
    data = (tmp_path / "out" / "shard-000000.tar").read_bytes()
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as tar:
        expected = [(i.name, tar.extractfile(i).read()) for i in tar]
        end = tar.offset
    assert tar_contents(data[:end], source="x") == expected


def _flip(out: Path) -> None:
    data = bytearray((out / "shard-000000.tar").read_bytes())
    data[len(data) // 2] ^= 1
    (out / "shard-000000.tar").write_bytes(data)


def _no_tar(out: Path) -> None:
    """As large as the shard, its checksum in the index, and no tar file."""
    data = b"x" * (out / "shard-000000.tar").stat().st_size
    (out / "shard-000000.tar").write_bytes(data)
    _edit(out, sha256=hashlib.sha256(data).hexdigest())


def _edit(out: Path, **changes) -> None:
    index = json.loads((out / "index.json").read_text())
    index["shards"][0] |= changes
    (out / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    "damage",
    [
        _flip,
        lambda out: (out / "shard-000000.tar").unlink(),
        lambda out: (out / "shard-000000.tar").write_bytes(b"short"),
        _no_tar,
        lambda out: (out / "index.json").write_text("{}"),
        lambda out: (out / "index.json").write_text("[" * 9999),
        lambda out: _edit(out, file="../shard-000000.tar"),
        lambda out: _edit(out, samples=[{"key": "a", "offset": 0, "length": 10**12}]),
        lambda out: _edit(out, samples=[{"key": "a", "offset": 7, "length": 1024}]),
        lambda out: _edit(out, sha256=None),
    ],
)
def test_damage_is_one_line(folder, tmp_path, damage):
    _write(folder, tmp_path / "out")
    damage(tmp_path / "out")
    with pytest.raises(InputError) as error:
        verify_shards(tmp_path / "out", progress=False)
    assert "\n" not in str(error.value) and ("shard-000000.tar" in str(error.value) or "index" in str(error.value))


def test_reading_a_shard_that_was_cut_or_overwritten_later(folder, tmp_path):
    _write(folder, tmp_path / "out")
    samples = open_samples(tmp_path / "out")
    file = tmp_path / "out" / "shard-000000.tar"
    whole = file.read_bytes()
    file.write_bytes(whole[: samples.entries[1].offset + 700])
    assert samples[0].key == samples.keys[0]
    with pytest.raises(InputError, match=r"shard-000000\.tar: cut short"):
        samples[1]
    file.write_bytes(b"\1" * len(whole))
    with pytest.raises(InputError, match="damaged tar header"):
        samples[0]


def test_bad_requests_are_one_line(folder, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(folder, bare)
    (bare / "curation.jsonl").unlink()
    with pytest.raises(InputError, match="not curated"):
        _write(bare, tmp_path / "out")
    assert _write(bare, tmp_path / "out", include_dropped=True).samples == 7
    with pytest.raises(InputError, match="--out"):
        _write(folder, folder)
    with pytest.raises(InputError, match="--shard-mib"):
        write_shards(folder, out=tmp_path / "x", shard_mib=0)
    (bare / "samples" / "disc_0__000.tar").unlink()
    with pytest.raises(InputError, match=r"disc_0__000\.tar"):
        _write(bare, tmp_path / "y", include_dropped=True)
    with pytest.raises(InputError, match="no such folder"):
        open_samples(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no samples"):
        open_samples(tmp_path / "empty")


def test_samples_rendered_after_curation_are_not_left_out_silently(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    lines = (copy / "curation.jsonl").read_text().splitlines(keepends=True)
    (copy / "curation.jsonl").write_text("".join(lines[1:]))
    with pytest.raises(InputError, match=r"curation\.jsonl: 1 samples were rendered after it"):
        _write(copy, tmp_path / "out", include_dropped=True)


def test_samples_rendered_again_after_curation_do_not_keep_the_old_one(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    lines = [json.loads(line) for line in (copy / "manifest.jsonl").read_text().splitlines()]

    def manifest(*lines: dict) -> None:
        (copy / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    sample = disc_sample(RenderPlan(frames=5, size=16), key="disc_0__000", radius=5)
    save_sample(sample, copy / "samples" / "disc_0__000.tar")
    digest = hashlib.sha256((copy / "samples" / "disc_0__000.tar").read_bytes()).hexdigest()
    manifest(*lines, lines[0] | {"sha256": digest})
    for call in (lambda: open_samples(copy), lambda: _write(copy, tmp_path / "out")):
        with pytest.raises(InputError, match=r"1 samples were rendered again after it, e\.g\. disc_0__000; curate"):
            call()
    manifest(*lines[1:])
    with pytest.raises(InputError, match=r"1 samples that it lists are no longer.*disc_0__000; curate"):
        open_samples(copy)
    manifest(*lines, lines[0] | {"status": "failed", "sample": None, "sha256": None})
    with pytest.raises(InputError, match="no longer"):
        open_samples(copy)
    manifest(*lines[:-2], lines[-1])  # a dropped one is gone: only whoever wants it is told
    assert len(open_samples(copy)) == 5
    with pytest.raises(InputError, match="no longer"):
        _write(copy, tmp_path / "out", include_dropped=True)


def test_a_sample_that_changed_after_curation_is_refused(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    shutil.copy(copy / "samples" / "disc_1__000.tar", copy / "samples" / "disc_0__000.tar")
    with pytest.raises(InputError, match=r"disc_0__000\.tar.*curate"):
        _write(copy, tmp_path / "out")


def test_folders_open_without_sharding(folder, tmp_path):
    assert open_samples(folder).keys == [f"disc_{i}__000" for i in range(5)]
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    lines = [json.loads(line) for line in (copy / "curation.jsonl").read_text().splitlines()]
    lines[0]["captions"] = ["what a captioner saw"]
    (copy / "curation.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"torn')
    assert open_samples(copy)[0].captions == ["what a captioner saw"]
    _write(copy, tmp_path / "out")
    assert open_samples(tmp_path / "out")["disc_0__000"].captions == ["what a captioner saw"]
    (copy / "curation.jsonl").unlink()
    assert len(open_samples(copy)) == 7
    (copy / "manifest.jsonl").unlink()
    assert len(open_samples(copy)) == len(open_samples(copy / "samples")) == 7
    assert is_sample_folder(copy) and is_sample_folder(copy / "samples") and not is_sample_folder(tmp_path)
