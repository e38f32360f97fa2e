"""The scale of the motion condition. Apart from the readers of samples, so that training on latents needs no image library."""

from __future__ import annotations

import math

from ..errors import InputError

SMALLEST_MOTION = 1e-6
"""m below this counts as this, so that its logarithm exists."""


def log_motion(magnitude: float | None) -> float:
    """log m, NaN where m is not known. Raises InputError for what is no number."""
    if magnitude is None:
        return float("nan")
    if not isinstance(magnitude, int | float) or not 0 <= magnitude < float("inf"):
        raise InputError(f"motion magnitude: expected a number from 0, got {magnitude!r:.40}; render the sample again")
    return math.log(max(magnitude, SMALLEST_MOTION))
