"""Clips: round trips through folders, what other programs write, and input that must be refused in one line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import sphere_clip
from PIL import Image

from orbit4d.cameras import Orbit
from orbit4d.clip import OrbitalClip, load_clip, save_clip
from orbit4d.errors import InputError


def test_round_trip(tmp_path: Path, ball_clip: OrbitalClip) -> None:
    ball_clip.depth = ball_clip.alpha * 1.75
    ball_clip.motion_magnitude = 0.0123
    loaded = load_clip(save_clip(ball_clip, tmp_path / "clip"))
    torch.testing.assert_close(loaded.rgb, ball_clip.rgb, atol=0.51 / 255, rtol=0)
    assert torch.equal(loaded.alpha, ball_clip.alpha)
    torch.testing.assert_close(loaded.cameras.camera_to_world, ball_clip.cameras.camera_to_world, atol=1e-6, rtol=0)
    torch.testing.assert_close(loaded.cameras.intrinsics, ball_clip.cameras.intrinsics)
    torch.testing.assert_close(loaded.times, ball_clip.times)
    assert loaded.depth is not None and torch.equal(loaded.depth, ball_clip.depth)
    assert (loaded.caption, loaded.motion_magnitude) == ("a ball", 0.0123)


def test_files_hold_opengl_cameras_and_times(tmp_path: Path, ball_clip: OrbitalClip) -> None:
    document = json.loads((save_clip(ball_clip, tmp_path / "clip") / "transforms.json").read_text())
    first = np.array(document["frames"][0]["transform_matrix"])
    # Camera at (0, -2, 0): right is +x, up is +z, and OpenGL looks along its negative third axis, which is -y.
    np.testing.assert_allclose(first, [[1, 0, 0, 0], [0, 0, -1, -2], [0, 1, 0, 0], [0, 0, 0, 1]], atol=1e-6)
    assert [f["time"] for f in document["frames"]] == pytest.approx([i / 7 for i in range(8)])
    assert document["camera_angle_x"] == pytest.approx(math.radians(39.6), abs=1e-5)


def test_saving_replaces_the_old_clip_whole(tmp_path: Path) -> None:
    save_clip(sphere_clip(frames=6), tmp_path / "clip")
    save_clip(sphere_clip(frames=3), tmp_path / "clip")
    assert len(list((tmp_path / "clip").glob("*.png"))) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["clip"]


def test_saving_keeps_what_is_not_a_clip(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match=r"thesis\.txt"):
        save_clip(sphere_clip(frames=3), tmp_path / "clip")
    assert (tmp_path / "clip" / "thesis.txt").read_text() == "precious"


def test_nerf_style_file_without_times_or_suffixes(tmp_path: Path, ball_clip: OrbitalClip) -> None:
    """Blender/NeRF files: camera_angle_x only, file paths without .png, no times."""
    folder = save_clip(ball_clip, tmp_path / "clip")
    document = json.loads((folder / "transforms.json").read_text())
    frames = [{"file_path": f["file_path"][:-4], "transform_matrix": f["transform_matrix"]} for f in document["frames"]]
    plain = {"camera_angle_x": document["camera_angle_x"], "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(plain))
    loaded = load_clip(folder)
    torch.testing.assert_close(loaded.cameras.intrinsics, ball_clip.cameras.intrinsics, atol=1e-3, rtol=0)
    torch.testing.assert_close(loaded.times, ball_clip.times)
    assert float(load_clip(folder, static=True).times.max()) == 0, "one moment: nothing says otherwise"


def test_a_frames_own_angle_goes_before_the_files_focal_length(tmp_path: Path, ball_clip: OrbitalClip) -> None:
    folder = save_clip(ball_clip, tmp_path / "clip")
    document = json.loads((folder / "transforms.json").read_text())
    for key in ("fl_x", "fl_y"):
        document["frames"][2].pop(key)
    document["frames"][2]["camera_angle_x"] = math.pi / 2
    (folder / "transforms.json").write_text(json.dumps(document))
    k = load_clip(folder).cameras.intrinsics
    assert k[2, 0, 0] == pytest.approx(16)
    torch.testing.assert_close(k[1], ball_clip.cameras.intrinsics[1])


def _diffusion4d(tmp_path: Path, ball_clip: OrbitalClip) -> Path:
    rgba = (torch.cat([ball_clip.rgb, ball_clip.alpha], dim=1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    for i, c2w in enumerate(ball_clip.cameras.camera_to_world):
        Image.fromarray(rgba[i]).save(tmp_path / f"multi_frame{i}.png")
        names = ("x", "y", "z", "origin")
        record: dict = {name: c2w[:3, j].tolist() for j, name in enumerate(names)}
        record["x_fov"] = math.radians(39.6)
        (tmp_path / f"multi{i}.json").write_text(json.dumps(record))
    return tmp_path


def test_diffusion4d_folder(tmp_path: Path, ball_clip: OrbitalClip) -> None:
    loaded = load_clip(_diffusion4d(tmp_path, ball_clip))
    assert len(loaded) == 8
    torch.testing.assert_close(loaded.cameras.camera_to_world, ball_clip.cameras.camera_to_world, atol=1e-5, rtol=0)
    torch.testing.assert_close(loaded.cameras.intrinsics, ball_clip.cameras.intrinsics, atol=1e-3, rtol=0)
    (tmp_path / "multi5.json").unlink()
    with pytest.raises(InputError, match=r"multi_frame5\.png has no camera file"):
        load_clip(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("x", [1, 2]),
        ("x", "right"),
        ("y", None),
        ("origin", [[1, 2, 3]]),
        ("z", [0, 0, 10**400]),
        ("x_fov", 39.6),
        ("x_fov", 0),
        ("x_fov", -1),
        ("x_fov", "wide"),
    ],
)
def test_diffusion4d_cameras_are_checked(tmp_path: Path, ball_clip: OrbitalClip, key: str, value: object) -> None:
    path = _diffusion4d(tmp_path, ball_clip) / "multi3.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(InputError, match=r"multi3\.json") as caught:
        load_clip(tmp_path)
    assert "\n" not in str(caught.value)


def test_resized_keeps_colours_at_the_edge_and_moves_cameras(ball_clip: OrbitalClip) -> None:
    small = ball_clip.resized(16)
    assert small.rgb.shape == (8, 3, 16, 16)
    assert (small.cameras.width, small.cameras.height) == (16, 16)
    torch.testing.assert_close(small.on_background(1.0), _halved(ball_clip.on_background(1.0)), atol=1e-5, rtol=0)
    point = torch.tensor([[[0.1, 0.2, 0.3]]]).expand(8, 1, 3)
    torch.testing.assert_close(small.cameras.project(point)[0], ball_clip.cameras.project(point)[0] / 2)
    assert ball_clip.resized(32) is ball_clip


@pytest.mark.parametrize("size", [12, 16, 64])
def test_resized_keeps_depth(ball_clip: OrbitalClip, size: int) -> None:
    """A depth that is the same all over the object stays so up to its edge, and 0 beside it."""
    ball_clip.depth = ball_clip.alpha * 1.75
    small = ball_clip.resized(size)
    assert small.depth is not None
    expected = 1.75 * (small.alpha > 0)
    torch.testing.assert_close(small.depth, expected, atol=1e-4, rtol=0)


def test_depth_in_some_frames_is_left_out_with_a_warning(
    tmp_path: Path, ball_clip: OrbitalClip, caplog: pytest.LogCaptureFixture
) -> None:
    ball_clip.depth = ball_clip.alpha * 1.75
    folder = save_clip(ball_clip, tmp_path / "clip")
    document = json.loads((folder / "transforms.json").read_text())
    del document["frames"][2]["depth_file_path"]
    (folder / "transforms.json").write_text(json.dumps(document))
    assert load_clip(folder).depth is None
    assert "7 of 8 frames have a depth" in caplog.text
    assert str(folder) in caplog.text


def test_the_pixels_of_a_clip_are_bounded(
    tmp_path: Path, ball_clip: OrbitalClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_clip(ball_clip, tmp_path / "clip")
    monkeypatch.setattr("orbit4d.clip_files.MAX_PIXELS", 8 * 32 * 32)
    assert len(load_clip(folder)) == 8
    monkeypatch.setattr("orbit4d.clip_files.MAX_PIXELS", 8 * 32 * 32 - 1)
    (folder / "frame_001.png").write_bytes(b"not reached")
    with pytest.raises(InputError, match=r"8 frames of 32 x 32 .* take fewer or smaller"):
        load_clip(folder)


def _halved(frames: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(frames, 2)


def test_shapes_must_agree(ball_clip: OrbitalClip) -> None:
    with pytest.raises(ValueError, match="cameras must hold 8"):
        OrbitalClip(
            rgb=ball_clip.rgb, alpha=ball_clip.alpha, times=ball_clip.times, cameras=Orbit(frames=9).cameras(32)
        )
    with pytest.raises(ValueError, match="alpha must have shape"):
        OrbitalClip(rgb=ball_clip.rgb, alpha=ball_clip.rgb, times=ball_clip.times, cameras=ball_clip.cameras)


def _set(path: str, value: object) -> Callable[[dict], None]:
    def change(document: Any) -> None:
        *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
        for key in parents:
            document = document[key]
        document[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("frames", []), "non-empty list 'frames'"),
        (_set("frames", "all"), "non-empty list 'frames'"),
        (_set("frames.3", None), "frame 3"),
        (lambda d: d["frames"][3].pop("file_path"), "file_path"),
        (_set("frames.3.file_path", "frame_999.png"), "does not exist; put it beside"),
        (_set("frames.3.file_path", "../../secret.png"), "leaves the clip's folder"),
        (_set("frames.3.file_path", "/etc/passwd"), "leaves the clip's folder"),
        (_set("frames.2.transform_matrix", [[1, 2], [3, 4]]), "4 x 4"),
        (_set("frames.2.transform_matrix", "none"), "4 x 4"),
        (_set("frames.2.transform_matrix", [[2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "not a rotation"),
        (_set("frames.2.transform_matrix", [[math.nan] * 4] * 4), "finite"),
        (_set("frames.1.time", 1.5), "time 1.5"),
        (_set("frames.1.time", "noon"), "time 'noon'"),
        (_set("frames.1.time", 10**400), "time inf"),
        (lambda d: d["frames"][3].pop("time"), "frame 3 has no time"),
        (_set("w", 640), "640 x 32"),
        (_set("frames.3.file_path", "a\0b"), "does not exist"),
        (_set("frames.3.file_path", "long" * 2000), "does not exist"),
        (_set("frames.2.transform_matrix.3", [1, 0, 0, 1]), "last row"),
        (_set("frames.2.transform_matrix.3", [0, 0, 0, 2]), "last row"),
        (_set("frames.2.transform_matrix.0.3", 10**400), "finite"),
        (_set("camera_angle_x", 39.6), "radians"),
        (_set("camera_angle_x", 0), "between 0 and pi"),
        (_set("frames.1.camera_angle_y", -1), "between 0 and pi"),
        (_set("frames.1.fl_x", 0), "positive focal length 'fl_x'"),
        (_set("frames.1.fl_y", -300), "positive focal length 'fl_y'"),
        (_set("frames.1.fl_x", "wide"), "finite number for 'fl_x'"),
        (_set("frames.1.fl_x", 10**400), "finite number for 'fl_x'"),
        (_set("frames.1.cx", [16]), "finite number for 'cx'"),
        (_set("camera_model", "OPENCV_FISHEYE"), "undistort"),
        (_set("camera_model", ["OPENCV"]), "undistort"),
        (_set("is_fisheye", True), "undistort"),
        (_set("k1", 0.1), "undistort"),
        (_set("frames.4.p2", -0.01), "undistort"),
    ],
)
def test_contradictions_are_one_line_that_names_the_file(
    tmp_path: Path, ball_clip: OrbitalClip, change: Callable[[dict], None], message: str
) -> None:
    (tmp_path / "secret.png").write_bytes(b"")
    folder = save_clip(ball_clip, tmp_path / "clip")
    document = json.loads((folder / "transforms.json").read_text())
    change(document)
    (folder / "transforms.json").write_text(json.dumps(document))
    with pytest.raises(InputError) as caught:
        load_clip(folder)
    assert message in str(caught.value)
    assert "transforms.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1, 2]",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"frames": ' * 5000 + b"1" + b"}" * 5000,
        b'{"frames": %s}' % (b"9" * 5000),
    ],
    ids=lambda content: repr(content[:12]),
)
def test_damaged_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "transforms.json").write_bytes(content)
    with pytest.raises(InputError, match=r"transforms\.json") as caught:
        load_clip(tmp_path)
    assert "\n" not in str(caught.value)


def test_zero_distortion_and_huge_numbers_that_mean_nothing_are_read(tmp_path: Path, ball_clip: OrbitalClip) -> None:
    folder = save_clip(ball_clip, tmp_path / "clip")
    document = json.loads((folder / "transforms.json").read_text())
    document |= {"k1": 0, "k2": 0.0, "p1": None, "camera_model": "pinhole", "shutter": 10**400, "caption": "a\n\ud800b"}
    (folder / "transforms.json").write_text(json.dumps(document))
    loaded = load_clip(folder)
    torch.testing.assert_close(loaded.cameras.intrinsics, ball_clip.cameras.intrinsics)
    assert loaded.caption == "a ?b"


def test_a_depth_file_larger_than_its_frame_is_not_read(tmp_path: Path, ball_clip: OrbitalClip) -> None:
    ball_clip.depth = ball_clip.alpha
    folder = save_clip(ball_clip, tmp_path / "clip")
    np.save(folder / "depth_001.npy", np.zeros((512, 512)))
    with pytest.raises(InputError, match=r"depth_001\.npy: larger"):
        load_clip(folder)


def test_missing_and_empty_places(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        load_clip(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"transforms_train\.json or Diffusion4D"):
        load_clip(tmp_path)


def test_frames_of_different_sizes(tmp_path: Path, ball_clip: OrbitalClip) -> None:
    folder = save_clip(ball_clip, tmp_path / "clip")
    Image.new("RGBA", (16, 16)).save(folder / "frame_004.png")
    with pytest.raises(InputError, match="frame 4 is 16 x 16"):
        load_clip(folder)
