"""The C++ rasteriser against its PyTorch twin, the twin against finite differences, and what must hold for any input."""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from splat_fixtures import computed_with

from orbit4d.cameras import Cameras, Orbit, intrinsics_from_fov
from orbit4d.errors import InputError
from orbit4d.splat import rasterize
from orbit4d.splat.gaussians import Gaussians
from orbit4d.splat.native import instruction_set, library
from orbit4d.splat.rasterize import Rendering, render, render_batch
from orbit4d.splat.reference import render_reference
from orbit4d.splat.spherical_harmonics import shade, shade_reference

NAMES = ("means", "quats", "log_scales", "logit_opacities", "colors")


def scene(n: int, seed: int = 0, low: float = 0.02, high: float = 0.2) -> dict[str, torch.Tensor]:
    """Anisotropic, rotated Gaussians in the unit ball."""
    g = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(n, 3, generator=g), dim=-1)
    return {
        "means": directions * torch.rand(n, 1, generator=g) ** (1 / 3) * 0.8,
        "quats": torch.randn(n, 4, generator=g) * (0.5 + torch.rand(n, 1, generator=g)),
        "log_scales": torch.log(low + (high - low) * torch.rand(n, 3, generator=g)),
        "logit_opacities": 2 * torch.randn(n, generator=g),
        "colors": torch.rand(n, 3, generator=g),
    }


def cameras(views: int = 3, size: int = 40) -> Cameras:
    return Orbit(frames=max(views, 2), radius=2.5, fov_deg=49, elevation_deg=15).cameras(size)[list(range(views))]


def gradients(
    parameters: dict[str, torch.Tensor], views: Cameras, backend: str, **options
) -> tuple[Rendering, dict[str, torch.Tensor]]:
    leaves = {k: v.clone().requires_grad_() for k, v in parameters.items()}
    out = render_batch(**leaves, cameras=views, backend=backend, **options)
    g = torch.Generator().manual_seed(7)
    loss = sum(
        (torch.rand(x.shape, generator=g) * x).sum() - 0.3 * x.square().sum() for x in (out.rgb, out.alpha, out.depth)
    )
    loss.backward()
    return out, {k: v.grad for k, v in leaves.items()}


