"""The ablation benchmark: its split keeps what it says apart, its viewpoint figure measures viewpoint, its variants run."""

# pyright: reportMissingImports=false

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from orbit4d.cameras import Orbit
from orbit4d.diffusion.denoiser import Conditions, token_rays

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks" / "ablations"))

from held_out import LOOP, STARTS, UNSEEN_STARTS, orbit_pairs, ring_pairs, sample_batch, split_clips
from score import _viewpoint
from variants import VARIANTS

COUNT = 24


def latent_set() -> Any:
    """Two assets with six animations each and a toy; every latent holds its clip's number."""
    names = [f"{asset}__{i:02d}" for asset in ("fox", "crab") for i in range(6)] + ["toy_0__00"]
    clips = [{"key": n, "kind": "toy bird" if n.startswith("toy") else f"a {n[:3]}", "captions": [n]} for n in names]
    index = torch.arange(len(names) * COUNT * COUNT).view(len(names), COUNT, COUNT)
    pairs = torch.cartesian_prod(torch.arange(COUNT), torch.arange(COUNT)).repeat(len(names), 1)
    ids = torch.arange(len(names)).repeat_interleave(COUNT * COUNT)
    return SimpleNamespace(
        clips=clips,
        index=index,
        pairs=pairs,
        rows=[index[i].flatten() for i in range(len(names))],
        weights=torch.ones(len(names)),
        latents=ids[:, None, None, None].expand(-1, 1, 2, 2).half(),
        rays=token_rays(Orbit(frames=COUNT).cameras(64), 2),
        times=Orbit(frames=COUNT).times,
        motion=torch.zeros(len(names)),
    )


def test_held_out_clips_never_appear_in_training():
    data = latent_set()
    split = split_clips(data)
    assert [data.clips[i]["key"] for i in split.test] == ["fox__02", "crab__02"]
    assert [data.clips[i]["key"] for i in split.toys] == ["toy_0__00"]
    generator = torch.Generator().manual_seed(0)
    seen = set()
    for task in ("orbit", "views"):
        for _ in range(20):
            x0, *_ = sample_batch(data, split, VARIANTS["base"], task, generator)
            seen |= set(x0.long().flatten().tolist())
    assert seen == set(split.train.tolist())


def test_held_out_azimuths_are_never_references():
    data = latent_set()
    split, generator = split_clips(data), torch.Generator().manual_seed(1)
    rays = {tuple(data.rays[v].flatten().tolist()): v for v in range(LOOP, -1, -1)}  # view 23 counts as view 0
    references = set()
    for task in ("orbit", "views"):
        for _ in range(60):
            _, _, c, reference = sample_batch(data, split, VARIANTS["base"], task, generator)
            references |= {rays[tuple(p.flatten().tolist())] for p in c.plucker[reference]}
    assert references >= set(STARTS)
    assert not references & set(UNSEEN_STARTS)


def test_pairs_start_at_the_reference():
    for start in (*STARTS, *UNSEEN_STARTS):
        views, times = orbit_pairs(start)
        assert (int(views[0]), int(times[0]), len(views)) == (start, 0, COUNT)
        views, times = ring_pairs(start)
        assert int(views[0]) == start and sorted(views.tolist()) == list(range(LOOP)) and not times.any()


def test_viewpoint_ignores_colour_and_sees_turns():
    torch.manual_seed(0)
    truth = torch.randn(22, 3, 4, 4)
    assert _viewpoint(0.1 * truth + 5, truth) == pytest.approx((1.0, 0.0), abs=1e-5)
    correlation, degrees = _viewpoint(truth.roll(3, dims=0), truth)
    assert abs(correlation) < 0.2
    assert degrees > 40


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_runs_and_hides_time_in_static_mode(name):
    torch.manual_seed(0)
    model = VARIANTS[name].build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    x, t = torch.randn(1, 3, 12, 16, 16), torch.full((1, 3), 0.5)

    def out(closed: bool, times: list[float], motion: float) -> torch.Tensor:
        c = Conditions(
            plucker=token_rays(Orbit(frames=3).cameras(128), 8)[None],
            times=torch.tensor([times]),
            motion=torch.tensor([motion]),
            static_mode=torch.tensor([closed]),
        )
        with torch.no_grad():
            return model(x, t, c)

    assert torch.equal(out(True, [0, 0.2, 0.4], 1.0), out(True, [0.3, 0.1, 0.9], -1.0))
    assert (out(False, [0, 0.2, 0.4], 1.0) - out(False, [0.3, 0.1, 0.9], -1.0)).abs().max() > 1e-3
