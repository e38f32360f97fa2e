"""Recipes of `orbit4d train`: what is rendered, the configurations and the networks, as plain functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..data.plan import RenderPlan
from ..data.training_set import PLAN
from ..data.vocabulary import ALL_NAMES, NAMES
from .autoencoder import RGBAAutoencoder
from .denoiser import Denoiser
from .train_autoencoder import AutoencoderConfig
from .train_captioner import CaptionerConfig
from .train_denoiser import DenoiserConfig

AMPLITUDES = (0.45, 0.15)


@dataclass(kw_only=True)
class Preset:
    """One recipe. `toys`: how many generated assets the data stage renders, besides the files of `vocabulary` with their names."""

    toys: int
    vocabulary: dict[str, list[str]]
    plan: RenderPlan = PLAN
    amplitudes: tuple[float, ...] = ()
    """The vocabulary's animations are rendered with these amplitudes as well, on two orbits: the same words with less motion."""
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    captioner: CaptionerConfig = field(default_factory=CaptionerConfig)
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    make_autoencoder: Callable[[], RGBAAutoencoder] = RGBAAutoencoder
    make_denoiser: Callable[[], Denoiser] = Denoiser


def tiny() -> Preset:
    """A few toys and networks of a few thousand parameters: minutes, to see the line work. Its pictures are blurs."""
    return Preset(
        toys=5,
        vocabulary={},
        autoencoder=AutoencoderConfig(steps=200, batch=8, save_every=100),
        captioner=CaptionerConfig(steps=50, batch=16),
        denoiser=DenoiserConfig(steps=100, batch=4, frames=4, save_every=50),
        make_autoencoder=lambda: RGBAAutoencoder(widths=(16, 24, 32)),
        make_denoiser=lambda: Denoiser(spatial_width=64, temporal_width=32, depth=2, spatial_heads=2, temporal_heads=1),
    )


def xs() -> Preset:
    """For experiments: a denoiser of 1.4 million parameters; what it learns in an hour on two cores ranks recipes."""
    return Preset(
        toys=150,
        vocabulary=NAMES,
        amplitudes=AMPLITUDES,
        autoencoder=AutoencoderConfig(steps=1600),
        denoiser=DenoiserConfig(steps=6000, batch=8, lr=3e-3),
        make_denoiser=denoiser_xs,
    )


def s() -> Preset:
    """Trains on a CPU within a day or so: a denoiser of 6 million parameters."""
    return Preset(
        toys=150,
        vocabulary=NAMES,
        amplitudes=AMPLITUDES,
        autoencoder=AutoencoderConfig(steps=3200),
        denoiser=DenoiserConfig(steps=20000, save_every=100),
        make_denoiser=denoiser_s,
    )


def m() -> Preset:
    """For a GPU: a denoiser of 24 million parameters, and all assets of the training side."""
    return Preset(
        toys=400,
        vocabulary=ALL_NAMES,
        amplitudes=AMPLITUDES,
        autoencoder=AutoencoderConfig(steps=6000),
        denoiser=DenoiserConfig(steps=60000, batch=32, lr=1e-3, ema=0.9995, save_every=500),
        make_denoiser=denoiser_m,
    )


PRESETS: dict[str, Callable[[], Preset]] = {"tiny": tiny, "xs": xs, "s": s, "m": m}


def denoiser_xs() -> Denoiser:
    """1.4 million parameters."""
    return _denoiser(spatial_width=128, temporal_width=64, depth=4, spatial_heads=4, temporal_heads=2)


def denoiser_s() -> Denoiser:
    """6.0 million parameters."""
    return _denoiser(spatial_width=224, temporal_width=128, depth=6, spatial_heads=4, temporal_heads=2)


def denoiser_m() -> Denoiser:
    """24 million parameters."""
    return _denoiser(spatial_width=384, temporal_width=256, depth=8, spatial_heads=12, temporal_heads=8)


def _denoiser(**sizes: int) -> Denoiser:
    """The architecture of all sizes: attention across frames sees relative cameras, one block's tokens are lifted to a volume."""
    return Denoiser(relative="camera", lift=16, lift_blocks=(1,), **sizes)  # type: ignore[arg-type]
