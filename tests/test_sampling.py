"""Sampling: conditions count, seeds repeat, bad input is refused, and the weights inside the package are real."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from orbit4d.cameras import Orbit
from orbit4d.clip import OrbitalClip
from orbit4d.diffusion.autoencoder import RGBAAutoencoder, clean_alpha
from orbit4d.diffusion.captioner import Caption
from orbit4d.diffusion.denoiser import Denoiser
from orbit4d.diffusion.pipeline import BUILT_IN, Orbit4DPipeline
from orbit4d.diffusion.schedulers import NAMES, make_scheduler
from orbit4d.errors import InputError

QUICK = {"steps": 2, "progress": False, "orbit": Orbit(frames=4)}


@pytest.fixture(scope="module")
def pipe() -> Orbit4DPipeline:
    """Small networks with every layer randomised: what they draw is noise, but every path is alive."""
    torch.manual_seed(0)
    autoencoder = RGBAAutoencoder(widths=(8, 8, 16))
    denoiser = Denoiser(spatial_width=32, temporal_width=16, depth=2, spatial_heads=2, temporal_heads=1)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    motion = {"log_m_mean": -5.0, "log_m_std": 1.0, "log_m_quantiles": torch.linspace(-8, -2, 21).tolist()}
    return Orbit4DPipeline(autoencoder=autoencoder, denoiser=denoiser, scheduler=make_scheduler("dpm++"), motion=motion)


def test_clip_shape_and_repeatability(pipe):
    a, b, c = (pipe(prompt="a fox", seed=s, **QUICK) for s in (0, 0, 1))
    assert a.rgb.shape == (4, 3, 128, 128) and a.alpha.shape == (4, 1, 128, 128)
    assert a.rgb.min() >= 0 and a.rgb.max() <= 1
    assert torch.equal(a.rgb, b.rgb) and not torch.equal(a.rgb, c.rgb)
    torch.testing.assert_close(a.times, Orbit(frames=4).times)


def test_several_orbits_are_one_set_of_views_and_times(pipe):
    clip = pipe(prompt="a fox", orbits=2, **QUICK)
    assert clip.rgb.shape == (8, 3, 128, 128)
    torch.testing.assert_close(clip.times, Orbit(frames=4).times.repeat(2))
    first, second = clip.cameras.positions[:4], clip.cameras.positions[4:]
    torch.testing.assert_close(second[0], first[0] * torch.tensor([-1.0, -1.0, 1.0]), atol=1e-5, rtol=0)
    assert len(pipe(prompt="a fox", orbits=2, static=True, **QUICK)) == 4
    with pytest.raises(InputError, match="--orbits"):
        pipe(prompt="a fox", orbits=9, **QUICK)


def test_orbits_one_by_one_are_shown_the_first(pipe):
    """The first orbit is that of one orbit alone (same noise), and later ones depend on how many frames of it they see."""
    alone = pipe(prompt="a fox", **QUICK)
    four, two = (pipe(prompt="a fox", orbits=2, shared_frames=n, **QUICK) for n in (4, 2))
    assert four.rgb.shape == (8, 3, 128, 128)
    torch.testing.assert_close(four.cameras.positions, pipe(prompt="a fox", orbits=2, **QUICK).cameras.positions)
    assert (four.rgb[:4] - two.rgb[:4]).abs().max() == 0 and (four.rgb[4:] - two.rgb[4:]).abs().max() > 1e-4
    assert four.rgb[:4].shape == alone.rgb.shape
    with pytest.raises(InputError, match="--shared-frames"):
        pipe(prompt="a fox", orbits=2, shared_frames=99, **QUICK)


def test_an_orbit_has_no_more_frames_to_share_than_its_own(pipe, monkeypatch):
    """More shared frames than there are: each of the first orbit's once."""
    seen = []

    def record(denoiser, schedule, noise, *, conditional, **rest):
        seen.append(conditional.references)
        return noise

    monkeypatch.setattr("orbit4d.diffusion.pipeline.sample", record)
    pipe(prompt="a fox", orbits=2, shared_frames=16, **QUICK)
    torch.testing.assert_close(seen[1].times, Orbit(frames=4).times)


