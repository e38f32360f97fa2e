"""Training: losses fall, a killed run resumed equals an uninterrupted one, bitwise."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import sphere_clip
from safetensors.torch import load_file, save_file
from sample_fixtures import disc_sample, write_folder

from orbit4d.cameras import Orbit
from orbit4d.data.clip_sample import sample_from_clips
from orbit4d.data.latent_set import latent_metadata, open_latents
from orbit4d.data.motion_scale import log_motion
from orbit4d.data.plan import RenderPlan
from orbit4d.data.sample_set import open_samples
from orbit4d.data.shards import write_shards
from orbit4d.diffusion.autoencoder import RGBAAutoencoder, premultiply, unpremultiply
from orbit4d.diffusion.batches import BatchConfig, LatentSet, plan_batch, sample_batch
from orbit4d.diffusion.denoiser import Conditions, Denoiser, token_rays
from orbit4d.diffusion.objective import add_noise, clean_estimate, losses, losses_at, noise_levels, prediction_error
from orbit4d.diffusion.train_autoencoder import (
    AutoencoderConfig,
    encode_training_set,
    train_autoencoder,
    training_frames,
)
from orbit4d.diffusion.train_denoiser import DenoiserConfig, DenoiserTask, train_denoiser
from orbit4d.diffusion.vocabulary import motion_words
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


PLAN = RenderPlan(size=32, orbits=2, outputs=())


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """A rendered folder of two discs that move with time and change colour with view, 32 x 32."""
    samples = [disc_sample(PLAN, key=f"disc{i}", radius=r, kind=f"disc {i}") for i, r in enumerate((6, 9))]
    return write_folder(tmp_path_factory.mktemp("frames") / "data", samples, plan=PLAN)


@pytest.fixture(scope="module")
def latents(frames, tmp_path_factory):
    out = tmp_path_factory.mktemp("ae")
    torch.manual_seed(0)
    model = RGBAAutoencoder(detail_channels=8, widths=(8, 8, 16))
    train_autoencoder(frames, out, config=AutoencoderConfig(steps=30, batch=4, crop=32, precision="fp32"), model=model)
    return encode_training_set(frames, out / "autoencoder", out / "latents")


def test_autoencoder_learns_and_carries_colour(frames, tmp_path):
    torch.manual_seed(0)
    model = RGBAAutoencoder(detail_channels=4, widths=(8, 8, 16))
    train_autoencoder(
        frames, tmp_path, config=AutoencoderConfig(steps=100, batch=8, crop=32, precision="fp32"), model=model
    )
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
    sample = open_samples(frames)["disc0"]
    orbit, still = (sample.clip(p).on_background() for p in (PLAN.orbit(), [(i, 0) for i, _ in PLAN.orbit()]))
    assert clips[0]["motion_magnitude"] == pytest.approx(float((orbit - still).square().mean()), rel=1e-4)


def test_premultiply_round_trip():
    rgb, alpha = torch.rand(2, 3, 8, 8), torch.rand(2, 1, 8, 8).clamp_min(0.2)
    back, a = unpremultiply(premultiply(rgb, alpha))
    torch.testing.assert_close(back, rgb)
    torch.testing.assert_close(a, alpha)


def _config(**changes) -> DenoiserConfig:
    return DenoiserConfig(
        **({"steps": 8, "batch": 2, "frames": 3, "save_every": 4, "precision": "fp32", "muon": True} | changes)
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
    config = _config(batch=8, frames=7, static_share=0.5, several_share=0.25, video_share=0.5, image_share=0.2)
    counts, seen_static, seen_dropped, videos = set(), False, False, 0
    for _ in range(12):
        x0, still, c, reference = sample_batch(data, config, generator)
        assert x0.shape == still.shape
        static = c.static_mode
        assert torch.equal(c.times[static], torch.zeros_like(c.times[static]))
        assert torch.equal(x0[static], still[static])
        assert c.motion[static].isnan().all()
        seen_static |= bool(static.any())
        seen_dropped |= bool((~c.text_mask.any(1)).any())
        counts |= set(reference.sum(1).tolist())
        assert torch.equal(reference, reference.sort(dim=1, descending=True).values), "references come first"
        for sample in (~static & (reference.sum(1) >= 2)).nonzero()[:, 0].tolist():
            rays = c.plucker[sample][reference[sample]]
            videos += bool((rays == rays[:1]).all())
    assert counts == {0, 1, 2, 3, 4, 5} and seen_static and seen_dropped
    assert videos > 3, "references of one view at several times"


def test_every_frame_of_a_batch_is_the_one_its_camera_and_time_say(latents):
    data = LatentSet(latents)
    config = _config(batch=8, frames=6, static_share=0.25, several_share=0.4, image_share=0.4, still_share=0)
    x0, still, c, _ = sample_batch(data, config, torch.Generator().manual_seed(1))
    for sample in range(8):
        for frame in range(6):
            rays = c.plucker[sample, frame]
            views = (data.camera_rays[0] - rays).abs().flatten(1).amax(1) < 1e-6
            time = int((data.times - c.times[sample, frame]).abs().argmin())
            candidates = []
            for clip in range(len(data.clips)):
                for view in views.nonzero()[:, 0].tolist():
                    rows = [data.still[clip, view]]
                    rows += [] if c.static_mode[sample] else [data.index[clip, view, time]]
                    candidates += [int(row) for row in rows if row >= 0]
            assert any(torch.equal(data.latents[row].float(), x0[sample, frame]) for row in candidates)
            assert any(torch.equal(data.latents[row].float(), still[sample, frame]) for row in data.still.flatten())


def test_a_still_life_is_named_by_the_least_motion(latents):
    data = LatentSet(latents)
    config = _config(batch=8, frames=6, static_share=0.25, still_share=1.0, drop_all=0)
    x0, still, c, _ = sample_batch(data, config, torch.Generator().manual_seed(1))
    moving = ~c.static_mode
    assert torch.equal(x0, still) and (c.times[moving].max(1).values > 0).all()
    torch.testing.assert_close(c.motion[moving], torch.full((6,), data.still_motion))
    assert data.still_motion < data.motion.min() and data.log_m_quantiles[0] < data.log_m_quantiles[1]
    assert 0 < data.usual_motion <= 1


def test_words_are_dropped_by_whether_the_object_is_shown(latents):
    config = _config(batch=8, frames=6, image_share=0.5, drop_all=0, drop_text=0.0, drop_text_shown=1.0)
    plan = plan_batch(LatentSet(latents), config, torch.Generator().manual_seed(0))
    assert [prompt == "" for prompt in plan.prompts] == plan.reference.any(1).tolist()
    assert 0 < int(plan.reference.any(1).sum()) < 8


def test_what_prompts_usually_move_is_recorded_as_quantiles(latents):
    data = LatentSet(latents)
    named = [c for c in data.clips if not str(c["kind"]).startswith("toy ")]
    alone = [c for c in named if sum(c["captions"][0] == d["captions"][0] for d in named) == 1]
    for clip in alone:  # what the network is told for the quantile is the clip's own m
        motion = motion_words(clip["captions"][0], clip["kind"])
        told = np.interp(20 * data.amounts[clip["kind"]][motion], range(21), data.log_m_quantiles)
        assert told == pytest.approx(log_motion(clip["motion_magnitude"]), abs=0.01)
    assert alone and set(data.amounts) == {clip["kind"] for clip in named}


def test_static_clips_do_not_count_for_what_usually_moves(latents):
    clips = list(open_latents(latents))
    assert len(clips) == 2
    clips[0].meta["motion_magnitude"], clips[1].meta["motion_magnitude"] = 0.5, 0.001
    assert LatentSet(clips).usual_motion == 0.5
    clips[1].meta["role"] = "static"
    assert LatentSet(clips).usual_motion == 1.0
    clips[0].meta["role"] = "static"
    assert LatentSet(clips).usual_motion is None


def test_a_set_in_which_nothing_moves_is_trained_on(latents, tmp_path):
    clips = list(open_latents(latents))
    for clip in clips:
        clip.latents, clip.meta["motion_magnitude"] = torch.zeros_like(clip.latents), 0.0
    data = LatentSet(clips)
    assert data.m_scale > 0
    task = DenoiserTask(data, _config(batch=4), Denoiser(**TINY), out=tmp_path, autoencoder=None)
    batch = task.draw(torch.Generator().manual_seed(0), slice(None))
    total, terms = task.loss(task.model, batch, torch.float32)
    assert all(bool(torch.isfinite(v)) for v in (total, *terms.values())) and float(total) == float(terms["flow"])
    task.config.motion_weight = 0.5
    total, terms = task.loss(task.model, batch, torch.float32)
    assert float(total) == pytest.approx(float(terms["flow"] + 0.5 * terms["motion"]))
    assert float(total) > float(terms["flow"])


def test_samples_longer_than_the_clips_are_refused(latents, tmp_path):
    with pytest.raises(InputError, match=r"clips have \d+ frames, and a training sample is to have 99"):
        train_denoiser(latents, tmp_path, config=_config(frames=99))


def test_bad_batches_are_refused():
    with pytest.raises(InputError, match="frames >= 2"):
        BatchConfig(frames=1)
    with pytest.raises(InputError, match="more than 1"):
        BatchConfig(image_share=0.8, video_share=0.3)


@pytest.mark.parametrize("prediction", ["flow", "v", "x0"])
def test_a_perfect_prediction_costs_nothing(latents, prediction):
    data = LatentSet(latents)
    generator = torch.Generator().manual_seed(0)
    x0, still, c, reference = sample_batch(data, _config(), generator)

    def oracle(x, t, _):
        """Knows x0, and so the noise."""
        level = t.clamp_min(1e-6)[:, :, None, None, None]
        if prediction == "x0":
            return x0
        if prediction == "flow":
            return (x - x0) / level
        angle = level * (torch.pi / 2)
        noise = (x - torch.cos(angle) * x0) / torch.sin(angle)
        return torch.cos(angle) * noise - torch.sin(angle) * x0

    loss, motion = losses(
        oracle,
        x0,
        still,
        c,
        reference,
        noise_shift=(0.8, 3.0),
        m_scale=data.m_scale,
        generator=generator,
        prediction=prediction,
    )
    assert float(loss) < 1e-4
    assert float(motion) < 1e-6


def test_the_motion_loss_is_what_the_equation_says():
    """Two clips of two frames, the first a reference: one estimate moves half as far as it should, one clip is static."""
    still, t = torch.zeros(2, 2, 3, 4, 4), torch.tensor([[0.0, 0.4], [0.0, 0.8]])
    x0 = torch.full_like(still, 2.0)
    reference = torch.tensor([[True, False], [True, False]])
    c = Conditions(plucker=torch.zeros(2, 2, 2, 2, 6), times=torch.zeros(2, 2), static_mode=torch.tensor([False, True]))
    _, motion = losses_at(
        lambda x, t, c: x0 / 2, x0, still, c, reference, t=t, noise=torch.randn_like(x0), m_scale=2.0, prediction="x0"
    )
    assert float(motion) == pytest.approx((1 - 0.4) * ((4 - 1) / 2.0) ** 2 / 2)


@pytest.mark.parametrize("prediction", ["flow", "v", "x0"])
def test_the_ends_of_the_noise_scale(prediction):
    x0, noise = torch.randn(2, 1, 4, 3, 3), torch.randn(2, 1, 4, 3, 3)
    t = torch.tensor([[0.0], [1.0]])
    noisy = add_noise(x0, noise, t, prediction)
    torch.testing.assert_close(noisy[0], x0[0])
    torch.testing.assert_close(noisy[1], noise[1])
    zero = torch.zeros_like(x0)
    assert (prediction_error(zero, x0=x0, noise=noise, noisy=noisy, t=t, prediction=prediction) > 0.2).all()
    if prediction == "v":  # at t = 1 all that is left to say is -x0
        torch.testing.assert_close(clean_estimate(noisy, -x0, t, "v")[1], x0[1])


def test_noise_levels_follow_their_shifts():
    reference = torch.zeros(4000, 3, dtype=torch.bool)
    reference[:, 0] = True
    t = noise_levels(reference, (0.8, 3.0), torch.Generator().manual_seed(0))
    assert (t[:, 0] == 0).all() and torch.equal(t[:, 1], t[:, 2])
    logit = t[:, 1].logit()
    assert abs(float(logit.mean()) - 1.9) < 0.1 and float(logit.std()) > 1.3


def test_missing_data_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="latent clips"):
        LatentSet(tmp_path)
    with pytest.raises(InputError, match="holds no samples"):
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


def test_frames_in_memory_are_bounded(frames):
    samples = open_samples(frames)
    whole = training_frames(samples, memory_mib=64, seed=0)
    assert len(whole) == sum(len(sample.pairs) for sample in samples)
    assert len(training_frames(samples, memory_mib=1, seed=0)) == len(whole)  # 256 frames of 4 KiB fit
    few = training_frames(samples, memory_mib=0, seed=0)
    assert few.shape == (1, 4, 32, 32)
    assert int(few[:, 3].max()) == 255 and bool((few[:, :3] <= few[:, 3:]).all())


def test_frames_of_two_sizes_are_refused(tmp_path):
    plans = [RenderPlan(frames=4, size=size, outputs=()) for size in (32, 16)]
    samples = [disc_sample(plan, key=f"d{i}") for i, plan in enumerate(plans)]
    write_folder(tmp_path / "two", samples, plan=plans[0])
    with pytest.raises(InputError, match="one size"):
        training_frames(open_samples(tmp_path / "two"), memory_mib=1, seed=0)
    odd = RenderPlan(frames=4, size=20, outputs=())
    write_folder(tmp_path / "odd", [disc_sample(odd, key="d")], plan=odd)
    with pytest.raises(InputError, match="multiples of 8"):
        training_frames(open_samples(tmp_path / "odd"), memory_mib=1, seed=0)


def test_shards_train_like_their_folder(frames, latents, tmp_path):
    write_shards(frames, out=tmp_path / "shards", progress=False)
    encode_training_set(tmp_path / "shards", latents.parent / "autoencoder", tmp_path / "latents")
    for file in latents.glob("*.safetensors"):
        again = load_file(tmp_path / "latents" / file.name)
        assert all(torch.equal(value, again[name]) for name, value in load_file(file).items())


def test_a_changed_sample_is_encoded_again(frames, latents, tmp_path):
    shutil.copytree(frames, tmp_path / "data")
    shutil.copytree(latents, tmp_path / "latents")
    lines = (tmp_path / "data" / "curation.jsonl").read_text().replace('"a disc 0"', '"a red disc"')
    (tmp_path / "data" / "curation.jsonl").write_text(lines)
    before = {file.name: file.read_bytes() for file in (tmp_path / "latents").glob("*.safetensors")}
    encode_training_set(tmp_path / "data", latents.parent / "autoencoder", tmp_path / "latents")
    changed = [n for n, data in before.items() if (tmp_path / "latents" / n).read_bytes() != data]
    assert changed == ["disc0.safetensors"]
    assert LatentSet(tmp_path / "latents").clips[0]["captions"] == ["a disc 0 moving", "a red disc"]


def test_latents_of_other_data_beside_them_are_not_trained_on(latents, tmp_path):
    shutil.copytree(latents, tmp_path / "latents")
    shutil.copy(latents / "disc0.safetensors", tmp_path / "latents" / "stranger.safetensors")
    assert len(LatentSet(tmp_path / "latents").clips) == 2
    (tmp_path / "latents" / "clips.json").unlink()
    assert len(LatentSet(tmp_path / "latents").clips) == 3


def test_latents_of_the_first_format_load(latents, tmp_path):
    """They hold no cameras, and the orbit's last view under a number of its own."""
    tensors = load_file(latents / "disc0.safetensors")
    pairs = [tuple(p) for p in tensors["pairs"].tolist()]
    last = [pairs.index(p) for p in ((0, 23), (0, 0))]
    old = {
        "latents": torch.cat([tensors["latents"], tensors["latents"][last]]),
        "pairs": torch.cat([tensors["pairs"], torch.tensor([[23, 23], [23, 0]], dtype=torch.int32)]),
    }
    meta = {"key": "disc0", "captions": ["a disc"], "kind": "disc 0", "motion_magnitude": 0.01}
    save_file(old, tmp_path / "disc0.safetensors", metadata={"clip": json.dumps(meta), "autoencoder": "x"})
    first, now = LatentSet(tmp_path), LatentSet(latents)
    assert first.count == now.count == 24 and torch.equal(first.times, now.times)
    torch.testing.assert_close(first.rays, now.rays, atol=1e-5, rtol=0)
    orbit = torch.arange(24)
    for times in (orbit, torch.zeros_like(orbit)):
        old_frames, frames = (d.latents[d.index[0, orbit, times]] for d in (first, now))
        assert torch.equal(old_frames, frames)


