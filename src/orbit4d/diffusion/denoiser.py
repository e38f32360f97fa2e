"""The STD-4D denoiser: a flow-matching transformer over any set of (view, time) pairs, in two disentangled streams.

    x_t = (1 - t) x_0 + t eps,    v = eps - x_0,    v_hat = W_s z_s + g W_t z_t

The *spatial* stream z_s sees cameras and identity (text, reference image, static 3D) and never clip time, motion
magnitude or z_t. The *temporal* stream z_t sees times, motion magnitude and text, and reads z_s. They meet only in the
output head. The gate g is 0 in static mode: what remains is a multi-view model, the 3D-aware branch of guidance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from ..cameras import Cameras
from .geometry import RelativePose, camera_frames, ray_frames
from .layers import Stream, fourier, harmonics
from .lift import Lift
from .paths import PREDICTIONS
from .priors import Priors, StreamFeatures, check_priors


@dataclass(kw_only=True)
class Conditions:
    """What the denoiser is told, for b samples of f frames on an h x w token grid. `None` means absent for all samples.

    Attributes:
        plucker: (b, f, h, w, 6) rays of the token centres, world frame (`Cameras.plucker`).
        times: (b, f) in [0, 1].
        text: (b, l, text_width) token states, and text_mask (b, l) True where a token counts. A dropped prompt is all False.
        motion: (b,) standardised log motion magnitude, NaN where absent.
        static_latents: (b, f, c, H, W) latents of the object at time 0 from the same views; static_mask (b,) where given.
        reference: (b, f) True for frames that are clean references (noise level 0), not to be denoised.
        static_mode: (b,) True closes the temporal gate.
        active: (b',) indices of the samples whose gate is open, where they are known beforehand: looked up in `static_mode`
            on a GPU they cost a wait, and in a compiled network a break.
        view_ids, time_ids: (b, f) integers. When both are given attention is restricted, as on a view x time grid: the
            spatial stream attends among frames of equal time, the temporal stream among frames of equal view.
    """

    plucker: Tensor
    times: Tensor
    text: Tensor | None = None
    text_mask: Tensor | None = None
    motion: Tensor | None = None
    static_latents: Tensor | None = None
    static_mask: Tensor | None = None
    reference: Tensor | None = None
    static_mode: Tensor | None = None
    active: Tensor | None = None
    view_ids: Tensor | None = None
    time_ids: Tensor | None = None


class Denoiser(ModelMixin, ConfigMixin):
    """Predicts the flow-matching velocity for latents (b, f, c, H, W) at noise levels t (b, f) in [0, 1].

    With `enable_gradient_checkpointing()` blocks keep their inputs only and are computed again on the way back: less memory
    and about a third more time in training, the same gradients.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 12,
        latent_size: int = 16,
        patch: int = 2,
        spatial_width: int = 224,
        temporal_width: int = 128,
        depth: int = 6,
        spatial_heads: int = 4,
        temporal_heads: int = 2,
        text_width: int = 384,
        rays: bool = True,
        relative: str = "none",
        lift: int = 0,
        lift_blocks: tuple[int, ...] = (),
        prediction: str = "flow",
        priors: tuple[int, ...] = (),
        prior_dims: int = 16,
        prior_kind: str = "distribution",
        prior_inject: bool = True,
        prior_shared: bool = False,
    ) -> None:
        """Geometry of the spatial stream: `rays` gives it absolute Pluecker rays and azimuths; `relative` "camera" or "ray" lets
        its attention across frames see relative poses; `lift` > 0 is the channels of a volume after each of `lift_blocks`.
        `prediction` says what the output means, "flow", "v" or "x0"; see `paths`. `priors` are the blocks after which each stream
        carries what teachers know (`orbit4d train orster`); `prior_dims`, `prior_kind` "distribution" or "means", `prior_inject`
        and `prior_shared` say how, see `priors`."""
        super().__init__()
        if prediction not in PREDICTIONS:
            raise ValueError(f'prediction must be "flow", "v" or "x0", got {prediction!r}')
        if relative not in ("none", "camera", "ray"):
            raise ValueError(f'relative must be "none", "camera" or "ray", got {relative!r}')
        check_priors(tuple(priors), depth=depth, dims=prior_dims, kind=prior_kind)
        grid = latent_size // patch
        channels = latent_channels * patch * patch
        self.patch, self.grid = patch, grid
        self.gradient_checkpointing = False
        noise, camera, time = 2 * 16, 2 * 6 + 3, 2 * 6 + 1
        self.spatial = Stream(
            inputs=2 * channels + 2 + 6 * 7 * rays,
            outputs=channels,
            width=spatial_width,
            heads=spatial_heads,
            depth=depth,
            condition=noise + camera * rays + 1,
            text=text_width,
            tokens=grid * grid,
            read=0,
        )
        self.temporal = Stream(
            inputs=channels + 1,
            outputs=channels,
            width=temporal_width,
            heads=temporal_heads,
            depth=depth,
            condition=noise + time + 1,
            text=text_width,
            tokens=grid * grid,
            read=spatial_width,
        )
        self.lifts = nn.ModuleDict({str(i): Lift(spatial_width, channels=lift) for i in lift_blocks if lift})
        last = nn.Linear(temporal_width, temporal_width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.motion = nn.Sequential(nn.Linear(9, temporal_width), nn.SiLU(), last)
        options: dict[str, Any] = {
            "dims": prior_dims,
            "kind": prior_kind,
            "inject": prior_inject,
            "shared": prior_shared,
        }
        # Made last: the same seed gives the rest the same first weights, with priors and without.
        self.prior_blocks = nn.ModuleDict(
            {str(i): Priors((spatial_width, temporal_width), noise=noise, **options) for i in priors}
        )

    def patchify(self, x: Tensor) -> Tensor:
        """(b, f, c, H, W) -> (b, f, tokens, c patch^2)."""
        b, f = x.shape[:2]
        return F.pixel_unshuffle(x.flatten(0, 1), self.patch).flatten(2).transpose(1, 2).unflatten(0, (b, f))

    def unpatchify(self, tokens: Tensor) -> Tensor:
        """(b, f, tokens, c patch^2) -> (b, f, c, H, W)."""
        b, f = tokens.shape[:2]
        maps = tokens.flatten(0, 1).transpose(1, 2).unflatten(-1, (self.grid, self.grid))
        return F.pixel_shuffle(maps, self.patch).unflatten(0, (b, f))

    def forward(
        self, x: Tensor, t: Tensor, c: Conditions, features: tuple[int, ...] | None = None
    ) -> Tensor | tuple[Tensor, StreamFeatures]:
        """Velocity (b, f, c, H, W) for noisy latents x (b, f, c, H, W) at noise levels t (b, f); with `features`, some blocks,
        also what the streams hold after them."""
        held = None if features is None else StreamFeatures()
        z_s, z_t, vector_s, vector_t, active = self.streams(x, t, c, held=held, blocks=features or ())
        out = self.spatial.output(z_s, vector_s)
        if z_t is not None and vector_t is not None:
            temporal = self.temporal.output(z_t, vector_t)
            out = out.index_add(0, active, temporal.to(out.dtype))
        return self.unpatchify(out) if held is None else (self.unpatchify(out), held)

    def features(self, x: Tensor, t: Tensor, c: Conditions, blocks: tuple[int, ...]) -> StreamFeatures:
        """What the streams hold after these blocks, for inputs as of `forward`; later blocks are not computed."""
        held = StreamFeatures()
        self.streams(x, t, c, held=held, blocks=blocks, stop=max(blocks) + 1)
        return held

    def streams(
        self,
        x: Tensor,
        t: Tensor,
        c: Conditions,
        *,
        held: StreamFeatures | None = None,
        blocks: tuple[int, ...] = (),
        stop: int | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None, Tensor]:
        """The two streams before the head: z_s (b, f, p, d_s), z_t (b', f, p, d_t) for the b' samples whose gate is open,
        their condition vectors, and the indices (b',) of those samples. `held` receives what they hold after `blocks`; `stop`
        ends before that block."""
        b, f = x.shape[:2]
        tokens = self.patchify(x)
        text, text_mask = self._text(c, b, x)
        pooled = (text * text_mask[..., None]).sum(1) / text_mask.sum(1, keepdim=True).clamp_min(1)
        reference = (
            torch.zeros(b, f, device=x.device, dtype=x.dtype) if c.reference is None else c.reference.to(x.dtype)
        )
        noise = harmonics(t * (math.pi / 2), 16)
        flag = reference[..., None]
        token_flag = reference[:, :, None, None].expand(b, f, tokens.shape[2], 1)

        static, given = self._static(c, tokens)
        inputs, condition = [tokens, static, given, token_flag], [noise, flag]
        if self.config["rays"]:
            inputs.append(fourier(c.plucker.flatten(2, 3).to(x.dtype), 3))
            condition.insert(1, camera_features(c.plucker))
        z_s = self.spatial.embed(torch.cat(inputs, dim=-1)) + self.spatial.position
        vector_s, modulation_s = self.spatial.conditioned(torch.cat(condition, dim=-1), pooled)
        context_s = self.spatial.context(text)

        gate = torch.ones(b, dtype=torch.bool, device=x.device) if c.static_mode is None else ~c.static_mode
        active = gate.nonzero()[:, 0] if c.active is None else c.active
        z_t = vector_t = modulation_t = context_t = None
        if len(active):
            z_t = self.temporal.embed(torch.cat([tokens, token_flag], dim=-1)[active]) + self.temporal.position
            time = torch.cat([c.times[..., None], harmonics(c.times * (2 * math.pi), 6)], dim=-1).to(x.dtype)
            condition = torch.cat([noise, time, flag], dim=-1)[active]
            motion = self._motion(c, b, x)[active]
            vector_t, modulation_t = self.temporal.conditioned(condition, pooled[active], motion)
            context_t = self.temporal.context(text[active])

        masks = self._masks(c, text_mask, f)
        with torch.autocast(x.device.type, enabled=False):  # poses and pixels need their digits
            pose = self._pose(c.plucker)
            points = {i: lift.points(c.plucker) for i, lift in self.lifts.items() if isinstance(lift, Lift)}
        same = None if c.time_ids is None or c.view_ids is None else c.time_ids[:, :, None] == c.time_ids[:, None, :]
        pairs = list(zip(self.spatial.blocks, self.temporal.blocks, strict=True))[:stop]
        for i, (block_s, block_t) in enumerate(pairs):
            priors, said = self._priors(i, asked=i in blocks), {}
            per_frame = i % 2 == 0
            mask = masks["frame" if per_frame else "spatial"]
            run = partial(block_s, per_frame=per_frame, pose=pose)
            z_s = self._run(run, z_s, modulation_s, context_s, mask)
            if str(i) in self.lifts:
                z_s = self._run(self.lifts[str(i)], z_s, points[str(i)], same)
            if priors is not None:
                z_s = priors.on_spatial(z_s, noise, said)
            if z_t is not None:
                mask = masks["frame" if per_frame else "temporal"]
                mask = mask.unflatten(0, (b, f))[active].flatten(0, 1) if per_frame else mask[active]
                run = partial(block_t, per_frame=per_frame, other=z_s[active])
                z_t = self._run(run, z_t, modulation_t, context_t, mask)
                if priors is not None:
                    z_t = priors.on_temporal(z_t, noise[active], said)
            if held is not None and i in blocks:
                held.spatial[i], held.priors[i], held.active = z_s, said, active
                held.temporal |= {} if z_t is None else {i: z_t}
        return z_s, z_t, vector_s, vector_t, active

    def _priors(self, block: int, *, asked: bool) -> Priors | None:
        """Those after a block; where they change nothing, only if someone asks what they say."""
        found = dict(self.prior_blocks.items()).get(str(block))
        return found if isinstance(found, Priors) and (found.inject or asked) else None

    def _run(self, part: Callable[..., Tensor], *inputs: Any) -> Tensor:
        """One block or lift; its insides are not kept for the way back when gradient checkpointing is on."""
        if self.gradient_checkpointing and torch.is_grad_enabled() and self._gradient_checkpointing_func is not None:
            return self._gradient_checkpointing_func(part, *inputs)
        return part(*inputs)

    def _pose(self, plucker: Tensor) -> RelativePose | None:
        """What attention across frames knows of the cameras, one for all blocks."""
        if self.config["relative"] == "none":
            return None
        pose, _ = camera_frames(plucker)
        head_width = self.config["spatial_width"] // self.config["spatial_heads"]
        h, w = plucker.shape[2:4]
        if self.config["relative"] == "ray":
            frames = ray_frames(plucker, pose).flatten(1, 3)
            return RelativePose.of(frames, head_width=head_width, positions=None)
        y, x = ((torch.arange(n, device=plucker.device) + 0.5) * 2 / n - 1 for n in (h, w))
        positions = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)
        return RelativePose.of(pose, head_width=head_width, positions=positions)

    def _text(self, c: Conditions, b: int, x: Tensor) -> tuple[Tensor, Tensor]:
        if c.text is None or c.text_mask is None:
            width = self.config["text_width"]
            return x.new_zeros(b, 1, width), torch.zeros(b, 1, dtype=torch.bool, device=x.device)
        return c.text.to(x.dtype), c.text_mask

    def _static(self, c: Conditions, tokens: Tensor) -> tuple[Tensor, Tensor]:
        shape = (*tokens.shape[:3], 1)
        if c.static_latents is None:
            return torch.zeros_like(tokens), tokens.new_zeros(shape)
        given = torch.ones(len(tokens), device=tokens.device) if c.static_mask is None else c.static_mask
        given = given.to(tokens.dtype)[:, None, None, None]
        return self.patchify(c.static_latents.to(tokens.dtype)) * given, given.expand(shape)

    def _motion(self, c: Conditions, b: int, x: Tensor) -> Tensor:
        """(b, d_t): 2-layer MLP on Fourier features of the standardised log m; zero where m is absent."""
        if c.motion is None:
            return x.new_zeros(b, self.config["temporal_width"])
        present = ~torch.isnan(c.motion)
        m = torch.nan_to_num(c.motion).to(x.dtype)
        features = torch.cat([m[:, None], harmonics(m * 0.8, 4)], dim=-1)
        return self.motion(features) * present[:, None]

    def _masks(self, c: Conditions, text_mask: Tensor, f: int) -> dict[str, Tensor]:
        """Boolean attention masks, True = attend. Keys: p tokens a frame (times f when global), the null token, the text."""
        b, p = len(text_mask), self.grid * self.grid
        always = torch.ones(b, 1, dtype=torch.bool, device=text_mask.device)
        context = torch.cat([always, text_mask], dim=1)
        frame = torch.cat([always.expand(b, p), context], dim=1)[:, None].expand(b, f, -1).flatten(0, 1)[:, None, None]
        masks = {"frame": frame}
        whole = torch.cat([always.expand(b, f * p), context], dim=1)[:, None, None]
        for name, ids in (("spatial", c.time_ids), ("temporal", c.view_ids)):
            if c.time_ids is None or c.view_ids is None or ids is None:
                masks[name] = whole
                continue
            same = (ids[:, :, None] == ids[:, None, :]).repeat_interleave(p, 1).repeat_interleave(p, 2)
            masks[name] = torch.cat([same, context[:, None].expand(b, f * p, -1)], dim=2)[:, None]
        return masks


def camera_features(plucker: Tensor) -> Tensor:
    """(b, f, h, w, 6) rays -> (b, f, 15): harmonics of the viewing azimuth, elevation sine, distance of the centre ray, mean z."""
    d, moment = plucker[..., :3].mean((2, 3)), plucker[..., 3:].mean((2, 3))
    d = F.normalize(d, dim=-1)
    azimuth = torch.atan2(-d[..., 0], d[..., 1])
    extra = torch.stack([d[..., 2], moment.norm(dim=-1), moment[..., 2]], dim=-1)
    return torch.cat([harmonics(azimuth, 6), extra], dim=-1)


def token_rays(cameras: Cameras, grid: int) -> Tensor:
    """(f, grid, grid, 6) Pluecker rays of the token centres, for `Conditions.plucker` (add the batch dimension)."""
    return cameras.plucker(grid, grid)
