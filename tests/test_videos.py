"""A video as a condition: every kind of file, foregrounds, one common crop, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import draw_ball
from PIL import Image
from torch import Tensor

from orbit4d.cameras import Orbit
from orbit4d.clip import OrbitalClip, save_clip
from orbit4d.conditions import VIDEO_MARGIN, box_of, check_conditions, load_condition_video
from orbit4d.diffusion.batches import BatchConfig
from orbit4d.errors import InputError
from orbit4d.export.video import write_video
from orbit4d.videos import KEPT, read_video


def _rising_disc(frames: int = 20, *, height: int = 90, width: int = 120) -> tuple[Tensor, Tensor]:
    """rgb (t, 3, h, w) red, alpha (t, 1, h, w): a disc of radius 12 that rises by 30 pixels."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    centres = 60 - 30 * torch.linspace(0, 1, frames)
    alpha = torch.stack([(12.5 - ((y - c) ** 2 + (x - 70) ** 2).sqrt()).clamp(0, 1) for c in centres])[:, None]
    return torch.tensor([0.8, 0.2, 0.1])[None, :, None, None].expand(frames, 3, height, width), alpha


def _pictures(rgba: Tensor, folder: Path) -> Path:
    folder.mkdir()
    for i, frame in enumerate(rgba):
        array = (frame * 255).round().byte().permute(1, 2, 0).squeeze(-1).numpy()
        Image.fromarray(array).save(folder / f"frame_{i}.png")  # not padded: frame_10 comes after frame_9
    return folder


def _check(clip: OrbitalClip, *, frames: int = 5) -> None:
    """The disc at every time, at its size, rising through the frame from one margin to the other."""
    assert clip.rgb.shape == (frames, 3, 128, 128) and clip.times[0] == 0 and clip.times[-1] == 1
    assert (clip.times.diff() > 0).all()
    scale = (1 - 2 * VIDEO_MARGIN) * 128 / 55
    diameters = 2 * ((clip.alpha > 0.5).sum(dim=(1, 2, 3)) / torch.pi).sqrt()
    assert float((diameters - 24 * scale).abs().max()) < 2.5
    rows = torch.arange(128) + 0.5
    centres = (clip.alpha[:, 0].sum(dim=2) * rows).sum(dim=1) / clip.alpha.sum(dim=(1, 2, 3))
    wanted = 64 + (0.5 - clip.times) * 30 * scale
    assert float((centres - wanted).abs().max()) < 3
    colour = clip.rgb.permute(1, 0, 2, 3)[:, clip.alpha[:, 0] > 0.9].mean(dim=1)
    torch.testing.assert_close(colour, torch.tensor([0.8, 0.2, 0.1]), atol=0.06, rtol=0)


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_files_on_a_uniform_background(tmp_path: Path, suffix: str) -> None:
    rgb, alpha = _rising_disc()
    path = write_video(rgb * alpha + 1 - alpha, tmp_path / f"disc{suffix}", fps=10)
    _check(load_condition_video(path))


def test_a_folder_of_pictures_with_alpha(tmp_path: Path) -> None:
    rgb, alpha = _rising_disc()
    _check(load_condition_video(_pictures(torch.cat([rgb, alpha], dim=1), tmp_path / "disc")))


@pytest.mark.parametrize("kind", ["folder", "video", "picture"])
def test_masks(tmp_path: Path, kind: str) -> None:
    rgb, alpha = _rising_disc()
    if kind == "picture":
        alpha = alpha[:1].expand(20, -1, -1, -1)
    noise = torch.rand(20, 3, 90, 120, generator=torch.Generator().manual_seed(0))
    path = _pictures(rgb * alpha + noise * (1 - alpha), tmp_path / "disc")
    with pytest.raises(InputError, match="--mask"):
        load_condition_video(path)
    if kind == "folder":
        mask = _pictures(alpha.round(), tmp_path / "mask")
    elif kind == "video":
        mask = write_video(alpha.expand(-1, 3, -1, -1), tmp_path / "mask.mp4")
    else:
        mask = _pictures(alpha[:1], tmp_path / "mask") / "frame_0.png"
    clip = load_condition_video(path, mask=mask)
    if kind != "picture":
        _check(clip)
    assert 0.05 < float((clip.alpha > 0.5).float().mean()) < 0.6
    with pytest.raises(InputError, match=r"--mask.*frames"):
        load_condition_video(path, mask=_pictures(alpha[:3], tmp_path / "short"))


