from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from splat_fixtures import front_view, moving_orbit, object_at, static_orbit

from orbit4d.clip import OrbitalClip
from orbit4d.errors import InputError
from orbit4d.splat import checkpoint
from orbit4d.splat.checkpoint import Checkpoint
from orbit4d.splat.fit import FitConfig, Trainer, _frame_spacing, fit
from orbit4d.splat.fit_frames import gather_frames, loops
from orbit4d.splat.fit_optim import Canonical, LearningRates, build_optimizer
from orbit4d.splat.gaussians import Gaussians4D
from orbit4d.splat.hull import visual_hull
from orbit4d.splat.rasterize import render
from orbit4d.splat.trajectories import Trajectories

CONFIG = FitConfig(
    size=64, steps=400, gaussians=1200, nodes=80, frames_per_step=3, hull_resolution=40, half_size_share=0.3
)


@pytest.fixture(scope="module")
def clips() -> tuple[OrbitalClip, OrbitalClip, OrbitalClip]:
    return moving_orbit(), static_orbit(), front_view()


@pytest.fixture(scope="module")
def fitted(clips):
    return fit(clips[0], static_clip=clips[1], config=CONFIG, progress=False)


@torch.no_grad()
def foreground_psnr(scene: Gaussians4D, clip: OrbitalClip, *, frozen: bool = False) -> float:
    """Of the renders on white, over the pixels that the object covers in truth or in the render."""
    squared, count = 0.0, 0.0
    for i, time in enumerate(clip.times):
        drawn = render(scene.at(0.0 if frozen else float(time)), clip.cameras[i : i + 1], background=1.0)
        mask = (torch.maximum(clip.alpha[i], drawn.alpha[0]) > 0.5).float()
        error = (drawn.rgb[0] - clip.on_background()[i]).square().mean(dim=0, keepdim=True)
        squared, count = squared + float((error * mask).sum()), count + float(mask.sum())
    return -10 * float(torch.log10(torch.tensor(squared / count)))


def test_unseen_view_is_reconstructed(fitted, clips):
    """The front view of a swinging arm, of which training saw every moment from one other side only."""
    moving, frozen = foreground_psnr(fitted.scene, clips[2]), foreground_psnr(fitted.scene, clips[2], frozen=True)
    assert moving > 20, moving
    assert moving > frozen + 6, (moving, frozen)


def test_training_views_are_reconstructed(fitted, clips):
    assert foreground_psnr(fitted.scene, clips[0]) > 23
    assert foreground_psnr(fitted.scene, clips[1]) > 24


def test_history_and_budget(fitted):
    assert len(fitted.scene.canonical) == CONFIG.gaussians
    assert [h["stage"] for h in fitted.history] == sorted(h["stage"] for h in fitted.history)
    assert fitted.history[-1]["psnr"] > fitted.history[0]["psnr"] + 3
    assert fitted.seconds > 0
    assert not any(p.requires_grad for p in fitted.scene.deformation.parameters())


def test_canonical_is_the_static_moment(fitted):
    still = fitted.scene.at(0.0)
    assert torch.allclose(still.means, fitted.scene.canonical.means, atol=1e-5)


def test_works_without_a_static_orbit(clips):
    result = fit(clips[0], config=replace(CONFIG, steps=160), progress=False)
    assert foreground_psnr(result.scene, clips[0]) > 15
    assert foreground_psnr(result.scene, clips[2]) > foreground_psnr(result.scene, clips[2], frozen=True)


def test_same_seed_gives_the_same_scene(clips):
    short = replace(CONFIG, steps=24, relocate_every=8)
    a, b = (fit(list(clips[:1]), static_clip=clips[1], config=short, progress=False).scene for _ in range(2))
    other = fit(clips[0], static_clip=clips[1], config=replace(short, seed=1), progress=False).scene
    assert torch.equal(a.canonical.means, b.canonical.means) and torch.equal(a.canonical.sh, b.canonical.sh)
    assert torch.equal(a.at(0.6).means, b.at(0.6).means)
    assert not torch.equal(a.canonical.means, other.canonical.means)


