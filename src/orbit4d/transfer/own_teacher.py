"""Our own teachers: the student's architecture, trained on rows (static orbits) or on columns (videos of one view) alone."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from ..diffusion.denoiser import Conditions, Denoiser
from ..diffusion.hub import load_complete
from ..diffusion.paths import path_coefficients
from ..errors import InputError
from ..files import digest, parse_json
from .teacher import PRIORS, Prior, TeacherClip, level_of

RECORD = "teacher.json"


class OwnTeacher:
    """A teacher in a folder that `orbit4d train teacher` wrote: denoiser/ and teacher.json.

    Its features are z_s after a block with the temporal gate closed, or z_t after a block of a column.
    """

    ordered = False

    def __init__(self, folder: Path, *, prior: Prior, block: int) -> None:
        """`block` may count from the end, as -1. Raises InputError when the folder holds no such teacher."""
        record = read_record(folder)
        if record["prior"] != prior:
            raise InputError(f"{folder}: is a {record['prior']} teacher, expected a {prior} one; swap the two")
        self.denoiser = load_complete(Denoiser, folder / "denoiser").float().eval().requires_grad_(False)
        self.prior: Prior = prior
        depth = int(self.denoiser.config["depth"])
        if not -depth <= block < depth:
            raise InputError(f"{folder}: has {depth} blocks, there is none of number {block}")
        self.block = block % depth
        self._log_m = float(record["log_m_mean"]), float(record["log_m_std"])
        self.name, self.licence, self.autoencoder = str(folder), str(record["licence"]), str(record["autoencoder"])
        self.width = int(self.denoiser.config[f"{prior}_width"])
        self._identity = digest(sorted((folder / "denoiser").glob("*.safetensors"))) + f"-{self.block}"

    @torch.no_grad()
    def features(self, clip: TeacherClip) -> Tensor:
        prediction, shown = str(self.denoiser.config["prediction"]), clip.reference
        t = torch.where(shown, 0.0, level_of(prediction, clip.log_snr)[:, None])
        a, s = path_coefficients(prediction, t[:, :, None, None, None])
        static = torch.full((len(t),), self.prior == "spatial", device=t.device)
        conditions = Conditions(
            plucker=clip.plucker,
            times=torch.zeros_like(clip.times) if self.prior == "spatial" else clip.times,
            text=clip.text,
            text_mask=clip.text_mask,
            motion=None if self.prior == "spatial" else (clip.log_m - self._log_m[0]) / self._log_m[1],
            reference=shown,
            static_mode=static,
            active=(~static).nonzero()[:, 0],
        )
        held = self.denoiser.features(a * clip.latents + s * clip.noise, t, conditions, (self.block,))
        return (held.spatial if self.prior == "spatial" else held.temporal)[self.block]

    def encode(self, rgba: Tensor) -> Tensor | None:
        return None

    def identity(self) -> str:
        return self._identity

    def to(self, device: torch.device) -> None:
        self.denoiser.to(device)  # type: ignore[arg-type]


def is_own_teacher(folder: str | Path) -> bool:
    return (Path(folder) / RECORD).is_file()


def read_record(folder: Path) -> dict:
    """teacher.json: prior, autoencoder (its digest), licence, training. Raises InputError."""
    file = folder / RECORD
    if not file.is_file():
        raise InputError(f"{folder}: holds no teacher ({RECORD}); train one with `orbit4d train teacher`")
    if file.stat().st_size > 2**20:
        raise InputError(f"{file}: larger than 1 MiB, expected a teacher's record; train it again")
    record = parse_json(file.read_bytes(), source=file)
    if not isinstance(record, dict) or record.get("prior") not in PRIORS:
        raise InputError(f"{file}: expected the record of a spatial or temporal teacher; train it again")
    if not all(isinstance(record.get(name), str) for name in ("autoencoder", "licence")):
        raise InputError(f"{file}: says neither its autoencoder nor its licence; train it again")
    if not record["licence"].isprintable() or len(record["licence"]) > 80:
        raise InputError(f"{file}: expected a licence's name of 80 printable characters at most; train it again")
    scale = [record.get(name) for name in ("log_m_mean", "log_m_std")]
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in scale) or not scale[1] > 0:  # type: ignore[operator]
        raise InputError(f"{file}: expected numbers log_m_mean and log_m_std; train it again")
    return record