def test_a_clip_of_one_camera_brings_its_azimuth(tmp_path: Path) -> None:
    orbit = Orbit(frames=2, azimuth_start_deg=40)
    cameras = orbit.cameras(48)[[0] * 6]
    rgb, alpha = draw_ball(cameras, torch.linspace(0, 0.3, 6), radius=0.3)
    clip = OrbitalClip(rgb=rgb, alpha=alpha, cameras=cameras, times=torch.linspace(0, 1, 6))
    shown = load_condition_video(save_clip(clip, tmp_path / "front"), frames=4)
    torch.testing.assert_close(shown.cameras.positions[3], cameras.positions[0], atol=1e-4, rtol=0)
    assert len(shown) == 4
    turned = load_condition_video(tmp_path / "front", frames=4, azimuth=90)
    torch.testing.assert_close(turned.cameras.positions[0], torch.tensor([2.0, 0, 0]), atol=1e-4, rtol=0)
    moving = replace(clip, cameras=Orbit(frames=6).cameras(48))
    with pytest.raises(InputError, match="camera moves"):
        load_condition_video(save_clip(moving, tmp_path / "orbit"))


def _front_clip(frames: int, side: int, times: Tensor) -> OrbitalClip:
    """A ball that rises, on white with a grey block beside it, without alpha, filmed from the front."""
    cameras = Orbit(frames=2).cameras(side)[[0] * frames]
    rgb, alpha = draw_ball(cameras, torch.linspace(0, 0.3, frames), radius=0.3)
    rgb = rgb * alpha + 1 - alpha
    rgb[..., 7 * side // 8 :, : side // 8] = 0.5
    return OrbitalClip(rgb=rgb, alpha=torch.ones_like(alpha), cameras=cameras, times=times)


@pytest.mark.parametrize(("frames", "side"), [(60, 48), (4, 320)])
def test_a_mask_fits_a_clip_that_is_long_or_large(tmp_path: Path, frames: int, side: int) -> None:
    clip = _front_clip(frames, side, torch.linspace(0, 1, frames))
    alpha = draw_ball(clip.cameras, torch.linspace(0, 0.3, frames), radius=0.3)[1]
    folder = save_clip(clip, tmp_path / "front")
    shown = load_condition_video(folder, mask=_pictures(alpha.round(), tmp_path / "mask"), frames=4)
    box = box_of(shown.alpha.amax(dim=0)[0])
    assert max(box[1] - box[0], box[3] - box[2]) == pytest.approx(128 * (1 - 2 * VIDEO_MARGIN), abs=3)
    rows = (shown.alpha[:, 0] > 0.5).any(dim=2).float().argmax(dim=1)
    assert (rows.diff() < -1).all(), "each frame has the mask of its own moment: the ball rises"
    picture = _pictures(alpha.amax(dim=0, keepdim=True).round(), tmp_path / "one") / "frame_0.png"
    assert len(load_condition_video(folder, mask=picture, frames=4)) == 4


def test_masks_of_a_clip_in_another_order_are_refused(tmp_path: Path) -> None:
    clip = _front_clip(6, 48, torch.linspace(1, 0, 6))
    alpha = draw_ball(clip.cameras, torch.linspace(0, 0.3, 6), radius=0.3)[1]
    with pytest.raises(InputError, match="order of time"):
        load_condition_video(save_clip(clip, tmp_path / "c"), mask=_pictures(alpha.round(), tmp_path / "mask"))


@pytest.mark.parametrize("suffix", [".webp", ".png", ".gif"])
def test_a_mask_that_moves_is_told_by_its_frames(tmp_path: Path, suffix: str) -> None:
    rgb, alpha = _rising_disc()
    noise = torch.rand(20, 3, 90, 120, generator=torch.Generator().manual_seed(0))
    path = _pictures(rgb * alpha + noise * (1 - alpha), tmp_path / "disc")
    frames = [Image.fromarray((a[0] * 255).round().byte().numpy()) for a in alpha.round()]
    mask = tmp_path / f"mask{suffix}"
    frames[0].save(
        mask, save_all=True, append_images=frames[1:], duration=100, **({"lossless": True} if suffix == ".webp" else {})
    )
    _check(load_condition_video(path, mask=mask))


def test_a_clip_of_part_of_the_time_is_stretched(tmp_path: Path) -> None:
    clip = _front_clip(12, 48, torch.linspace(0.4, 0.5, 12))
    alpha = draw_ball(clip.cameras, torch.linspace(0, 0.3, 12), radius=0.3)[1]
    shown = load_condition_video(save_clip(replace(clip, alpha=alpha), tmp_path / "part"))
    assert len(shown) == 5
    torch.testing.assert_close(shown.times, torch.linspace(0, 1, 5), atol=0.05, rtol=0)


def test_no_more_frames_than_training_shows(tmp_path: Path) -> None:
    rgb, alpha = _rising_disc()
    path = _pictures(torch.cat([rgb, alpha], dim=1), tmp_path / "disc")
    assert len(load_condition_video(path)) == BatchConfig().frames - 2 == 5
    for frames in (1, 6):
        with pytest.raises(InputError, match=f"2 to 5 reference frames, got {frames}"):
            load_condition_video(path, frames=frames)


def test_long_videos_are_thinned_evenly(tmp_path: Path) -> None:
    frames = torch.ones(203, 3, 16, 16)
    frames[:, :, 4:12, 4:12] = torch.arange(203)[:, None, None, None] / 255
    video = read_video(_pictures(frames, tmp_path / "long"))
    assert KEPT / 2 <= len(video.rgba) <= KEPT + 1 and video.total == 203
    assert video.indices[0] == 0 and video.indices[-1] == 202
    torch.testing.assert_close(video.times, torch.tensor(video.indices) / 202)
    shown = (video.rgba[:, 0, 8, 8] * 255).round().int().tolist()
    assert shown == video.indices


def test_what_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    (tmp_path / "text.gif").write_text("GIF89a and no more")
    (tmp_path / "song.mp3").write_text("")
    (tmp_path / "empty").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "one.gif")
    whole = write_video(torch.rand(12, 3, 32, 32), tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    for name in ("text.mp4", "text.gif", "song.mp3", "empty", "one.gif", "half.mp4", "absent.mp4"):
        with pytest.raises(InputError, match=name) as caught:
            load_condition_video(tmp_path / name)
        assert "\n" not in str(caught.value) and "--video" in str(caught.value)
    white = write_video(torch.ones(6, 3, 32, 32), tmp_path / "white.mp4")
    with pytest.raises(InputError, match="white"):
        load_condition_video(white)


def test_pictures_of_two_sizes(tmp_path: Path) -> None:
    folder = _pictures(torch.rand(3, 3, 16, 16), tmp_path / "mixed")
    Image.new("RGB", (20, 16)).save(folder / "frame_9.png")
    with pytest.raises(InputError, match="20 x 16"):
        read_video(folder)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({}, "--video"),
        ({"video": "v.mp4", "image": "i.png"}, "--image and --video"),
        ({"video": "v.mp4", "static": "s.glb"}, "--video and --static"),
        ({"prompt": "a fox", "azimuth": 20.0}, "--azimuth"),
        ({"video": "v.mp4", "azimuth": float("nan")}, "--azimuth"),
        ({"video": "v.mp4", "motion": 2.0}, "--motion"),
        ({"static": "s.glb", "mask": "m.png"}, "--mask"),
    ],
)
def test_combinations_that_make_no_sense(given: dict, match: str) -> None:
    nothing = dict.fromkeys(("prompt", "image", "video", "mask", "static", "motion", "azimuth"))
    with pytest.raises(InputError, match=match):
        check_conditions(**(nothing | given))
    check_conditions(**(nothing | {"video": "v.mp4", "mask": "m", "prompt": "a fox", "motion": 0.5, "azimuth": 90.0}))


def test_real_videos(data_dir: Path) -> None:
    """Generated videos on white: the silhouette is found in every frame and fills it as training frames do."""
    paths = sorted((data_dir / "inputs").glob("*.mp4"))
    if not paths:
        pytest.skip(f"no videos in {data_dir / 'inputs'}")
    for path in paths[-2:]:
        clip = load_condition_video(path, frames=5)
        covered = (clip.alpha > 0.5).float().mean(dim=(1, 2, 3))
        assert float(covered.min()) > 0.03 and float(covered.max()) < 0.5, path.name
        top, bottom, left, right = box_of(clip.alpha.amax(dim=0)[0])
        assert max(bottom - top, right - left) <= 128 * (1 - 2 * VIDEO_MARGIN) + 3
