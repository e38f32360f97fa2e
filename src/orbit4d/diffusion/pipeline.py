"""`Orbit4DPipeline`: from conditions to an orbital clip, in numbered steps."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..cameras import Cameras, Orbit
from ..clip import OrbitalClip, SpatioTemporalFeatures
from ..errors import InputError
from ..files import atomic_folder, digest
from .autoencoder import RGBAAutoencoder, decode_straight, premultiply
from .captioner import FILE as CAPTIONER
from .captioner import Caption, Captioner, load_captioner, save_captioner
from .denoiser import Denoiser
from .guidance import Guidance
from .hub import BUILT_IN, PARTS, load_complete, model_folder, read_record, weight_files
from .machine import moved
from .notes import MAX_REFERENCES, check_orbits, picture_note, references_note, static_note
from .paths import path_coefficients
from .sampling import (
    SIZE,
    Branch,
    OnStep,
    References,
    encode_references,
    make_branch,
    phase_shifted,
    sample,
    view_time_grid,
)
from .schedulers import DEFAULT, MAX_STEPS, Schedule, load_scheduler, make_scheduler
from .training import forget_path
from .vocabulary import Vocabulary

__all__ = ["BUILT_IN", "DEFAULT_STEPS", "Orbit4DPipeline"]
DEFAULT_STEPS = 12
"""Of dpm++, whose samples at 12 steps are nearer to those of very many steps than euler's at 20 (docs/generation.md)."""
MAX_FRAMES = 256
"""Frames sampled as one set: attention is over all of them."""


