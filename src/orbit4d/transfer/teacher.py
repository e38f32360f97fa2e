"""What a teacher is: a frozen network that is asked about rows or columns of the view x time grid, never about anything else.

A row shows one moment from several views, which multi-view models know; a column shows one view at several times, which video
models know. Levels of noise are compared by log-SNR, for every network has a schedule of its own:

    log-SNR = 2 log(a / s)   of   x = a x0 + s eps:    flow t = sigmoid(-l / 2),    v t = 2 / pi atan(exp(-l / 2))
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from ..diffusion.paths import path_coefficients

Prior = Literal["spatial", "temporal"]
PRIORS: tuple[Prior, ...] = ("spatial", "temporal")
MAX_LOG_SNR = 20.0
PERMISSIVE = ("apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-3.0")
"""Licences under which what a teacher taught may be passed on and sold without conditions on its use."""


@dataclass(kw_only=True)
class TeacherClip:
    """n rows or columns of m frames, as a teacher is shown them.

    Attributes:
        latents: (n, m, c, h, w) clean, in the teacher's own latent space. noise: the same shape.
        log_snr: (n,) of all frames but the references. reference: (n, m) frames that are shown clean.
        plucker: (n, m, g, g, 6) rays on the student's token grid. times: (n, m) in [0, 1].
        image: (n, c, h, w) clean, a frame of the row or column that the student is shown, which need not be among the m; zeros
            where it is shown none, None for zeros everywhere. For teachers with an image as a condition of its own.
        text, text_mask: as the student's conditions. log_m: (n,) logarithm of the motion magnitude, NaN where absent.
        prompts: n captions, for teachers with a text encoder of their own.
    """

    latents: Tensor
    noise: Tensor
    log_snr: Tensor
    reference: Tensor
    plucker: Tensor
    times: Tensor
    text: Tensor | None
    text_mask: Tensor | None
    log_m: Tensor
    prompts: list[str]
    image: Tensor | None = None


class Teacher(Protocol):
    """A frozen network behind its features."""

    prior: Prior
    """spatial: asked about rows. temporal: asked about columns."""
    name: str
    licence: str
    width: int
    """Channels of its features."""
    ordered: bool
    """True: frames must follow each other evenly in view or time; False: any set of them."""

    def features(self, clip: TeacherClip) -> Tensor:
        """(n, m, tokens, width) on the student's token grid, without gradient."""
        ...

    def encode(self, rgba: Tensor) -> Tensor | None:
        """Clean latents (n, c, h, w) of premultiplied RGBA frames (n, 4, H, W) in [0, 1]; None: the student's are its own."""
        ...

    def identity(self) -> str:
        """Changes when the network does: names what was computed with it."""
        ...

    def to(self, device: torch.device) -> None: ...


def log_snr(prediction: str, t: Tensor) -> Tensor:
    """That of the noising path of networks with this prediction at levels t in [0, 1], within MAX_LOG_SNR."""
    a, s = path_coefficients(prediction, t.double())
    return (2 * (a.clamp_min(1e-9) / s.clamp_min(1e-9)).log()).clamp(-MAX_LOG_SNR, MAX_LOG_SNR).float()


def level_of(prediction: str, log_snr: Tensor) -> Tensor:
    """The level t in [0, 1] at which that path has this log-SNR."""
    half = -log_snr.double() / 2
    t = torch.atan(half.exp()) * (2 / math.pi) if prediction == "v" else torch.sigmoid(half)
    return t.float()


def is_permissive(licence: str) -> bool:
    """Whether a licence, or each of several joined by " + ", is one of PERMISSIVE."""
    return all(part.strip().lower() in PERMISSIVE for part in licence.split(" + "))
