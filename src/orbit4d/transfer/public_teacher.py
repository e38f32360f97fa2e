"""Public diffusion models as teachers, through stock diffusers classes: what their network holds while it denoises.

    UNetMotionModel (AnimateDiff, DDPM):                 columns, each frame encoded by the model's AutoencoderKL
    UNetSpatioTemporalConditionModel (SVD, SV3D, EDM):   rows (orbit models) or columns, with the reference as its image

Clean frames are encoded by the model's own VAE, noised at the student's log-SNR on the model's own path, and what one of its
modules puts out is resampled to the student's token grid. Weights are safetensors; no code of a repository is run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import InputError
from ..files import digest, parse_json
from .teacher import Prior, TeacherClip

FILES = ["README.md", "*.json", "*/*.json", "*.safetensors", "*/*.safetensors", "tokenizer/*.txt"]
"""All that is ever downloaded: settings, words and tensors."""
MODULE = "up_blocks.1"
JOIN = "+"
"""Between the names of an image model and of the motion adapter that makes a video model of it."""


class _Seen(Exception):
    """Ends a forward pass where what was wanted is known."""


class PublicTeacher:
    """A stock diffusers network in a pipeline's folder: unet/, vae/, scheduler/ and, for AnimateDiff, tokenizer/, text_encoder/."""

    ordered = True

    def __init__(self, source: str, *, prior: Prior, grid: int, module: str | None = None, size: int = 256) -> None:
        """`source`: a folder or hub name, or two joined by "+" for an image model and a motion adapter. `grid`: side of the
        student's token grid. `module`: whose output is taken, by its name in the network. `size`: side of the frames it sees.
        Raises InputError for what cannot be loaded without running code of others, and for models that do not know this prior."""
        from diffusers.models.unets.unet_motion_model import UNetMotionModel
        from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel

        names = source.split(JOIN)
        folders = [model_folder(name) for name in names]
        folder = folders[0]
        self.prior: Prior = prior
        self.name, self.grid, self.size = source, grid, size
        self.licence = " + ".join(dict.fromkeys(licence_of(f) for f in folders))
        found = class_of(folder / "unet")
        match (found, len(folders)):
            case ("UNetMotionModel", 1):
                unet = _loaded(UNetMotionModel, folder / "unet")
            case ("UNet2DConditionModel", 2):
                unet = _with_adapter(folder / "unet", folders[1])
            case ("UNetSpatioTemporalConditionModel", 1):
                unet = _loaded(UNetSpatioTemporalConditionModel, folder / "unet")
            case _:
                raise InputError(
                    f"{source}: its network is a {found}; expected UNetMotionModel, UNetSpatioTemporalConditionModel, or "
                    "UNet2DConditionModel+MotionAdapter"
                )
        self.edm = isinstance(unet, UNetSpatioTemporalConditionModel)
        if not self.edm and prior == "spatial":
            raise InputError(f"{source}: is a video model without views; take it as the temporal teacher")
        self.unet: Any = unet
        self.vae = _vae(folder / "vae", temporal=self.edm)
        self.text = None if self.edm else _text_encoder(folder)
        self.alphas = None if self.edm else _alphas(folder / "scheduler")
        self.module = module or MODULE
        modules = dict(unet.named_modules())
        if self.module not in modules:
            raise InputError(f"{source}: its network has no module {self.module!r:.60}; for example {MODULE}")
        self._watched = modules[self.module]
        weights = [f for d in folders for f in sorted(d.glob("**/*.safetensors"))]
        self._identity = f"{digest(weights)}-{self.module}-{size}"
        self.width = self._measured_width()

    def to(self, device: torch.device) -> None:
        for part in (self.unet, self.vae, None if self.text is None else self.text[1]):
            if part is not None:
                part.to(device)

    def identity(self) -> str:
        return self._identity

    @torch.no_grad()
    def encode(self, rgba: Tensor) -> Tensor:
        """(n, 4, H, W) premultiplied in [0, 1] -> (n, c, size / 8, size / 8): on white, the mode of the VAE, scaled."""
        white = rgba[:, :3] + 1 - rgba[:, 3:]
        white = functional.interpolate(white, size=(self.size, self.size), mode="bilinear", antialias=True)
        return self.vae.encode(white * 2 - 1).latent_dist.mode() * self.vae.config.scaling_factor

    @torch.no_grad()
    def features(self, clip: TeacherClip) -> Tensor:
        n, m = clip.latents.shape[:2]
        call = self._edm_call(clip) if self.edm else self._ddpm_call(clip)
        seen: list[Tensor] = []

        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            seen.append(output[0] if isinstance(output, tuple) else output)
            raise _Seen

        handle = self._watched.register_forward_hook(keep)
        try:
            self.unet(**call)
        except _Seen:
            pass
        finally:
            handle.remove()
        if not seen:
            raise InputError(f"{self.name}: its module {self.module} is not used in a forward pass; choose another")
        maps = seen[0]
        if maps.ndim != 4 or len(maps) != n * m:
            raise InputError(
                f"{self.name}: module {self.module} puts out {tuple(maps.shape)}, expected maps of {n * m} frames; choose another"
            )
        maps = functional.interpolate(
            maps.float(), size=(self.grid, self.grid), mode="bilinear", antialias=True, align_corners=False
        )
        return maps.flatten(2).transpose(1, 2).unflatten(0, (n, m))

    def _ddpm_call(self, clip: TeacherClip) -> dict[str, Any]:
        """x_k = sqrt(alpha_k) x0 + sqrt(1 - alpha_k) eps at the step k whose log-SNR is nearest. References are noised as the
        rest: the network was never shown clean frames."""
        assert self.alphas is not None and self.text is not None
        alphas = self.alphas.to(clip.latents.device)
        known = (alphas / (1 - alphas)).log()
        step = (known[None] - clip.log_snr[:, None]).abs().argmin(1)
        a, s = (x.sqrt()[:, None, None, None, None] for x in (alphas[step], 1 - alphas[step]))
        noisy = a * clip.latents.float() + s * clip.noise
        states = self._words(clip.prompts, device=noisy.device).repeat_interleave(noisy.shape[1], dim=0)
        return {"sample": noisy.transpose(1, 2), "timestep": step, "encoder_hidden_states": states}

    def _edm_call(self, clip: TeacherClip) -> dict[str, Any]:
        """x = x0 + sigma eps, scaled by (sigma^2 + 1)^(-1/2), sigma = exp(-log-SNR / 2). The network is given `clip.image` beside
        every frame; without one it is given none, as in its training for guidance."""
        sigma = (-clip.log_snr / 2).exp()
        wide = sigma[:, None, None, None, None]
        noisy = (clip.latents.float() + wide * clip.noise) / (wide.square() + 1).sqrt()
        n, m = noisy.shape[:2]
        image = torch.zeros_like(noisy[:, 0]) if clip.image is None else clip.image / self.vae.config.scaling_factor
        states = noisy.new_zeros(n, 1, self.unet.config.cross_attention_dim)
        # fps - 1, motion bucket and noise augmentation, as the pipeline of this class has them by default
        ids = noisy.new_tensor([6.0, 127.0, 0.02]).repeat(n, 1)
        sample = torch.cat([noisy, image[:, None].expand(-1, m, -1, -1, -1)], dim=2)
        return {
            "sample": sample,
            "timestep": 0.25 * sigma.log(),
            "encoder_hidden_states": states,
            "added_time_ids": ids,
        }

    def _words(self, prompts: list[str], *, device: torch.device) -> Tensor:
        assert self.text is not None
        tokenizer, encoder = self.text
        length = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
        tokens = tokenizer(prompts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        return encoder(tokens.input_ids.to(device))[0]

    def _measured_width(self) -> int:
        side = self.size // 2 ** (len(self.vae.config.block_out_channels) - 1)
        latents = torch.zeros(1, 2, self.vae.config.latent_channels, side, side)
        clip = TeacherClip(
            latents=latents,
            noise=latents,
            log_snr=torch.zeros(1),
            reference=torch.tensor([[False, True]]),
            plucker=torch.zeros(0),
            times=torch.zeros(1, 2),
            text=None,
            text_mask=None,
            log_m=torch.zeros(1),
            prompts=[""],
        )
        return self.features(clip).shape[-1]


def model_folder(name: str) -> Path:
    """A folder, or the snapshot of a hub repository's settings and tensors. Raises InputError."""
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(name, allow_patterns=FILES))
    except (HFValidationError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{name}: no such folder, and not to be had from the hub ({reason}); check the teacher"
        ) from error