def test_twin_passes_gradcheck():
    parameters = {k: v.double().requires_grad_() for k, v in scene(4, seed=3, low=0.1, high=0.3).items()}
    views = cameras(2, 6)
    views.camera_to_world, views.intrinsics = views.camera_to_world.double(), views.intrinsics.double()

    def images(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return render_reference(**dict(zip(NAMES, values, strict=True)), cameras=views, smooth=True)[:3]

    assert torch.autograd.gradcheck(images, [parameters[k] for k in NAMES], atol=1e-6)


@pytest.mark.parametrize(
    ("n", "seed", "low", "high"), [(1, 0, 0.1, 0.2), (60, 1, 0.02, 0.2), (300, 2, 0.005, 0.05), (40, 3, 0.2, 0.8)]
)
def test_cpu_agrees_with_the_twin(n, seed, low, high):
    parameters, views = scene(n, seed, low, high), cameras()
    out, grads = gradients(parameters, views, "cpu")
    expected, expected_grads = gradients(parameters, views, "reference")
    torch.testing.assert_close(out.rgb, expected.rgb, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(out.alpha, expected.alpha, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(out.depth, expected.depth, atol=2e-3, rtol=1e-3)
    for name in NAMES:
        scale = expected_grads[name].norm().clamp_min(1e-6)
        assert (grads[name] - expected_grads[name]).norm() / scale < 1e-3, name


def test_gradients_beyond_the_frame_agree_with_the_twin():
    """Large Gaussians near the camera and far off its axis: there the projection's linearisation is clamped."""
    parameters = scene(60, 6, 0.1, 0.5)
    parameters["means"] = parameters["means"] * 2.2
    views = Orbit(frames=3, radius=2.0, fov_deg=60, elevation_deg=15).cameras(40)
    in_camera = parameters["means"] @ views.world_to_camera[0, :3, :3].T + views.world_to_camera[0, :3, 3]
    in_camera = in_camera[in_camera[:, 2] > 0.1]
    assert (in_camera[:, :2] / in_camera[:, 2:]).abs().max() > 1.3 * 20 / float(views.intrinsics[0, 0, 0])
    out, grads = gradients(parameters, views, "cpu")
    expected, expected_grads = gradients(parameters, views, "reference")
    torch.testing.assert_close(out.rgb, expected.rgb, atol=1e-4, rtol=1e-3)
    for name in NAMES:
        assert (grads[name] - expected_grads[name]).norm() / expected_grads[name].norm() < 2e-3, name


def test_per_view_parameters_agree_with_single_views():
    """Moving scenes: every view has its own means; opacities and colours are shared and get the sum of gradients."""
    parameters, views = scene(50, 4), cameras(3)
    shift = torch.linspace(-0.2, 0.2, 3)[:, None, None]
    moving = parameters | {
        "means": parameters["means"][None] + shift,
        "quats": parameters["quats"].expand(3, -1, -1).clone(),
    }
    out, grads = gradients(moving, views, "cpu")
    expected, expected_grads = gradients(moving, views, "reference")
    torch.testing.assert_close(out.rgb, expected.rgb, atol=2e-5, rtol=1e-4)
    for name in NAMES:
        assert grads[name].shape == moving[name].shape
        assert (grads[name] - expected_grads[name]).norm() / expected_grads[name].norm() < 1e-3, name


@pytest.mark.parametrize(("channels", "per_view"), [(1, False), (2, True), (4, False), (7, True), (32, False)])
def test_any_number_of_channels_agrees_with_the_twin(channels, per_view):
    parameters, views = scene(60, 1), cameras(3)
    shape = (3, 60, channels) if per_view else (60, channels)
    parameters["colors"] = torch.rand(shape, generator=torch.Generator().manual_seed(0)) - 0.2
    out, grads = gradients(parameters, views, "cpu")
    expected, expected_grads = gradients(parameters, views, "reference")
    assert out.rgb.shape == (3, channels, 40, 40)
    torch.testing.assert_close(out.rgb, expected.rgb, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(out.alpha, expected.alpha, atol=2e-5, rtol=1e-4)
    for name in NAMES:
        assert (grads[name] - expected_grads[name]).norm() / expected_grads[name].norm() < 1e-3, name


def test_channels_are_drawn_alike_whatever_their_neighbours():
    parameters, views = scene(200, 3), cameras(2)
    colors = torch.rand(200, 6, generator=torch.Generator().manual_seed(0))
    background = torch.linspace(0, 1, 6)
    together = render_batch(**parameters | {"colors": colors}, cameras=views, background=background)
    for part in (slice(0, 3), slice(3, 6), slice(4, 6)):
        alone = render_batch(**parameters | {"colors": colors[:, part]}, cameras=views, background=background[part])
        assert torch.equal(alone.rgb, together.rgb[:, part]) and torch.equal(alone.alpha, together.alpha)


@pytest.mark.parametrize("channels", [0, 33])
def test_too_few_or_many_channels_are_refused(channels):
    with pytest.raises(ValueError, match="colors must have 1 to 32 channels"):
        render_batch(**scene(5) | {"colors": torch.zeros(5, channels)}, cameras=cameras(1))


def test_result_does_not_depend_on_threads():
    parameters, views = scene(400, 5, 0.01, 0.05), cameras(2, 70)
    first, first_grads = gradients(parameters, views, "cpu", threads=1)
    for threads in (2, 3, 5):
        out, grads = gradients(parameters, views, "cpu", threads=threads)
        assert torch.equal(out.rgb, first.rgb)
        assert all(torch.equal(grads[k], first_grads[k]) for k in NAMES)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(0, 40),
    seed=st.integers(0, 1000),
    width=st.integers(1, 50),
    height=st.integers(1, 50),
    log_size=st.floats(-12, 3),
)
def test_any_shape_and_size_is_finite_and_agrees(n, seed, width, height, log_size):
    parameters = scene(n, seed)
    parameters["log_scales"] = parameters["log_scales"] * 0.1 + log_size
    parameters["means"] = parameters["means"] * 3  # some behind the camera, some outside the frame
    k = intrinsics_from_fov(50, width, height)[None]
    views = Cameras(camera_to_world=cameras(1).camera_to_world, intrinsics=k, width=width, height=height)
    out, grads = gradients(parameters, views, "cpu")
    for image in (out.rgb, out.alpha, out.depth):
        assert torch.isfinite(image).all()
    assert (out.alpha >= 0).all() and (out.alpha <= 1).all()
    assert all(torch.isfinite(g).all() for g in grads.values())
    if log_size < 0 and n:
        expected = render_batch(**parameters, cameras=views, backend="reference")
        # A pixel whose alpha lies within rounding of a cut-off may differ by that cut-off's size.
        difference = (out.rgb - expected.rgb).abs()
        assert difference.max() < 6e-3 and difference.mean() < 2e-4


def test_empty_and_invisible_scenes_are_background():
    empty = scene(0)
    out = render_batch(**empty, cameras=cameras(2), background=0.25)
    assert torch.equal(out.rgb, torch.full_like(out.rgb, 0.25))
    behind = scene(10) | {"means": torch.tensor([0.0, -50.0, 0.0]).expand(10, 3)}
    out, grads = gradients(behind, cameras(1), "cpu")
    assert out.alpha.abs().max() == 0 and out.radii.abs().max() == 0
    assert all(g.abs().sum() == 0 for g in grads.values())


def test_background_and_depth_of_an_opaque_gaussian():
    one = {
        "means": torch.zeros(1, 3),
        "quats": torch.tensor([[1.0, 0, 0, 0]]),
        "log_scales": torch.full((1, 3), -1.0),
        "logit_opacities": torch.tensor([9.0]),
        "colors": torch.tensor([[0.2, 0.5, 0.8]]),
    }
    out = render_batch(**one, cameras=cameras(1), background=torch.tensor([1.0, 0.0, 0.5]))
    middle, alpha = out.rgb[0, :, 20, 20], float(out.alpha[0, 0, 20, 20])
    assert 0.99 < alpha < 0.999
    expected = torch.tensor([0.2, 0.5, 0.8]) * alpha + torch.tensor([1.0, 0.0, 0.5]) * (1 - alpha)
    torch.testing.assert_close(middle, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(out.depth[0, 0, 20, 20], torch.tensor(2.5), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.rgb[0, :, 0, 0], torch.tensor([1.0, 0.0, 0.5]), atol=0.02, rtol=0)


def test_nearer_gaussians_cover_farther_ones():
    """Camera 0 stands at -y: a red one in front of a green one must win, whatever their order in memory."""
    means = torch.tensor([[0.0, 0.5, 0.0], [0.0, -0.5, 0.0]])
    two = {
        "means": means,
        "quats": torch.tensor([[1.0, 0, 0, 0]]).repeat(2, 1),
        "log_scales": torch.full((2, 3), -1.5),
        "logit_opacities": torch.full((2,), 7.0),
        "colors": torch.tensor([[0.0, 1, 0], [1.0, 0, 0]]),
    }
    for order in ([0, 1], [1, 0]):
        level = Orbit(frames=2, radius=2.5, fov_deg=49).cameras(40)[:1]
        out = render_batch(**{k: v[order] for k, v in two.items()}, cameras=level)
        assert out.rgb[0, 0, 20, 20] > 0.95 and out.rgb[0, 1, 20, 20] < 0.05


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_is_refused_by_name(name, bad):
    parameters = scene(5)
    parameters[name].view(-1)[3] = bad
    with pytest.raises(ValueError, match=name):
        render_batch(**parameters, cameras=cameras(1))


def test_wrong_shapes_are_refused_by_name():
    parameters = scene(5)
    parameters["colors"] = parameters["colors"][:4]
    with pytest.raises(ValueError, match=r"colors must have shape \(5, 3\)"):
        render_batch(**parameters, cameras=cameras(1))


def test_probe_receives_the_screen_gradient():
    """Moving the principal point by +1 pixel moves every Gaussian's mean: the probe's sum is that derivative."""
    parameters, views = scene(20, 9), cameras(1)
    probe = torch.zeros(1, 20, 2, requires_grad=True)
    out = render_batch(**parameters, cameras=views, probe=probe)
    weights = torch.linspace(0, 1, 40).square()  # smooth, so that the cut-offs at 1/255 average out
    (out.rgb * weights).sum().backward()
    # cx enters only through the screen means, so its gradient through the twin is the probe's sum
    moved = views[:]
    moved.intrinsics = views.intrinsics.clone().requires_grad_()
    (render_batch(**parameters, cameras=moved, backend="reference").rgb * weights).sum().backward()
    expected = moved.intrinsics.grad[0, :2, 2]
    torch.testing.assert_close(probe.grad[0].sum(0), expected, rtol=2e-3, atol=1e-3)


def test_spherical_harmonics_depend_on_direction():
    p = scene(30, 2)
    sh = torch.zeros(30, 4, 3)
    sh[:, 3, 0] = 1.0  # varies with -x of the viewing direction
    g = Gaussians(**{k: p[k] for k in NAMES[:4]}, sh=sh)
    views = Orbit(frames=5, radius=2.5).cameras(32)
    out = render(g, views)
    left, right = out.rgb[1, 0].sum(), out.rgb[3, 0].sum()
    assert abs(float(left - right)) > 1.0
    assert float(out.rgb[1, 1].sum()) == pytest.approx(float(out.alpha[1].sum()) * 0.5, rel=1e-3)


def shaded(n: int, v: int, count: int, function=shade, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(n)
    sh, means, positions = (torch.randn(*s, generator=g).to(dtype) for s in ((n, count, 3), (n, 3), (v, 3)))
    weights = torch.randn(v, n, 3, generator=g).to(dtype)
    sh.requires_grad_()
    colors = function(sh, means, 3 * positions)
    (colors * weights).sum().backward()
    return {"colors": colors.detach(), "sh": sh.grad}


@pytest.mark.parametrize("count", [4, 9, 16])
@pytest.mark.parametrize(("n", "v"), [(0, 1), (1, 1), (37, 3), (1100, 2)])
def test_colours_of_spherical_harmonics_agree_with_the_twin(n, v, count):
    fast, exact = shaded(n, v, count), shaded(n, v, count, shade_reference, torch.float64)
    for name, value in exact.items():
        assert (fast[name] - value).norm() <= 1e-5 * value.norm(), name


@pytest.mark.parametrize("function", [shade, shade_reference])
def test_colours_that_are_not_numbers_are_refused(function):
    sh = torch.zeros(5, 4, 3)
    sh[2, 1, 1] = torch.nan
    assert function(sh, torch.ones(5, 3), torch.zeros(1, 3)).isnan().sum() == 1
    g = Gaussians(**{k: scene(5)[k] for k in NAMES[:4]}, sh=sh)
    with pytest.raises(ValueError, match="colors holds NaN"):
        render(g, cameras(1))
    with pytest.raises(ValueError, match="sh must have shape"):
        shade(sh[:3], torch.ones(5, 3), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="sh must have shape"):
        shade(sh[:, :1], torch.ones(5, 3), torch.zeros(1, 3))


@pytest.mark.parametrize("isa", ["base", "avx2", "avx512"])
def test_instruction_sets_agree_on_colours(isa, tmp_path):
    theirs = computed_with(isa, "shaded(100, 2, 16)", tmp_path)
    for name, value in shaded(100, 2, 16).items():
        assert (value - theirs[name]).norm() / value.norm() < 1e-5, name


def test_double_precision_inputs_come_back_double():
    parameters = {k: v.double() for k, v in scene(5).items()}
    out, grads = gradients(parameters, cameras(1), "cpu")
    assert out.rgb.dtype == torch.float64 and grads["means"].dtype == torch.float64


def test_measured_pairs_are_those_that_are_drawn():
    parameters = {k: v.requires_grad_() for k, v in scene(1, 4, 0.1, 0.3).items()}
    drawn = render_batch(**parameters, cameras=cameras(1, 37))
    pairs, seconds = (ctypes.c_longlong * 3)(), (ctypes.c_double * 6)()
    library().o4d_measure(drawn.rgb.grad_fn.session.handle, 2, pairs, seconds)
    listed, evaluated, contributing = pairs
    assert contributing == int((drawn.alpha > 0).sum()) > 50
    assert contributing < evaluated and contributing < listed <= 37 * 37
    assert sum(seconds) > 0


def test_instruction_set_is_known():
    assert instruction_set() in ("avx512", "avx2", "base")


def small_images() -> dict[str, torch.Tensor]:
    out, grads = gradients(scene(300, 2, 0.005, 0.2), cameras(2, 70), "cpu")
    return {"rgb": out.rgb.detach(), "depth": out.depth.detach(), **grads}


@pytest.mark.parametrize("isa", ["base", "avx2", "avx512"])
def test_instruction_sets_agree(isa, tmp_path):
    theirs = computed_with(isa, "small_images()", tmp_path)
    for name, value in small_images().items():
        assert (value - theirs[name]).norm() / value.norm() < 1e-4, name


def test_too_many_tiles_is_one_clear_line():
    """Frame-filling Gaussians on a large image: refused before anything is allocated for them."""
    parameters = scene(5000, 0) | {"log_scales": torch.full((5000, 3), 3.0)}
    with pytest.raises(InputError, match="5000 Gaussians at 2048 x 2048"):
        render_batch(**parameters, cameras=cameras(1, 2048))


def fake_gsplat(means, quats, scales, opacities, colors, viewmats, Ks, width, height, **options) -> tuple:
    """gsplat's signature and results, computed by the twin: a machine without CUDA can still check what it is handed."""
    assert options == {"near_plane": 0.05, "eps2d": 0.3, "packed": False, "render_mode": "RGB+D"}
    views = Cameras(camera_to_world=torch.linalg.inv(viewmats), intrinsics=Ks, width=width, height=height)
    means2d = torch.zeros(len(viewmats), len(means), 2, requires_grad=True)
    rgb, alpha, depth, radii = render_reference(
        means=means,
        quats=quats,
        log_scales=scales.log(),
        logit_opacities=torch.logit(opacities),
        colors=colors,
        cameras=views,
    )
    image = torch.cat([rgb, depth], dim=1) + means2d.sum(dim=(1, 2))[:, None, None, None]
    radii = radii[..., None].expand(-1, -1, 2)
    return image.permute(0, 2, 3, 1), alpha.permute(0, 2, 3, 1), {"radii": radii, "means2d": means2d}


@pytest.mark.parametrize("moving", [False, True])
def test_gsplat_is_handed_what_it_expects(monkeypatch, moving):
    monkeypatch.setitem(sys.modules, "gsplat", SimpleNamespace(rasterization=fake_gsplat))
    monkeypatch.setattr(rasterize, "_choose", lambda backend, means: backend)
    parameters, views = scene(30, 4), cameras(3)
    if moving:
        shift = torch.linspace(-0.2, 0.2, 3)[:, None, None]
        parameters |= {"means": parameters["means"] + shift, "quats": parameters["quats"].expand(3, -1, -1).clone()}
    probe = torch.zeros(3, 30, 2, requires_grad=True)
    out, grads = gradients(parameters, views, "cuda", probe=probe)
    expected, expected_grads = gradients(parameters, views, "cpu")
    for name in ("rgb", "alpha", "depth"):
        torch.testing.assert_close(getattr(out, name), getattr(expected, name), atol=2e-3, rtol=1e-3)
    assert out.radii.shape == expected.radii.shape
    for name in NAMES:
        assert (grads[name] - expected_grads[name]).norm() / expected_grads[name].norm() < 2e-3, name
    assert probe.grad is not None and (probe.grad != 0).all(), "each view's screen gradient reaches the probe"


def test_cuda_is_refused_without_a_gpu():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match="needs CUDA tensors"):
        render_batch(**scene(3), cameras=cameras(1), backend="cuda")
    assert "gsplat" not in sys.modules, "a machine without CUDA never imports it"


def test_one_camera_is_not_a_batch():
    with pytest.raises(ValueError, match=r"use cameras\[i : i \+ 1\]"):
        render_batch(**scene(3), cameras=cameras(2)[0])
