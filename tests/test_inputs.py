"""Every kind of input that people have, made small: read, given a foreground, and constructed (docs/inputs.md)."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from splat_fixtures import clip_of, front_view, moving_orbit, static_orbit
from test_fit import CONFIG, foreground_psnr
from torch import Tensor

from orbit4d.assets.toybox import make_toy
from orbit4d.cameras import Cameras, Orbit, intrinsics_from_fov, look_at_origin
from orbit4d.clip import OrbitalClip, join_clips, load_clip, save_clip, with_foreground
from orbit4d.data.render import render_clip
from orbit4d.errors import InputError
from orbit4d.pipeline import reconstruct
from orbit4d.splat.fit import fit
from orbit4d.splat.fit_inputs import find_start

SHORT = replace(CONFIG, steps=300)
SIDES, HEIGHTS = [0.0, 60, 120, 180, 240, 300], [20.0, -5, 20, -5, 20, -5]


def cameras_at(azimuths: list[float], elevations: list[float], *, size: int = 64, radius: float = 2.0) -> Cameras:
    n = len(azimuths)
    return Cameras(
        camera_to_world=look_at_origin(
            torch.tensor(azimuths), torch.tensor(elevations), torch.full((n,), float(radius))
        ),
        intrinsics=intrinsics_from_fov(39.6, size, size).repeat(n, 1, 1),
        width=size,
        height=size,
    )


def grid(cameras: Cameras, times: Tensor, *, swing: float = 1.0) -> OrbitalClip:
    """Every camera at every time; `swing` times the fixture's 50 degrees."""
    view, time = torch.arange(len(cameras)).repeat(len(times)), times.repeat_interleave(len(cameras))
    return replace(clip_of(cameras[view], swing * time), times=time)


def rig(frames: int = 8, *, swing: float = 1.0) -> OrbitalClip:
    return grid(cameras_at(SIDES, HEIGHTS), torch.linspace(0, 1, frames), swing=swing)


def unseen(*, swing: float = 1.0) -> OrbitalClip:
    """A view between all others, at times between theirs."""
    return grid(cameras_at([28.0], [8.0]), torch.linspace(0.1, 0.9, 5), swing=swing)


def write_dnerf(clip: OrbitalClip, folder: Path, split: str, *, times: bool = True, background: float | None = None):
    """As the authors lay it out; RGBA, or RGB on a background."""
    (folder / split).mkdir(parents=True)
    frames = []
    for i, c2w in enumerate(clip.cameras.to_opengl().tolist()):
        image = torch.cat([clip.rgb[i], clip.alpha[i]]) if background is None else clip.on_background(background)[i]
        Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy()).save(folder / split / f"r_{i:03d}.png")
        frames.append({"file_path": f"./{split}/r_{i:03d}", "rotation": 0.05, "transform_matrix": c2w})
        frames[-1] |= {"time": float(clip.times[i])} if times else {}
    angle = 2 * torch.atan(clip.cameras.width / (2 * clip.cameras.intrinsics[0, 0, 0]))
    document = {"camera_angle_x": float(angle), "frames": frames}
    (folder / f"transforms_{split}.json").write_text(json.dumps(document))


def jumping_camera(frames: int = 40) -> OrbitalClip:
    """A random camera of the upper half sphere at each time."""
    draw = torch.rand(2, frames, generator=torch.Generator().manual_seed(3))
    cameras = cameras_at((360 * draw[0]).tolist(), (60 * draw[1]).tolist())
    return clip_of(cameras, torch.linspace(0, 1, frames))


def test_a_rig_follows_motion_that_no_moving_hull_explains() -> None:
    """150 degrees in 8 frames. Started from all times at once, the same fit ends at 12 dB, as good as a frozen scene."""
    clip, truth = rig(swing=3.0), unseen(swing=3.0)
    scene = fit(clip, config=SHORT, progress=False).scene
    assert foreground_psnr(scene, truth) > 16
    assert foreground_psnr(scene, truth) > foreground_psnr(scene, truth, frozen=True) + 3


def test_a_grid_given_as_a_clip_per_camera() -> None:
    cameras = cameras_at([*range(0, 360, 45)], [10.0] * 8)
    clips = [grid(cameras[i : i + 1], torch.linspace(0, 1, 6)) for i in range(8)]
    scene = fit(clips, config=SHORT, progress=False).scene
    assert foreground_psnr(scene, unseen()) > 20


def test_a_dnerf_folder(tmp_path: Path) -> None:
    write_dnerf(jumping_camera(), tmp_path, "train")
    write_dnerf(unseen(), tmp_path, "test")
    clip, truth = load_clip(tmp_path), load_clip(tmp_path / "transforms_test.json")
    assert len(clip) == 40 and len(truth) == 5
    torch.testing.assert_close(
        clip.cameras.camera_to_world, jumping_camera().cameras.camera_to_world, atol=1e-6, rtol=0
    )
    scene = fit(clip, config=SHORT, progress=False).scene
    assert foreground_psnr(scene, truth) > 19


