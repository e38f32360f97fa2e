from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from splat_fixtures import computed_with, object_at

from orbit4d.splat.deform import ControlNodes, _Skin, farthest_points, nearest_graph, skin_reference
from orbit4d.splat.gaussians import Deformation, Gaussians
from orbit4d.splat.hexplane import (
    PointFeatures,
    STHexPlane,
    quaternion_exp,
    quaternion_matrix,
    quaternion_multiply,
)
from orbit4d.splat.losses import acceleration, dssim, dssim_reference, rigidity
from orbit4d.splat.trajectories import Trajectories

TIMES = torch.tensor([0.0, 0.3, 1.0])


def disturbed(module: torch.nn.Module, scale: float = 0.3) -> torch.nn.Module:
    """The same module with its zero-initialised heads filled, so that it moves things."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if any(part in name for part in ("heads", "temporal", "gates", "shifts", "turns")):
                parameter += scale * torch.randn(parameter.shape, generator=generator)
    return module


def make_nodes(**field) -> tuple[ControlNodes, Gaussians]:
    gaussians = object_at(0.0)
    nodes = gaussians.means[farthest_points(gaussians.means, 40)]
    torch.manual_seed(0)
    return ControlNodes(
        nodes=nodes, field={"spatial_resolutions": (4, 8), "temporal_resolutions": (4, 8), **field}
    ), gaussians


EVERY_DELTA = {"predict_scale": True, "predict_opacity": True, "predict_color": True}
DEFORMATIONS = {
    "hexplane": lambda: STHexPlane(**EVERY_DELTA),
    "periodic hexplane": lambda: STHexPlane(periodic=True),
    "nodes": lambda: make_nodes()[0],
    "nodes and residual": lambda: make_residual_nodes(),
    "trajectories": lambda: Trajectories(count=750, knots=6),
    "anchored trajectories": lambda: Trajectories(count=750, knots=6, periodic=True, anchor_time=0.4),
}


def make_residual_nodes() -> ControlNodes:
    nodes = object_at(0.0).means[farthest_points(object_at(0.0).means, 40)]
    torch.manual_seed(0)
    return ControlNodes(nodes=nodes, field={}, residual=EVERY_DELTA)


@pytest.mark.parametrize("name", DEFORMATIONS)
def test_starts_as_the_identity_and_is_a_deformation(name):
    gaussians, module = object_at(0.0), DEFORMATIONS[name]()
    assert isinstance(module, Deformation)
    moved = module.deform_batch(gaussians, TIMES)
    assert moved.means.shape == (3, len(gaussians), 3) and moved.quats.shape == (3, len(gaussians), 4)
    for field, value in vars(gaussians).items():
        assert torch.allclose(getattr(moved, field), value.expand_as(getattr(moved, field)), atol=1e-5), field
    assert torch.allclose(moved.colors, gaussians.base_colors.expand_as(moved.colors), atol=1e-5)


@pytest.mark.parametrize("name", DEFORMATIONS)
def test_one_time_agrees_with_the_batch(name):
    gaussians, module = object_at(0.0), disturbed(DEFORMATIONS[name]())
    moved = module.deform_batch(gaussians, TIMES)
    one, expected = module(gaussians, 0.3), moved.at(1)
    for field, value in vars(one).items():
        assert torch.allclose(value, getattr(expected, field), atol=1e-5), field
    assert (moved.means[1] - moved.means[0]).abs().max() > 1e-3  # it does move


def test_all_five_deltas_change_over_time_and_learn():
    gaussians, module = object_at(0.0), disturbed(make_residual_nodes())
    moved = module.deform_batch(gaussians, TIMES)
    for field in vars(moved):
        value = getattr(moved, field)
        assert (value[1] - value[0]).abs().max() > 1e-4, field
    sum(getattr(moved, field).square().sum() for field in vars(moved)).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("build", [STHexPlane, lambda **k: Trajectories(count=750, **k)])
def test_a_periodic_deformation_closes_and_is_continuous_there(build):
    gaussians, module = object_at(0.0), disturbed(build(periodic=True))
    times = torch.tensor([0.0, 1.0, 0.999, 0.001, 0.5])
    means = module.deform_batch(gaussians, times).means
    assert torch.allclose(means[0], means[1], atol=1e-6)
    near = (means[2] - means[3]).abs().max()
    assert near < 0.05 * (means[4] - means[0]).abs().max()


def test_trajectories_need_as_many_gaussians():
    with pytest.raises(RuntimeError):
        Trajectories(count=3).deform_batch(object_at(0.0), TIMES)


def test_every_parameter_gets_a_gradient():
    module, gaussians = disturbed(STHexPlane()), object_at(0.0)
    moved = module.deform_batch(gaussians, TIMES)
    sum(x.square().sum() for x in (moved.means, moved.quats, moved.log_scales)).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_times_reach_the_whole_temporal_plane():
    """Time 0 reads the first knot and time 1 the last one: the full [-1, 1], not half of it."""
    module = STHexPlane(temporal_resolutions=(5, 9))
    module.encode(torch.zeros(1, 3), torch.tensor([0.0])).sum().backward()
    for plane in module.temporal:
        used = plane.grad.abs().sum(dim=(0, 1, 3)) > 0
        assert used.nonzero()[:, 0].tolist() == [0]
    module.zero_grad()
    module.encode(torch.zeros(1, 3), torch.tensor([1.0])).sum().backward()
    for plane in module.temporal:
        used = plane.grad.abs().sum(dim=(0, 1, 3)) > 0
        assert used.nonzero()[:, 0].tolist() == [plane.shape[2] - 1]


def test_anchor_time_is_the_identity_whatever_was_learned():
    module, gaussians = disturbed(STHexPlane(anchor_time=0.25), 1.0), object_at(0.0)
    still = module(gaussians, 0.25)
    assert torch.allclose(still.means, gaussians.means, atol=1e-6)
    assert (module(gaussians, 0.8).means - gaussians.means).abs().max() > 1e-3


def test_optional_heads():
    module = disturbed(STHexPlane(predict_scale=False, predict_opacity=True, predict_color=True))
    gaussians = object_at(0.0)
    moved = module(gaussians, 0.7)
    assert (moved.log_scales == gaussians.log_scales).all()
    assert (moved.logit_opacities != gaussians.logit_opacities).any() and (moved.sh != gaussians.sh).any()


def test_features_gate_space_and_time_apart():
    """z_s reaches every moment alike; z_t of one moment reaches that moment, and the halfway times next to it."""
    points = torch.rand(20, 3) - 0.5
    module = disturbed(STHexPlane(feature_channels=(5, 2)), 0.3)
    known = torch.tensor([0.0, 0.5, 1.0])
    features = PointFeatures(z_s=torch.randn(20, 5), z_t=torch.randn(3, 20, 2), times=known)
    before = module.deltas(points, known, features)["position"]
    features.z_t[1] += 1
    after = module.deltas(points, known, features)["position"]
    assert torch.equal(before[[0, 2]], after[[0, 2]]) and not torch.allclose(before[1], after[1])
    halfway = features.temporal(torch.tensor([0.25, -1.0, 2.0]))
    assert torch.allclose(halfway, torch.stack([features.z_t[:2].mean(dim=0), features.z_t[0], features.z_t[2]]))
    features.z_s[3] += 1
    changed = (module.deltas(points, known, features)["position"] != after).any(dim=-1)
    assert changed[:, 3].all() and changed.sum() == 3
    ring = features.temporal(torch.tensor([0.0, 1.0, 0.75]), periodic=True)
    assert torch.equal(ring[0], ring[1]), "where the motion loops, time 1 is time 0"
    assert torch.allclose(ring[2], features.z_t[:2].mean(dim=0)), "and between 0.5 and 1 lies what lies before 0"
    with pytest.raises(ValueError, match="features"):
        module.deltas(points, known)
    with pytest.raises(ValueError, match="features"):
        STHexPlane().deltas(points, known, features)


def test_hold_outside_freezes_the_motion_there():
    module = disturbed(STHexPlane(temporal_resolutions=(5, 9)))
    module.hold_outside(0.375, 0.125)
    points = torch.rand(20, 3) - 0.5
    d = module.deltas(points, torch.tensor([0.0, 0.25, 0.5, 0.9]))["position"]
    assert torch.allclose(d[0], d[1], atol=1e-6) and torch.allclose(d[2], d[3], atol=1e-6)
    assert not torch.allclose(d[1], d[2], atol=1e-4)


def test_hold_outside_of_a_loop_goes_one_way():
    """Of a ring of eight knots with the anchor at 0, those just after it are known; the rest wait at the last of them."""
    module = disturbed(STHexPlane(spatial_resolutions=(4,), temporal_resolutions=(8,), periodic=True))
    plane = module.temporal[0].detach().clone()
    module.hold_outside(0.0, 0.2)
    kept = module.temporal[0].detach()
    assert torch.equal(kept[:, :, :3], plane[:, :, :3])
    assert torch.equal(kept[:, :, 3:], plane[:, :, 2:3].expand_as(kept[:, :, 3:]))


def test_nodes_carry_gaussians_through_an_exact_rigid_motion():
    """If every node moves by one rigid transform, so does every Gaussian, with its orientation."""
    module, gaussians = make_nodes()
    turn = quaternion_exp(torch.tensor([0.3, -0.8, 1.1]))
    rotation, shift = quaternion_matrix(turn), torch.tensor([0.1, 0.2, -0.3])
    motion = module.motion(torch.tensor([0.5]))
    motion.rotations = rotation.expand_as(motion.rotations)
    motion.quats = turn.expand_as(motion.quats)
    motion.positions = (module.nodes @ rotation.T + shift)[None]
    moved = module.carry(gaussians, motion, module.skin(gaussians.means))
    means, quats = moved.means, moved.quats
    assert torch.allclose(means[0], gaussians.means @ rotation.T + shift, atol=1e-5)
    assert torch.allclose(quats[0], turn.expand_as(quats[0]), atol=1e-5)
    graph = nearest_graph(module.nodes, 8)
    assert rigidity(module.nodes, motion, graph) < 1e-4
    motion.positions = motion.positions * 1.5
    assert rigidity(module.nodes, motion, graph) > 0.3


def test_skinning_weights_are_continuous_and_sum_to_one():
    module, gaussians = make_nodes()
    skin = module.skin(gaussians.means)
    assert torch.allclose(skin.weight.sum(dim=1), torch.ones(len(gaussians)), atol=1e-5)

    def dense(points):
        s = module.skin(points)
        return torch.zeros(len(points), len(module.nodes)).scatter_(1, s.index, s.weight)

    # Past the ball's centre, which is equally far from all nodes: there no neighbourhood is better than another.
    line = torch.linspace(-0.3, 0.5, 8001)[:, None] * torch.tensor([[1.0, 0.1, 0.05]]) + torch.tensor([0.0, 0.09, 0.07])
    assert dense(line).diff(dim=0).abs().max() < 0.05


def test_farthest_points_spread():
    line = torch.linspace(0, 1, 101)[:, None] * torch.tensor([[1.0, 0, 0]])
    chosen = line[farthest_points(line, 5)][:, 0].sort().values
    assert torch.allclose(chosen, torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]), atol=0.011)


def test_quaternions_agree_with_matrices():
    generator = torch.Generator().manual_seed(0)
    a, b = (quaternion_exp(torch.randn(10, 3, generator=generator)) for _ in range(2))
    assert torch.allclose(
        quaternion_matrix(quaternion_multiply(a, b)), quaternion_matrix(a) @ quaternion_matrix(b), atol=1e-5
    )
    quarter = quaternion_matrix(quaternion_exp(torch.tensor([0.0, 0.0, math.pi / 2])))
    assert torch.allclose(quarter @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]), atol=1e-6)
    zero = torch.zeros(3, requires_grad=True)
    quaternion_exp(zero).sum().backward()
    assert torch.isfinite(zero.grad).all()


def encoded(
    n: int, v: int, channels: int, levels: int, seed: int = 0, *, reference: bool = False
) -> dict[str, torch.Tensor]:
    """Features at points in and around the box, at times with both ends, and the gradients of a loss; the twin in float64."""
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    cells, knots = (2, 5, 9)[:levels], (3, 2, 7)[:levels]
    module = STHexPlane(spatial_resolutions=cells, temporal_resolutions=knots, channels=channels, half_extent=0.5)
    points = (torch.rand(n, 3, generator=g) - 0.5) * 1.2
    times = torch.cat([torch.tensor([0.0, 1.0]), torch.rand(max(v - 2, 0), generator=g)])[:v]
    with torch.no_grad():
        for plane in module.temporal:
            plane += 0.5 * torch.randn(plane.shape, generator=g)
    weights = torch.randn(v, n, levels * channels, generator=g)
    if reference:
        module, points, times, weights = module.double(), points.double(), times.double(), weights.double()
    points.requires_grad_()
    out = module.encode_reference(points, times) if reference else module.encode(points, times)
    (weights * out).sum().backward()
    planes = {f"{name}{i}": p.grad for name in ("spatial", "temporal") for i, p in enumerate(getattr(module, name))}
    return {"features": out.detach(), "points": points.grad, **planes}


@settings(max_examples=40)
@given(
    n=st.integers(0, 300),
    v=st.integers(1, 4),
    channels=st.integers(1, 33),
    levels=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_features_and_their_gradient_agree_with_grid_sample(n, v, channels, levels, seed):
    fast, exact = encoded(n, v, channels, levels, seed), encoded(n, v, channels, levels, seed, reference=True)
    for name, value in exact.items():
        assert fast[name].shape == value.shape
        assert (fast[name] - value).norm() <= 2e-5 * value.norm() + 1e-7, name


def test_features_do_not_depend_on_threads(monkeypatch):
    results = []
    for threads in (1, 2, 3, 5):
        monkeypatch.setenv("ORBIT4D_THREADS", str(threads))
        results.append(encoded(9000, 3, 20, 2))  # several chunks of points
    for name, value in results[0].items():
        assert all(torch.equal(value, other[name]) for other in results[1:]), name


@pytest.mark.parametrize("isa", ["base", "avx2", "avx512"])
def test_instruction_sets_agree_on_features(isa, tmp_path):
    theirs = computed_with(isa, "encoded(100, 3, 21, 2)", tmp_path)
    for name, value in encoded(100, 3, 21, 2).items():
        assert (value - theirs[name]).norm() / value.norm() < 1e-5, name


def test_planes_of_any_layout_and_what_the_core_cannot_do():
    """Planes that were given another layout are turned; a gradient of the times, float64 and NaN go through."""
    module, points = disturbed(STHexPlane()), torch.rand(50, 3) - 0.5
    expected = module.encode(points, TIMES)
    assert module.spatial[0].is_contiguous(memory_format=torch.channels_last)
    for plane in [*module.spatial, *module.temporal]:
        plane.data = plane.data.contiguous()
    assert torch.equal(module.encode(points, TIMES), expected)
    times = TIMES.clone().requires_grad_()
    module.encode(points, times).sum().backward()
    assert times.grad[1] != 0
    assert module.double().encode(points.double(), TIMES.double()).dtype == torch.float64
    assert module.float().encode(points * torch.nan, TIMES).shape == expected.shape


def test_skinning_and_its_gradient_agree_with_the_reference():
    g = torch.Generator().manual_seed(0)
    n, m, v, k = 50, 7, 3, 4
    parameters = [torch.randn(v, m, 16, generator=g), torch.randn(n, 3, generator=g), torch.randn(n, 4, generator=g)]
    index, weight = torch.randint(m, (n, k), generator=g), torch.rand(n, k, generator=g)
    results = []
    for function, dtype in ((_Skin.apply, torch.float32), (skin_reference, torch.float64)):
        leaves = [p.clone().to(dtype).requires_grad_() for p in parameters]
        means, quats = function(*leaves, index, weight.to(dtype))
        (means.square().sum() + (quats * torch.arange(4)).sum()).backward()
        results.append([means, quats, *(leaf.grad for leaf in leaves)])
    for fast, exact in zip(*results, strict=True):
        assert (fast - exact).norm() / exact.norm() < 1e-5


@pytest.mark.parametrize("shape", [(2, 3, 37, 53), (1, 1, 3, 4), (1, 2, 11, 16), (1, 3, 64, 65)])
def test_dssim_and_its_gradient_agree_with_the_reference(shape):
    g = torch.Generator().manual_seed(0)
    target = torch.rand(shape, generator=g)
    prediction = (target + 0.3 * torch.randn(shape, generator=g)).clamp(0, 1)
    prediction[..., :2, :2] = target[..., :2, :2] = 0
    fast, exact = prediction.clone().requires_grad_(), prediction.double().requires_grad_()
    value, expected = dssim(fast, target), dssim_reference(exact, target.double())
    (3 * value).backward()
    (3 * expected).backward()
    assert abs(value.item() - expected.item()) < 1e-6
    assert (fast.grad - exact.grad).norm() / exact.grad.norm() < 1e-5


def test_losses_know_equal_from_unequal():
    x = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    assert dssim(x, x).abs() < 1e-6
    assert dssim(x, 1 - x) > 0.3
    now = torch.zeros(1, 4, 3)
    step = torch.tensor([0.1, 0.0, 0.0])
    assert acceleration(now - step, now, now + step, knee=1.0) < 1e-12
    slow = acceleration(now + step, now, now + step, knee=100.0)
    assert torch.isclose(slow, torch.tensor(0.04), rtol=1e-3), "squared below the knee"
    fast = acceleration(now + step, now, now + step, knee=1e-4)
    assert torch.isclose(fast, torch.tensor(2 * 1e-4 * 0.2), rtol=1e-2), "linear above it"