def test_what_training_never_showed_is_said(pipe):
    """By the model's record: several references, more of them than in training, and a static clip from far away."""
    shown = OrbitalClip(
        rgb=torch.rand(5, 3, 32, 32),
        alpha=torch.ones(5, 1, 32, 32),
        cameras=Orbit(frames=2).cameras(32)[[0] * 5],
        times=torch.linspace(0, 1, 5),
    )
    warned = {"training": {"reference_share": 0.4}}
    trained = {"training": {"several_share": 0.15}}
    older, newer = (
        Orbit4DPipeline(
            autoencoder=pipe.autoencoder, denoiser=pipe.denoiser, scheduler=pipe.scheduler, motion=pipe.motion | more
        )
        for more in (warned, trained)
    )
    image = torch.rand(4, 8, 8)
    assert older.condition_warnings(image=image) == [] == newer.condition_warnings(references=shown)
    assert "one at most" in older.condition_warnings(references=shown)[0]
    assert "one at most" in older.condition_warnings(orbits=2, shared_frames=4)[0]
    assert older.condition_warnings(shared_frames=4) == []
    assert "5 at most" in newer.condition_warnings(references=shown, image=image)[0]
    around = OrbitalClip(
        rgb=torch.rand(24, 3, 32, 32),
        alpha=torch.ones(24, 1, 32, 32),
        cameras=Orbit().cameras(32),
        times=torch.zeros(24),
    )
    assert newer.condition_warnings(static_clip=around, orbits=3) == []
    assert "degrees" in newer.condition_warnings(static_clip=around[:12])[0]
    near = replace(around, cameras=Orbit(radius=1.4).cameras(32))
    assert "1.43 times" in newer.condition_warnings(static_clip=near)[0]
    with pytest.raises(InputError, match="static"):
        pipe(static_clip=around, static=True, **QUICK)


def test_too_many_references_are_counted_with_the_image(pipe):
    shown = OrbitalClip(
        rgb=torch.rand(16, 3, 32, 32),
        alpha=torch.ones(16, 1, 32, 32),
        cameras=Orbit(frames=16).cameras(32),
        times=torch.zeros(16),
    )
    with pytest.raises(InputError, match="got 16 and an image"):
        pipe(references=shown, image=torch.rand(4, 8, 8), **QUICK)


def test_a_grid_is_every_view_at_every_time(pipe):
    clip = pipe(prompt="a fox", grid=(3, 2), **QUICK)
    assert len(clip) == 6
    torch.testing.assert_close(clip.times, torch.tensor([0.0, 1.0]).repeat(3))
    positions = clip.cameras.positions
    torch.testing.assert_close(positions[0], positions[1])
    assert len({tuple((p * 100).round().tolist()) for p in positions}) == 3
    with pytest.raises(InputError, match="grid"):
        pipe(prompt="a fox", grid=(100, 100), **QUICK)


def test_clean_alpha_takes_away_what_the_decoder_is_off_by():
    haze = torch.tensor([0.0, 0.04, 0.27, 0.5, 0.96, 1.0])
    torch.testing.assert_close(clean_alpha(haze), torch.tensor([0.0, 0.0, 0.25, 0.5, 1.0, 1.0]))


def test_references_of_any_view_and_time_count(pipe):
    """Each reference's picture, camera and time matter; in static mode only those of the first moment do."""
    orbit = Orbit(frames=4)
    shown = OrbitalClip(
        rgb=torch.rand(3, 3, 128, 128),
        alpha=torch.ones(3, 1, 128, 128),
        cameras=orbit.cameras(128)[[0, 0, 0]],
        times=torch.tensor([0.0, 0.5, 1.0]),
    )
    plain = pipe(references=shown, **QUICK).rgb
    changed = {
        "picture": replace(shown, rgb=shown.rgb.flip(0)),
        "camera": replace(shown, cameras=orbit.cameras(128)[[1, 1, 1]]),
        "time": replace(shown, times=torch.tensor([0.0, 0.2, 0.4])),
        "number": shown[[0, 1]],
    }
    for name, clip in changed.items():
        assert (pipe(references=clip, **QUICK).rgb - plain).abs().max() > 1e-5, name
    still = pipe(references=shown, static=True, **QUICK).rgb
    assert torch.equal(still, pipe(references=shown[[0]], static=True, **QUICK).rgb)
    image = torch.cat([shown.rgb[0], shown.alpha[0]])
    assert torch.equal(pipe(references=shown[[0]], **QUICK).rgb, pipe(image=image, **QUICK).rgb)
    assert not torch.equal(pipe(image=image, azimuth=90, **QUICK).rgb, pipe(image=image, **QUICK).rgb)
    both = pipe(image=image, references=shown, prompt="a fox", motion=0.5, **QUICK)
    assert torch.isfinite(both.rgb).all()
    with pytest.raises(InputError, match="references"):
        pipe(references=shown[[0] * 17], **QUICK)


