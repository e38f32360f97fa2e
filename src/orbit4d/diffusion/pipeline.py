"""`Orbit4DPipeline`: from conditions to an orbital clip, in numbered steps."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from ..cameras import MAX_ORBITS, Cameras, Orbit
from ..clip import OrbitalClip, SpatioTemporalFeatures
from ..errors import InputError
from ..files import digest, parse_json
from .autoencoder import RGBAAutoencoder, premultiply, unpremultiply
from .denoiser import Conditions, Denoiser, token_rays
from .guidance import guide
from .text import encode_text

_Model = TypeVar("_Model", bound=nn.Module)
BUILT_IN = Path(__file__).parent.parent / "weights" / "std4d-s"
SIZE = 128


class Orbit4DPipeline:
    """STD-4D sampling: autoencoder, denoiser, scheduler and the motion scale they were trained with."""

    def __init__(
        self,
        *,
        autoencoder: RGBAAutoencoder,
        denoiser: Denoiser,
        scheduler: FlowMatchEulerDiscreteScheduler,
        motion: dict,
        weights_hash: str = "unsaved",
    ) -> None:
        self.autoencoder = autoencoder.eval().float()
        self.denoiser = denoiser.eval().float()
        self.scheduler = scheduler
        self.motion = motion
        self.weights_hash = weights_hash

    @classmethod
    def from_pretrained(cls, folder: str | Path | None = None) -> Orbit4DPipeline:
        """Load a folder with `autoencoder/`, `denoiser/` and `pipeline.json`; None is the model inside the package.

        Raises InputError when any part or any weight is missing or does not fit: there is no fallback to untrained weights.
        """
        folder = BUILT_IN if folder is None else Path(folder)
        parts = [folder / name for name in ("autoencoder", "denoiser")]
        weights = [file for part in parts for file in sorted(part.glob("*.safetensors"))]
        if not (folder / "pipeline.json").is_file() or {w.parent for w in weights} != set(parts):
            raise InputError(
                f"{folder}: expected autoencoder/, denoiser/ and pipeline.json with trained weights; check --weights"
            )
        motion = _read_motion(folder / "pipeline.json")
        return cls(
            autoencoder=_load_complete(RGBAAutoencoder, parts[0]),
            denoiser=_load_complete(Denoiser, parts[1]),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=2.0),
            motion=motion,
            weights_hash=digest(weights),
        )

    def vocabulary_warning(self, prompt: str | None) -> str | None:
        """A line that names the kinds of the model when `prompt` holds none of them; None when all is well."""
        kinds = [str(kind) for kind in self.motion.get("vocabulary", []) if not str(kind).startswith("toy ")]
        names = [kind.partition(" ")[2] or kind for kind in kinds]
        if not prompt or not names or any(re.search(rf"\b{re.escape(n)}", prompt.lower()) for n in names):
            return None
        return f"{prompt!r} names no kind that this model knows ({', '.join(names)}); expect a blur"

    def check_inputs(
        self,
        *,
        prompt: str | None,
        image: Tensor | None,
        static_clip: OrbitalClip | None,
        motion: float | None,
        steps: int,
        orbits: int = 1,
    ) -> None:
        """Raises InputError, quoting what came, when the conditions cannot be used."""
        if prompt is None and image is None and static_clip is None:
            raise InputError("nothing to generate from: give --prompt, --image or --static")
        if prompt is not None and not prompt.strip():
            raise InputError('--prompt: expected a description such as "a fox running", got an empty text')
        if image is not None and (image.ndim != 3 or image.shape[0] != 4):
            raise InputError(f"image: expected RGBA of shape (4, h, w), got {tuple(image.shape)}")
        if motion is not None and not 0 <= motion <= 1:
            raise InputError(f"--motion: expected a number in [0, 1], got {motion}")
        if steps < 1:
            raise InputError(f"--steps: expected at least 1, got {steps}")
        if not 1 <= orbits <= MAX_ORBITS:
            raise InputError(f"--orbits: expected 1 to {MAX_ORBITS}, got {orbits}")

    @torch.inference_mode()
    def __call__(
        self,
        *,
        prompt: str | None = None,
        image: Tensor | None = None,
        static_clip: OrbitalClip | None = None,
        motion: float | None = None,
        guidance_scale: float = 2.0,
        guidance_3d: float = 0.5,
        steps: int = 20,
        seed: int = 0,
        orbit: Orbit | None = None,
        orbits: int = 1,
        static: bool = False,
        features: bool = False,
        progress: bool = True,
    ) -> OrbitalClip:
        """Sample one clip of 128 x 128 frames.

        Args:
            prompt: what to make; see the model card for the vocabulary of the built-in model.
            image: (4, h, w) straight RGBA in [0, 1]: the object at view 0, time 0, as large as `conditions.centred` makes it.
            static_clip: the object at time 0 from all around; each frame is given its nearest view.
            motion: quantile in [0, 1] of the training set's motion magnitude; None leaves it to the model.
            guidance_scale: diffusers convention, 1 = none. guidance_3d: w2 of the 3D-aware term.
            orbit: camera path, default 24 frames at radius 2.
            orbits: how many orbits are sampled together as one set of (view, time) pairs; the k-th starts at azimuth
                360 k / orbits, so every moment is seen from `orbits` sides. Ignored with `static`.
            static: sample the static orbit (temporal gate closed, all times 0) instead of the moving one.
            features: also return the network's z_s, z_t maps of the final latents, at noise level 0.2.

        Returns: an OrbitalClip of `orbits` x `orbit.frames` frames; the same seed on the same machine gives the same clip.
        """
        # 1. Inputs
        self.check_inputs(
            prompt=prompt, image=image, static_clip=static_clip, motion=motion, steps=steps, orbits=orbits
        )
        cameras, times = phase_shifted(orbit or Orbit(), 1 if static else orbits)
        times = torch.zeros_like(times) if static else times
        frames = len(times)

        # 2. Conditions of the three branches: (y, m), null, and 3D (temporal gate closed)
        reference = None if image is None else self._encode_image(image)
        still = None if static_clip is None else self._encode_static(static_clip, cameras)
        conditional = self._conditions(
            cameras, times, prompt=prompt, still=still, motion=motion, reference=reference, static=static
        )
        null = self._conditions(cameras, times, prompt=None, still=None, motion=None, reference=None, static=static)
        # In training the closed gate never came together with a static 3D condition, so the 3D branch goes without.
        frozen = replace(conditional, static_mode=torch.ones(1, dtype=torch.bool), motion=None, static_latents=None)
        if static or (prompt is None and image is None):
            guidance_3d = 0.0  # the 3D branch would know nothing of the object

        # 3. Noise
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(1, frames, *self._latent_shape(), generator=generator)

        # 4. Denoise
        schedule: Any = self.scheduler  # diffusers annotates its tensors as torch.FloatTensor, which no tensor is
        schedule.set_timesteps(steps)
        for step, timestep in enumerate(tqdm(schedule.timesteps, desc="sample", disable=not progress, unit="step")):
            t = schedule.sigmas[step]
            e = self._predict(x, t, conditional, reference)
            w1, w2 = guidance_scale - 1, guidance_3d
            e_null = self._predict(x, t, null, None) if w1 else e
            e_3d = self._predict(x, t, frozen, reference) if w2 else e
            e = guide(e, e_null, e_3d, guidance_scale=guidance_scale, guidance_3d=w2)
            x = schedule.step(e, timestep, x, return_dict=False)[0]

        # 5. Decode
        rgb, alpha = unpremultiply(self.autoencoder.decode(x[0]))
        alpha = ((alpha - 0.04) / 0.92).clamp(0, 1)
        clip = OrbitalClip(rgb=rgb, alpha=alpha, cameras=cameras, times=times, caption=prompt)
        if features and not static:
            clip.features = self.features(x, conditional, cameras, times)
        return clip

    def features(
        self, latents: Tensor, c: Conditions, cameras: Cameras, times: Tensor, *, noise_level: float = 0.2
    ) -> SpatioTemporalFeatures:
        """The two streams' token maps for clean latents (1, f, c, h, w), noised once at one fixed level."""
        generator = torch.Generator().manual_seed(0)
        noisy = (1 - noise_level) * latents + noise_level * torch.randn(latents.shape, generator=generator)
        f = len(times)
        if c.reference is not None:
            c = replace(
                c,
                plucker=c.plucker[:, -f:],
                times=c.times[:, -f:],
                reference=None,
                static_latents=_last(c.static_latents, f),
            )
        z_s, z_t, *_ = self.denoiser.streams(noisy, torch.full((1, f), noise_level), c)
        assert z_t is not None

        def maps(z: Tensor) -> Tensor:
            return z[0].transpose(1, 2).unflatten(-1, (self.denoiser.grid, self.denoiser.grid)).float()

        return SpatioTemporalFeatures(z_s=maps(z_s), z_t=maps(z_t), cameras=cameras, times=times)

    def log_motion(self, motion: float | None) -> Tensor | None:
        """(1,) standardised log m of the training set's quantile `motion` in [0, 1], None for None."""
        if motion is None:
            return None
        quantiles = self.motion["log_m_quantiles"]
        position = motion * (len(quantiles) - 1)
        low = min(math.floor(position), len(quantiles) - 2)
        log_m = quantiles[low] + (position - low) * (quantiles[low + 1] - quantiles[low])
        return torch.tensor([(log_m - self.motion["log_m_mean"]) / self.motion["log_m_std"]])

    def _latent_shape(self) -> tuple[int, int, int]:
        side = self.denoiser.config["latent_size"]
        return self.denoiser.config["latent_channels"], side, side

    def _encode_image(self, image: Tensor) -> Tensor:
        """(4, h, w) straight RGBA -> (1, 1, c, 16, 16) clean latent."""
        frame = premultiply(image[None, :3], image[None, 3:])
        frame = F.interpolate(frame, size=(SIZE, SIZE), mode="area")
        return self.autoencoder.encode(frame)[None]

    def _encode_static(self, clip: OrbitalClip, cameras: Cameras) -> Tensor:
        """Static orbit -> (1, f, c, 16, 16): for each of the f cameras the clip's view from the nearest direction."""
        clip = clip.resized(SIZE)
        if clip.rgb.shape[-2:] != (SIZE, SIZE):
            raise InputError(f"static clip: expected square frames, got {clip.rgb.shape[-1]} x {clip.rgb.shape[-2]}")
        wanted, given = (F.normalize(c.positions, dim=-1) for c in (cameras, clip.cameras))
        nearest = (wanted @ given.T).argmax(dim=1)
        return self.autoencoder.encode(premultiply(clip.rgb, clip.alpha))[nearest][None]

    def _conditions(
        self,
        cameras: Cameras,
        times: Tensor,
        *,
        prompt: str | None,
        still: Tensor | None,
        motion: float | None,
        reference: Tensor | None,
        static: bool,
    ) -> Conditions:
        rays = token_rays(cameras, self.denoiser.grid)
        reference_flags = torch.zeros(1, len(times), dtype=torch.bool)
        if reference is not None:  # an extra frame in front: view 0, time 0, clean
            rays, times = torch.cat([rays[:1], rays]), torch.cat([torch.zeros(1), times])
            still = None if still is None else torch.cat([still[:, :1], still], dim=1)
            reference_flags = torch.cat([torch.ones(1, 1, dtype=torch.bool), reference_flags], dim=1)
        text, mask = encode_text([prompt or ""])
        return Conditions(
            plucker=rays[None],
            times=times[None],
            text=text,
            text_mask=mask,
            motion=None if static else self.log_motion(motion),
            static_latents=still,
            reference=reference_flags,
            static_mode=torch.tensor([static]),
        )

    def _predict(self, x: Tensor, t: Tensor, c: Conditions, reference: Tensor | None) -> Tensor:
        """Velocity of the frames x (1, f, c, h, w) at one noise level; the reference frame rides along and is dropped."""
        levels = torch.full((1, x.shape[1]), float(t))
        if reference is not None:
            x, levels = torch.cat([reference, x], dim=1), torch.cat([torch.zeros(1, 1), levels], dim=1)
        with torch.autocast("cpu", torch.bfloat16, enabled=_fast_bf16()):
            velocity = self.denoiser(x, levels, c).float()
        return velocity[:, 1:] if reference is not None else velocity


