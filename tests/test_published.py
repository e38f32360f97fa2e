"""Published renderings become samples: Diffusion4D's, D-NeRF's, and clips of our own."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import draw_ball, sphere_clip
from curation_fixtures import curation_lines
from PIL import Image
from sample_fixtures import disc_folder

from orbit4d.cameras import Orbit
from orbit4d.clip import OrbitalClip, load_clip
from orbit4d.data import published
from orbit4d.data.clip_sample import sample_from_clips
from orbit4d.data.curate import curate_folder
from orbit4d.data.curation import FRAME_MEASURES, MEASURES, CurationRules
from orbit4d.data.dataset import ShardDataset
from orbit4d.data.manifest import Manifest
from orbit4d.data.published import import_published, samples_from_diffusion4d, samples_from_dnerf
from orbit4d.data.sample_set import open_samples
from orbit4d.data.selection import Selection, rows
from orbit4d.data.shards import verify_shards, write_shards
from orbit4d.errors import InputError

FRAMES = 6


def _ball(orbit: Orbit, times: torch.Tensor, *, front: bool = False) -> OrbitalClip:
    cameras = orbit.cameras(32)
    cameras = cameras[[0] * len(times)] if front else cameras
    rgb, alpha = draw_ball(cameras, times * 0.3, radius=0.4)
    return OrbitalClip(rgb=rgb, alpha=alpha, cameras=cameras, times=times)


def _png(clip: OrbitalClip, i: int) -> Image.Image:
    rgba = (torch.cat([clip.rgb[i], clip.alpha[i]]) * 255).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(rgba)


def _diffusion4d_folder(folder: Path, *, still: int = 1) -> Path:
    """Diffusion4D's files of a rising ball; its static orbit shows time index `still`."""
    folder.mkdir(parents=True)
    orbit = Orbit(frames=FRAMES)
    clips = {
        "multi": _ball(orbit, orbit.times),
        "multi_static": _ball(orbit, orbit.times[still].expand(FRAMES)),
        "front": _ball(orbit, orbit.times, front=True),
    }
    for prefix, clip in clips.items():
        for i in range(FRAMES):
            _png(clip, i).save(folder / f"{prefix}_frame{i}.png")
    for i, pose in enumerate(clips["multi"].cameras.camera_to_world):
        axes = {name: pose[:3, j].tolist() for j, name in enumerate(("x", "y", "z", "origin"))}
        (folder / f"multi{i}.json").write_text(json.dumps(axes | {"x_fov": float(np.radians(39.6))}))
    return folder


def test_diffusion4d_folder_is_a_sample(tmp_path):
    folder = _diffusion4d_folder(tmp_path / "ball")
    (sample,) = samples_from_diffusion4d(tmp_path)
    orbit = Orbit(frames=FRAMES)
    assert sample.key == "ball__000" and sample.meta["static_time"] == 1 and sample.meta["front_view"] == 0
    assert len(sample.meta["camera_to_world"]) == FRAMES - 1  # the last view is the first
    assert sample.meta["orbits"] == [[[i % (FRAMES - 1), i] for i in range(FRAMES)]]
    assert sample.meta["times"] == pytest.approx(orbit.times.tolist())
    torch.testing.assert_close(
        sample.cameras(range(FRAMES - 1)).camera_to_world, orbit.cameras(32).camera_to_world[:-1], atol=1e-5, rtol=0
    )
    for pair, name in (((2, 2), "multi_frame2"), ((3, 1), "multi_static_frame3"), ((0, 4), "front_frame4")):
        np.testing.assert_array_equal(sample.rgba(pair), np.array(Image.open(folder / f"{name}.png")))
    assert sample.meta["motion_magnitude"] > 1e-4
    (small,) = samples_from_diffusion4d(tmp_path, size=16)
    assert small.rgba((0, 0)).shape == (16, 16, 4)
    assert small.meta["intrinsics"][0][0][0] == pytest.approx(sample.meta["intrinsics"][0][0][0] / 2)


def test_imported_folders_are_sharded_and_served(tmp_path):
    for name in ("a/one", "a/two words", "b"):
        _diffusion4d_folder(tmp_path / "root" / name)
    (tmp_path / "root" / "b" / "multi3.json").unlink()
    summary = import_published(tmp_path / "root", out=tmp_path / "out", progress=False)
    assert (summary.inputs, summary.imported, summary.failed, summary.reused) == (3, 2, 1, 0)
    lines = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["rendered", "rendered", "failed"] and "multi3.json" in lines[2][
        "reason"
    ]
    again = import_published(tmp_path / "root", out=tmp_path / "out", progress=False)
    assert (again.imported, again.reused, again.failed) == (0, 2, 1)
    write_shards(tmp_path / "out", out=tmp_path / "shards", include_dropped=True, progress=False)
    assert verify_shards(tmp_path / "shards", progress=False).samples == 2
    selection = {name: Selection(clip=name) for name in ("orbit", "static", "front")}
    batch = next(iter(ShardDataset(tmp_path / "shards", selection=selection, batch=2)))
    assert batch["orbit"]["rgb"].shape == (2, FRAMES, 3, 32, 32)
    assert batch["static"]["times"].unique().tolist() == pytest.approx([1 / (FRAMES - 1)])
    assert batch["front"]["camera_to_world"].unique(dim=1).shape[1] == 1