def test_every_scheduler_draws_much_the_same(pipe):
    """One network, one seed: with enough steps the solvers agree; and the choice is the model's own unless one is named."""
    options = {
        "prompt": "a fox",
        "orbit": Orbit(frames=3),
        "progress": False,
        "guidance_scale": 1.0,
        "guidance_3d": 0.0,
    }
    clips = {name: pipe(scheduler=name, steps=40, **options).on_background() for name in NAMES}
    for name, frames in clips.items():
        assert (frames - clips["heun"]).square().mean() < 1e-3, name
    assert torch.equal(pipe(steps=40, **options).on_background(), clips["dpm++"])
    with pytest.raises(InputError, match="--scheduler"):
        pipe(scheduler="magic", **options)


@pytest.mark.parametrize("change", [{"guidance_interval": (0.5, 1.0)}, {"guidance_every": 2}])
def test_guidance_at_some_steps_only(pipe, change):
    options = {"prompt": "a fox", "steps": 4, "orbit": Orbit(frames=3), "progress": False}
    full, none = pipe(**options).rgb, pipe(guidance_scale=1.0, guidance_3d=0.0, **options).rgb
    part = pipe(**options, **change).rgb
    assert not torch.equal(part, full) and not torch.equal(part, none)
    assert torch.equal(pipe(guidance_interval=(0.0, 0.0), **options).rgb, none)


def test_static_views_are_matched_by_direction(pipe):
    orbit = Orbit(frames=5, radius=3.0)
    clip = OrbitalClip(
        rgb=torch.rand(5, 3, 128, 128),
        alpha=torch.ones(5, 1, 128, 128),
        cameras=orbit.cameras(128),
        times=torch.zeros(5),
    )
    half_turn = Orbit(frames=5, azimuth_start_deg=180).cameras(128)
    still = pipe._still(clip)
    latents, shifted = still(Orbit(frames=5).cameras(128)), still(half_turn)
    torch.testing.assert_close(shifted[0], latents[2])
    torch.testing.assert_close(shifted[1], latents[3])


def test_every_condition_changes_the_clip(pipe):
    image = torch.rand(4, 64, 64)
    orbit = Orbit(frames=4)
    static = OrbitalClip(
        rgb=torch.rand(4, 3, 32, 32), alpha=torch.ones(4, 1, 32, 32), cameras=orbit.cameras(32), times=torch.zeros(4)
    )
    plain = pipe(prompt="a fox", **QUICK).rgb
    variants = {
        "prompt": pipe(prompt="a yellow robot", **QUICK),
        "image": pipe(prompt="a fox", image=image, **QUICK),
        "static": pipe(prompt="a fox", static_clip=static, **QUICK),
        "motion": pipe(prompt="a fox", motion=0.9, **QUICK),
        "guidance_scale": pipe(prompt="a fox", guidance_scale=1.0, **QUICK),
        "guidance_3d": pipe(prompt="a fox", guidance_3d=2.0, **QUICK),
        "static mode": pipe(prompt="a fox", static=True, **QUICK),
    }
    for name, clip in variants.items():
        assert (clip.rgb - plain).abs().max() > 1e-4, f"{name} has no effect"
    assert variants["static mode"].times.abs().max() == 0


def test_static_mode_ignores_motion(pipe):
    a = pipe(prompt="a fox", static=True, motion=0.1, **QUICK)
    b = pipe(prompt="a fox", static=True, motion=0.9, **QUICK)
    assert torch.equal(a.rgb, b.rgb)


