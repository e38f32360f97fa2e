"""The renderer's interface: grids, order, what is posed when, contexts that last, errors; and placing."""

from __future__ import annotations

import ctypes
import ctypes.util
from pathlib import Path

import numpy as np
import pytest
import torch
from render_fixtures import STILL, asset, ball, material, sheet

from orbit4d.assets.gltf import Asset, load_glb
from orbit4d.assets.toybox import make_toy
from orbit4d.cameras import Cameras, Orbit
from orbit4d.data import placement
from orbit4d.data.placement import Placement, place
from orbit4d.data.render import Lighting, Renderer, iter_grid, render_clip, render_grid
from orbit4d.errors import InputError

SIZE = 32
CAMERAS = Orbit(frames=5).cameras(SIZE)


@pytest.fixture
def toy(tmp_path: Path) -> Asset:
    path = tmp_path / "toy.glb"
    path.write_bytes(make_toy(3, kind="robot", motion="wave").glb)
    return load_glb(path)


def grid(thing, pairs, **options):
    options = {"cameras": CAMERAS, "times": [0.0, 0.3, 0.6], "animation": 0, "size": SIZE} | options
    return list(iter_grid(thing, pairs=pairs, **options))


def test_each_time_is_posed_once_and_pairs_keep_their_numbers(toy, monkeypatch):
    placed = place(toy, 0)
    posed = []
    pose = Asset.pose
    monkeypatch.setattr(Asset, "pose", lambda self, *a: posed.append(a[1]) or pose(self, *a))
    pairs = [(0, 2), (1, 0), (4, 2), (2, 0), (3, 1)]
    frames = grid(toy, pairs, placement=placed)
    assert [k for k, _ in frames] == [1, 3, 4, 0, 2] and len(posed) == 3
    posed.clear()
    frames_with_flow = grid(toy, pairs, placement=placed, outputs=("flow",))
    assert len(posed) == 3
    for (k, a), (j, b) in zip(frames, frames_with_flow, strict=True):
        assert k == j and (a.rgba == b.rgba).all() and a.flow is None and b.flow is not None and b.depth is None
        alone = grid(toy, [pairs[k]], placement=placed)[0][1]
        np.testing.assert_array_equal(alone.rgba, a.rgba)


def test_outputs_come_when_asked_for(toy):
    shapes = {"depth": (SIZE, SIZE), "normals": (SIZE, SIZE, 3), "flow": (SIZE, SIZE, 3)}
    for outputs in ((), ("depth",), ("normals",), ("flow", "depth"), ("normals", "flow", "depth")):
        ((_, frame),) = grid(toy, [(0, 1)], outputs=outputs)
        assert frame.rgba.shape == (SIZE, SIZE, 4) and frame.rgba.dtype == np.uint8
        for name, shape in shapes.items():
            array = getattr(frame, name)
            assert (array is not None) == (name in outputs)
            if array is not None:
                assert array.shape == shape and array.dtype == np.float32 and np.isfinite(array).all() and array.any()


def test_cameras_of_another_size_are_resized(toy):
    ((_, a),) = grid(toy, [(1, 1)])
    ((_, b),) = grid(toy, [(1, 1)], cameras=Orbit(frames=5).cameras(100))
    np.testing.assert_array_equal(a.rgba, b.rgba)


def test_one_renderer_serves_other_sizes_and_is_left_open(toy):
    with Renderer(size=16, supersample=1) as renderer:
        for size, supersample in ((SIZE, 2), (48, 1), (SIZE, 2)):
            cameras = Orbit(frames=5).cameras(size)
            ((_, kept),) = grid(toy, [(1, 1)], cameras=cameras, size=size, supersample=supersample, renderer=renderer)
            ((_, fresh),) = grid(toy, [(1, 1)], cameras=cameras, size=size, supersample=supersample)
            np.testing.assert_array_equal(kept.rgba, fresh.rgba)
        assert (renderer.size, renderer.supersample) == (SIZE, 2)


def test_renderers_side_by_side_and_interleaved_grids_do_not_mix(toy):
    other = asset(ball(0.4, look=material((1, 0, 0, 1))))
    alone = grid(toy, [(0, 0), (1, 0), (1, 1)])
    with Renderer(size=SIZE) as first, Renderer(size=SIZE) as second:
        for renderer in (first, second):  # another context, then the same one
            running = iter_grid(
                toy,
                cameras=CAMERAS,
                times=[0.0, 0.3],
                pairs=[(0, 0), (1, 0), (1, 1)],
                animation=0,
                size=SIZE,
                renderer=first,
            )
            for _, frame in alone:
                np.testing.assert_array_equal(next(running)[1].rgba, frame.rgba)
                ((_, red),) = grid(other, [(0, 0)], animation=None, placement=STILL, renderer=renderer, size=24)
                assert red.rgba[12, 12][1] == 0


def test_grids_and_clips_take_lighting(toy):
    orbit = Orbit(frames=3)
    light = Lighting.random(4)
    pairs = [(i, i) for i in range(3)]
    drawn = render_grid(toy, views=orbit, times=orbit.times, pairs=pairs, animation=0, size=SIZE, lighting=light)
    clip = render_clip(toy, frames=3, size=SIZE, lighting=light, outputs=("normals",))
    rgba = torch.cat([clip.rgb, clip.alpha], 1).permute(0, 2, 3, 1)
    np.testing.assert_array_equal(drawn, (rgba * 255).round().byte().numpy())
    plain = render_clip(toy, frames=3, size=SIZE)
    assert (plain.alpha == clip.alpha).all() and (plain.rgb - clip.rgb).abs().max() > 0.05
    assert clip.depth.shape == (3, 1, SIZE, SIZE) and clip.normals.shape == (3, 3, SIZE, SIZE)


