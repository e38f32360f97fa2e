"""The structure of the two streams, checked on the network itself, not on a description of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from orbit4d.cameras import Orbit
from orbit4d.diffusion.denoiser import Conditions, Denoiser, camera_features, token_rays
from orbit4d.diffusion.guidance import guide

TINY = {
    "latent_channels": 4,
    "latent_size": 8,
    "spatial_width": 16,
    "temporal_width": 16,
    "depth": 2,
    "spatial_heads": 2,
    "temporal_heads": 2,
}


def tiny(**changes) -> Denoiser:
    """A small denoiser whose zero-initialised layers are randomised, so that nothing is trivially constant."""
    torch.manual_seed(0)
    model = Denoiser(**(TINY | changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def conditions(b: int = 2, f: int = 5, **changes) -> Conditions:
    orbit = Orbit(frames=f)
    torch.manual_seed(1)
    base = Conditions(
        plucker=token_rays(orbit.cameras(64), 4)[None].expand(b, -1, -1, -1, -1),
        times=orbit.times[None].expand(b, -1),
        text=torch.randn(b, 3, 384),
        text_mask=torch.tensor([[True, True, False]] * b),
        motion=torch.zeros(b),
    )
    return replace(base, **changes)


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    return torch.randn(2, 5, 4, 8, 8), torch.full((2, 5), 0.6)


def test_default_model_fits_the_budget():
    assert sum(p.numel() for p in Denoiser().parameters()) <= 6_000_000


def test_spatial_stream_never_reads_the_temporal_one(batch):
    """d z_s / d z_t = 0 end to end: no spatial output depends on any temporal parameter."""
    model, (x, t) = tiny(), batch
    z_s, z_t, *_ = model.streams(x, t, conditions())
    temporal = list(model.temporal.parameters()) + list(model.motion.parameters())
    gradients = torch.autograd.grad(z_s.square().sum(), temporal, allow_unused=True, retain_graph=True)
    assert all(g is None for g in gradients)
    # The other way round it does read: otherwise the test above would prove nothing.
    spatial = torch.autograd.grad(z_t.square().sum(), list(model.spatial.blocks.parameters()), allow_unused=True)
    assert any(g is not None and g.abs().sum() > 0 for g in spatial)


def test_permuting_times_and_changing_motion_leaves_z_s(batch):
    model, (x, t) = tiny(), batch
    c = conditions()
    other = replace(c, times=c.times[:, [3, 1, 4, 0, 2]], motion=torch.tensor([1.5, -2.0]))
    z_s, z_t, *_ = model.streams(x, t, c)
    z_s2, z_t2, *_ = model.streams(x, t, other)
    assert torch.equal(z_s, z_s2)
    assert (z_t - z_t2).abs().max() > 1e-3


def test_static_mode_ignores_time_and_motion(batch):
    model, (x, t) = tiny(), batch
    closed = torch.ones(2, dtype=torch.bool)
    a = model(x, t, conditions(static_mode=closed))
    b = model(x, t, conditions(static_mode=closed, times=torch.rand(2, 5), motion=torch.tensor([2.0, -1.0])))
    assert torch.equal(a, b)
    assert (a - model(x, t, conditions())).abs().max() > 1e-3


def test_gate_is_per_sample(batch):
    model, (x, t) = tiny(), batch
    mixed = model(x, t, conditions(static_mode=torch.tensor([True, False])))
    closed = model(x, t, conditions(static_mode=torch.tensor([True, True])))
    opened = model(x, t, conditions())
    torch.testing.assert_close(mixed[0], closed[0])
    torch.testing.assert_close(mixed[1], opened[1])


def test_frames_are_a_set(batch):
    """Permuting frames with their cameras and times permutes the output: no hidden frame order."""
    model, (x, t) = tiny(), batch
    order = torch.tensor([4, 2, 0, 1, 3])
    c = conditions()
    out = model(x, t, c)
    shuffled = model(x[:, order], t[:, order], replace(c, plucker=c.plucker[:, order], times=c.times[:, order]))
    torch.testing.assert_close(shuffled, out[:, order], rtol=1e-4, atol=1e-5)


def test_grid_masks_separate_times_and_views():
    """On a 2 x 2 grid the spatial stream sees only frames of its own time; the temporal stream only its own view."""
    model = tiny()
    ids = {"view_ids": torch.tensor([[0, 1, 0, 1]]), "time_ids": torch.tensor([[0, 0, 1, 1]])}
    c = conditions(1, 4, text=None, text_mask=None, motion=None, **ids)
    x, t = torch.randn(1, 4, 4, 8, 8), torch.full((1, 4), 0.5)
    changed = x.clone()
    changed[:, 2:] += 1
    before, after = model.streams(x, t, c), model.streams(changed, t, c)
    assert torch.equal(before[0][:, :2], after[0][:, :2])
    assert (before[0][:, 2:] - after[0][:, 2:]).abs().max() > 1e-3
    assert (before[1][:, 0] - after[1][:, 0]).abs().max() > 1e-4  # frame 2 shares frame 0's view
    free = replace(c, view_ids=None, time_ids=None)
    assert (model.streams(x, t, free)[0][:, :2] - model.streams(changed, t, free)[0][:, :2]).abs().max() > 1e-4


def test_masked_text_tokens_do_not_count(batch):
    model, (x, t) = tiny(), batch
    c = conditions()
    padded = c.text.clone()
    padded[:, 2] = 100.0
    assert torch.equal(model(x, t, c), model(x, t, replace(c, text=padded)))


def test_reference_and_static_3d_change_the_result(batch):
    model, (x, t) = tiny(), batch
    plain = model(x, t, conditions())
    still = torch.randn(2, 5, 4, 8, 8)
    given = model(x, t, conditions(static_latents=still))
    absent = model(x, t, conditions(static_latents=still, static_mask=torch.tensor([False, False])))
    assert (given - plain).abs().max() > 1e-3
    assert torch.equal(absent, plain)
    reference = torch.tensor([[True, False, False, False, False]] * 2)
    assert (model(x, t, conditions(reference=reference)) - plain).abs().max() > 1e-3


def test_patchify_round_trip():
    model, x = tiny(), torch.randn(2, 3, 4, 8, 8)
    torch.testing.assert_close(model.unpatchify(model.patchify(x)), x)


def test_camera_features_tell_the_azimuth():
    orbit = Orbit(frames=9, azimuth_start_deg=20)
    features = camera_features(token_rays(orbit.cameras(64), 4)[None])[0]
    expected = torch.deg2rad(orbit.azimuths_deg)
    torch.testing.assert_close(features[:, 0], expected.sin(), atol=1e-5, rtol=0)
    torch.testing.assert_close(features[:, 6], expected.cos(), atol=1e-5, rtol=0)


def test_guidance_formula():
    e, null, static = torch.randn(3, 2, 4)
    plain = {"guidance_scale": 1.0, "guidance_3d": 0.0}
    torch.testing.assert_close(guide(e, null, static, **plain), e)
    out = guide(e, null, static, guidance_scale=8.0, guidance_3d=0.5)
    torch.testing.assert_close(out, e + 7 * (e - null) + 0.5 * (e - static))


def test_save_and_load_as_a_diffusers_model(tmp_path, batch):
    model, (x, t) = tiny(), batch
    model.save_pretrained(tmp_path / "denoiser")
    again = Denoiser.from_pretrained(tmp_path / "denoiser").eval()
    assert (tmp_path / "denoiser" / "diffusion_pytorch_model.safetensors").is_file()
    assert torch.equal(model(x, t, conditions()), again(x, t, conditions()))


def test_gradient_checkpointing_keeps_less_and_changes_no_gradient():
    """Bytes that autograd keeps between the two ways, with the geometry that the larger models have."""
    geometry = {"relative": "camera", "lift": 4, "lift_blocks": (1,), "spatial_width": 32, "depth": 4}
    gradients, kept = [], []
    for checkpointing in (False, True):
        model = tiny(**geometry).train()
        if checkpointing:
            model.enable_gradient_checkpointing()
        assert model.is_gradient_checkpointing == checkpointing
        torch.manual_seed(2)
        x, t, sizes = torch.randn(2, 5, 4, 8, 8), torch.full((2, 5), 0.6), {}

        def pack(tensor: torch.Tensor, sizes: dict[int, int] = sizes) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = model(x, t, conditions(static_mode=torch.tensor([False, True]))).square().mean()
        kept.append(sum(sizes.values()))
        loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    assert kept[1] < 0.5 * kept[0]
    for name, gradient in gradients[0].items():
        assert gradient is not None and torch.equal(gradient, gradients[1][name]), name


def test_a_saved_model_is_the_same_model(tmp_path, batch):
    model, (x, t) = tiny(relative="camera", lift=4, lift_blocks=(1,)), batch
    model.save_pretrained(tmp_path, safe_serialization=True)
    loaded = Denoiser.from_pretrained(tmp_path, low_cpu_mem_usage=False).eval()
    with torch.inference_mode():
        assert torch.equal(loaded(x, t, conditions()), model(x, t, conditions()))