def test_unsaid_motion_is_the_prompts_own(pipe):
    record = {
        "usual_motion": 0.3,
        "vocabulary": ["a fox"],
        "prompts": {"a fox": ["a fox running", "a fox standing"]},
        "amounts": {"a fox": {"running": 0.9, "standing": 0.1}},
    }
    parts = {"autoencoder": pipe.autoencoder, "denoiser": pipe.denoiser, "scheduler": pipe.scheduler}
    told = Orbit4DPipeline(**parts, motion=pipe.motion | record)
    assert [told.usual_motion_of(p) for p in ("the fox is running", "a fox", None)] == [0.9, 0.3, 0.3]
    assert pipe.usual_motion_of("a fox running") is None
    unsaid = told(prompt="a fox running", **QUICK).rgb
    assert torch.equal(unsaid, told(prompt="a fox running", motion=0.9, **QUICK).rgb)
    assert not torch.equal(unsaid, told(prompt="a fox running", motion=None, **QUICK).rgb)
    shown = told(prompt="a fox", **QUICK)[[0, 1]]  # of two times: they show how much moves
    assert len(shown.times.unique()) == 2
    filmed = told(prompt="a fox running", references=shown, **QUICK).rgb
    assert torch.equal(filmed, told(prompt="a fox running", references=shown, motion=None, **QUICK).rgb)


def test_an_image_without_words_is_given_those_of_the_captioner(pipe):
    class Seer(torch.nn.Module):
        kinds = ("a fox",)

        def caption(self, picture):
            assert picture.shape == (4, 64, 64)
            return Caption(text="a fox running", kind="a fox", motion="running", kind_share=1.0, motion_share=1.0)

    parts = {"autoencoder": pipe.autoencoder, "denoiser": pipe.denoiser, "scheduler": pipe.scheduler}
    seeing = Orbit4DPipeline(**parts, motion=pipe.motion, captioner=Seer())
    image = torch.rand(4, 64, 64)
    told = pipe(image=image, prompt="a fox running", **QUICK).rgb
    assert torch.equal(seeing(image=image, **QUICK).rgb, told)
    assert torch.equal(seeing(image=image, caption=False, **QUICK).rgb, pipe(image=image, **QUICK).rgb)
    assert not torch.equal(seeing(image=image, prompt="a robot", **QUICK).rgb, told)
    assert not torch.equal(told, pipe(image=image, **QUICK).rgb)
    with pytest.raises(InputError, match=r"RGBA tensor .* got str; .*load_condition_image"):
        seeing.caption("fox.png")
    assert seeing(image=image, **QUICK).caption is None, "what was guessed is no caption"
    filmed = seeing(prompt="a fox", **QUICK)[[0, 1]]
    shown = seeing(image=image, references=filmed, **QUICK).rgb
    assert torch.equal(shown, seeing(image=image, references=filmed, caption=False, **QUICK).rgb), "it shows its motion"


def test_what_a_picture_does_not_show_is_said(pipe):
    class Seer(torch.nn.Module):
        """Sees a fox in what is bright."""

        kinds = ("a fox",)

        def caption(self, picture):
            fox = Caption(text="a fox running", kind="a fox", motion="running", kind_share=1.0, motion_share=1.0)
            return fox if float(picture[:3].mean()) > 0.5 else None

    parts = {"autoencoder": pipe.autoencoder, "denoiser": pipe.denoiser, "scheduler": pipe.scheduler}
    seeing = Orbit4DPipeline(**parts, motion=pipe.motion | {"vocabulary": ["a fox", "a robot"]}, captioner=Seer())
    fox, stranger = torch.ones(4, 64, 64), torch.cat([torch.zeros(3, 64, 64), torch.ones(1, 64, 64)])
    filmed = OrbitalClip(
        rgb=torch.zeros(2, 3, 32, 32),
        alpha=torch.ones(2, 1, 32, 32),
        cameras=Orbit(frames=2).cameras(32)[[0] * 2],
        times=torch.linspace(0, 1, 2),
    )

    def said(**conditions) -> str:
        return "; ".join(w for w in seeing.condition_warnings(**conditions) if "captioner" in w)

    assert said(image=fox) == said(image=fox, prompt="a fox running") == said(image=fox, prompt="a thing") == ""
    assert "the image shows none" in said(image=stranger) and "--prompt" in said(image=stranger)
    assert "--prompt" not in said(image=stranger, prompt="a unicorn")
    assert "names a robot" in said(image=fox, prompt="a robot") and "sees a fox" in said(image=fox, prompt="a robot")
    assert "sees nothing it knows" in said(references=filmed, prompt="a robot")
    assert "the video shows none" in said(references=filmed)
    assert pipe.captioner is None and pipe.condition_warnings(image=stranger) == []


