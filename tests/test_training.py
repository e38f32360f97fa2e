"""Training: losses fall, a killed run resumed equals an uninterrupted one, bitwise."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from orbit4d.data.training_set import grid_pairs
from orbit4d.diffusion.autoencoder import RGBAAutoencoder, premultiply, unpremultiply
from orbit4d.diffusion.denoiser import Denoiser
from orbit4d.diffusion.train_autoencoder import AutoencoderConfig, encode_training_set, train_autoencoder
from orbit4d.diffusion.train_denoiser import DenoiserConfig, LatentSet, losses, sample_batch, train_denoiser
from orbit4d.errors import InputError

TINY = {
    "latent_channels": 12,
    "latent_size": 4,
    "spatial_width": 16,
    "temporal_width": 16,
    "depth": 2,
    "spatial_heads": 2,
    "temporal_heads": 2,
}


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Two clips of a disc that moves with time and changes colour with view, 32 x 32."""
    folder = tmp_path_factory.mktemp("frames")
    pairs = np.array(grid_pairs(2))
    yy, xx = np.mgrid[:32, :32]
    for clip, radius in enumerate((6, 9)):
        images = np.zeros((len(pairs), 32, 32, 4), np.uint8)
        for image, (view, time) in zip(images, pairs, strict=True):
            inside = (xx - 10 - 12 * time / 23) ** 2 + (yy - 16) ** 2 < radius**2
            image[inside] = (10 * view, 200, 40 + 90 * clip, 255)
        meta = {"key": f"disc{clip}", "captions": ["a disc moving", "a disc"], "kind": f"disc {clip}"}
        np.savez(folder / f"disc{clip}.npz", frames=images, pairs=pairs.astype(np.int16), meta=json.dumps(meta))
    return folder


@pytest.fixture(scope="module")
def latents(frames, tmp_path_factory):
    out = tmp_path_factory.mktemp("ae")
    torch.manual_seed(0)
    model = RGBAAutoencoder(detail_channels=8, widths=(8, 8, 16))
    train_autoencoder(frames, out, config=AutoencoderConfig(steps=30, batch=4, crop=32, bf16=False), model=model)
    return encode_training_set(frames, out / "autoencoder", out / "latents")


def test_autoencoder_learns_and_carries_colour(frames, tmp_path):
    torch.manual_seed(0)
    model = RGBAAutoencoder(detail_channels=4, widths=(8, 8, 16))
    train_autoencoder(frames, tmp_path, config=AutoencoderConfig(steps=100, batch=8, crop=32, bf16=False), model=model)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[-1]["loss"] < 0.8 * log[0]["loss"]
    loaded = RGBAAutoencoder.from_pretrained(tmp_path / "autoencoder").eval().float()
    frame = torch.zeros(1, 4, 32, 32)
    frame[:, 0], frame[:, 3] = 0.7, 1.0
    out = loaded.decode(loaded.encode(frame))
    assert (out.mean((2, 3)) - frame.mean((2, 3))).abs().max() < 0.1


def test_latents_are_standardised_and_pooled_channels_exact(frames, latents):
    z = torch.cat([load_file(file)["latents"] for file in sorted(latents.glob("*.safetensors"))]).float()
    assert z.mean((0, 2, 3)).abs().max() < 0.3
    assert 0.6 < z.std() < 1.4
    clips = LatentSet(latents).clips
    with np.load(frames / "disc0.npz") as data:
        rgba = data["frames"].astype(float) / 255
    white = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
    index = {tuple(p): i for i, p in enumerate(grid_pairs(2))}
    expected = np.mean([(white[index[i, i]] - white[index[i, 0]]) ** 2 for i in range(24)])
    assert clips[0]["motion_magnitude"] == pytest.approx(expected, rel=0.02)


def test_premultiply_round_trip():
    rgb, alpha = torch.rand(2, 3, 8, 8), torch.rand(2, 1, 8, 8).clamp_min(0.2)
    back, a = unpremultiply(premultiply(rgb, alpha))
    torch.testing.assert_close(back, rgb)
    torch.testing.assert_close(a, alpha)


def _config(**changes) -> DenoiserConfig:
    return DenoiserConfig(
        **({"steps": 8, "batch": 2, "frames": 3, "save_every": 4, "bf16": False, "muon": True} | changes)
    )


