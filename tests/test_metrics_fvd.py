"""Frechet distances against closed forms, and features of tiny video networks loaded as a user's would be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit4d.errors import InputError
from orbit4d.evaluate.fvd import (
    TorchScriptI3D,
    TransformersVideo,
    few_samples_note,
    frechet_distance,
    load_video_features,
    sample_distance,
)
from orbit4d.evaluate.weights import NotMeasured


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _covariance(d: int, seed: int, *, rank: int | None = None) -> torch.Tensor:
    a = torch.randn(d, rank or 2 * d, generator=_generator(seed), dtype=torch.float64)
    return a @ a.T / a.shape[1]


def test_a_shift_alone() -> None:
    cov, shift = _covariance(6, 0), torch.arange(6.0)
    assert frechet_distance(torch.zeros(6), cov, shift, cov) == pytest.approx(55, rel=1e-9)
    assert frechet_distance(shift, cov, shift, cov) == pytest.approx(0, abs=1e-9)


def test_diagonal_covariances() -> None:
    a, b = torch.tensor([4.0, 9, 0, 1]), torch.tensor([1.0, 25, 16, 1])
    expected = 1 + 4 + 16 + 0  # squared differences of the deviations
    zero = torch.zeros(4)
    assert frechet_distance(zero, a.diag(), zero, b.diag()) == pytest.approx(expected, rel=1e-9)
    turned = torch.linalg.qr(torch.randn(4, 4, generator=_generator(1), dtype=torch.float64)).Q
    rotated = [turned @ x.diag().double() @ turned.T for x in (a, b)]
    assert frechet_distance(zero, rotated[0], zero, rotated[1]) == pytest.approx(expected, rel=1e-7)


def test_two_dimensions_in_closed_form() -> None:
    """tr of the root of a 2 x 2 matrix M is sqrt(tr M + 2 sqrt(det M))."""
    a, b = _covariance(2, 3), _covariance(2, 4)
    product = a @ b
    cross = torch.sqrt(product.trace() + 2 * torch.linalg.det(product).sqrt())
    expected = float(a.trace() + b.trace() - 2 * cross)
    assert frechet_distance(torch.zeros(2), a, torch.zeros(2), b) == pytest.approx(expected, rel=1e-8)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(2, 20), st.integers(2, 20))
def test_samples_agree_with_their_statistics(seed: int, d: int, n: int, m: int) -> None:
    """Also with fewer samples than dimensions, where the covariances are singular."""
    x = torch.randn(n, d, generator=_generator(seed), dtype=torch.float64)
    y = 2 * torch.randn(m, d, generator=_generator(seed + 1), dtype=torch.float64) + 0.5
    expected = frechet_distance(x.mean(0), torch.cov(x.T), y.mean(0), torch.cov(y.T))
    # Rounding in singular eigenvalues enters through a root: 1e-16 becomes 1e-8.
    assert sample_distance(x, y) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert sample_distance(x, y) == pytest.approx(sample_distance(y, x), rel=1e-9, abs=1e-9)
    assert sample_distance(x, x) == pytest.approx(0, abs=1e-9)


def test_many_samples_approach_the_truth() -> None:
    x = torch.randn(20_000, 3, generator=_generator(0))
    y = 3 * torch.randn(20_000, 3, generator=_generator(1)) + 1
    assert sample_distance(x, y) == pytest.approx(3 + 3 * 4, rel=0.03)


def test_singular_covariances_are_exact() -> None:
    low = _covariance(8, 5, rank=2)
    zero = torch.zeros(8)
    assert frechet_distance(zero, low, zero, low) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(zero, low, zero, torch.zeros(8, 8)) == pytest.approx(float(low.trace()), rel=1e-9)
    assert frechet_distance(zero, low, zero, 4 * low) == pytest.approx(float(low.trace()), rel=1e-5)


def test_what_is_no_gaussian_is_refused() -> None:
    good, mean = torch.eye(3), torch.zeros(3)
    lopsided = good + torch.tensor([[0.0, 1, 0], [0, 0, 0], [0, 0, 0]])
    for bad, words in ((lopsided, "symmetric"), (good * torch.nan, "finite"), (-good, "semidefinite")):
        with pytest.raises(ValueError, match=words):
            frechet_distance(mean, good, mean, bad)
    with pytest.raises(ValueError, match=r"shape \(d,\)"):
        frechet_distance(mean, good, torch.zeros(2), good)
    with pytest.raises(ValueError, match="2 samples on each side, got 1 and 4"):
        sample_distance(torch.zeros(1, 3), torch.zeros(4, 3))
    with pytest.raises(ValueError, match="NaN"):
        sample_distance(torch.zeros(2, 3), torch.full((2, 3), torch.nan))


def test_few_samples_are_said() -> None:
    assert few_samples_note(500, 400) is None
    assert "20 videos in 400 dimensions" in str(few_samples_note(20, 400))


# Feature networks


def save_tiny_videomae(folder: Path) -> Path:
    from transformers import VideoMAEConfig, VideoMAEModel

    config = VideoMAEConfig(
        image_size=32,
        patch_size=16,
        num_frames=4,
        tubelet_size=2,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        VideoMAEModel(config).save_pretrained(folder)
    return folder


def _video(frames: int = 9, side: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(frames, 3, side, side, generator=_generator(seed))


@pytest.fixture(scope="module")
def tiny_videomae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_videomae(tmp_path_factory.mktemp("videomae"))


def test_a_transformers_network_by_folder(tiny_videomae: Path) -> None:
    from transformers import VideoMAEModel

    network = load_video_features(tiny_videomae)
    assert isinstance(network, TransformersVideo)
    assert "videomae" in network.name
    assert "not the standard I3D" in network.name
    video = _video()
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = (video[[0, 3, 5, 8]] - mean[:, None, None]) / deviation[:, None, None]
    model = VideoMAEModel.from_pretrained(tiny_videomae).eval()
    with torch.no_grad():
        expected = model(pixel_values=pixels[None]).last_hidden_state[0].mean(dim=0)
    torch.testing.assert_close(network.features(video), expected)
    assert network.features(_video(2, 50)).shape == (16,)  # fewer frames than it takes, another size


def test_the_models_own_normalisation_counts(tiny_videomae: Path, tmp_path: Path) -> None:
    import shutil

    folder = shutil.copytree(tiny_videomae, tmp_path / "model")
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3}))
    network = load_video_features(folder)
    assert isinstance(network, TransformersVideo)
    assert network.mean == (0.5, 0.5, 0.5)
    assert not torch.allclose(network.features(_video()), load_video_features(tiny_videomae).features(_video()))
    for wrong in ("{", '{"image_mean": [1]}', '{"image_mean": [1, 1, 1], "image_std": [0, 1, 1]}'):
        (folder / "preprocessor_config.json").write_text(wrong)
        with pytest.raises(InputError, match=r"--fvd: .*preprocessor_config.json"):
            load_video_features(folder)


def test_an_image_network_is_refused(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTModel

    small = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32)
    ViTModel(small).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="a vit is no video network"):
        load_video_features(tmp_path)


class _Detector(torch.nn.Module):
    """Takes what the I3D file takes; gives means over eighths of the range, so that its input can be checked."""

    def forward(
        self, x: torch.Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False
    ) -> torch.Tensor:
        if rescale or resize or not return_features:
            return x
        return torch.stack([x.mean(dim=[1, 2, 3, 4]), x.amin(dim=[1, 2, 3, 4]), x[:, 0].mean(dim=[1, 2, 3])], dim=1)


def test_the_torchscript_file_runs_only_when_allowed(tmp_path: Path) -> None:
    file = tmp_path / "i3d_torchscript.pt"
    torch.jit.script(_Detector()).save(str(file))
    with pytest.raises(InputError, match=r"a program.*--run-fvd-code"):
        load_video_features(file)
    network = load_video_features(str(file), run_code=True)
    assert isinstance(network, TorchScriptI3D)
    video = torch.zeros(12, 3, 32, 32)
    video[:, 0] = 1  # red: 1 in [-1, 1] space, the rest -1
    assert network.features(video).tolist() == pytest.approx([-1 / 3, -1, 1], abs=1e-5)
    assert network.features(video[:3]).shape == (3,)


def test_wrong_torchscript_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_video_features(tmp_path / "none.pt", run_code=True)
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(InputError, match="not a TorchScript file"):
        load_video_features(tmp_path / "text.pt", run_code=True)
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "linear.pt"))
    with pytest.raises(InputError, match="does not run as the I3D") as caught:
        load_video_features(tmp_path / "linear.pt", run_code=True).features(_video())
    assert "\n" not in str(caught.value)


def test_without_weights_nothing_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(NotMeasured, match=r"^not measured: no weights \(pass --fvd"):
        load_video_features(None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(NotMeasured, match="neither cached nor within reach"):
        load_video_features("nobody/no-such-model")