def test_motion_quantiles_interpolate(pipe):
    assert float(pipe.log_motion(0.0)) == pytest.approx(-3.0)
    assert float(pipe.log_motion(1.0)) == pytest.approx(3.0)
    assert float(pipe.log_motion(0.525)) == pytest.approx(0.15, abs=1e-5)
    assert pipe.log_motion(None) is None


def test_features_come_with_their_cameras(pipe):
    clip = pipe(prompt="a fox", features=True, **QUICK)
    assert clip.features is not None
    assert clip.features.z_s.shape == (4, 32, 8, 8) and clip.features.z_t.shape == (4, 16, 8, 8)
    assert torch.equal(clip.features.times, clip.times)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({}, "--prompt"),
        ({"prompt": "   "}, "--prompt"),
        ({"prompt": "a fox", "motion": 1.5}, "--motion"),
        ({"prompt": "a fox", "motion": "much"}, "--motion"),
        ({"prompt": "a fox", "motion": float("nan")}, "--motion"),
        ({"prompt": "a fox", "steps": 0}, "--steps"),
        ({"image": torch.zeros(3, 8, 8)}, "RGBA"),
    ],
)
def test_bad_input_is_one_clear_line(pipe, arguments, match):
    with pytest.raises(InputError, match=match) as caught:
        pipe(**({"progress": False} | arguments))
    assert "\n" not in str(caught.value)


def test_no_fallback_to_random_weights(tmp_path):
    with pytest.raises(InputError, match="weights"):
        Orbit4DPipeline.from_pretrained(tmp_path)
    shutil.copytree(BUILT_IN, tmp_path / "m")
    shard = next((tmp_path / "m" / "denoiser").glob("*.safetensors"))
    tensors = load_file(shard)
    dropped = next(name for name in tensors if "temporal" in name)
    save_file({k: v for k, v in tensors.items() if k != dropped}, shard, metadata={"format": "pt"})
    with pytest.raises(InputError, match=f"missing keys in its weights: {re.escape(dropped)}"):
        Orbit4DPipeline.from_pretrained(tmp_path / "m")
    shard.write_bytes(shard.read_bytes()[:5000])
    with pytest.raises(InputError, match="denoiser: cannot be loaded"):
        Orbit4DPipeline.from_pretrained(tmp_path / "m")
    (tmp_path / "m" / "pipeline.json").write_text("{}")
    with pytest.raises(InputError, match="log_m_mean"):
        Orbit4DPipeline.from_pretrained(tmp_path / "m")


def test_prompts_outside_the_vocabulary_are_noticed():
    pipe = Orbit4DPipeline.from_pretrained()
    strange, foal = pipe.vocabulary_warning("a zeppelin yodelling"), pipe.vocabulary_warning("a foal")
    assert strange is not None and strange.startswith("'a zeppelin yodelling' names no kind")
    assert foal is not None and "horse" in foal
    assert pipe.vocabulary_warning("a Fox running") is None and pipe.vocabulary_warning(None) is None


def test_built_in_weights_draw_an_object():
    """Trained weights: an orange fox on an empty background, not noise and not a blank frame."""
    pipe = Orbit4DPipeline.from_pretrained()
    assert BUILT_IN.is_dir() and sum(p.stat().st_size for p in BUILT_IN.rglob("*")) < 24e6
    assert all(p.stat().st_size <= 15 * 2**20 for p in BUILT_IN.rglob("*.safetensors"))
    clip = pipe(prompt="a fox running", steps=8, seed=0, orbit=Orbit(frames=12), progress=False)
    covered = (clip.alpha > 0.5).float().mean((1, 2, 3))
    assert covered.min() > 0.005 and covered.max() < 0.5
    border = torch.cat([clip.alpha[..., :6, :].flatten(), clip.alpha[..., -6:, :].flatten()])
    assert border.mean() < 0.05
    colour = (clip.rgb * clip.alpha).sum((0, 2, 3)) / clip.alpha.sum()
    assert colour[0] > colour[1] > colour[2]
