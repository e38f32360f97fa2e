"""In which units a compact file stores its positions and scales: as finely as the bound asks for, whatever lies far away."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..splat.gaussians import Gaussians


@dataclass(kw_only=True)
class Frame:
    """The node's `center` (3,) and scale `size`, and the grid of stored positions: 16 bit, or float32 at multiples of `grid`."""

    center: Tensor
    size: float
    grid: float | None = None

    def positions(self, means: Tensor) -> np.ndarray:
        """What is stored for `means` (n, 3): normalised int16, or float32."""
        local = (means.double() - self.center) / self.size
        if self.grid is None:
            return (local * 32767).round().clamp(-32767, 32767).numpy().astype("<i2")
        return ((local / self.grid).round() * self.grid).numpy().astype("<f4")

    def error(self, means: Tensor) -> float:
        """How far a stored position is off at most, world units."""
        stored = torch.from_numpy(self.positions(means).astype(np.float64)) / (32767 if self.grid is None else 1)
        return float((stored * self.size + self.center - means).norm(dim=-1).max())


def frame_of(g: Gaussians, *, extent: float, bound: float) -> Frame:
    """Around everything with 16 bits an axis, or, where these are coarse beside `bound` (world units), with floats.

    So it is for Gaussians far away from the others, and for splats far larger: scales are parts of the node's scale, too.
    """
    low, high = g.means.amin(0).double(), g.means.amax(0).double()
    size = max(float((high - low).max()) / 2, float(g.log_scales.exp().max()), 1e-6)
    if size / 32767 <= bound / 4:
        return Frame(center=(low + high) / 2, size=size)
    # Powers of two and no shift: then floats that far outweigh the grid stay what they are.
    size = 2.0 ** math.ceil(math.log2(extent / 2))
    return Frame(center=torch.zeros(3).double(), size=size, grid=2.0 ** math.floor(math.log2(bound / 4 / size)))