def class_of(folder: Path) -> str:
    """The diffusers class that a component says it is. Raises InputError."""
    file = folder / "config.json"
    if not file.is_file() or file.stat().st_size > 2**20:
        raise InputError(f"{file}: expected a network's settings; a teacher is the folder of a diffusers pipeline")
    config = parse_json(file.read_bytes(), source=file)
    return str(config.get("_class_name", "?"))[:60] if isinstance(config, dict) else "?"


def licence_of(folder: Path) -> str:
    """What the front matter of the model card says, "unknown" without one. Two fields count: license and license_name."""
    card = folder / "README.md"
    if not card.is_file():
        return "unknown"
    with card.open(errors="replace") as handle:
        lines = handle.read(20_000).splitlines()
    if lines[:1] != ["---"]:
        return "unknown"
    said: dict[str, str] = {}
    for line in lines[1:]:
        if line.strip() == "---":
            break
        key, _, value = line.partition(":")
        said[key.strip()] = value.strip().strip("\"'")
    name = said.get("license_name", "") if said.get("license", "other") == "other" else said["license"]
    return "".join(c for c in name if c.isprintable())[:80] or "unknown"


def _loaded(cls: Any, folder: Path) -> Any:
    """A frozen network whose every weight came from the folder's safetensors. Raises InputError."""
    if class_of(folder) != cls.__name__:
        raise InputError(f"{folder}: is a {class_of(folder)}, expected a {cls.__name__}")
    try:
        _check_size(lambda: cls.from_config(cls.load_config(folder, local_files_only=True)), folder)
        model, info = cls.from_pretrained(
            folder, use_safetensors=True, low_cpu_mem_usage=False, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, ArithmeticError, ImportError) as error:
        reason = " ".join(str(error).split())[:140]
        raise InputError(f"{folder}: cannot be loaded as {cls.__name__} ({reason})") from error
    _check_complete(info, cls, folder)
    return model.float().eval().requires_grad_(False)


