"""Guidance on motion alone, around any pipeline: the network's answer is changed, whatever is done with it afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from orbit4d.diffusion.denoiser import Conditions
from orbit4d.diffusion.pipeline import Orbit4DPipeline


@contextmanager
def motion_guidance(pipe: Orbit4DPipeline, weight: float, *, terms: float) -> Iterator[None]:
    """Within: `weight` [e(y, m) - e(y, without m)] is added to the guided prediction; one more call of the network a step.

    `terms` is how often e(y, m) counts in that prediction, 1 + w1 + w2: the hook changes e(y, m) itself, before guidance.
    Branches without a motion magnitude (null, static, 3D) are left as they are.
    """
    if weight == 0:
        yield
        return
    busy = False

    def corrected(network: Any, inputs: tuple, output: Any) -> Any:
        nonlocal busy
        x, levels, conditions = inputs
        assert isinstance(conditions, Conditions)
        if busy or conditions.motion is None:
            return None
        busy = True
        try:
            without = network(x, levels, replace(conditions, motion=None))
        finally:
            busy = False
        return output + weight / terms * (output - without)

    handle = pipe.denoiser.register_forward_hook(corrected)
    try:
        yield
    finally:
        handle.remove()
