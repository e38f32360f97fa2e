"""What a training run says of itself: log.jsonl, the bar, throughput, a tracker's curves and pictures."""

from __future__ import annotations

import hashlib
import platform
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from torch import Tensor

from ..files import atomic_path
from .training import Log, TrainingConfig

if TYPE_CHECKING:
    from accelerate import Accelerator


class Journal:
    """The first process's; `log` is None in the others, which stay silent."""

    def __init__(
        self,
        accelerator: Accelerator,
        config: TrainingConfig,
        out: Path,
        *,
        start: int,
        samples: int,
        frames: int,
        log: Log | None,
    ) -> None:
        """`start`: the step that the run goes on from. `samples` of a batch over all processes, each of `frames`."""
        self.config, self.out, self.log, self.samples, self.frames = config, out, log, samples, frames
        self.accelerator, self.last, self.skipped = accelerator, (time.monotonic(), start), 0
        if config.log == "tensorboard":  # a run that goes on replaces what was written after its checkpoint
            accelerator.init_trackers("tensorboard", init_kwargs={"tensorboard": {"purge_step": start + 1}})
        elif config.log == "wandb":
            settings = {key: str(value) for key, value in asdict(config).items()}
            place = out.resolve()
            name = hashlib.sha256(f"{platform.node()} {place}".encode()).hexdigest()[:16]  # the same when it goes on
            options = {"dir": str(out), "name": f"{place.parent.name} {place.name}", "id": name, "resume": "allow"}
            accelerator.init_trackers("orbit4d", settings, {"wandb": options})

    def add(self, values: dict[str, float], *, skipped: bool) -> None:
        self.skipped += skipped
        if self.log is not None and not skipped:
            self.log.add(**values)

    def write(self, step: int, *, rate: float) -> dict[str, float]:
        """A line of the log, and the points of the curves; returns what the bar shows."""
        now, (then, since) = time.monotonic(), self.last
        self.last = now, step
        samples = (step - since) * self.samples / max(now - then, 1e-9)
        speed = {
            "samples_per_second": round(samples, 3),
            "frames_per_second": round(samples * self.frames, 2),
            "hours_left": round((self.config.steps - step) * self.samples / max(samples, 1e-9) / 3600, 3),
        }
        speed |= {"skipped": self.skipped} if self.skipped else {}
        self.skipped = 0
        if self.log is None:
            return {}
        line = self.log.write(step, lr=rate, **speed)
        self.accelerator.log({k: v for k, v in line.items() if k != "step"}, step=step)
        quiet = ("step", "seconds", "lr", "gradient", "frames_per_second")
        return {key: value for key, value in line.items() if key not in quiet}

    def picture(self, sheet: Tensor | None, step: int) -> None:
        """A sheet (3, h, w) as samples/step_000200.png, and for the tracker."""
        if sheet is None:
            return
        array = (sheet.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        with atomic_path(self.out / "samples" / f"step_{step:06d}.png") as temporary:
            Image.fromarray(array).save(temporary)
        for tracker in self.accelerator.trackers:
            layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
            tracker.log_images({"samples": array[None]}, step=step, **layout)  # type: ignore[attr-defined]

    def close(self) -> None:
        for tracker in self.accelerator.trackers:
            tracker.finish()