def _check_size(make: Callable[[], nn.Module], folder: Path) -> None:
    """Raises ValueError when a network has more weights than the folder's files can hold; none are allocated."""
    stored = sum(f.stat().st_size for f in folder.glob("*.safetensors"))
    with torch.device("meta"):
        wanted = sum(p.numel() for p in make().parameters())
    if wanted > stored:
        raise ValueError(f"config.json asks for {wanted} weights, there are {stored} bytes")


def _check_complete(info: dict[str, Any], cls: type, folder: Path) -> None:
    if wrong := [*info["missing_keys"], *info["mismatched_keys"]]:
        raise InputError(f"{folder}: lacks weights of {cls.__name__}: {wrong[0]} and {len(wrong) - 1} more")


def _with_adapter(unet: Path, adapter: Path) -> Any:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.models.unets.unet_motion_model import MotionAdapter, UNetMotionModel

    pair = _loaded(UNet2DConditionModel, unet), _loaded(MotionAdapter, adapter)
    made: Any = UNetMotionModel.from_unet2d(*pair)
    return made.float().eval().requires_grad_(False)


def _vae(folder: Path, *, temporal: bool) -> Any:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder

    return _loaded(AutoencoderKLTemporalDecoder if temporal else AutoencoderKL, folder)


def _text_encoder(folder: Path) -> tuple[Any, Any]:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    words = folder / "text_encoder"
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        _check_size(lambda: CLIPTextModel(CLIPTextConfig.from_pretrained(words, local_files_only=True)), words)
        loaded: Any = CLIPTextModel.from_pretrained(
            words, use_safetensors=True, local_files_only=True, trust_remote_code=False, output_loading_info=True
        )
        encoder, info = loaded
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, ArithmeticError) as error:
        reason = " ".join(str(error).split())[:140]
        raise InputError(f"{folder}: its tokenizer/ and text_encoder/ cannot be loaded ({reason})") from error
    _check_complete(info, CLIPTextModel, words)
    return tokenizer, encoder.float().eval().requires_grad_(False)


def _alphas(folder: Path) -> Tensor:
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    try:
        scheduler: Any = DDPMScheduler.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:140]
        raise InputError(f"{folder}: no noise schedule to be read ({reason})") from error
    return scheduler.alphas_cumprod.float().clamp(1e-6, 1 - 1e-6)
