"""Orster's parts, each by a property: statistics are recovered, distances equal closed forms, gradients stay in their stream."""

from __future__ import annotations

import math

import pytest
import torch
from test_denoiser import TINY, conditions, tiny

from orbit4d.diffusion.denoiser import Denoiser
from orbit4d.diffusion.priors import FLOOR, Distribution, DistributionHead
from orbit4d.errors import InputError
from orbit4d.evaluate.fvd import frechet_distance
from orbit4d.transfer.bures import bures, frame_distance, moments
from orbit4d.transfer.decorrelation import cross_correlation
from orbit4d.transfer.likelihood import token_likelihood
from orbit4d.transfer.orster import confined, is_temporal, temporal_parameters
from orbit4d.transfer.teacher import level_of, log_snr
from orbit4d.transfer.whitening import BOUND, Statistics, Whitening


def gaussian(seed: int, k: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(k, k, generator=generator)
    covariance = root @ root.T / k + 0.1 * torch.eye(k)
    return torch.randn(k, generator=generator), (covariance + covariance.T) / 2


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    return torch.randn(2, 5, 4, 8, 8), torch.full((2, 5), 0.6)


# Priors in the denoiser


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("kind", ["distribution", "means"])
def test_closed_gates_change_nothing_bitwise(batch, kind, shared):
    x, t = batch
    torch.manual_seed(0)
    plain = Denoiser(**TINY)
    torch.manual_seed(0)
    prior = Denoiser(**TINY, priors=(0, 1), prior_kind=kind, prior_shared=shared)
    given = {name: v for name, v in plain.state_dict().items()}
    own = prior.state_dict()
    assert all(torch.equal(v, own[name]) for name, v in given.items()), "priors are made last: same first weights"
    with torch.no_grad():
        for model in (plain, prior):
            torch.manual_seed(5)
            for name, parameter in model.named_parameters():
                if not name.startswith("prior_blocks"):
                    parameter.add_(0.1 * torch.randn_like(parameter))
    assert torch.equal(plain(x, t, conditions()), prior(x, t, conditions()))


def test_open_gates_change_the_result_and_old_weights_load(batch, tmp_path):
    x, t = batch
    tiny().save_pretrained(tmp_path / "old")
    old = Denoiser.from_pretrained(tmp_path / "old").eval()
    assert not [name for name in old.state_dict() if name.startswith("prior")]
    model = tiny(priors=(0,))
    before = model(x, t, conditions())
    with torch.no_grad():
        model.prior_blocks["0"].spatial.gate.zero_()
        model.prior_blocks["0"].temporal.gate.zero_()
    assert (model(x, t, conditions()) - before).abs().max() > 1e-3
    model.save_pretrained(tmp_path / "new")
    again = Denoiser.from_pretrained(tmp_path / "new").eval()
    assert torch.equal(model(x, t, conditions()), again(x, t, conditions()))


def test_features_are_those_of_the_forward_pass(batch):
    model, (x, t) = tiny(priors=(0,)), batch
    out, held = model(x, t, conditions(), (0, 1))
    early = model.features(x, t, conditions(), (0,))
    assert torch.equal(out, model(x, t, conditions()))
    assert torch.equal(held.spatial[0], early.spatial[0]) and torch.equal(held.temporal[0], early.temporal[0])
    assert 1 in held.spatial and 1 not in early.spatial
    assert held.priors[0]["spatial"].mean.shape == (2, 5, 16, 16)
    z_s, *_ = model.streams(x, t, conditions())
    assert torch.equal(held.spatial[1], z_s), "after the last block: what the head reads"


def test_priors_of_a_closed_temporal_gate(batch):
    model, (x, t) = tiny(priors=(0,)), batch
    _, held = model(x, t, conditions(static_mode=torch.tensor([True, False])), (0,))
    assert held.active.tolist() == [1] and held.priors[0]["temporal"].mean.shape[0] == 1
    closed = model.features(x, t, conditions(static_mode=torch.tensor([True, True])), (0,))
    assert not closed.temporal and set(closed.priors[0]) == {"spatial"}


def test_z_s_does_not_read_z_t_with_priors_either(batch):
    model, (x, t) = tiny(priors=(0, 1)), batch
    _, held = model(x, t, conditions(), (0, 1))
    loss = held.spatial[1].square().sum() + held.priors[1]["spatial"].mean.square().sum()
    temporal = temporal_parameters(model)
    assert len(temporal) > 20
    assert all(g is None for g in torch.autograd.grad(loss, temporal, allow_unused=True))


def test_settings_no_denoiser_has_are_refused():
    with pytest.raises(ValueError, match="blocks from 0 to 1"):
        Denoiser(**TINY, priors=(2,))
    with pytest.raises(ValueError, match="prior_kind"):
        Denoiser(**TINY, priors=(0,), prior_kind="values")


def test_the_deviation_never_falls_below_the_floor():
    head = DistributionHead(8, dims=3, noise=4, kind="distribution")
    with torch.no_grad():
        head.outside.bias.fill_(-1e4)
    q = head(torch.randn(2, 3, 5, 8) * 100, torch.randn(2, 3, 4))
    assert q.deviation is not None and float(q.deviation.min()) >= FLOOR
    sharp = Distribution(mean=torch.zeros(1, 4, 3), deviation=torch.full((1, 4, 3), 1e-9))
    assert float(token_likelihood(sharp, torch.zeros(1, 4, 3))) == pytest.approx(math.log(FLOOR))


# Losses


def test_likelihood_recovers_the_statistics_of_a_gaussian():
    torch.manual_seed(0)
    wanted_mean, wanted = torch.tensor([0.5, -1.0]), torch.tensor([0.3, 1.5])
    target = wanted_mean + wanted * torch.randn(40, 200, 2)
    mean, raw = torch.zeros(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam([mean, raw], lr=0.05)
    for _ in range(300):
        q = Distribution(mean=mean.expand(40, 200, 2), deviation=FLOOR + raw.exp().expand(40, 200, 2))
        loss = token_likelihood(q, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(mean.detach(), target.mean((0, 1)), atol=0.02, rtol=0)
    torch.testing.assert_close(FLOOR + raw.detach().exp(), target.std((0, 1)), atol=0.02, rtol=0)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_beta_weighs_what_can_be_told_exactly_less_and_leaves_the_optimum(beta):
    torch.manual_seed(0)
    target, deviation = torch.randn(4, 64, 3), torch.tensor([0.1, 0.4, 1.0]).expand(4, 64, 3)
    mean = torch.zeros(4, 64, 3, requires_grad=True)
    loss = token_likelihood(Distribution(mean=mean, deviation=deviation), target, beta=beta)
    (gradient,) = torch.autograd.grad(loss, mean)
    expected = -target * deviation ** (2 * beta - 2) / target.numel()
    torch.testing.assert_close(gradient, expected)
    s = (target.square().mean() ** 0.5).detach().requires_grad_()  # the best deviation of these targets about 0
    best = token_likelihood(Distribution(mean=torch.zeros(4, 64, 3), deviation=s.expand(4, 64, 3)), target, beta=beta)
    assert abs(float(torch.autograd.grad(best, s)[0])) < 1e-5


def test_means_alone_are_half_the_squared_error():
    target = torch.randn(3, 4, 5)
    q = Distribution(mean=torch.zeros(3, 4, 5), deviation=None)
    torch.testing.assert_close(token_likelihood(q, target), target.square().mean() / 2)
    with pytest.raises(ValueError, match="deviations"):
        frame_distance(q, target)


def test_bures_is_the_closed_form_and_zero_for_equals():
    (m1, c1), (m2, c2) = gaussian(1), gaussian(2)
    found = float(bures(m1, c1, m2, c2, eps=1e-6))
    assert found == pytest.approx(frechet_distance(m1, c1, m2, c2), rel=1e-3)
    assert float(bures(m1, c1, m1, c1)) == pytest.approx(0, abs=1e-4)
    a, b = torch.tensor([0.5, 2.0, 0.1]), torch.tensor([1.0, 0.3, 0.1])  # commuting: sum of (sqrt a - sqrt b)^2
    diagonal = bures(torch.zeros(3), a.diag(), torch.zeros(3), b.diag(), eps=1e-7)
    assert float(diagonal) == pytest.approx(float((a.sqrt() - b.sqrt()).square().sum()), rel=1e-3)


def test_bures_gradient_is_right_and_finite_where_tokens_are_all_alike():
    (m1, c1), (m2, c2) = gaussian(3, 3), gaussian(4, 3)
    c1.requires_grad_()
    bures(m1, c1, m2, c2).backward()
    step = torch.zeros(3, 3)
    step[0, 1] = step[1, 0] = 1e-3
    with torch.no_grad():
        numeric = (bures(m1, c1 + step, m2, c2) - bures(m1, c1 - step, m2, c2)) / 2e-3
    assert float(c1.grad[0, 1] + c1.grad[1, 0]) == pytest.approx(float(numeric), rel=2e-2)
    q = Distribution(
        mean=torch.zeros(2, 16, 3, requires_grad=True), deviation=torch.full((2, 16, 3), FLOOR, requires_grad=True)
    )
    frame_distance(q, torch.ones(2, 16, 3)).backward()
    assert bool(torch.isfinite(q.mean.grad).all()) and bool(torch.isfinite(q.deviation.grad).all())


def test_frame_distance_counts_the_mixtures_own_spread():
    """Identical moments made in two ways: spread of the means, or deviations of one mean."""
    torch.manual_seed(0)
    target = torch.randn(1, 400, 2)
    mean, covariance = moments(target)
    one = Distribution(
        mean=mean[:, None].expand(1, 400, 2),
        deviation=covariance.diagonal(dim1=-2, dim2=-1).sqrt()[:, None].expand(1, 400, 2),
    )
    many = Distribution(mean=target, deviation=torch.full((1, 400, 2), FLOOR))
    far = Distribution(mean=target + 3, deviation=torch.full((1, 400, 2), FLOOR))
    assert float(frame_distance(one, target)) < 0.02 and float(frame_distance(many, target)) < 0.02
    assert float(frame_distance(far, target)) == pytest.approx(9, rel=0.05)


def test_decorrelation_is_zero_for_independent_and_high_for_copied_streams():
    torch.manual_seed(0)
    z_s = torch.randn(4, 3, 400, 5)
    independent, copied = torch.randn(4, 3, 400, 7), z_s @ torch.randn(5, 7)
    assert float(cross_correlation(z_s, independent)) < 1e-3 < 0.1 < float(cross_correlation(z_s, copied))
    z_s.requires_grad_()
    copied = copied.detach().requires_grad_()
    cross_correlation(z_s, copied).backward()
    assert z_s.grad is None and float(copied.grad.abs().sum()) > 0


def test_temporal_losses_are_confined_to_the_temporal_stream(batch):
    """z_t reads z_s, so a plain gradient would reach the spatial stream; the confined one does not, and is the same elsewhere."""
    model, (x, t) = tiny(priors=(0,)), batch

    def loss() -> torch.Tensor:
        _, held = model(x, t, conditions(), (0,))
        q = held.priors[0]["temporal"]
        return token_likelihood(q, torch.ones_like(q.mean)) + frame_distance(
            q, torch.ones_like(q.mean).flatten(0, 1)[None, 0]
        )

    loss().backward()
    plain = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    assert any(not is_temporal(name) and float(g.abs().sum()) > 0 for name, g in plain.items())
    model.zero_grad(set_to_none=True)
    value = loss()
    kept = confined(value, temporal_parameters(model))
    assert float(kept) == pytest.approx(float(value), rel=1e-5)
    kept.backward()
    for name, parameter in model.named_parameters():
        if is_temporal(name) and name in plain:
            torch.testing.assert_close(parameter.grad, plain[name])
        elif not is_temporal(name):
            assert parameter.grad is None or not parameter.grad.any(), name


# Whitening and levels


def test_whitening_recovers_mean_and_covariance_of_a_gaussian(tmp_path):
    torch.manual_seed(0)
    root, mean = torch.randn(12, 12), torch.randn(12)
    levels = torch.randn(300)
    shift = torch.where(levels > 0, 5.0, -5.0)[:, None, None]  # the noise level moves all features
    features = torch.randn(300, 20, 12) @ root + mean + shift
    statistics = Statistics(width=12, edges=torch.tensor([0.0]))
    for k in range(0, 300, 50):
        statistics.add(features[k : k + 50], levels[k : k + 50])
    made = statistics.whitening(dims=4)
    white = made(features, levels).flatten(0, 1)
    torch.testing.assert_close(white.mean(0), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(white.T @ white / len(white), torch.eye(4), atol=1e-3, rtol=0)
    values = torch.linalg.eigvalsh(root.T @ root)
    assert float(made.explained) == pytest.approx(float(values[-4:].sum() / values.sum()), abs=0.02)
    made.save(tmp_path / "w.safetensors")
    assert torch.equal(Whitening.load(tmp_path / "w.safetensors")(features, levels), made(features, levels))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(made(features, levels).flatten(0, 1), white), "in training as where it was measured"
    (tmp_path / "w.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="statistics"):
        Whitening.load(tmp_path / "w.safetensors")


def test_a_teacher_off_its_data_gives_bounded_targets():
    torch.manual_seed(0)
    statistics = Statistics(width=6, edges=torch.zeros(0))
    features = torch.randn(200, 20, 6)
    statistics.add(features, torch.zeros(200))
    made = statistics.whitening(dims=4)
    usual, far = made(features, torch.zeros(200)), made(100 * features, torch.zeros(200))
    assert float(usual.abs().max()) < BOUND == float(far.abs().max())
    assert bool(((far * usual)[usual.abs() > 0.5] > 0).all()), "clipped, not folded"


def test_features_that_do_not_vary_are_refused():
    statistics = Statistics(width=6, edges=torch.zeros(0))
    flat = torch.randn(50, 4, 2) @ torch.randn(2, 6)
    statistics.add(flat, torch.zeros(50))
    with pytest.raises(InputError, match="fewer than 4 directions"):
        statistics.whitening(dims=4)


@pytest.mark.parametrize("prediction", ["flow", "v", "x0"])
def test_levels_and_log_snr_are_inverse(prediction):
    t = torch.linspace(0.01, 0.99, 15)
    torch.testing.assert_close(level_of(prediction, log_snr(prediction, t)), t, atol=1e-5, rtol=0)
    assert bool((log_snr(prediction, t).diff() < 0).all())