def test_nerf_synthetic_without_times_is_one_moment(tmp_path: Path) -> None:
    write_dnerf(static_orbit(frames=8), tmp_path, "train", times=False)
    clip = load_clip(tmp_path)
    assert float(clip.times.max()) == 0
    scene = fit(clip, config=replace(CONFIG, steps=120), progress=False).scene
    assert foreground_psnr(scene, clip) > 15
    torch.testing.assert_close(scene.at(0.7).means, scene.at(0.0).means, atol=0.02, rtol=0)


def test_reconstruct_takes_several_clips(tmp_path: Path) -> None:
    clips = [moving_orbit(48, 6), rig(2).resized(32)]
    paths = [save_clip(clip, tmp_path / f"clip{i}") for i, clip in enumerate(clips)]
    report = reconstruct(paths, out=tmp_path / "out", steps=4, progress=False)
    assert report["settings"]["clip"] == [str(p) for p in paths]
    assert report["frames"] == 18 and report["resolution"] == [48, 48]
    assert len(load_clip(tmp_path / "out" / "clip")) == 18
    with pytest.raises(InputError, match="at least one clip"):
        reconstruct([], out=tmp_path / "none", progress=False)
    rgb, alpha, cameras = clips[0].rgb[..., :24, :], clips[0].alpha[..., :24, :], replace(clips[0].cameras, height=24)
    wide = replace(clips[0], rgb=rgb, alpha=alpha, cameras=cameras)
    with pytest.raises(InputError, match="one aspect ratio"):
        reconstruct([clips[0], wide], out=tmp_path / "none", progress=False)


def test_the_moment_that_most_cameras_see_is_the_start() -> None:
    clip = rig()
    start = find_start([clip], None, size=64)
    assert start.anchor == pytest.approx(3 / 7) and len(start.views) == 48, "of equals, the middle one"
    assert torch.equal(start.still, (clip.times - 3 / 7).abs() < 1e-6)

    view = torch.arange(len(clip)) % 6
    apart = [clip[view < 2], clip[view >= 2]]
    assert find_start(apart, None, size=64).anchor == pytest.approx(3 / 7), "clips are looked at together"
    fewer = clip[[i for i in range(len(clip)) if i % 6 < 5 or i == 6 * 5 + 5]]
    assert find_start([fewer], None, size=64).anchor == pytest.approx(5 / 7), "the most views go before the middle"


def test_a_static_clip_is_the_start_whatever_else_there_is() -> None:
    start = find_start([rig(2)], replace(static_orbit(frames=8), times=torch.full((8,), 0.25)), size=64)
    assert start.anchor == 0.25 and len(start.views) == 8
    assert start.still.tolist() == [False] * 12 + [True] * 8
    with pytest.raises(InputError, match="static_clip runs from time 0 to 1"):
        find_start([rig(2)], moving_orbit(frames=4), size=64)


@pytest.mark.parametrize(
    ("clips", "anchored"),
    [
        (lambda: [moving_orbit(frames=8)], False),
        (lambda: [_shifted_orbit(90.0 * k) for k in range(2)], False),
        (lambda: [_shifted_orbit(60.0 * k) for k in range(6)], True),
        (lambda: [grid(cameras_at([0.0, 10, 20, 29], [0.0] * 4), torch.linspace(0, 1, 3))], False),
    ],
    ids=["one orbit", "two orbits", "six orbits", "four cameras side by side"],
)
def test_six_spread_views_make_a_moment(clips, anchored: bool) -> None:
    clips = clips()
    start = find_start(clips, None, size=64)
    assert (start.anchor is not None) == anchored
    assert bool(start.still.any()) == anchored and len(start.still) == sum(map(len, clips))
    assert anchored or len(start.views) == len(start.still), "all frames carve the hull"


def _shifted_orbit(azimuth: float) -> OrbitalClip:
    orbit = Orbit(frames=8, azimuth_start_deg=azimuth)
    return clip_of(orbit.cameras(32), orbit.times)


def test_views_from_one_side_only_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    front = front_view(32, 4)
    find_start([front], None, size=32)
    assert len(caplog.messages) == 1 and "from 0 of 360 degrees" in caplog.messages[0]
    assert "--static-clip" in caplog.messages[0]
    caplog.clear()
    find_start([front], static_orbit(32, 4), size=32)
    find_start([moving_orbit(32, 6)], None, size=32)
    assert caplog.messages == []


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> list[OrbitalClip]:
    folder, clips = tmp_path_factory.mktemp("toys"), []
    # Toys whose colours differ from every background used here: white on white cannot be told apart.
    for kind, seed in (("quadruped", 175), ("octopus", 253), ("dinosaur", 37)):
        path = folder / f"{seed}.glb"
        path.write_bytes(make_toy(seed, kind=kind, motion="spin").glb)
        try:
            clips.append(render_clip(path, frames=5, size=128))
        except InputError as error:
            if "GL" not in str(error):
                raise
            pytest.skip(str(error))
    return clips