class Orbit4DPipeline:
    """STD-4D sampling: autoencoder, denoiser, scheduler and the motion scale they were trained with."""

    def __init__(
        self,
        *,
        autoencoder: RGBAAutoencoder,
        denoiser: Denoiser,
        scheduler: Any,
        motion: dict,
        captioner: Captioner | None = None,
        weights_hash: str = "unsaved",
    ) -> None:
        """`scheduler`: a stock diffusers scheduler of `schedulers.make_scheduler`; `motion`: the record in pipeline.json;
        `captioner`: finds words for pictures.
        """
        self.autoencoder = autoencoder.eval().float()
        self.denoiser = denoiser.eval().float()
        self.scheduler = scheduler
        self.motion = motion
        self.captioner = captioner
        self.weights_hash = weights_hash

    @classmethod
    def from_pretrained(cls, name: str | Path | None = None, *, revision: str | None = None) -> Orbit4DPipeline:
        """Load a model: None is the one inside the package, else a folder, else a hub name "owner/name" ("owner/name@revision").

        A model is `autoencoder/`, `denoiser/`, `pipeline.json` and, where it is not the default, `scheduler/`; it may have a
        `captioner.safetensors`. Tensors are safetensors. Raises InputError when any part or any weight is missing or does not
        fit: there is no fallback to untrained weights.
        """
        folder = model_folder(name, revision=revision)
        weights = weight_files(folder)
        record = read_record(folder / "pipeline.json")
        stored = (folder / "scheduler" / "scheduler_config.json").is_file()
        return cls(
            autoencoder=load_complete(RGBAAutoencoder, folder / "autoencoder"),
            denoiser=load_complete(Denoiser, folder / "denoiser"),
            scheduler=load_scheduler(folder / "scheduler") if stored else make_scheduler(DEFAULT),
            motion=record,
            captioner=load_captioner(folder / CAPTIONER) if (folder / CAPTIONER).is_file() else None,
            weights_hash=digest([*weights, folder / "pipeline.json"]),
        )

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write the model as diffusers does: each part's config.json and safetensors, the scheduler's settings, pipeline.json.

        The folder appears whole or not at all; an existing one must be empty. Raises InputError when it cannot be written.
        """
        folder = Path(folder)
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(f"{folder}: not empty; name a new or empty folder to save the model to")
        with atomic_folder(folder) as temporary:
            self.autoencoder.save_pretrained(temporary / "autoencoder")
            self.denoiser.save_pretrained(temporary / "denoiser")
            for part in PARTS:
                forget_path(temporary / part)
            self.scheduler.save_pretrained(temporary / "scheduler")
            (temporary / "pipeline.json").write_text(json.dumps(self.motion, indent=1))
            if self.captioner is not None:
                save_captioner(self.captioner, temporary / CAPTIONER)
        return folder

    def to(self, device: str | torch.device) -> Orbit4DPipeline:
        """Move the networks to a device, "cpu" or "cuda"; returns the pipeline. Clips come back on the CPU all the same.

        The noise is drawn on the CPU, so a seed asks for the same clip everywhere; the last bits of the arithmetic differ.
        """
        torch.nn.Module.to(self.autoencoder, torch.device(device))
        torch.nn.Module.to(self.denoiser, torch.device(device))
        return self

    def caption(self, image: Tensor) -> Caption | None:
        """Words for a picture (4, h, w), straight RGBA in [0, 1], as `image` of `__call__`: what the model's captioner sees in it.

        None where it sees none of the kinds that it knows, and for models without a captioner.
        """
        if self.captioner is None:
            return None
        self.check_inputs(image=image)
        return self.captioner.caption(premultiply(image[None, :3], image[None, 3:])[0].float().cpu())

    @cached_property
    def captioner_hash(self) -> str:
        """Names the captioner, its weights and from when it is sure, which `weights_hash` leaves out; empty where there is none."""
        return "" if self.captioner is None else self.captioner.digest()

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The kinds and motions that the model was trained on."""
        return Vocabulary.of_record(self.motion)

    def vocabulary_warning(self, prompt: str | None) -> str | None:
        """A line that names the nearest known words when `prompt` is outside the vocabulary; None when all is well."""
        return self.vocabulary.warning(prompt) if prompt else None

    def condition_warnings(
        self,
        *,
        prompt: str | None = None,
        image: Tensor | None = None,
        references: OrbitalClip | None = None,
        static_clip: OrbitalClip | None = None,
        orbit: Orbit | None = None,
        orbits: int = 1,
        shared_frames: int = 0,
    ) -> list[str]:
        """A line for each of these conditions, as `__call__` takes them, that the model was not trained to meet."""
        orbit = orbit or Orbit()
        count = (image is not None) + (0 if references is None else len(references))
        count += min(shared_frames, orbit.frames) * (orbits > 1)
        notes = [references_note(self.motion, count), *self._picture_notes(prompt, image, references)]
        if static_clip is not None:
            notes.append(static_note(static_clip, phase_shifted(orbit, orbits)[0]))
        return [note for note in notes if note]

    def _picture_notes(
        self, prompt: str | None, image: Tensor | None, references: OrbitalClip | None
    ) -> list[str | None]:
        """What `picture_note` says of the image and of the references' first frame, where the model has a captioner."""
        first = None if references is None else torch.cat([references.rgb[0], references.alpha[0]])
        asked = self.vocabulary.kind_of(prompt) if prompt else None
        notes = []
        for what, picture in (("image", image), ("video", first)):
            if picture is None or self.captioner is None or (asked or "").startswith("toy "):
                continue
            seen = self.caption(picture)
            kind = None if seen is None else self.vocabulary.kind_of(seen.kind)
            notes.append(picture_note(what, looks_like=kind, asked=asked, prompted=bool(prompt)))
        return notes

    @property
    def usual_motion(self) -> float | None:
        """The quantile of the motion magnitude that undamped training clips have on average; None where it is not recorded.

        A model that was also trained on damped clips takes "nothing said" for less motion than was authored.
        """
        value = self.motion.get("usual_motion")
        return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else None

    def usual_motion_of(self, prompt: str | None) -> float | None:
        """As `usual_motion`, of the clips that show what the prompt names, where it names a kind and a motion that are recorded."""
        amount = self.vocabulary.amount(prompt) if prompt else None
        return self.usual_motion if amount is None else amount

    def asked_magnitude(self, motion: float) -> float:
        """The motion magnitude m that the training set's quantile `motion` in [0, 1] stands for; 0 at 0 where the model was trained
        on things that stand still."""
        training = self.motion.get("training")
        share = training.get("still_share", 0) if isinstance(training, dict) else 0
        if motion == 0 and isinstance(share, int | float) and share > 0:
            return 0.0
        return math.exp(self._log_m(motion))

    @property
    def prediction(self) -> str:
        """What the network's output means: "flow", "v" or "x0"."""
        return self.denoiser.config.get("prediction", "flow")

    def check_inputs(
        self,
        *,
        prompt: str | None = None,
        image: Tensor | None = None,
        references: OrbitalClip | None = None,
        static_clip: OrbitalClip | None = None,
        motion: float | None = None,
        steps: int | None = None,
        orbits: int = 1,
        azimuth: float = 0.0,
        shared_frames: int = 0,
        grid: tuple[int, int] | None = None,
        static: bool = False,
    ) -> None:
        """Raises InputError, quoting what came, when the conditions cannot be used."""
        if prompt is None and image is None and static_clip is None and references is None:
            raise InputError("nothing to generate from: give --prompt, --image, --video or --static")
        if prompt is not None and not prompt.strip():
            raise InputError('--prompt: expected a description such as "a fox running", got an empty text')
        if image is not None and not isinstance(image, Tensor):
            raise InputError(
                f"image: expected an RGBA tensor (4, h, w), got {type(image).__name__}; "
                "orbit4d.conditions.load_condition_image(path) makes one of a file"
            )
        if image is not None and (image.ndim != 3 or image.shape[0] != 4):
            raise InputError(f"image: expected RGBA of shape (4, h, w), got {tuple(image.shape)}")
        if references is not None:
            count, height, width = len(references), *references.rgb.shape[-2:]
            if not (count and count + (image is not None) <= MAX_REFERENCES):
                also = " and an image" if image is not None else ""
                raise InputError(f"references: expected 1 to {MAX_REFERENCES} frames in all, got {count}{also}")
            if height != width:
                raise InputError(f"references: expected square frames, got {width} x {height}")
        if static and static_clip is not None:
            raise InputError("static: a static orbit is what static_clip is already; expected one of them, got both")
        if motion is not None and not (isinstance(motion, int | float) and 0 <= motion <= 1):
            raise InputError(f"--motion: expected a number in [0, 1], got {motion!r}")
        if steps is not None and not 1 <= steps <= MAX_STEPS:
            raise InputError(f"--steps: expected 1 to {MAX_STEPS}, got {steps}")
        check_orbits(orbits, shared_frames)
        if not -360 <= azimuth <= 360:
            raise InputError(f"--azimuth: expected -360 to 360 degrees, got {azimuth}")
        if grid is not None and not (min(grid) >= 1 and grid[0] * grid[1] <= MAX_FRAMES):
            raise InputError(f"grid: expected views and times whose product is 1 to {MAX_FRAMES}, got {grid}")

    @torch.inference_mode()
    def __call__(
        self,
        *,
        prompt: str | None = None,
        image: Tensor | None = None,
        caption: bool = True,
        azimuth: float = 0.0,
        references: OrbitalClip | None = None,
        static_clip: OrbitalClip | None = None,
        motion: float | Literal["usual"] | None = "usual",
        guidance_scale: float = 2.0,
        guidance_3d: float = 0.5,
        guidance_motion: float = 0.0,
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        guidance_every: int = 1,
        scheduler: str | None = None,
        steps: int | None = None,
        seed: int = 0,
        orbit: Orbit | None = None,
        orbits: int = 1,
        shared_frames: int = 0,
        grid: tuple[int, int] | None = None,
        static: bool = False,
        features: bool = False,
        progress: bool = True,
        on_step: OnStep | None = None,
    ) -> OrbitalClip:
        """Sample one clip of 128 x 128 frames.

        Args:
            prompt: what to make; see the model card for the vocabulary of the built-in model.
            image: (4, h, w) straight RGBA in [0, 1]: the object at time 0, as large as `conditions.centred` makes it, seen
                from `azimuth` degrees (0: the object's front).
            caption: where there is an image and no prompt, the prompt is what `caption` says of it, if anything; not where
                `references` show a motion. The clip's own caption is the prompt that was given.
            references: square frames of the object, each with its camera and time, that the clip is to agree with: a
                video is several times of one view. Combines with all others. Training shows up to 5 at once, 16 are accepted.
            static_clip: the object at time 0 from all around; each frame is given its nearest view. Not with `static`.
            motion: quantile in [0, 1] of the training set's motion magnitude; None leaves it to the model. "usual" is what
                `usual_motion_of(prompt)` says; where `references` of several times show how much moves, it is None.
            guidance_scale: diffusers convention, 1 = none. guidance_3d: w2 of the 3D-aware term.
            guidance_motion: weight of the term that stresses `motion` alone; costs another forward.
            guidance_interval: noise levels between which there is guidance. guidance_every: see `Guidance`.
            scheduler: one of `schedulers.NAMES`; None is the model's own. steps: None is DEFAULT_STEPS.
            orbit: camera path, default 24 frames at radius 2.
            orbits: how many orbits; the k-th starts at azimuth 360 k / orbits, so every moment is seen from `orbits` sides.
                Ignored with `static`.
            shared_frames: 0 samples the orbits together, as one set of (view, time) pairs; else each later orbit is
                sampled by itself, with so many frames of the first, evenly spaced, as references.
            grid: (views, times): every pair of that many directions and moments instead of orbits.
            static: sample the static orbit (temporal gate closed, all times 0) instead of the moving one.
            features: also return the network's z_s, z_t maps of the final latents, at noise level 0.2.
            on_step: called after each step (see `sampling.OnStep`); `decode` makes pictures of its latents. What it raises ends
                the sampling.

        Returns: an OrbitalClip of `orbits` x `orbit.frames` frames; the same seed on the same machine gives the same clip.
        """
        # 1. Inputs
        filmed = references is not None and len(references.times.unique()) > 1
        given = prompt
        if (
            caption
            and not filmed
            and prompt is None
            and image is not None
            and (seen := self.caption(image)) is not None
        ):
            prompt = seen.text
        if motion == "usual":
            motion = None if filmed else self.usual_motion_of(prompt)
        self.check_inputs(
            prompt=prompt,
            image=image,
            references=references,
            static_clip=static_clip,
            motion=motion,
            steps=steps,
            orbits=orbits,
            azimuth=azimuth,
            shared_frames=shared_frames,
            grid=grid,
            static=static,
        )
        orbit, orbits = orbit or Orbit(), 1 if static or grid else orbits
        cameras, times = view_time_grid(orbit, *grid) if grid else phase_shifted(orbit, orbits)
        times = torch.zeros_like(times) if static else times

        # 2. What the network is shown: reference frames, views of the static object
        shown = self._references(image, references, orbit=orbit, azimuth=azimuth)
        still = None if static_clip is None else self._still(static_clip)
        known = prompt is not None or shown is not None
        plan = make_scheduler(scheduler) if scheduler else self.scheduler
        # Without either, the 3D branch would know nothing of the object.
        weight_3d = guidance_3d if known and not static else 0.0
        weight_motion = 0.0 if static or motion is None else guidance_motion
        guidance = Guidance(
            scale=guidance_scale,
            weight_3d=weight_3d,
            weight_motion=weight_motion,
            interval=guidance_interval,
            every=guidance_every,
        )

        # 3. Noise
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(1, len(times), *self._latent_shape(), generator=generator)

        # 4. Denoise, all at once or orbit by orbit
        def run(index: slice, shown: References | None) -> Tensor:
            views, moments = cameras[index], times[index]
            common: dict[str, Any] = {"prompt": prompt, "references": shown}
            frozen = make_branch(self.denoiser, views, moments, static=True, **common) if weight_3d else None
            moving: dict[str, Any] = {"still": still, "static": static, **common}
            return sample(
                self.denoiser,
                Schedule(plan, prediction=self.prediction).set_timesteps(steps or DEFAULT_STEPS),
                noise[:, index],
                conditional=make_branch(self.denoiser, views, moments, motion=self.log_motion(motion), **moving),
                null=make_branch(self.denoiser, views, moments, static=static),
                frozen=frozen,  # without the static object: in training the closed gate never came together with it
                motionless=make_branch(self.denoiser, views, moments, **moving) if weight_motion else None,
                guidance=guidance,
                progress=progress,
                on_step=on_step,
            )

        if orbits == 1 or not shared_frames:
            x = run(slice(0, len(times)), shown)
        else:
            x = self._one_by_one(run, cameras, times, shown, orbits=orbits, shared_frames=shared_frames)

        # 5. Decode
        rgb, alpha = self.decode(x[0])
        clip = OrbitalClip(rgb=rgb, alpha=alpha, cameras=cameras, times=times, caption=given)
        if features and not static:
            branch = make_branch(
                self.denoiser, cameras, times, prompt=prompt, motion=self.log_motion(motion), still=still
            )
            clip.features = self.features(x, branch, cameras, times)
        return clip

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Straight rgb (f, 3, 128, 128) and alpha (f, 1, 128, 128) in [0, 1] of latents (f, c, h, w)."""
        return decode_straight(self.autoencoder, latents)

    def features(
        self, latents: Tensor, branch: Branch, cameras: Cameras, times: Tensor, *, noise_level: float = 0.2
    ) -> SpatioTemporalFeatures:
        """The two streams' token maps for clean latents (1, f, c, h, w), noised once at one fixed level.

        `branch` has no references: its frames are those of the latents.
        """
        generator = torch.Generator().manual_seed(0)
        a, s = path_coefficients(self.prediction, noise_level)
        noisy = a * latents + s * torch.randn(latents.shape, generator=generator)
        f = len(times)
        device = self.denoiser.device
        told = moved(branch.conditions, device)
        z_s, z_t, *_ = self.denoiser.streams(noisy.to(device), torch.full((1, f), noise_level, device=device), told)
        assert z_t is not None

        def maps(z: Tensor) -> Tensor:
            return z[0].transpose(1, 2).unflatten(-1, (self.denoiser.grid, self.denoiser.grid)).float().cpu()

        return SpatioTemporalFeatures(z_s=maps(z_s), z_t=maps(z_t), cameras=cameras, times=times)

    def log_motion(self, motion: float | None) -> Tensor | None:
        """(1,) standardised log m of the training set's quantile `motion` in [0, 1], None for None."""
        if motion is None:
            return None
        return torch.tensor([(self._log_m(motion) - self.motion["log_m_mean"]) / self.motion["log_m_std"]])

    def _log_m(self, motion: float) -> float:
        quantiles = self.motion["log_m_quantiles"]
        position = motion * (len(quantiles) - 1)
        low = min(math.floor(position), len(quantiles) - 2)
        return quantiles[low] + (position - low) * (quantiles[low + 1] - quantiles[low])

    def _latent_shape(self) -> tuple[int, int, int]:
        side = self.denoiser.config["latent_size"]
        return self.denoiser.config["latent_channels"], side, side

    def _references(
        self, image: Tensor | None, clip: OrbitalClip | None, *, orbit: Orbit, azimuth: float
    ) -> References | None:
        """The image, seen from `azimuth` at time 0, and the frames of `clip`."""
        shown = None if clip is None else encode_references(self.autoencoder, clip)
        if image is None:
            return shown
        frame = F.interpolate(premultiply(image[None, :3], image[None, 3:]), size=(SIZE, SIZE), mode="area")
        camera = replace(orbit, azimuth_start_deg=azimuth).cameras(SIZE)[:1]
        return References(latents=self.autoencoder.encode(frame), cameras=camera, times=torch.zeros(1)) + shown

    def _still(self, clip: OrbitalClip) -> Callable[[Cameras], Tensor]:
        """A function of f cameras: latents (f, c, h, w), for each the view of the static `clip` from the nearest direction."""
        clip = clip.resized(SIZE)
        if clip.rgb.shape[-2:] != (SIZE, SIZE):
            raise InputError(f"static clip: expected square frames, got {clip.rgb.shape[-1]} x {clip.rgb.shape[-2]}")
        latents = self.autoencoder.encode(premultiply(clip.rgb, clip.alpha))

        def views(cameras: Cameras) -> Tensor:
            wanted, given = (F.normalize(c.positions, dim=-1) for c in (cameras, clip.cameras))
            return latents[(wanted @ given.T).argmax(dim=1)]

        return views

    @staticmethod
    def _one_by_one(
        run: Callable[[slice, References | None], Tensor],
        cameras: Cameras,
        times: Tensor,
        shown: References | None,
        *,
        orbits: int,
        shared_frames: int,
    ) -> Tensor:
        """Latents of all orbits: the first by itself, each later one shown `shared_frames` of the first, evenly spaced."""
        frames = len(times) // orbits
        parts = [run(slice(0, frames), shown)]
        # An orbit's last view is its first, at another time: evenly spaced frames leave it out.
        count = min(shared_frames, frames)
        picked = [round(i * frames / count) for i in range(count)]
        first = References(latents=parts[0][0][picked], cameras=cameras[picked], times=times[picked])
        for k in range(1, orbits):
            parts.append(run(slice(k * frames, (k + 1) * frames), first + shown))
        return torch.cat(parts, dim=1)
