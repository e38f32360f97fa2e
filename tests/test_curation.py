"""Measures and rules, on samples whose values are known, and at the very thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from curation_fixtures import PLAN, disc, make_sample
from hypothesis import given
from hypothesis import strategies as st

from orbit4d.data.curation import (
    FRAME_MEASURES,
    MEASURES,
    CurationRules,
    decide,
    frames_digest,
    measure,
    on_white,
    orbit_pairs,
    quantiles,
)
from orbit4d.data.plan import Pair, RenderPlan
from orbit4d.data.sample import Sample
from orbit4d.errors import InputError

FINE = {
    "ssim_quarter": 0.8,
    "ssim_half": 0.7,
    "ssim_peak": 0.7,
    "front_step_max": 0.01,
    "coverage_mean": 0.2,
    "coverage_min": 0.1,
    "coverage_max": 0.3,
    "border_max": 0.0,
    "colour_spread": 0.1,
    "motion_magnitude": 0.02,
}


def _naive_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Of (h, w, 3) images in [0, 1], pixel by pixel as Wang et al. write it, with zeros around the image."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    window = (window / window.sum())[..., None]
    a, b = (np.pad(image.astype(np.float64), ((5, 5), (5, 5), (0, 0))) for image in (a, b))
    total = []
    for y in range(a.shape[0] - 10):
        p, q = (np.lib.stride_tricks.sliding_window_view(image[y : y + 11], 11, axis=1) for image in (a, b))
        p, q = (np.moveaxis(windows, -1, 1)[None] for windows in (p, q))  # (1, 11 rows, 11 columns, places, channels)
        mean = lambda v: (window[..., None, :] * v[0]).sum((0, 1))  # noqa: E731
        mp, mq = mean(p), mean(q)
        vp, vq, cov = mean(p**2) - mp**2, mean(q**2) - mq**2, mean(p * q) - mp * mq
        total.append((2 * mp * mq + 1e-4) * (2 * cov + 9e-4) / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4)))
    return float(np.mean(total))


def test_ssim_is_the_definition_at_256_pixels() -> None:
    """Frames of 64 pixels become 256 by area, which repeats each pixel 4 x 4 times."""
    plan = RenderPlan(frames=9, size=64, outputs=())
    draw = disc(step=0.3, size=64)
    measures = measure(make_sample(draw, plan=plan))
    start, quarter, half = (np.repeat(np.repeat(on_white(draw((0, j))), 4, 0), 4, 1) for j in (0, 2, 4))
    assert measures["ssim_quarter"] == pytest.approx(_naive_ssim(start, quarter), abs=1e-4)
    assert measures["ssim_half"] == pytest.approx(_naive_ssim(start, half), abs=1e-4)
    assert abs(measures["ssim_quarter"] - measures["ssim_half"]) > 1e-3


def test_ssim_is_the_metric_of_evaluation() -> None:
    import torch

    from orbit4d.evaluate.metrics import ssim

    plan = RenderPlan(frames=9, size=256, outputs=())
    draw = disc(step=0.2, size=256)
    measures = measure(make_sample(draw, plan=plan))
    start, quarter, half = (torch.from_numpy(on_white(draw((0, j)))).permute(2, 0, 1)[None] for j in (0, 2, 4))
    assert measures["ssim_quarter"] == pytest.approx(float(ssim(start, quarter)), abs=1e-6)
    assert measures["ssim_half"] == pytest.approx(float(ssim(start, half)), abs=1e-6)


def test_24_frames_are_compared_as_diffusion4d_counts() -> None:
    """Only frames 0, 6 and 12 of the front clip decide."""
    plan = RenderPlan(frames=24, size=16, outputs=())
    moved, still = disc(step=3.0, size=16), disc(size=16)
    value = {}
    for wanted in ([6], [12], [5, 7, 11, 13, 18]):
        sample = make_sample(lambda p, w=wanted: (moved if p[0] == 0 and p[1] in w else still)(p), plan=plan)
        m = measure(sample)
        value[wanted[0]] = (m["ssim_quarter"] > 0.999, m["ssim_half"] > 0.999)
    assert value == {6: (False, True), 12: (True, False), 5: (True, True)}


def test_measures_of_a_known_disc() -> None:
    draw = disc(radius=0.25, step=0.2)
    sample = make_sample(draw)
    m = measure(sample)
    frames = [draw(p) for p in PLAN.orbit()]
    coverage = [(f[..., 3] > 127).mean() for f in frames]
    assert set(m) == set(MEASURES) and all(isinstance(v, float) for v in m.values())
    assert m["coverage_mean"] == pytest.approx(np.mean(coverage)) == pytest.approx(np.pi / 16, abs=0.01)
    assert (m["coverage_min"], m["coverage_max"]) == (min(coverage), max(coverage))
    colours = np.concatenate([f[f[..., 3] > 127][:, :3] for f in frames]) / 255
    assert m["colour_spread"] == pytest.approx(colours.std(0).max())
    expected = np.mean([np.square(on_white(draw((i, j))) - on_white(draw((i, 0)))).mean() for i, j in PLAN.orbit()])
    assert m["motion_magnitude"] == pytest.approx(expected, rel=1e-5)
    steps = [np.square(on_white(draw((0, j + 1))) - on_white(draw((0, j)))).mean() for j in range(PLAN.frames - 1)]
    assert m["front_step_max"] == pytest.approx(max(steps), rel=1e-5)
    assert measure(make_sample(draw, motion_magnitude=0.25))["motion_magnitude"] == 0.25


def test_border_is_the_outermost_ring_of_the_worst_frame() -> None:
    def draw(pair):
        rgba = np.zeros((PLAN.size, PLAN.size, 4), np.uint8)
        rgba[10:20, 10:20, 3] = 255
        rgba[10:20, 10:20, 0] = np.arange(10) * 20
        if pair == PLAN.orbit()[3]:
            rgba[0, :7, 3] = 255  # seven pixels, a corner among them
            rgba[1, :, 3] = 127  # inside, and too faint
        return rgba

    assert measure(make_sample(draw))["border_max"] == pytest.approx(7 / (4 * PLAN.size - 4))


@pytest.mark.parametrize(
    ("draw", "rule"),
    [
        (disc(step=0.25), None),
        (disc(step=0.0), "static"),
        (disc(offset=0.3, step=0.3), "leaves-frame"),
        (disc(radius=0.015, step=0.2), "nearly-empty"),
        (disc(flat=True, step=0.25), "one-colour"),
    ],
)
def test_what_the_rules_say_of_discs(draw, rule) -> None:
    decision = decide(measure(make_sample(draw)), CurationRules())
    assert decision.rule == rule and decision.kept == (rule is None) == (decision.reason is None)


def test_a_clip_of_several_loops_is_not_static() -> None:
    """Four loops: the disc is back at its start at 1/4 and at 1/2, and away in between."""
    at = disc(step=0.25)
    measures = measure(make_sample(lambda p: at((p[0], (p[1] * 4) % 8))))
    assert measures["ssim_quarter"] > 0.999 and measures["ssim_half"] > 0.999 and measures["ssim_peak"] < 0.95
    assert decide(measures, CurationRules()).kept
    assert decide(measures, CurationRules(static_peak=False)).rule == "static"


def test_noise_is_violent() -> None:
    rng = np.random.default_rng(0)

    def draw(_):
        rgba = np.zeros((PLAN.size, PLAN.size, 4), np.uint8)
        rgba[1:-1, 1:-1] = rng.integers(0, 256, (PLAN.size - 2, PLAN.size - 2, 4))
        rgba[1:-1, 1:-1, 3] = 255
        return rgba

    assert decide(measure(make_sample(draw)), CurationRules()).rule == "violent"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({}, None),
        ({"ssim_quarter": 0.95, "ssim_half": 0.99, "ssim_peak": 0.99}, None),
        ({"ssim_quarter": 0.9501, "ssim_half": 0.99, "ssim_peak": 0.9501}, "static"),
        ({"ssim_quarter": 0.99, "ssim_half": 0.9501, "ssim_peak": 0.9501}, "static"),
        ({"ssim_quarter": 0.99, "ssim_half": 0.99, "ssim_peak": 0.95}, None),
        ({"ssim_quarter": 0.4}, None),
        ({"ssim_quarter": 0.3999}, "violent"),
        ({"ssim_half": 0.3999}, "violent"),
        ({"border_max": 0.01}, None),
        ({"border_max": 0.0101}, "leaves-frame"),
        ({"coverage_min": 0.002}, None),
        ({"coverage_min": 0.0019}, "nearly-empty"),
        ({"colour_spread": 0.01}, None),
        ({"colour_spread": 0.0099}, "one-colour"),
        ({"ssim_half": float("nan")}, "unreadable"),
        ({"coverage_min": 0.0, "border_max": 1.0, "ssim_half": 0.1}, "nearly-empty"),
    ],
)
def test_rules_at_their_thresholds(change: dict, rule: str | None) -> None:
    assert decide(FINE | change, CurationRules()).rule == rule


def test_reasons_quote_value_and_threshold() -> None:
    said = decide(FINE | {"ssim_quarter": 0.993, "ssim_half": 0.987, "ssim_peak": 0.98}, CurationRules()).reason
    assert said == "front view hardly changes: SSIM 0.993 at 1/4 and 0.987 at 1/2, both above 0.95"
    said = decide(FINE | {"ssim_half": 0.2}, CurationRules(violent_ssim=0.3)).reason
    assert said == "front view changes too abruptly: SSIM 0.800 at 1/4 and 0.200 at 1/2, one below 0.3"
    assert "25 % of the border pixels" in str(decide(FINE | {"border_max": 0.25}, CurationRules()).reason)


@pytest.mark.parametrize(
    "bad", [{"static_ssim": 1.5}, {"empty": -0.1}, {"flat": float("nan")}, {"border": "x"}, {"violent_ssim": 0.96}]
)
def test_bad_rules_are_refused(bad: dict) -> None:
    with pytest.raises(InputError, match=r"--[a-z-]+: expected"):
        CurationRules(**bad)


def _only(sample: Sample, pairs: list[Pair], **meta) -> Sample:
    """The sample with these frames alone."""
    sample.meta |= {"pairs": [list(p) for p in pairs], **meta}
    names = {f"v{i:02d}t{j:02d}" for i, j in pairs}
    sample.members = {name: data for name, data in sample.members.items() if name[:6] in names}
    return sample


def test_what_a_sample_lacks_is_not_measured() -> None:
    still = lambda: make_sample(disc())  # noqa: E731
    assert decide(measure(still()), CurationRules()).rule == "static"
    orbit = [p for p in PLAN.orbit() if p != (0, 8)]
    m = measure(_only(still(), orbit, orbits=[[list(p) for p in orbit]]))
    assert set(m) == set(FRAME_MEASURES) and decide(m, CurationRules()).kept
    scattered = [(1, 0), (3, 0), (2, 2), (0, 5), (5, 5)]  # no orbit, no front clip, as of D-NeRF
    loose = _only(make_sample(disc(offset=0.3, step=0.3)), scattered, orbits=[])
    m = measure(loose)
    assert set(m) == set(FRAME_MEASURES) and orbit_pairs(loose) == scattered
    assert decide(m, CurationRules()).rule == "leaves-frame"
    assert measure(_only(still(), scattered, orbits=[], motion_magnitude=0.5))["motion_magnitude"] == 0.5
    for orbits in ([[]], [[1]], "x"):
        with pytest.raises(InputError, match="orbits"):
            measure(make_sample(disc(), orbits=orbits))
    broken = still()
    del broken.members["v00t03.rgba.png"]
    with pytest.raises(InputError, match=r"v00t03"):
        measure(broken)


def test_front_view_and_static_time_are_those_of_the_metadata() -> None:
    """Views other than 3 stand still; m is against time 2."""
    moved, still = disc(step=0.25), disc()
    plan = RenderPlan(frames=9, size=48, rows=4, columns=8, outputs=())
    pairs = [[i, j] for i in range(8) for j in range(9)]
    draw = lambda p: (moved if p[0] == 3 else still)(p)  # noqa: E731
    sample = make_sample(draw, plan=plan, front_view=3, static_time=2, pairs=pairs)
    m, view = measure(sample), measure(make_sample(moved))
    assert m["ssim_half"] < 0.95 < measure(make_sample(draw, plan=plan, pairs=pairs))["ssim_half"]
    assert view["ssim_half"] != m["ssim_half"]  # other stripes
    expected = np.mean([np.square(on_white(draw((i, j))) - on_white(draw((i, 2)))).mean() for i, j in PLAN.orbit()])
    assert m["motion_magnitude"] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(InputError, match="front_view"):
        measure(make_sample(moved, front_view="x"))


def test_digest_knows_frames_and_nothing_else() -> None:
    one, same, other = make_sample(disc()), make_sample(disc(), key="b", captions=[]), make_sample(disc(radius=0.3))
    assert frames_digest(one) == frames_digest(same) != frames_digest(other)
    same.members["v00t00.depth.png"] = b"another"
    assert frames_digest(one) == frames_digest(same)


@given(st.lists(st.floats(0, 1) | st.none(), max_size=30))
def test_quantiles_are_ranks(values: list[float | None]) -> None:
    found = quantiles(values)
    pairs = [(v, q) for v, q in zip(values, found, strict=True) if v is not None and q is not None]
    assert [v is None for v in values] == [q is None for q in found]
    assert all(0 <= q <= 1 for _, q in pairs)
    for v, q in pairs:
        assert all((w < v) == (r < q) for w, r in pairs)
    if pairs:
        assert np.mean([q for _, q in pairs]) == pytest.approx(0.5)
