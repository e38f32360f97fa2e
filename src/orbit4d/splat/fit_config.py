"""What decides a construction beside its clips: steps, budgets, resolutions, learning rates and loss weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..errors import InputError
from .fit_optim import LearningRates


@dataclass(kw_only=True)
class LossWeights:
    """One weight a loss; 0 switches it off."""

    l1: float = 0.8
    """Mean absolute colour error on a random background."""
    dssim: float = 0.2
    """(1 - SSIM) / 2."""
    alpha: float = 0.3
    """Mean absolute error of alpha."""
    rigidity: float = 0.03
    """As-rigid-as-possible motion of neighbouring nodes: the prior that carries what is not seen."""
    acceleration: float = 0.02
    """Second difference of node positions over one frame spacing, relative to half the object's extent, squared, x 1000."""
    plane_space: float = 1e-3
    """Total variation of the HexPlane over space."""
    plane_time: float = 1e-2
    """Squared second differences of the temporal planes over time."""
    anisotropy: float = 0.02
    """Needle-shaped Gaussians."""
    opacity: float = 0.002
    """Mean opacity: what adds nothing fades, and is relocated."""
    scale: float = 0.02
    """Mean Gaussian size relative to half the object's extent."""


@dataclass(kw_only=True)
class FitConfig:
    """Everything that decides a construction, beside the clips."""

    steps: int = 1500
    """Optimisation steps, coarse and fine together."""
    coarse_share: float = 0.2
    """Share of the steps spent on the canonical Gaussians alone, on the static orbit."""
    coarse_share_moving: float = 0.05
    """The same without a static orbit, on the few frames next to the moment that motion is tracked from."""
    init: Literal["hull", "random"] = "hull"
    """Where the Gaussians start: on the visual hull, or anywhere in the box around it (to measure what the hull gives)."""
    deformation: Literal["nodes", "hexplane", "trajectories"] = "nodes"
    """What moves the Gaussians: control nodes whose motion is an ST-HexPlane; an ST-HexPlane at every Gaussian, with deltas of
    position, rotation, scale, opacity and colour; or a path of its own for each."""
    residual: bool = False
    """A second ST-HexPlane adds the five deltas at every Gaussian to the motion of the nodes."""
    lift_every: int = 50
    """Steps between liftings of diffusion features onto the moving nodes, where the clips have features."""
    loop: bool | None = None
    """Whether the motion repeats, so that time 1 is time 0; None: found from frames of the two moments with one camera."""
    moving_anchor: float | None = 0.5
    """Without a static orbit: where in the clip, from its first time to its last, the moment lies that motion is tracked from;
    None: all frames are fitted at once."""
    widen_share: float = 0.7
    """Share of the fine steps over which the window of times widens; learning rates decay after it."""
    frontier_share: float = 0.7
    """Share of the fine stage's moving frames drawn from those that the widening window has just reached."""
    static_share: float = 0.25
    """Share of the fine stage's frames drawn from the static orbit."""
    half_size_share: float = 0.6
    """Share of the steps, the first ones, on images of half the size: cheaper, and a large motion is found more easily."""
    gaussians: int = 8000
    """How many Gaussians the scene holds, from start to end."""
    frames_per_step: int = 4
    """Frames rendered in a step."""
    size: int = 256
    """Pixels of the larger image side that is fitted; larger clips are reduced to it."""
    hull_resolution: int = 112
    """Voxels along the longest side of the visual hull."""
    nodes: int = 384
    """Control nodes of the motion."""
    skinning_neighbors: int = 4
    """Nodes that carry a Gaussian."""
    graph_neighbors: int = 8
    """Neighbours of a node in the rigidity graph."""
    spatial_resolutions: tuple[int, ...] = (8, 24)
    """Cells of the spatial planes, one number a level."""
    temporal_resolutions: tuple[int, ...] = (8, 16)
    """Knots of the temporal planes over [0, 1], one number a level."""
    acceleration_knee: float = 0.0005
    """Second differences of node positions above this share of half the object's extent cost linearly, not squared."""
    relocate_every: int = 100
    """Steps between relocations of dead Gaussians."""
    relocate_share: float = 0.04
    """Share of the Gaussians that move in a relocation, at least where that many have a use elsewhere."""
    rates: LearningRates = field(default_factory=LearningRates)
    weights: LossWeights = field(default_factory=LossWeights)
    seed: int = 0
    """The same seed, clips and thread count give the same scene."""

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "gaussians",
            "frames_per_step",
            "size",
            "hull_resolution",
            "skinning_neighbors",
            "graph_neighbors",
            "lift_every",
            "relocate_every",
        ):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if not 2 <= self.nodes <= 4096:
            raise InputError(f"nodes: expected 2 to 4096, got {self.nodes}")
        if len(self.spatial_resolutions) != len(self.temporal_resolutions):
            raise InputError(
                "spatial_resolutions and temporal_resolutions: expected as many levels, got "
                f"{self.spatial_resolutions} and {self.temporal_resolutions}"
            )
        if self.moving_anchor is not None and not 0 <= self.moving_anchor <= 1:
            raise InputError(f"moving_anchor: expected a share of the clip in [0, 1], got {self.moving_anchor}")
        for name in (
            "coarse_share",
            "coarse_share_moving",
            "widen_share",
            "static_share",
            "frontier_share",
            "half_size_share",
            "relocate_share",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name}: expected a share in [0, 1], got {getattr(self, name)}")

    @classmethod
    def for_size(cls, size: int, steps: int | None = None) -> FitConfig:
        """Defaults for images of `size` pixels; `steps` overrides how long it runs."""
        small = size <= 160
        return cls(
            size=size,
            steps=steps or (800 if small else 1200),
            gaussians=6000 if small else 8000,
            frames_per_step=3 if small else 4,
            hull_resolution=96 if small else 128,
        )