def test_each_clip_has_the_cameras_that_it_was_rendered_from(latents, tmp_path):
    plan = RenderPlan(size=32, elevation=20, radius=3, outputs=())
    write_folder(tmp_path / "data", [disc_sample(plan, key="high")], plan=plan)
    encode_training_set(tmp_path / "data", latents.parent / "autoencoder", tmp_path / "latents")
    shutil.copy(latents / "disc0.safetensors", tmp_path / "latents" / "disc0.safetensors")
    (tmp_path / "latents" / "clips.json").unlink()
    data, views = LatentSet(tmp_path / "latents"), torch.tensor([0, 5, 23])
    keys = [clip["key"] for clip in data.clips]
    for key, orbit in (("high", Orbit(elevation_deg=20, radius=3)), ("disc0", Orbit())):
        expected = token_rays(orbit.cameras(32), data.latents.shape[-1] // 2)[views]
        torch.testing.assert_close(
            data.camera_rays[data.camera_set[keys.index(key)], views], expected, atol=1e-5, rtol=0
        )


def test_what_is_no_orbit_is_refused_and_a_static_orbit_at_another_time_taken(latents, tmp_path):
    orbit, still = sphere_clip(frames=6), sphere_clip(frames=6, moving=False)
    still.times[:] = orbit.times[1]
    for name, clips in (("orbit", {"orbit": orbit, "static": still}), ("no_static", {"orbit": orbit})):
        write_folder(tmp_path / name, [sample_from_clips("ball", clips)], plan=PLAN)
        encode_training_set(tmp_path / name, latents.parent / "autoencoder", tmp_path / f"{name}_latents")
    data = LatentSet(tmp_path / "orbit_latents")
    # View 0 was rendered at time 0, too: its static frame is nevertheless of the static orbit's time, as the others'.
    assert torch.equal(data.still[0], data.index[0, :, 1]) and data.index[0, 0, 0] not in (-1, data.still[0, 0])
    x0, still, c, _ = sample_batch(
        data,
        _config(batch=4, static_share=0.5, frames=6, image_share=0, several_share=0, video_share=0),
        torch.Generator().manual_seed(0),
    )
    assert torch.equal(x0[c.static_mode], still[c.static_mode]) and not torch.equal(
        x0[~c.static_mode], still[~c.static_mode]
    )
    assert all(
        any(torch.equal(a, data.latents[row].float()) for row in data.index[0, :, 1]) for a in still.flatten(0, 1)
    )
    edited = load_file(tmp_path / "orbit_latents" / "ball.safetensors")
    meta = latent_metadata(tmp_path / "orbit_latents" / "ball.safetensors")
    (tmp_path / "lies").mkdir()
    lie = json.dumps(json.loads(meta["clip"]) | {"static_time": 6})
    save_file(edited, tmp_path / "lies" / "ball.safetensors", metadata=meta | {"clip": lie})
    with pytest.raises(InputError, match="static_time"):
        LatentSet(tmp_path / "lies")
    with pytest.raises(InputError, match=r"ball\.safetensors"):
        LatentSet(tmp_path / "no_static_latents")
    shutil.copy(latents / "disc0.safetensors", tmp_path / "orbit_latents")
    (tmp_path / "orbit_latents" / "clips.json").unlink()
    with pytest.raises(InputError, match="times differ"):
        LatentSet(tmp_path / "orbit_latents")