def test_hundreds_of_assets_leave_nothing_behind(tmp_path):
    """Neither GL objects, which the driver is asked for name by name, nor memory."""
    path = tmp_path / "toy.glb"
    library = ctypes.util.find_library("OpenGL") or ctypes.util.find_library("GL")
    if library is None:
        pytest.skip("no libOpenGL or libGL to count objects with")
    driver = ctypes.CDLL(library)

    def alive(renderer: Renderer) -> dict[str, int]:
        with renderer.context:
            return {
                kind: sum(getattr(driver, f"glIs{kind}")(name) & 1 for name in range(1, 20_000))
                for kind in ("Buffer", "Texture", "Framebuffer", "VertexArray", "Program", "Shader")
            }

    def resident() -> int:
        status = Path("/proc/self/statm")
        return int(status.read_text().split()[1]) * 4096 if status.is_file() else 0

    glass = material((1, 1, 1, 0.5), alpha_mode="BLEND", texture=np.full((256, 256, 4), 200, np.uint8))
    with Renderer(size=SIZE) as renderer:
        seen = []
        for i in range(300):
            if i % 3:
                path.write_bytes(make_toy(i).glb)
                thing, placed = load_glb(path), Placement(scale=0.5, centre=np.zeros(3), drift=np.zeros(3))
            else:
                thing, placed = asset(ball(0.3, rings=8), sheet(-0.2, look=glass), move=[0.1, 0, 0]), STILL
            options = {"placement": placed, "renderer": renderer, "size": (SIZE, 24)[i % 2]}
            grid(thing, [(0, 0), (1, 0)], outputs=((), ("depth", "normals", "flow"))[i % 2], **options)
            if i in (59, 299):
                seen.append((alive(renderer), resident()))
    (objects, memory), (objects_later, memory_later) = seen
    assert objects == objects_later and min(objects.values()) > 0
    assert memory_later - memory < 40e6


def test_devices_that_do_not_exist_are_one_line(monkeypatch):
    with pytest.raises(InputError, match="EGL device 4000 cannot be used"):
        Renderer(size=SIZE, device=4000)
    for wrong in ("gpu", "-1", "1.5"):
        monkeypatch.setenv("ORBIT4D_EGL_DEVICE", wrong)
        with pytest.raises(InputError, match="ORBIT4D_EGL_DEVICE"):
            Renderer(size=SIZE)
    monkeypatch.setenv("ORBIT4D_EGL_DEVICE", "4000")
    with pytest.raises(InputError, match="4000"):
        Renderer(size=SIZE)
    with Renderer(size=SIZE, device=0) as renderer:
        assert isinstance(renderer.info, str) and renderer.info


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"pairs": [(5, 0)]}, "pair"),
        ({"pairs": [(0, 3)]}, "pair"),
        ({"pairs": [(-1, 0)]}, "pair"),
        ({"times": [0.0, 1.5, 0.2]}, "times"),
        ({"times": [0.0, float("nan"), 0.2]}, "times"),
        ({"next_times": [0.0]}, "next times"),
        ({"outputs": ("colour",)}, "output"),
        ({"animation": 1}, "animation"),
        ({"cameras": CAMERAS[0]}, "batch"),
        ({"cameras": Orbit(frames=5).cameras((40, 30))}, "square"),
        ({"size": 2}, "--size"),
        ({"size": 9000}, "--size"),
        ({"supersample": 0}, "--supersample"),
    ],
)
def test_what_does_not_fit_is_one_line_at_once(toy, options, word):
    """Before any frame is asked for."""
    options = {"cameras": CAMERAS, "times": [0.0, 0.3, 0.6], "pairs": [(0, 0)], "animation": 0, "size": SIZE} | options
    with pytest.raises(InputError, match=word) as caught:
        iter_grid(toy, **options)
    assert "\n" not in str(caught.value)


def test_a_grid_of_nothing_yields_nothing(toy):
    assert grid(toy, []) == []


def test_offset_principal_points_shift_the_picture(toy):
    k = CAMERAS.intrinsics.clone()
    k[:, 0, 2] += 4
    shifted = Cameras(camera_to_world=CAMERAS.camera_to_world, intrinsics=k, width=SIZE, height=SIZE)
    ((_, a),), ((_, b),) = grid(toy, [(0, 0)]), grid(toy, [(0, 0)], cameras=shifted)
    np.testing.assert_array_equal(a.rgba[:, :-4], b.rgba[:, 4:])


def test_the_enclosing_sphere_is_that_of_all_points():
    """Leaving points out must not change a bit: against the plain iteration over all of them."""

    def plain(points):
        centre = (points.min(0) + points.max(0)) / 2
        for i in range(1, 60):
            far = points[int(((points - centre) ** 2).sum(1).argmax())]
            centre = centre + (far - centre) / (i + 1) ** 1.2 * 0.5
        return centre, float(np.sqrt(((points - centre) ** 2).sum(1).max()))

    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 50, 5000):
        for stretch in ((1, 1, 1), (5, 1, 0.1), (0, 0, 1)):
            points = (rng.normal(size=(n, 3)) * stretch + rng.normal(size=3) * 10).astype(np.float32)
            expected, got = plain(points), placement._sphere(points)
            np.testing.assert_array_equal(got[0], expected[0])
            assert got[1] == expected[1]


def test_placement_removes_only_far_drift(tmp_path):
    near = asset(ball(0.5), move=[0.5, 0, 0])
    assert (place(near, 0).drift == 0).all() and (place(near, 0, root_motion="remove").drift != 0).any()
    far = asset(ball(0.5), move=[5.0, 0, 0])
    np.testing.assert_allclose(place(far, 0).drift, [5, 0, 0], atol=1e-5)
    assert (place(far, 0, root_motion="keep").drift == 0).all()