@pytest.mark.parametrize(("value", "name"), [(1.0, "white"), (0.0, "black"), (0.5, "#808080")])
def test_toys_on_a_uniform_background(
    toys: list[OrbitalClip], value: float, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i, toy in enumerate(toys):
        write_dnerf(toy, tmp_path / str(i), "train", background=value)
        caplog.clear()
        clip = load_clip(tmp_path / str(i))
        assert len(caplog.messages) == 1 and f"took the {name} background as empty" in caplog.messages[0]
        both, either = torch.minimum(clip.alpha, toy.alpha).sum(), torch.maximum(clip.alpha, toy.alpha).sum()
        assert float(both / either) > 0.97
        solid = (clip.alpha > 0.5) & (toy.alpha > 0.5)
        assert float(((clip.rgb - toy.rgb).abs() * solid).sum() / (3 * solid.sum())) < 0.01


def test_white_inside_the_object_stays_and_jpeg_is_read(toys: list[OrbitalClip], tmp_path: Path) -> None:
    toy = toys[2]
    rows, columns = (toy.alpha[0, 0] == 1).nonzero().float().mean(dim=0).long().tolist()
    image = toy.on_background(1.0)
    image[0, :, rows - 2 : rows + 3, columns - 2 : columns + 3] = 1
    frames = []
    for frame in image:
        buffer = io.BytesIO()
        Image.fromarray((frame * 255).round().byte().permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=90)
        frames.append(torch.frombuffer(bytearray(Image.open(buffer).tobytes()), dtype=torch.uint8).view(128, 128, 3))
    flat = replace(toy, rgb=torch.stack(frames).permute(0, 3, 1, 2) / 255, alpha=torch.ones_like(toy.alpha))
    cut = with_foreground(flat)
    assert (cut.alpha[0, 0, rows - 1 : rows + 2, columns - 1 : columns + 2] == 1).all()
    both, either = torch.minimum(cut.alpha, toy.alpha).sum(), torch.maximum(cut.alpha, toy.alpha).sum()
    assert float(both / either) > 0.93


def test_the_background_is_found_over_all_frames() -> None:
    """An object that fills half of one frame's border; a frame without it is empty, not an error."""
    clip = moving_orbit(64, 8)
    rgb = clip.on_background(1.0)
    rgb[3, :, :, :40], rgb[5] = 0.2, 1.0
    cut = with_foreground(replace(clip, rgb=rgb, alpha=torch.ones_like(clip.alpha)))
    assert (cut.alpha[3, :, :, :39] == 1).all() and float(cut.alpha[5].max()) == 0
    assert torch.allclose(cut.rgb[3, :, :, :39], torch.tensor(0.2))


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)), "cut it out and pass RGBA frames"),
        (torch.ones(4, 3, 64, 64), "nothing but a uniform background"),
    ],
    ids=["photograph", "nothing"],
)
def test_what_cannot_be_cut_out_is_one_line(picture: Tensor, message: str, tmp_path: Path) -> None:
    clip = moving_orbit(64, 4)
    write_dnerf(replace(clip, rgb=picture, alpha=torch.ones_like(clip.alpha)), tmp_path, "train", background=1.0)
    with pytest.raises(InputError, match=message) as caught:
        load_clip(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("camera_angle_x"), "found neither"),
        (lambda d: d["frames"][1].update(time=3), "expected a number in"),
        (lambda d: d["frames"][1].pop("time"), "frame 1 has no time"),
        (lambda d: d["frames"][1].update(file_path="./train/r_999"), "does not exist"),
        (lambda d: d["frames"][1].update(file_path="../train/r_001"), "leaves the clip's folder"),
    ],
)
def test_a_damaged_dnerf_folder_is_one_line(tmp_path: Path, change, message: str) -> None:
    folder = tmp_path / "scene"
    write_dnerf(jumping_camera(3), folder, "train")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "r_001.png").write_bytes(b"")
    document = json.loads((folder / "transforms_train.json").read_text())
    change(document)
    (folder / "transforms_train.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=message) as caught:
        load_clip(folder)
    assert "transforms_train.json" in str(caught.value) and "\n" not in str(caught.value)


def test_joined_clips_keep_every_frame() -> None:
    a, b = moving_orbit(32, 3), static_orbit(32, 2)
    a.depth, a.caption = a.alpha.clone(), "a ball"
    both = join_clips([a, b])
    assert len(both) == 5 and both.depth is None and both.caption == "a ball"
    assert torch.equal(both[:3].rgb, a.rgb) and torch.equal(both[3:].times, b.times)
    assert torch.equal(both.cameras.camera_to_world[3:], b.cameras.camera_to_world)