def _import(root: Path, out: Path, **options) -> tuple[int, int, int]:
    summary = import_published(root, out=out, progress=False, **options)
    return summary.imported, summary.reused, summary.failed


def _lines(out: Path) -> dict[str, dict]:
    return {line["input"]: line for line in map(json.loads, (out / "manifest.jsonl").read_text().splitlines())}


def test_imports_of_several_roots_are_kept(tmp_path):
    for name in ("a/one", "b/two", "c/one"):
        _diffusion4d_folder(tmp_path / name)
    out = tmp_path / "out"
    assert _import(tmp_path / "a", out) == (1, 0, 0)
    assert _import(tmp_path / "b", out) == (1, 0, 0)
    assert sorted(_lines(out)) == ["one", "two"] and len(open_samples(out)) == 2
    whole = (out / "manifest.jsonl").read_bytes()
    with pytest.raises(InputError, match="another object 'one'"):
        _import(tmp_path / "c", out)
    for size in (16, 32):
        with pytest.raises(InputError, match=f"the pictures' own size, now --size {size}"):
            _import(tmp_path / "a", out, size=size)
    assert (out / "manifest.jsonl").read_bytes() == whole
    assert _import(tmp_path / "a", out) == (0, 1, 0)


def test_a_changed_folder_is_imported_again(tmp_path):
    folder, out = _diffusion4d_folder(tmp_path / "root" / "ball"), tmp_path / "out"
    _import(tmp_path / "root", out)
    before = _lines(out)["ball"]["sha256"]
    frame = np.array(Image.open(folder / "multi_frame3.png"))
    frame[frame[..., 3] > 0, 0] = 7
    Image.fromarray(frame).save(folder / "multi_frame3.png")
    assert _import(tmp_path / "root", out) == (1, 0, 0)
    assert _lines(out)["ball"]["sha256"] != before and len((out / "manifest.jsonl").read_text().splitlines()) == 1
    (folder / "multi_frame3.png").write_bytes(b"no image")
    assert _import(tmp_path / "root", out) == (0, 0, 1)
    assert not list((out / "samples").iterdir()) and str(tmp_path) not in _lines(out)["ball"]["reason"]


_KILLED = """
import os, signal, sys
from orbit4d.data import published
save, saved = published.save_sample, []
def stop(sample, path):
    saved.append(path)
    if len(saved) == 2:
        path.with_name(".b__000.x1y2z3.tar").write_bytes(b"torn")
        os.kill(os.getpid(), signal.SIGKILL)
    save(sample, path)
published.save_sample = stop
published.import_published(sys.argv[1], out=sys.argv[2], progress=False)
"""


def test_a_killed_import_goes_on(tmp_path):
    for name in ("a", "b", "c"):
        _diffusion4d_folder(tmp_path / "root" / name)
    out = tmp_path / "out"
    assert subprocess.run([sys.executable, "-c", _KILLED, tmp_path / "root", out], check=False).returncode == -9
    assert _import(tmp_path / "root", out) == (2, 1, 0)
    assert _import(tmp_path / "root", tmp_path / "whole") == (3, 0, 0)
    assert (out / "manifest.jsonl").read_bytes() == (tmp_path / "whole" / "manifest.jsonl").read_bytes()
    assert sorted(f.name for f in (out / "samples").iterdir()) == ["a__000.tar", "b__000.tar", "c__000.tar"]


def test_what_nobody_foresaw_costs_one_folder(tmp_path, monkeypatch):
    for name in ("a", "b"):
        _diffusion4d_folder(tmp_path / "root" / name)
    load = published.load_diffusion4d

    def odd(folder):
        if folder.name == "a":
            raise ZeroDivisionError("of\nnothing")
        return load(folder)

    monkeypatch.setattr(published, "load_diffusion4d", odd)
    assert _import(tmp_path / "root", tmp_path / "out") == (1, 0, 1)
    line = _lines(tmp_path / "out")["a"]
    assert line["cause"] == "error" and line["reason"] == "a: ZeroDivisionError: of nothing"


