"""The denoiser without disentanglement: one stream that sees cameras, times, motion and identity alike."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from orbit4d.diffusion.denoiser import Conditions, Denoiser, camera_features
from orbit4d.diffusion.layers import Stream, fourier, harmonics

NOISE, CAMERA, TIME = 2 * 16, 2 * 6 + 3, 2 * 6 + 1


class MixedDenoiser(Denoiser):
    """Same conditions and blocks as `Denoiser`; static mode only hides time and motion, since there is no gate to close."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        width = self.config["spatial_width"]
        channels = self.config["latent_channels"] * self.patch**2
        self.spatial = Stream(
            inputs=2 * channels + 2 + 6 * 7,
            outputs=channels,
            width=width,
            heads=self.config["spatial_heads"],
            depth=self.config["depth"],
            condition=NOISE + CAMERA + TIME + 2,
            text=self.config["text_width"],
            tokens=self.grid**2,
            read=0,
        )
        last = nn.Linear(width, width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.motion = nn.Sequential(nn.Linear(9, width), nn.SiLU(), last)
        self.temporal = nn.Identity()

    def forward(self, x: Tensor, t: Tensor, c: Conditions) -> Tensor:
        """Velocity (b, f, c, H, W), as `Denoiser.forward`."""
        b, f = x.shape[:2]
        tokens = self.patchify(x)
        text, text_mask = self._text(c, b, x)
        pooled = (text * text_mask[..., None]).sum(1) / text_mask.sum(1, keepdim=True).clamp_min(1)
        flag = x.new_zeros(b, f, 1) if c.reference is None else c.reference.to(x.dtype)[..., None]
        moving = x.new_ones(b) if c.static_mode is None else (~c.static_mode).to(x.dtype)
        static, given = self._static(c, tokens)
        token_flag = flag[:, :, None].expand(b, f, tokens.shape[2], 1)
        rays = fourier(c.plucker.flatten(2, 3).to(x.dtype), 3)
        z = self.spatial.embed(torch.cat([tokens, static, given, token_flag, rays], dim=-1)) + self.spatial.position
        time = torch.cat([c.times[..., None], harmonics(c.times * (2 * math.pi), 6)], dim=-1) * moving[:, None, None]
        noise = harmonics(t * (math.pi / 2), 16)
        gate = moving[:, None, None].expand(b, f, 1)
        condition = torch.cat([noise, camera_features(c.plucker), time.to(x.dtype), gate, flag], dim=-1)
        vector, modulation = self.spatial.conditioned(condition, pooled, self._motion(c, b, x) * moving[:, None])
        context, masks, pose = self.spatial.context(text), self._masks(c, text_mask, f), self._pose(c.plucker)
        for i, block in enumerate(self.spatial.blocks):
            per_frame = i % 2 == 0
            z = block(
                z, modulation, context, masks["frame" if per_frame else "spatial"], per_frame=per_frame, pose=pose
            )
            if str(i) in self.lifts:
                lift = self.lifts[str(i)]
                z = lift(z, lift.points(c.plucker), None)  # type: ignore[operator]
        return self.unpatchify(self.spatial.output(z, vector))

    def _motion(self, c: Conditions, b: int, x: Tensor) -> Tensor:
        if c.motion is None:
            return x.new_zeros(b, self.config["spatial_width"])
        return super()._motion(c, b, x)