def _load_complete(model: type[_Model], folder: Path) -> _Model:
    """A diffusers model whose every weight came from `folder`."""
    try:
        loaded, info = model.from_pretrained(  # type: ignore[attr-defined]
            folder, use_safetensors=True, low_cpu_mem_usage=False, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, TypeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{folder}: cannot be loaded as {model.__name__} ({reason}); check --weights") from error
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if wrong := list(info[kind]):
            raise InputError(
                f"{folder}: {kind.replace('_', ' ')} in its weights: {wrong[0]} and {len(wrong) - 1} more; check --weights"
            )
    return loaded


def _read_motion(file: Path) -> dict:
    """The scale of the motion condition, from `pipeline.json`."""
    motion = parse_json(file.read_bytes(), source=file)
    try:
        quantiles = [float(q) for q in motion["log_m_quantiles"]]
        numbers = [float(motion["log_m_mean"]), float(motion["log_m_std"]), *quantiles]
        good = len(quantiles) >= 2 and all(map(math.isfinite, numbers)) and motion["log_m_std"] > 0
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise InputError(
            f"{file}: expected numbers log_m_mean, log_m_std and log_m_quantiles; it was not written by `orbit4d train`"
        )
    return motion


def phase_shifted(orbit: Orbit, count: int) -> tuple[Cameras, Tensor]:
    """Cameras and times of `count` orbits, one after the other, of which the k-th starts 360 k / count degrees later."""
    paths = [replace(orbit, azimuth_start_deg=orbit.azimuth_start_deg + 360 * k / count) for k in range(count)]
    parts = [path.cameras(SIZE) for path in paths]
    cameras = replace(
        parts[0],
        camera_to_world=torch.cat([part.camera_to_world for part in parts]),
        intrinsics=torch.cat([part.intrinsics for part in parts]),
    )
    return cameras, orbit.times.repeat(count)


def _last(x: Tensor | None, count: int) -> Tensor | None:
    return None if x is None else x[:, -count:]


def _fast_bf16() -> bool:
    """True where the CPU multiplies bf16 natively (elsewhere bf16 is several times slower than fp32)."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
