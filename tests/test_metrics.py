"""Metrics against values worked out by hand or by slow, direct formulas."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from conftest import sphere_clip
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit4d.clip import OrbitalClip, load_clip
from orbit4d.errors import InputError
from orbit4d.evaluate.evaluate import parse_frames
from orbit4d.evaluate.metrics import composite, foreground_psnr, motion_magnitude, psnr, ssim


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_psnr_by_hand() -> None:
    target = torch.full((3, 3, 8, 8), 0.5)
    prediction = target.clone()
    prediction[0] += 0.1  # squared error 0.01: 20 dB
    prediction[1, 0] += 0.1  # a third of it: 24.77 dB
    scores = psnr(prediction, target)
    assert scores[:2].tolist() == pytest.approx([20.0, 10 * math.log10(300)], abs=1e-4)
    assert torch.isinf(scores[2])


def test_foreground_counts_only_pixels_with_alpha_above_half() -> None:
    target, prediction = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    alpha = torch.zeros(1, 1, 4, 4)
    alpha[..., :1, :] = 1.0
    alpha[..., 1, :] = 0.5  # not above: background
    prediction[..., 0, :] = 0.1
    prediction[..., 1:, :] = 1.0
    assert float(foreground_psnr(prediction, target, alpha)) == pytest.approx(20, abs=1e-4)
    assert float(psnr(prediction, target)) < 2
    assert torch.isnan(foreground_psnr(prediction, target, torch.zeros_like(alpha))).all()


def _slow_ssim(x: torch.Tensor, y: torch.Tensor) -> float:
    """SSIM of two (h, w) images from its definition, window by window, zeros outside the images."""
    height, width = x.shape
    x, y = (torch.nn.functional.pad(image, (5, 5, 5, 5)) for image in (x, y))
    offsets = torch.arange(11, dtype=x.dtype) - 5
    g = torch.exp(-offsets.square() / (2 * 1.5**2))
    w = torch.outer(g, g) / g.sum() ** 2
    values = []
    for i in range(height):
        for j in range(width):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            ma, mb = (w * a).sum(), (w * b).sum()
            va, vb, cov = (w * (a - ma) ** 2).sum(), (w * (b - mb) ** 2).sum(), (w * (a - ma) * (b - mb)).sum()
            numerator = (2 * ma * mb + 0.01**2) * (2 * cov + 0.03**2)
            values.append(numerator / ((ma**2 + mb**2 + 0.01**2) * (va + vb + 0.03**2)))
    return float(torch.stack(values).mean())


def test_ssim_is_the_definition() -> None:
    x = _random(2, 3, 17, 15)
    y = (x + 0.3 * _random(2, 3, 17, 15, seed=1)).clamp(0, 1)
    expected = [sum(_slow_ssim(x[t, c], y[t, c]) for c in range(3)) / 3 for t in range(2)]
    assert ssim(x, y).tolist() == pytest.approx(expected, abs=1e-9)


def test_ssim_of_identical_and_of_opposite_images() -> None:
    x = _random(1, 3, 32, 32)
    assert float(ssim(x, x)) == pytest.approx(1, abs=1e-9)
    assert float(ssim(x, 1 - x)) < 0
    with pytest.raises(ValueError, match="11 pixels"):
        ssim(x[..., :10], x[..., :10])


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.floats(0.0, 0.5))
def test_ssim_is_symmetric_and_falls_with_noise(seed: int, noise: float) -> None:
    x = _random(1, 1, 16, 16, seed=seed % 2**31)
    y = x + noise * (_random(1, 1, 16, 16, seed=seed % 2**31 + 1) - 0.5)
    assert float(ssim(x, y)) == pytest.approx(float(ssim(y, x)), abs=1e-9)
    assert -1 <= float(ssim(x, y)) <= 1 + 1e-9


def test_motion_magnitude() -> None:
    moving, still = sphere_clip(frames=9, size=64), sphere_clip(frames=9, size=64, moving=False)

    def m(a: OrbitalClip, b: OrbitalClip) -> float:
        return float(motion_magnitude(composite(a.rgb, a.alpha), composite(b.rgb, b.alpha)))

    assert m(still, still) == 0
    assert m(moving, still) > 0.003
    # It depends neither on resolution nor on length.
    assert m(moving.resized(32), still.resized(32)) == pytest.approx(m(moving, still), rel=0.15)
    longer = sphere_clip(frames=33, size=64), sphere_clip(frames=33, size=64, moving=False)
    assert m(*longer) == pytest.approx(m(moving, still), rel=0.15)
    white, black = torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    assert float(motion_magnitude(white, black)) == 1


def test_figures_of_a_real_comparison(elk_dir: Path) -> None:
    """Static frame 0 held for every time, against the 21 unseen front frames: figures known for these renders."""
    truth = load_clip(elk_dir / "transforms_front.json")[2:23]
    target = composite(truth.rgb, truth.alpha)
    still = load_clip(elk_dir / "transforms_multi_static.json")[:1]
    prediction = composite(still.rgb, still.alpha).expand_as(target)
    assert float(psnr(prediction, target).mean()) == pytest.approx(18.06, abs=0.01)
    assert float(foreground_psnr(prediction, target, truth.alpha).mean()) == pytest.approx(13.47, abs=0.01)
    assert float(ssim(prediction, target).mean()) == pytest.approx(0.811, abs=0.001)


def test_shapes_must_match() -> None:
    with pytest.raises(ValueError, match="one shape"):
        psnr(torch.zeros(1, 3, 8, 8), torch.zeros(3, 8, 8))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2-5", [2, 3, 4, 5]), ("7", [7]), ("0, 4-6 ,23", [0, 4, 5, 6, 23]), ("3,3,2-4", [3, 2, 4])],
)
def test_frame_ranges_are_inclusive(text: str, expected: list[int]) -> None:
    assert parse_frames(text, 24) == expected


@pytest.mark.parametrize("text", ["", "a", "5-2", "0-24", "24", "-3", "1..3", "1,,2"])
def test_bad_frame_ranges(text: str) -> None:
    with pytest.raises(InputError, match="--frames"):
        parse_frames(text, 24)