def test_a_full_disk_ends_the_import_in_one_line(tmp_path, monkeypatch):
    _diffusion4d_folder(tmp_path / "root" / "ball")

    def full(sample, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(published, "save_sample", full)
    with pytest.raises(InputError, match="No space left"):
        _import(tmp_path / "root", tmp_path / "out")
    assert not _lines(tmp_path / "out")


def test_folders_of_other_makers_are_refused(tmp_path):
    _diffusion4d_folder(tmp_path / "root" / "ball")
    rendered = disc_folder(tmp_path / "rendered", count=1)
    with pytest.raises(InputError, match=r"plan\.json"):
        _import(tmp_path / "root", rendered)
    (rendered / "plan.json").unlink()
    before = (rendered / "manifest.jsonl").read_text()
    with pytest.raises(InputError, match=r"manifest\.jsonl"):
        _import(tmp_path / "root", rendered)
    assert (rendered / "manifest.jsonl").read_text() == before
    out = tmp_path / "out"
    with Manifest(out, None), pytest.raises(InputError, match="another run is writing there"):
        _import(tmp_path / "root", out)
    _import(tmp_path / "root", out)
    (out / "import.json").write_text("[]")
    with pytest.raises(InputError, match=r"import\.json"):
        _import(tmp_path / "root", out)
    (out / "import.json").unlink()
    with pytest.raises(InputError, match=r"no import\.json"):
        _import(tmp_path / "root", out)


def _dnerf_folder(folder: Path) -> OrbitalClip:
    clip = sphere_clip(frames=5)
    poses = clip.cameras.to_opengl()
    frames = []
    for i in range(5):
        (folder / "train").mkdir(exist_ok=True)
        _png(clip, i).save(folder / "train" / f"r_{i:03d}.png")
        entry = {"file_path": f"./train/r_{i:03d}", "transform_matrix": poses[i].tolist(), "time": i / 4}
        frames.append(entry)
    document = {"camera_angle_x": float(np.radians(39.6)), "frames": frames}
    (folder / "transforms_train.json").write_text(json.dumps(document))
    (folder / "transforms_test.json").write_text("never read")
    return clip


def test_dnerf_folder_is_a_sample(tmp_path):
    clip = _dnerf_folder(tmp_path)
    (sample,) = samples_from_dnerf(tmp_path)
    back = sample.clip([(i % 4, i) for i in range(5)])
    torch.testing.assert_close(back.alpha, clip.alpha)
    torch.testing.assert_close(back.cameras.camera_to_world, clip.cameras.camera_to_world, atol=1e-5, rtol=0)
    assert sample.meta["orbits"] == [] and sample.meta["motion_magnitude"] is None


def test_imports_can_be_curated(tmp_path):
    """Of D-NeRF there is neither front clip nor static orbit: what there is decides."""
    (tmp_path / "root" / "dnerf").mkdir(parents=True)
    _dnerf_folder(tmp_path / "root" / "dnerf")
    _diffusion4d_folder(tmp_path / "root" / "orbital")
    assert _import(tmp_path / "root", tmp_path / "out") == (2, 0, 0)
    rules = CurationRules(flat=0, static_ssim=1, border=1)
    for _ in range(2):  # the second time from stored measures
        assert curate_folder(tmp_path / "out", rules=rules, progress=False).kept == 2
    lines = {line["input"]: line for line in curation_lines(tmp_path / "out")}
    assert set(lines["dnerf"]["measures"]) == set(FRAME_MEASURES) and lines["dnerf"]["motion_magnitude"] is None
    assert set(lines["orbital"]["measures"]) == set(MEASURES)
    assert len(open_samples(tmp_path / "out")) == 2


def test_clips_of_cameras_that_repeat(tmp_path):
    clip = replace(sphere_clip(frames=5), caption="a ball")
    depth = clip.alpha * 2
    sample = sample_from_clips("x", {"orbit": replace(clip, depth=depth), "again": replace(clip, depth=depth)})
    assert len(sample.pairs) == 5 and len(sample.meta["camera_to_world"]) == 4 and sample.captions == ["a ball"]
    torch.testing.assert_close(torch.from_numpy(sample.depth((1, 1))), depth[1, 0])
    with pytest.raises(InputError, match="sizes"):
        sample_from_clips("x", {"orbit": clip, "front": sphere_clip(frames=2, size=16)})


def test_bad_roots_are_one_line(tmp_path):
    for call in (lambda p: list(samples_from_diffusion4d(p)), lambda p: list(samples_from_dnerf(p))):
        with pytest.raises(InputError, match="found none"):
            call(tmp_path)
        with pytest.raises(InputError, match="no such folder"):
            call(tmp_path / "absent")
    with pytest.raises(InputError, match="--size"):
        import_published(tmp_path, out=tmp_path / "out", size=4)
    folder = _diffusion4d_folder(tmp_path / "bad")
    (folder / "front_frame2.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="front_frame2"):
        list(samples_from_diffusion4d(tmp_path))


def test_the_published_elk(elk_dir, tmp_path):
    summary = import_published(elk_dir, out=tmp_path, size=64, progress=False)
    assert (summary.inputs, summary.imported) == (1, 1)
    (sample,) = open_samples(tmp_path)
    assert len(sample.meta["camera_to_world"]) == 23 and len(sample.meta["times"]) == 24
    assert sample.meta["static_time"] == 1 and 1 in rows(sample)
    assert 1e-4 < sample.meta["motion_magnitude"] < 0.1
    clip = load_clip(elk_dir / "transforms_multi.json")
    served = next(iter(ShardDataset(tmp_path)))
    torch.testing.assert_close(served["camera_to_world"], clip.cameras.camera_to_world, atol=1e-4, rtol=0)
