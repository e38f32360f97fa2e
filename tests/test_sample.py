"""Plans and samples: every pair once, lossless frames, damaged files refused in one line."""

from __future__ import annotations

import io
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orbit4d.cameras import Orbit
from orbit4d.data.plan import MAX_RADIUS, RenderPlan
from orbit4d.data.sample import Sample, encode_frame, load_sample, save_sample
from orbit4d.errors import InputError


@dataclass
class Drawn:
    rgba: np.ndarray
    depth: np.ndarray | None = None
    normals: np.ndarray | None = None
    flow: np.ndarray | None = None


def make_sample(plan: RenderPlan, *, key: str = "toy_1__000", seed: int = 0) -> tuple[Sample, dict]:
    rng, frames, members = np.random.default_rng(seed), {}, {}
    for pair in plan.pairs():
        rgba = rng.integers(0, 256, (plan.size, plan.size, 4), dtype=np.uint8)
        shape = (plan.size, plan.size, 3)
        depth = (rng.uniform(1, 3, shape[:2]) * (rgba[..., 3] > 99)).astype(np.float32)
        frames[pair] = Drawn(rgba, depth, rng.normal(size=shape).astype("f4"), rng.normal(size=shape).astype("f4"))
        members |= encode_frame(frames[pair], pair, depth_max=4.0)
    cameras = plan.cameras()
    meta = {
        "captions": ["a toy", "a toy moving"],
        "times": plan.times(),
        "pairs": [list(p) for p in plan.pairs()],
        "camera_to_world": cameras.camera_to_world.tolist(),
        "intrinsics": cameras.intrinsics.tolist(),
        "width": plan.size,
        "height": plan.size,
        "depth_max": 4.0,
    }
    return Sample(key=key, meta=meta, members=members), frames


SMALL = make_sample(RenderPlan(frames=3, size=8))


@given(frames=st.integers(3, 40), orbits=st.integers(1, 8), rows=st.integers(1, 8), columns=st.integers(1, 8))
def test_pairs_hold_every_clip_once(frames: int, orbits: int, rows: int, columns: int) -> None:
    bound = frames - 1
    plan = RenderPlan(frames=frames, orbits=min(orbits, bound), rows=min(rows, bound), columns=min(columns, bound))
    pairs = plan.pairs()
    assert len(pairs) == len(set(pairs))
    assert all(0 <= i < plan.views and 0 <= j < plan.frames for i, j in pairs)
    wanted = {p for k in range(plan.orbits) for p in plan.orbit(k)}
    wanted |= {(i, 0) for i in range(plan.views)} | {(0, j) for j in range(frames)}
    assert wanted <= set(pairs)
    assert len(set(plan.row_times())) == plan.rows and len(set(plan.column_views())) == plan.columns


def test_orbit_is_the_projects_orbit() -> None:
    plan = RenderPlan(frames=9, size=16, elevation=10)
    views = [i for i, _ in plan.orbit()]
    whole = Orbit(frames=9, elevation_deg=10).cameras(16)
    torch.testing.assert_close(plan.cameras()[views].camera_to_world, whole.camera_to_world, atol=1e-6, rtol=0)
    assert plan.times() == pytest.approx(Orbit(frames=9).times.tolist())


