"""Frechet video distance: how far apart two sets of videos lie in the feature space of a video network.

    d^2 = |mu_1 - mu_2|^2 + tr(C_1 + C_2 - 2 (C_1^(1/2) C_2 C_1^(1/2))^(1/2))

of the means and covariances of the features, one vector a video. It is a figure of *that* network: FVD in papers means I3D
trained on Kinetics-400; any other extractor gives another scale, so reports carry its name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError
from .weights import MAX_WEIGHTS_BYTES, NotMeasured, load_network, local_folder

NO_FVD = "no weights (pass --fvd NAME_OR_DIR_OR_FILE of a video network)"
MIN_VIDEOS = 2
"""A covariance needs two."""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
I3D_SIDE = 224
I3D_MIN_FRAMES = 10
TORCHSCRIPT = (".pt", ".pth", ".jit", ".torchscript")


def frechet_distance(mean_1: Tensor, cov_1: Tensor, mean_2: Tensor, cov_2: Tensor) -> float:
    """The squared Frechet (2-Wasserstein) distance between two Gaussians, in float64; what FID and FVD report.

    Args:
        mean_1, mean_2: (d,). cov_1, cov_2: (d, d) symmetric and positive semidefinite, singular ones too.

    Roots are taken from symmetric eigenvalues, negative ones (rounding) as 0: nothing complex, no jitter, at least 0.
    Raises ValueError for wrong shapes, asymmetry, NaN, or a covariance with clearly negative eigenvalues.
    """
    mean_1, cov_1, mean_2, cov_2 = (x.double() for x in (mean_1, cov_1, mean_2, cov_2))
    d = len(mean_1)
    shapes = [tuple(x.shape) for x in (mean_1, mean_2, cov_1, cov_2)]
    if shapes != [(d,), (d,), (d, d), (d, d)]:
        raise ValueError(f"means must have shape (d,) and covariances (d, d), got {shapes}")
    root = _root(cov_1, "cov_1")
    _root(cov_2, "cov_2")
    middle = root @ cov_2 @ root
    cross = torch.linalg.eigvalsh((middle + middle.T) / 2).clamp_min(0).sqrt().sum()
    distance = (mean_1 - mean_2).square().sum() + cov_1.trace() + cov_2.trace() - 2 * cross
    return max(0.0, float(distance))


def sample_distance(features_1: Tensor, features_2: Tensor) -> float:
    """`frechet_distance` of the means and covariances (divided by n - 1) of samples (n_1, d) and (n_2, d), in float64.

    Exact for any n >= 2, also below d, where covariances are singular: with centred samples A and B, tr of the root is the
    sum of the singular values of A B^T / sqrt((n_1 - 1)(n_2 - 1)). Raises ValueError for fewer samples or NaN.
    """
    a, b = features_1.double(), features_2.double()
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"features must have shapes (n, d) of one d, got {tuple(a.shape)} and {tuple(b.shape)}")
    if min(len(a), len(b)) < MIN_VIDEOS:
        raise ValueError(f"a Frechet distance needs {MIN_VIDEOS} samples on each side, got {len(a)} and {len(b)}")
    if not (a.isfinite().all() and b.isfinite().all()):
        raise ValueError("features hold NaN or infinity")
    shift = (a.mean(dim=0) - b.mean(dim=0)).square().sum()
    a = (a - a.mean(dim=0)) / (len(a) - 1) ** 0.5
    b = (b - b.mean(dim=0)) / (len(b) - 1) ** 0.5
    # More samples than dimensions: their triangular factors have the same products, at most d x d.
    low_a, low_b = (torch.linalg.qr(x, mode="r").R if len(x) > x.shape[1] else x for x in (a, b))
    cross = torch.linalg.svdvals(low_a @ low_b.T).sum()
    return max(0.0, float(shift + a.square().sum() + b.square().sum() - 2 * cross))


def few_samples_note(videos: int, dimensions: int) -> str | None:
    """What a report says beside a Frechet distance of fewer samples than dimensions; None where there are enough."""
    if videos >= dimensions:
        return None
    return (
        f"FVD of {videos} videos in {dimensions} dimensions: the covariances are singular and the distance is biased upwards; "
        "compare only with figures of the same number of videos"
    )


class VideoFeatures(Protocol):
    """A network that turns a video into one vector. `name` labels every figure that comes from it."""

    name: str

    def features(self, video: Tensor) -> Tensor:
        """(d,) of frames (t, 3, h, w) in [0, 1]."""
        ...


@dataclass(kw_only=True)
class TransformersVideo:
    """A video transformer (VideoMAE, TimeSformer...): the mean of its last tokens. Not the I3D of published FVDs."""

    name: str
    model: Any
    frames: int
    side: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @torch.no_grad()
    def features(self, video: Tensor) -> Tensor:
        """Frames are picked evenly over the video, as many as the network takes, and resized to its side."""
        picked = video[torch.linspace(0, len(video) - 1, self.frames).round().long()]
        picked = _resized(picked, self.side)
        mean, deviation = (torch.tensor(x)[:, None, None] for x in (self.mean, self.deviation))
        return self.model(pixel_values=((picked - mean) / deviation)[None]).last_hidden_state[0].mean(dim=0)


@dataclass(kw_only=True)
class TorchScriptI3D:
    """The I3D of the usual FVD code, as TorchScript that takes (1, 3, t, 224, 224) in [-1, 1] and gives (1, 400)."""

    name: str
    model: Any

    @torch.no_grad()
    def features(self, video: Tensor) -> Tensor:
        """All frames in order, resized to 224 pixels; shorter videos than the network takes are repeated from the start."""
        repeats = -(-I3D_MIN_FRAMES // len(video))
        pixels = 2 * _resized(video.repeat(repeats, 1, 1, 1), I3D_SIDE) - 1
        try:
            out = self.model(pixels.transpose(0, 1)[None], rescale=False, resize=False, return_features=True)
        except RuntimeError as error:  # TorchScript's errors hold its whole stack
            first = " ".join(str(error).split())[:160]
            raise InputError(f"--fvd: {self.name}: does not run as the I3D of the usual FVD code ({first})") from error
        if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != 1:
            raise InputError(
                f"--fvd: {self.name}: expected features (1, d) from it, got {getattr(out, 'shape', type(out))}"
            )
        return out[0].float()


def load_video_features(model: str | Path | None, *, run_code: bool = False) -> VideoFeatures:
    """A video network by hub name or folder (transformers, safetensors), or the I3D TorchScript file by path.

    A TorchScript file *is a program*: it is opened only with `run_code`, which says that its source is trusted. Raises
    NotMeasured where there are no weights, InputError for what is missing, damaged, no video network, or not allowed to run.
    """
    if model is None:
        raise NotMeasured(NO_FVD)
    path = Path(model).expanduser()
    if path.suffix in TORCHSCRIPT:
        return _load_torchscript(path, run_code=run_code)
    from transformers import AutoModel

    network = load_network(AutoModel, model, argument="--fvd")
    config = network.config
    frames, side = getattr(config, "num_frames", None), getattr(config, "image_size", None)
    if not isinstance(frames, int) or not isinstance(side, int):
        raise InputError(
            f"--fvd: {model}: a {config.model_type} is no video network; expected a VideoMAE or TimeSformer"
        )
    mean, deviation = _normalisation(model)
    label = f"{config.model_type} {model} (mean of last tokens; not the standard I3D)"
    return TransformersVideo(name=label, model=network, frames=frames, side=side, mean=mean, deviation=deviation)


def _load_torchscript(path: Path, *, run_code: bool) -> TorchScriptI3D:
    if not path.is_file():
        raise InputError(f"--fvd: {path}: no such file; expected the I3D TorchScript file, or a model's name or folder")
    if not run_code:
        raise InputError(
            f"--fvd: {path}: a TorchScript file is a program; if you trust where it comes from, pass --run-fvd-code too"
        )
    if path.stat().st_size > MAX_WEIGHTS_BYTES:
        raise InputError(
            f"--fvd: {path}: larger than {MAX_WEIGHTS_BYTES / 2**30:.0f} GiB; expected the I3D TorchScript file"
        )
    try:
        model = torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError, OSError) as error:
        first = " ".join(str(error).split())[:120]
        raise InputError(f"--fvd: {path}: not a TorchScript file ({first})") from error
    return TorchScriptI3D(name=f"TorchScript {path.name}", model=model)


def _normalisation(model: str | Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of the pixels that the model was trained on, from its preprocessor file, else ImageNet's."""
    folder = local_folder(model, argument="--fvd")
    if folder is None:
        from transformers.utils.hub import cached_file

        found = cached_file(str(model), "preprocessor_config.json", _raise_exceptions_for_missing_entries=False)
        file = None if found is None else Path(found)
    else:
        file = folder / "preprocessor_config.json"
    if file is None or not file.is_file():
        return IMAGENET
    try:
        document = json.loads(file.read_bytes())
        mean, deviation = (tuple(float(x) for x in document[f"image_{name}"]) for name in ("mean", "std"))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"--fvd: {file}: expected image_mean and image_std, three numbers each ({error!r})") from error
    if len(mean) != 3 or len(deviation) != 3 or min(deviation) <= 0:
        raise InputError(
            f"--fvd: {file}: expected three means and three positive deviations, got {mean} and {deviation}"
        )
    return mean, deviation


def _resized(frames: Tensor, side: int) -> Tensor:
    """Frames (t, 3, h, w) at side x side, antialiased; frames that are not square are squeezed, so that nothing is cut off."""
    if tuple(frames.shape[-2:]) == (side, side):
        return frames
    return functional.interpolate(
        frames, size=(side, side), mode="bilinear", align_corners=False, antialias=True
    ).clamp(0, 1)


def _root(cov: Tensor, name: str) -> Tensor:
    if not cov.isfinite().all() or not torch.allclose(cov, cov.T, rtol=1e-6, atol=1e-9 * float(cov.abs().max())):
        raise ValueError(f"{name} must be finite and symmetric")
    values, vectors = torch.linalg.eigh((cov + cov.T) / 2)
    if len(values) and float(values[0]) < -1e-6 * max(float(values[-1]), 1e-12):
        raise ValueError(f"{name} must be positive semidefinite, its least eigenvalue is {float(values[0]):.3g}")
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T