def test_caller_random_state_is_untouched(clips):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(clips[0], config=replace(CONFIG, steps=1), progress=False)
    assert torch.equal(torch.rand(3), expected)


def test_brightness_gain_absorbs_a_dimmer_clip(clips):
    """One clip rendered in weaker light must not darken the scene by as much, nor leave it wrong at both."""
    dim = replace(clips[1], rgb=clips[1].rgb * 0.8)
    result = fit(clips[0], static_clip=dim, config=replace(CONFIG, steps=160), progress=False)
    brightness = [float((c.rgb * c.alpha).sum() / c.alpha.sum()) for c in (clips[0], dim)]
    drawn = render(result.scene.canonical, clips[1].cameras)
    got = float(drawn.rgb.sum() / drawn.alpha.sum())
    assert brightness[1] * 1.03 < got < brightness[0] * 0.99, (brightness, got)


def test_frames_are_cropped_and_cameras_follow(clips):
    big = [moving_orbit(96, 4), static_orbit(96, 4)]
    frames = gather_frames(big, size=96)
    assert frames.cameras.width <= 96 and len(frames) == 8
    drawn = render(object_at(0.0), frames.cameras[4:5])
    assert torch.allclose(drawn.rgb[0], frames.premultiplied[4], atol=2e-3)
    half = frames.halved()
    drawn = render(object_at(0.0), half.cameras[4:5])
    assert (drawn.alpha[0] - half.alpha[4]).abs().mean() < 0.03


def test_relocation_moves_dead_gaussians_to_demand():
    canonical = Canonical(object_at(0.0))
    paths = Trajectories(count=750)
    groups = [{"params": list(paths.parameters()), "rate": "trajectories"}]
    optimizer = build_optimizer(canonical, groups, torch.nn.Parameter(torch.zeros(1)), LearningRates(), extent=0.5)
    sum(p.sum() for p in [*canonical.parameters(), *paths.parameters()]).backward()
    optimizer.step()
    with torch.no_grad():
        canonical.logit_opacities[:30] = -8
        paths.shifts[700:] = 7
    canonical.demand[700:] = 1
    before = canonical.means.detach().clone()
    generator = torch.Generator().manual_seed(0)
    moved = canonical.relocate(optimizer, share=0.0, generator=generator, also=list(paths.parameters()))
    assert moved == 30
    distance = torch.cdist(canonical.means.detach()[:30], before[700:]).amin(dim=1)
    assert distance.max() < 0.03
    assert (canonical.logit_opacities[:30] > 2).all()
    assert (optimizer.state[canonical.means]["exp_avg"][:30] == 0).all()
    assert (optimizer.state[canonical.means]["exp_avg"][30:700] != 0).all()
    assert (canonical.demand == 0).all()
    assert (paths.shifts[:30] == 7).all() and (paths.shifts[30:700] != 7).all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda c: ([], None), "at least one clip"),
        (lambda c: ([], c[1]), "at least one clip"),
        (lambda c: ([replace(c[0], rgb=c[0].rgb * torch.nan)], None), "NaN"),
        (lambda c: ([replace(c[0], times=c[0].times * 3)], None), "times must lie"),
        (lambda c: ([replace(c[0], alpha=c[0].alpha * 0)], None), "alpha is empty"),
        (lambda c: ([c[0]], c[0]), "static_clip runs from time 0 to 1"),
        (lambda c: ([c[0][:1]], None), "at least 2 views"),
    ],
)
def test_bad_clips_are_input_errors(clips, build, message):
    moving, still = build(clips)
    with pytest.raises(InputError, match=message):
        fit(moving, static_clip=still, config=replace(CONFIG, steps=1), progress=False)