def test_killed_run_equals_uninterrupted_run(latents, tmp_path):
    def model() -> Denoiser:
        torch.manual_seed(3)
        return Denoiser(**TINY)

    train_denoiser(latents, tmp_path / "whole", config=_config(), model=model())
    train_denoiser(latents, tmp_path / "killed", config=_config(), model=model(), stop_after=4)
    train_denoiser(latents, tmp_path / "killed", config=_config(), model=model())
    whole, killed = (torch.load(tmp_path / k / "checkpoint.pt", weights_only=True) for k in ("whole", "killed"))
    assert whole["step"] == killed["step"] == 8
    for part in ("model", "ema"):
        for key, value in whole[part].items():
            assert torch.equal(value, killed[part][key]), f"{part}.{key} differs after resume"


def test_denoiser_learns(latents, tmp_path):
    torch.manual_seed(3)
    train_denoiser(latents, tmp_path, config=_config(steps=75, batch=4, save_every=75, lr=3e-3), model=Denoiser(**TINY))
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[-1]["flow"] < 0.9 * log[0]["flow"]
    assert (tmp_path / "denoiser" / "config.json").is_file()
    assert json.loads((tmp_path / "pipeline.json").read_text())["training"]["step"] == 75


def test_batches_cover_orbits_static_orbits_and_references(latents):
    data = LatentSet(latents)
    generator = torch.Generator().manual_seed(0)
    config = _config(batch=8, static_share=0.5, reference_share=0.5)
    seen_reference = seen_static = seen_dropped = False
    for _ in range(8):
        x0, still, c, reference = sample_batch(data, config, generator)
        assert x0.shape == still.shape
        static = c.static_mode
        assert torch.equal(c.times[static], torch.zeros_like(c.times[static]))
        assert torch.equal(x0[static], still[static])
        assert c.motion[static].isnan().all()
        seen_static |= bool(static.any())
        seen_reference |= bool(reference.any())
        seen_dropped |= bool((~c.text_mask.any(1)).any())
    assert seen_reference and seen_static and seen_dropped


def test_motion_loss_is_zero_for_a_perfect_prediction(latents):
    data = LatentSet(latents)
    config, generator = _config(), torch.Generator().manual_seed(0)
    x0, still, c, reference = sample_batch(data, config, generator)

    class Oracle:
        """Knows x0: from x_t and t the exact velocity follows, v = (x_t - x0) / t."""

        def __call__(self, x, t, _):
            return (x - x0) / t.clamp_min(1e-6)[:, :, None, None, None]

    flow, motion = losses(Oracle(), x0, still, c, reference, config=config, m_scale=data.m_scale, generator=generator)
    assert float(flow) < 1e-4
    assert float(motion) < 1e-6


def test_missing_data_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="latent clips"):
        LatentSet(tmp_path)
    with pytest.raises(InputError, match=r"\.npz"):
        train_autoencoder(tmp_path, tmp_path / "out")


def test_checkpoint_of_another_model_is_refused(latents, tmp_path):
    train_denoiser(latents, tmp_path, config=_config(steps=4), model=Denoiser(**TINY))
    with pytest.raises(InputError, match="checkpoint"):
        train_denoiser(latents, tmp_path, config=_config(), model=Denoiser(**(TINY | {"depth": 3})))


def test_latent_set_rejects_garbage(tmp_path):
    (tmp_path / "clip.safetensors").write_bytes(b"not a tensor file")
    with pytest.raises(InputError, match="not a latent clip"):
        LatentSet(tmp_path)
    save_file({"latents": torch.zeros(1)}, tmp_path / "clip.safetensors")
    with pytest.raises(InputError, match="not a latent clip"):
        LatentSet(tmp_path)


def test_encoding_keeps_finished_clips(frames, latents, tmp_path):
    before = {file.name: file.stat().st_mtime_ns for file in latents.glob("*.safetensors")}
    encode_training_set(frames, latents.parent / "autoencoder", latents)
    assert before == {file.name: file.stat().st_mtime_ns for file in latents.glob("*.safetensors")}


def test_latents_of_another_autoencoder_are_encoded_again(frames, latents, tmp_path):
    copy = tmp_path / "latents"
    shutil.copytree(latents, copy)
    other = RGBAAutoencoder()
    other.save_pretrained(tmp_path / "other", safe_serialization=True)
    encode_training_set(frames, tmp_path / "other", copy)
    for file in copy.glob("*.safetensors"):
        assert not torch.equal(load_file(file)["latents"], load_file(latents / file.name)["latents"])
