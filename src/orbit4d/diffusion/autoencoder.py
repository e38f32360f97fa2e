"""The RGBA autoencoder: 128 x 128 frames to 16 x 16 latents, alpha included.

The first four latent channels are not learned: they are the premultiplied RGBA averaged over 8 x 8 pixels, and their
bilinear upsample is added to the decoder's output. Colours and extent are therefore right from the first step, and a
blurred latent still decodes to a blurred picture; the remaining channels carry the detail.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

FACTOR = 8
HAZE = 0.04
"""How far decoded alpha may be off where the object is not, and where it is opaque."""


class _ResBlock(nn.Module):
    """Residual block without normalisation: it trains on crops and runs on whole frames."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


class RGBAAutoencoder(ModelMixin, ConfigMixin):
    """Encodes frames (n, 4, h, w) premultiplied RGBA in [0, 1] to latents (n, 4 + detail_channels, h / 8, w / 8).

    Latents are standardised per channel by the buffers `latent_mean` and `latent_std`, measured after training.
    """

    @register_to_config
    def __init__(self, detail_channels: int = 8, widths: tuple[int, int, int] = (48, 96, 128), blocks: int = 1) -> None:
        super().__init__()
        w2, w4, w8 = widths
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(16, w2, 3, padding=1),
            *[_ResBlock(w2) for _ in range(blocks)],
            nn.Conv2d(w2, w4, 4, stride=2, padding=1),
            *[_ResBlock(w4) for _ in range(blocks)],
            nn.Conv2d(w4, w8, 4, stride=2, padding=1),
            *[_ResBlock(w8) for _ in range(blocks)],
            nn.Conv2d(w8, detail_channels, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(4 + detail_channels, w8, 3, padding=1),
            *[_ResBlock(w8) for _ in range(blocks + 2)],
            nn.Conv2d(w8, 4 * w4, 1),
            nn.PixelShuffle(2),
            *[_ResBlock(w4) for _ in range(blocks + 1)],
            nn.Conv2d(w4, 4 * w2, 1),
            nn.PixelShuffle(2),
            *[_ResBlock(w2) for _ in range(blocks + 1)],
            nn.Conv2d(w2, 16, 3, padding=1),
            nn.PixelShuffle(2),
        )
        self.latent_mean: Tensor
        self.latent_std: Tensor
        self.register_buffer("latent_mean", torch.zeros(4 + detail_channels))
        self.register_buffer("latent_std", torch.ones(4 + detail_channels))

    @property
    def latent_channels(self) -> int:
        return 4 + self.config["detail_channels"]

    def encode_raw(self, frames: Tensor) -> Tensor:
        """Latents before standardisation; the detail channels are bounded to (-2, 2) by a tanh."""
        return torch.cat([F.avg_pool2d(frames, FACTOR), 2 * torch.tanh(self.encoder(2 * frames - 1) / 2)], dim=1)

    def decode_raw(self, raw: Tensor) -> Tensor:
        """Premultiplied RGBA (n, 4, h, w) from unstandardised latents; not clamped."""
        base = F.interpolate(raw[:, :4], scale_factor=FACTOR, mode="bilinear", align_corners=False)
        return base + self.decoder(torch.cat([2 * raw[:, :4] - 1, raw[:, 4:]], dim=1))

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (n, 4, h, w) there and back, not clamped: what is trained."""
        return self.decode_raw(self.encode_raw(frames))

    def encode(self, frames: Tensor) -> Tensor:
        """Premultiplied RGBA (n, 4, h, w) in [0, 1] -> standardised latents (n, c, h / 8, w / 8), on the frames' device."""
        if frames.ndim != 4 or frames.shape[1] != 4 or frames.shape[2] % FACTOR or frames.shape[3] % FACTOR:
            raise ValueError(
                f"frames must have shape (n, 4, h, w) with h, w multiples of {FACTOR}, got {tuple(frames.shape)}"
            )
        raw = self.encode_raw(frames.to(self.latent_mean.device))
        return ((raw - self.latent_mean[:, None, None]) / self.latent_std[:, None, None]).to(frames.device)

    def decode(self, latents: Tensor) -> Tensor:
        """Standardised latents (n, c, h, w) -> premultiplied RGBA (n, 4, 8 h, 8 w), clamped to [0, 1] and colour <= alpha."""
        device = self.latent_mean.device
        raw = latents.to(device) * self.latent_std[:, None, None] + self.latent_mean[:, None, None]
        rgba = self.decode_raw(raw).clamp(0, 1).to(latents.device)
        return torch.cat([torch.minimum(rgba[:, :3], rgba[:, 3:]), rgba[:, 3:]], dim=1)


def premultiply(rgb: Tensor, alpha: Tensor) -> Tensor:
    """Straight rgb (n, 3, h, w), alpha (n, 1, h, w) -> premultiplied RGBA (n, 4, h, w)."""
    return torch.cat([rgb * alpha, alpha], dim=1)


def unpremultiply(rgba: Tensor) -> tuple[Tensor, Tensor]:
    """Premultiplied RGBA (n, 4, h, w) -> straight rgb and alpha; rgb is 0 where alpha is."""
    alpha = rgba[:, 3:]
    return (rgba[:, :3] / alpha.clamp_min(1e-3)).clamp(0, 1), alpha


def decode_straight(autoencoder: RGBAAutoencoder, latents: Tensor) -> tuple[Tensor, Tensor]:
    """Straight rgb (n, 3, h, w) and alpha (n, 1, h, w) of latents (n, c, h / 8, w / 8), as generated frames are made of them."""
    rgb, alpha = unpremultiply(autoencoder.decode(latents))
    return rgb, clean_alpha(alpha)


def clean_alpha(alpha: Tensor) -> Tensor:
    """Decoded alpha in [0, 1] without the decoder's haze: up to HAZE is 0, from 1 - HAZE on it is 1, linear in between."""
    return ((alpha - HAZE) / (1 - 2 * HAZE)).clamp(0, 1)


def reconstruction_loss(output: Tensor, target: Tensor, *, foreground: float = 2.0, edges: float = 0.5) -> Tensor:
    """Charbonnier loss on premultiplied RGBA, heavier on the foreground, plus the same on finite differences."""

    def charbonnier(x: Tensor) -> Tensor:
        return (x * x + 1e-4).sqrt() - 1e-2

    error = output - target
    weight = 1 + foreground * (target[:, 3:] > 0).float()
    dx, dy = error[..., 1:] - error[..., :-1], error[..., 1:, :] - error[..., :-1, :]
    return (weight * charbonnier(error)).mean() + edges * (charbonnier(dx).mean() + charbonnier(dy).mean())