def test_bad_config_is_an_input_error():
    with pytest.raises(InputError, match="steps"):
        FitConfig(steps=0)
    with pytest.raises(InputError, match="coarse_share"):
        FitConfig(coarse_share=1.5)
    for wrong in ({"lift_every": 0}, {"moving_anchor": 2.0}, {"frontier_share": -1}, {"nodes": 5000}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            FitConfig(**wrong)
    with pytest.raises(InputError, match="as many levels"):
        FitConfig(spatial_resolutions=(8,))
    assert FitConfig.for_size(128, steps=7).steps == 7


@pytest.mark.parametrize("times", [[0.0, 0.1, 0.2, 0.25, 0.3], [0.0, 0.01, 0.02, 0.99, 1.0], [0.4] * 5])
def test_any_times_will_do_without_a_static_orbit(clips, times):
    part = replace(clips[0][[0, 3, 6, 9, 12]], times=torch.tensor(times))
    result = fit(part, config=replace(CONFIG, steps=40, gaussians=300), progress=False)
    assert foreground_psnr(result.scene, part) > 10


def test_times_that_differ_by_rounding_are_one_spacing(clips):
    twice = torch.cat([torch.linspace(0, 1, 24), torch.linspace(0, 1, 24) + 3e-7])
    assert _frame_spacing(twice) == pytest.approx(1 / 23, rel=1e-3)


@pytest.mark.parametrize("kind", ["nodes", "hexplane", "trajectories"])
def test_double_precision_clips_are_welcome(clips, kind):
    clip = replace(clips[0], times=clips[0].times.double())
    fit(clip, config=replace(CONFIG, steps=3, gaussians=100, deformation=kind), progress=False)


def test_one_moment_given_as_a_clip_is_carved_as_one(clips):
    """As in a static orbit, and unlike in a moving one, every silhouette counts."""
    as_clip, as_static = (visual_hull(clips[1], moving=moving, resolution=40) for moving in (True, False))
    assert as_clip.misses > as_static.misses
    scene = fit(clips[1], config=replace(CONFIG, steps=1), progress=False).scene
    assert torch.cdist(scene.canonical.means, as_static.surface).amin(dim=1).max() < 2 * as_static.voxel


def test_a_scene_too_small_to_be_drawn_is_an_input_error(clips):
    c2w = clips[0].cameras.camera_to_world.clone()
    c2w[:, :3, 3] *= 0.01
    tiny = replace(clips[0], cameras=replace(clips[0].cameras, camera_to_world=c2w))
    with pytest.raises(InputError, match="multiply all camera positions"):
        fit(tiny, config=replace(CONFIG, steps=1), progress=False)


def test_irregular_times_are_no_obstacle(clips):
    """Moving frames that all lie far from the static moment: the window starts out empty."""
    late = clips[0][[0, 4, 8, 12, 15]]
    late = replace(late, times=torch.tensor([0.6, 0.7, 0.8, 0.9, 1.0]))
    result = fit(late, static_clip=clips[1], config=replace(CONFIG, steps=12), progress=False)
    assert all(torch.isfinite(x).all() for x in (result.scene.at(0.8).means, result.scene.canonical.sh))


@pytest.mark.parametrize("change", [{"residual": True}, {"deformation": "hexplane"}, {"deformation": "trajectories"}])
def test_other_deformations_construct_too(clips, change):
    config = replace(CONFIG, steps=200, gaussians=800, **change)
    scene = fit(clips[0], static_clip=clips[1], config=config, progress=False).scene
    moving, frozen = foreground_psnr(scene, clips[0]), foreground_psnr(scene, clips[0], frozen=True)
    assert moving > 12 and moving > frozen + 1, (moving, frozen)


def test_a_random_start_finds_the_object_too(clips):
    config = replace(CONFIG, steps=200, gaussians=800, init="random")
    scene = fit(clips[0], static_clip=clips[1], config=config, progress=False).scene
    nothing = Gaussians4D(canonical=replace(scene.canonical, logit_opacities=torch.full((800,), -20.0)))
    assert foreground_psnr(scene, clips[1]) > foreground_psnr(nothing, clips[1]) + 4


class Killed(Exception):
    pass


@pytest.mark.parametrize("change", [{}, {"deformation": "trajectories"}])
def test_a_killed_construction_is_taken_up_and_ends_the_same(clips, tmp_path, monkeypatch, change):
    config = replace(CONFIG, steps=40, relocate_every=8, gaussians=500, **change)
    whole = fit(clips[0], static_clip=clips[1], config=config, progress=False)
    advance, path = Trainer._advance, tmp_path / "state"

    def fragile(self):
        if self.step == 23:
            raise Killed
        return advance(self)

    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    monkeypatch.setattr(Trainer, "_advance", fragile)
    with pytest.raises(Killed):
        fit(clips[0], static_clip=clips[1], config=config, checkpoint=path, progress=False)
    steps = []
    monkeypatch.setattr(Trainer, "_advance", lambda self: (steps.append(self.step), advance(self))[1])
    again = fit(clips[0], static_clip=clips[1], config=config, checkpoint=path, progress=False)
    assert steps == list(range(23, 40))
    assert again.history == whole.history
    for name, value in vars(whole.scene.at(0.6)).items():
        assert torch.equal(value, getattr(again.scene.at(0.6), name)), name
    assert not path.exists()


def test_a_finished_construction_is_kept_for_whoever_asks_until_it_is_written(clips, tmp_path, monkeypatch):
    config = replace(CONFIG, steps=20, gaussians=500)
    path = tmp_path / "state"
    whole = fit(clips[0], static_clip=clips[1], config=config, checkpoint=path, keep_checkpoint=True, progress=False)
    monkeypatch.setattr(Trainer, "_advance", lambda self: pytest.fail("done already"))
    again = fit(clips[0], static_clip=clips[1], config=config, checkpoint=path, progress=False)
    assert again.history == whole.history and not path.exists()
    for name, value in vars(whole.scene.at(0.6)).items():
        assert torch.equal(value, getattr(again.scene.at(0.6), name)), name


def test_a_checkpoint_of_something_else_is_not_taken_up(clips, tmp_path, caplog):
    short, path = replace(CONFIG, steps=3), tmp_path / "state"
    tensors = [clips[0].rgb, clips[0].times]
    Checkpoint(path, short, tensors).save({"step": 2})
    assert Checkpoint(path, short, tensors).load() == {"step": 2}
    assert Checkpoint(path, replace(short, seed=1), tensors).load() is None and "another construction" in caplog.text
    assert Checkpoint(path, short, [clips[0].rgb, clips[0].times + 0.01]).load() is None
    path.write_bytes(b"junk")
    assert Checkpoint(path, short, tensors).load() is None and "cannot be read" in caplog.text
    assert len(fit(clips[0], config=short, checkpoint=path, progress=False).history) == 2
    with pytest.raises(InputError, match="is a folder"):
        Checkpoint(tmp_path, short, tensors)


def test_a_static_clip_is_another_construction_than_the_same_frames_as_a_moving_one(clips, tmp_path, monkeypatch):
    """Same frames, same config: but what is known to be one moment decides the result."""
    short, path = replace(CONFIG, steps=4, gaussians=100), tmp_path / "state"
    still = replace(clips[1], times=torch.full((16,), 0.5))
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    monkeypatch.setattr(Checkpoint, "remove", lambda self: None)
    fit([clips[0], still], config=short, checkpoint=path, progress=False)
    expected = fit(clips[0], static_clip=still, config=short, progress=False)
    got = fit(clips[0], static_clip=still, config=short, checkpoint=path, progress=False)
    assert got.history == expected.history


def test_loops_are_found_from_what_one_camera_sees_at_both_ends(clips):
    moving = clips[0]
    assert not loops(gather_frames([moving], size=64)), "the arm ends elsewhere"
    closed = moving[[*range(16), 15]]
    closed.rgb[-2:], closed.alpha[-2:] = 0.8 * moving.rgb[0], moving.alpha[0]
    closed.times[:] = torch.linspace(0, 1, 17)
    closed.cameras.camera_to_world[-1] = moving.cameras.camera_to_world[0]
    assert loops(gather_frames([closed], size=64)), "but for its light the last frame is the first"
    assert not loops(gather_frames([moving[:8]], size=64)), "time 1 is not shown"