def test_round_trip(tmp_path: Path) -> None:
    sample, frames = make_sample(RenderPlan(frames=4, size=16))
    save_sample(sample, tmp_path / "a.tar")
    save_sample(load_sample(tmp_path / "a.tar"), tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    back = load_sample(tmp_path / "b.tar")
    assert back.meta == sample.meta
    for pair, frame in frames.items():
        np.testing.assert_array_equal(back.rgba(pair), frame.rgba)
        np.testing.assert_allclose(back.depth(pair), frame.depth, atol=4 / 65535)
        np.testing.assert_array_equal(back.depth(pair) > 0, frame.depth > 0)
        np.testing.assert_array_equal(back.normals(pair), frame.normals.astype("f2"))
        np.testing.assert_array_equal(back.flow(pair), frame.flow.astype("f2"))


def test_clip_of_any_pairs() -> None:
    plan = RenderPlan(frames=4, size=16)
    sample, frames = make_sample(plan)
    pairs = [(2, 2), (0, 3), (1, 0)]
    clip = sample.clip(pairs, depth=True)
    assert clip.times.tolist() == pytest.approx([2 / 3, 1, 0]) and clip.caption == "a toy"
    torch.testing.assert_close(clip.cameras.camera_to_world, plan.cameras()[[2, 0, 1]].camera_to_world)
    for rgb, pair in zip(clip.rgb, pairs, strict=True):
        np.testing.assert_array_equal((rgb * 255).round().byte().permute(1, 2, 0).numpy(), frames[pair].rgba[..., :3])
    with pytest.raises(InputError, match="was not rendered"):
        sample.clip([(1, 2)])


def test_shallow_surfaces_stay_surfaces() -> None:
    frame = Drawn(np.zeros((2, 2, 4), np.uint8), np.array([[0, 1e-6], [4, 9]], np.float32))
    sample, _ = make_sample(RenderPlan(frames=3, size=8))
    sample.members |= encode_frame(frame, (0, 0), depth_max=4.0)
    sample.meta |= {"width": 2, "height": 2}
    assert (sample.depth((0, 0)) > 0).tolist() == [[False, True], [True, True]]


def _tar(path: Path, members: list[tuple[str, bytes]], *, kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.type = len(data), kind
            tar.addfile(info, io.BytesIO(data))
    return path


def test_damaged_samples_are_refused(tmp_path: Path) -> None:
    sample, _ = make_sample(RenderPlan(frames=3, size=8))
    save_sample(sample, tmp_path / "good.tar")
    whole = (tmp_path / "good.tar").read_bytes()
    (tmp_path / "short.tar").write_bytes(whole[: len(whole) // 3])
    (tmp_path / "text.tar").write_text("hello" * 300)
    sound = whole.rstrip(b"\0")
    (tmp_path / "endless.tar").write_bytes(sound + bytes(-len(sound) % 512))
    bad = [
        tmp_path / "short.tar",
        tmp_path / "endless.tar",
        tmp_path,
        tmp_path / "text.tar",
        tmp_path / "absent.tar",
        _tar(tmp_path / "link.tar", [("k.json", b"")], kind=tarfile.SYMTYPE),
        _tar(tmp_path / "two.tar", [("a.json", b"{}"), ("b.json", b"{}")]),
        _tar(tmp_path / "escape.tar", [("../a.json", b"{}")]),
        _tar(tmp_path / "empty.tar", []),
        _tar(tmp_path / "meta.tar", [("k.json", b'{"pairs": [[0, 9]]}')]),
        _tar(tmp_path / "json.tar", [("k.json", b"[" * 100000)]),
    ]
    for path in bad:
        with pytest.raises(InputError) as error:
            load_sample(path)
        assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("name", ["v00t00.rgba.png", "v00t00.depth.png", "v00t00.normals.npz", "v00t00.flow.npz"])
def test_damaged_members_are_refused(name: str) -> None:
    sample, _ = make_sample(RenderPlan(frames=3, size=8))
    read = {"rgba": sample.rgba, "depth": sample.depth, "normals": sample.normals, "flow": sample.flow}[
        name.split(".")[1]
    ]
    for data in (b"", sample.members[name][:40], b"x" * 200):
        sample.members[name] = data
        with pytest.raises(InputError):
            read((0, 0))


@pytest.mark.parametrize("name", ["v00t00.rgba.png", "v00t00.depth.png", "v00t00.normals.npz", "v00t00.flow.npz"])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_flipped_bits_are_other_pixels_or_one_line(name: str, place: float, bit: int) -> None:
    sample, _ = SMALL
    data = bytearray(sample.members[name])
    data[int(place * len(data))] ^= 1 << bit
    damaged = Sample(key=sample.key, meta=sample.meta, members={name: bytes(data)})
    try:
        getattr(damaged, name.split(".")[1])((0, 0))
    except InputError as error:
        assert "\n" not in str(error)


def _npz(data: bytes, *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("arr_0.npy", data)
    return out.getvalue()


def _encrypted(data: bytes) -> bytes:
    """An archive that says its member is encrypted."""
    out = bytearray(data)
    out[6] |= 1
    out[data.index(b"PK\1\2") + 8] |= 1
    return bytes(out)


def test_archives_that_claim_much_or_raise_oddly_are_one_line() -> None:
    sample, _ = make_sample(RenderPlan(frames=3, size=8))
    good = sample.members["v00t00.flow.npz"]
    method = bytearray(good)
    method[8] = method[good.index(b"PK\1\2") + 10] = 99
    header = b"\x93NUMPY\2\0" + (2**27).to_bytes(4, "little")
    cut = bytearray(good)
    cut[60:70] = bytes(10)
    for data in (
        bytes(method),
        _encrypted(good),
        bytes(cut),
        _npz(header + b" " * 2**27),
        _npz(b"\x93NUMPY\1\0\x10\0" + b"(" * 16),
        _npz(b"x" * 99, method=zipfile.ZIP_LZMA)[:-40],
    ):
        sample.members["v00t00.flow.npz"] = data
        with pytest.raises(InputError) as error:
            sample.flow((0, 0))
        assert "\n" not in str(error.value)


def test_a_picture_that_claims_much_is_one_line() -> None:
    sample, _ = make_sample(RenderPlan(frames=3, size=8))
    data = bytearray(sample.members["v00t00.rgba.png"])
    data[16:24] = (60000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    sample.members["v00t00.rgba.png"] = bytes(data)
    with pytest.raises(InputError, match="damaged PNG"):
        sample.rgba((0, 0))
    del sample.meta["depth_max"]
    with pytest.raises(InputError, match="depth_max"):
        sample.depth((0, 0))


def test_sparse_members_are_refused_unread(tmp_path: Path) -> None:
    """A GNU sparse header of 512 bytes says that its member is of 60 MiB, of which nothing is stored."""
    info = tarfile.TarInfo("k.v00t00.rgba.png")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"00000000000\0" * 2
    header[483:495] = b"%011o\0" % (60 * 2**20)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = tmp_path / "sparse.tar"
    path.write_bytes(bytes(header) * 40 + bytes(1024))
    with tarfile.open(path) as tar:
        assert tar.next().size == 60 * 2**20  # tarfile would serve it
    with pytest.raises(InputError, match=r"no plain file"):
        load_sample(path)


def test_keys_are_file_names(tmp_path: Path) -> None:
    sample, _ = make_sample(RenderPlan(frames=3, size=8), key="a/../b")
    with pytest.raises(InputError, match="sample key"):
        save_sample(sample, tmp_path / "a.tar")


@pytest.mark.parametrize(
    "bad",
    [
        {"radius": 18.6},
        {"frames": 2},
        {"orbits": 0},
        {"outputs": ("depth", "depth")},
        {"size": 4096},
        {"light": "sun"},
        {"seed": 0.5},
    ],
)
def test_bad_plans_are_refused(bad: dict) -> None:
    with pytest.raises(InputError, match="expected"):
        RenderPlan(**bad)


def test_the_farthest_camera_sees_all_before_the_far_plane() -> None:
    from orbit4d.data.renderer import FAR

    assert RenderPlan(radius=MAX_RADIUS).radius + 1 < FAR


def test_plan_json_round_trip() -> None:
    plan = RenderPlan(frames=8, outputs=("depth", "flow"), light="random")
    assert RenderPlan.from_json(plan.to_json(), source="x") == plan
    assert plan.digest() != RenderPlan(frames=8).digest()
    with pytest.raises(InputError, match=r"plan\.json"):
        RenderPlan.from_json({"frames": 8}, source="plan.json")
