"""A construction that can be killed at any moment: its state in one file, replaced whole every few seconds."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError
from ..files import atomic_path
from .fit_config import FitConfig

_LOG = logging.getLogger(__name__)
VERSION = 1
SECONDS = 10.0
"""Between two writings."""


class Checkpoint:
    """The file `path` of a construction; `decides`: all tensors that, beside the config, decide how it goes. Another
    construction's file is not taken up."""

    def __init__(self, path: str | Path, config: FitConfig, decides: Iterable[Tensor]) -> None:
        self.path, self.saved = Path(path), time.monotonic()
        if self.path.is_dir():
            raise InputError(f"checkpoint: {self.path} is a folder; name a file")
        content = hashlib.sha256(f"{VERSION} {torch.__version__} {asdict(config)}".encode())
        for tensor in decides:
            content.update(f"{tuple(tensor.shape)}".encode() + tensor.contiguous().numpy().tobytes())
        self.fingerprint = content.hexdigest()

    def load(self) -> dict | None:
        """The state of an earlier, interrupted run; None where there is none that fits."""
        if not self.path.is_file():
            return None
        try:
            state = torch.load(self.path, weights_only=True, map_location="cpu")
            fits = state["fingerprint"] == self.fingerprint
        except Exception:  # torch's reader of tensors raises almost anything for damaged files
            _LOG.warning("%s: cannot be read as a checkpoint; starting anew", self.path)
            return None
        if not fits:
            _LOG.warning("%s: belongs to another construction (clips or settings differ); starting anew", self.path)
            return None
        _LOG.warning("%s: an interrupted construction is taken up at step %d", self.path, state["state"]["step"])
        return state["state"]

    def save_sometimes(self, state: Callable[[], dict]) -> None:
        """Write what `state` returns unless the file is younger than `SECONDS`."""
        if time.monotonic() - self.saved >= SECONDS:
            self.save(state())

    def save(self, state: dict) -> None:
        """Write `state`, beside and then renamed."""
        with atomic_path(self.path) as temporary:
            torch.save({"fingerprint": self.fingerprint, "state": state}, temporary)
        self.saved = time.monotonic()

    def remove(self) -> None:
        """Delete the file: the construction is done."""
        self.path.unlink(missing_ok=True)
