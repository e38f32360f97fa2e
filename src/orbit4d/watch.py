"""Following a run from outside: what `generate` shows of itself while it works."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .splat.gaussians import Gaussians4D


class Watcher(Protocol):
    """Is shown each stage and step of a run, in the run's own thread. What a method raises ends the run.

    Pictures and scenes are functions: whoever does not look at a step pays nothing for it. Looking does not change the result.
    """

    def stage(self, name: str) -> None:
        """A stage of `report.json`'s `seconds` begins."""

    def warning(self, text: str) -> None:
        """A note on the conditions, one line."""

    def sampled(self, step: int, steps: int, pictures: Callable[[int], Tensor], *, frozen: bool) -> None:
        """A sampling step (from 1) is done. `pictures(count)`: (count, 4, h, w) straight RGBA in [0, 1], frames evenly spaced,
        as the model imagines them by now. `frozen`: of the static orbit."""

    def fitted(self, step: int, steps: int, scene: Callable[[], Gaussians4D]) -> None:
        """A step (from 1) of the 4D construction is done. `scene()`: a copy of the scene as it is."""


def sampling_watcher(
    watch: Watcher, decode: Callable[[Tensor], tuple[Tensor, Tensor]], *, frozen: bool
) -> Callable[[int, int, Tensor], None]:
    """A sampler's step callback (step, steps, latents (f, ...)) that shows the step to `watch`."""

    def on_step(step: int, steps: int, latents: Tensor) -> None:
        def pictures(count: int) -> Tensor:
            index = torch.linspace(0, len(latents) - 1, min(count, len(latents))).round().long()
            return torch.cat(decode(latents[index]), dim=1)

        watch.sampled(step, steps, pictures, frozen=frozen)

    return on_step
