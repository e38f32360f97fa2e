"""Exports, read back by independent readers."""

from __future__ import annotations

import math

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from plyfile import PlyData

from orbit4d.errors import InputError
from orbit4d.export.by_suffix import export_scene
from orbit4d.export.home import Home, home_view
from orbit4d.export.ply import write_ply, write_ply_sequence
from orbit4d.export.video import render_turntable, turntable, write_video
from orbit4d.imports.ply import read_ply
from orbit4d.splat.gaussians import Gaussians, Gaussians4D


class Drift:
    kind = "test"

    def config(self) -> dict:
        return {}

    def state_dict(self) -> dict:
        return {}

    def __call__(self, g: Gaussians, time) -> Gaussians:
        t = float(time)
        return Gaussians(
            means=g.means + torch.tensor([0.3, -0.1, 0.2]) * t,
            quats=g.quats,
            log_scales=g.log_scales + 0.2 * t,
            logit_opacities=g.logit_opacities,
            sh=g.sh,
        )


class Still(Drift):
    def __call__(self, g: Gaussians, time) -> Gaussians:
        return g


@pytest.fixture
def scene() -> Gaussians4D:
    generator = torch.Generator().manual_seed(1)
    n = 50
    canonical = Gaussians(
        means=0.3 * torch.randn(n, 3, generator=generator),
        quats=torch.randn(n, 4, generator=generator),
        log_scales=-3.5 + 0.3 * torch.randn(n, 3, generator=generator),
        logit_opacities=torch.randn(n, generator=generator),
        sh=torch.randn(n, 4, 3, generator=generator),
    )
    return Gaussians4D(canonical=canonical, deformation=Drift())


def test_ply_sequence_applies_the_motion(scene, tmp_path):
    folder = write_ply_sequence(scene, tmp_path / "seq", frames=3)
    assert sorted(p.name for p in folder.iterdir()) == ["frame_000.ply", "frame_001.ply", "frame_002.ply"]
    for i, t in enumerate((0.0, 0.5, 1.0)):
        vertex = PlyData.read(str(folder / f"frame_{i:03d}.ply"))["vertex"]
        expected = scene.at(t)
        np.testing.assert_allclose(np.stack([vertex[k] for k in "xyz"], 1), expected.means, rtol=1e-6)
        np.testing.assert_allclose(
            np.stack([vertex[f"scale_{k}"] for k in range(3)], 1), expected.log_scales, rtol=1e-6
        )
        np.testing.assert_allclose(vertex["opacity"], expected.logit_opacities, rtol=1e-6)
        quats = np.stack([vertex[f"rot_{k}"] for k in range(4)], 1)
        np.testing.assert_allclose(np.linalg.norm(quats, axis=1), 1, rtol=1e-5)
        # f_rest is channel-major: all of red first
        np.testing.assert_allclose(vertex["f_rest_1"], expected.sh[:, 2, 0], rtol=1e-6)
        np.testing.assert_allclose(vertex["f_rest_3"], expected.sh[:, 1, 1], rtol=1e-6)


@pytest.mark.parametrize(
    "name", ["a.html", "a.glb.gz", "a.4dgs", "a.safetensors", "a.mp4", "a.webp", "frames/transforms.json", "sequence"]
)
def test_a_moment_is_refused_where_all_of_them_are_written(scene, tmp_path, name):
    with pytest.raises(InputError, match=r"^--time: it is for one moment \(\.glb, \.ply\), got "):
        export_scene(scene, tmp_path / name, frames=2, size=16, time=0.5)
    assert list(tmp_path.iterdir()) == []


def test_a_moment_is_what_a_ply_holds(scene, tmp_path):
    moment = read_ply(export_scene(scene, tmp_path / "a.ply", time=0.5))
    torch.testing.assert_close(moment.means, scene.at(0.5).means)
    assert export_scene(scene, tmp_path / "a.glb", time=0.5).is_file()


def test_ply_round_trip(scene, tmp_path):
    g = scene.canonical
    back = read_ply(write_ply(g, tmp_path / "a.ply"))
    torch.testing.assert_close(back.means, g.means)
    torch.testing.assert_close(back.sh, g.sh)
    torch.testing.assert_close(back.quats, torch.nn.functional.normalize(g.quats, dim=-1))


@pytest.mark.parametrize("content", [b"", b"ply\nnot really", b"\x00" * 200])
def test_damaged_ply_is_one_clear_line(content, tmp_path):
    path = tmp_path / "bad.ply"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.ply") as caught:
        read_ply(path)
    assert "\n" not in str(caught.value)


def test_ply_with_values_that_are_not_finite(scene, tmp_path):
    scene.canonical.means[3, 1] = float("nan")
    with pytest.raises(InputError, match="Gaussian 3 has a position of"):
        read_ply(write_ply(scene.canonical, tmp_path / "a.ply"))


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_videos_decode(scene, tmp_path, suffix):
    frames = render_turntable(scene, frames=5, size=65)
    path = write_video(frames, tmp_path / f"a{suffix}", fps=10)
    if suffix == ".mp4":
        video = iio.imread(path, plugin="FFMPEG")
    else:
        with Image.open(path) as animation:
            video = np.stack([np.asarray(f.convert("RGB")) for f in ImageSequence.Iterator(animation)])
    side = 66 if suffix == ".mp4" else 65
    assert video.shape == (5, side, side, 3)
    assert np.abs(video[2, :65, :65].astype(float) / 255 - frames[2].permute(1, 2, 0).numpy()).mean() < 0.03
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_turntable_starts_over_without_standing_still(scene):
    clip = turntable(scene, frames=6, size=16)
    directions = torch.nn.functional.normalize(clip.cameras.camera_to_world[:, :2, 2], dim=-1)
    steps = (directions * directions.roll(-1, 0)).sum(-1).clamp(-1, 1).arccos().rad2deg()
    torch.testing.assert_close(steps, torch.full((6,), 60.0), atol=1e-2, rtol=0)
    torch.testing.assert_close(clip.times, torch.arange(6) / 6)


def test_unknown_video_suffix(scene, tmp_path):
    with pytest.raises(InputError, match="ending in"):
        write_video(torch.zeros(1, 3, 8, 8), tmp_path / "a.avi")


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (30.0, 0.0), (0.15, 0.0), (0.3, 5.0)])
def test_home_view_frames_any_scene(scene, scale, offset):
    means = scene.canonical.means
    scene.canonical.means = 0.65 * means / means.norm(dim=-1).max() * scale + offset
    scene.canonical.log_scales += math.log(scale)
    scene.deformation = Still()
    assert (home_view(scene) == Home()) == (scale == 1 and offset == 0)
    alpha = 1 - render_turntable(scene, frames=5, size=64, background=1.0).amin(1)
    share = (alpha > 0.05).float().flatten(1)
    assert share.mean(1).min() > 0.01, "a speck"
    border = torch.cat([alpha[:, 0], alpha[:, -1], alpha[:, :, 0], alpha[:, :, -1]], dim=1)
    assert (border > 0.3).float().mean() < 0.05, "cropped"
