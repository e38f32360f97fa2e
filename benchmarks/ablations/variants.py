"""The variants of the denoiser that are compared: each differs from the base in what its line says, and in nothing else."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from mixed import MixedDenoiser

from orbit4d.diffusion.denoiser import Denoiser

XS = {"spatial_width": 64, "temporal_width": 32, "depth": 4, "spatial_heads": 2, "temporal_heads": 1}
"""0.4 million parameters, so that a run takes minutes on two shared cores."""


@dataclass(kw_only=True)
class Variant:
    """One way to build and train the denoiser. `model` overrides `XS`; the rest is the recipe."""

    question: str
    model: dict[str, Any] = field(default_factory=dict)
    mixed: bool = False
    """One stream that sees every condition, in place of two."""
    batch: int = 4
    frames: int = 7
    """Frames of a sample, its reference included."""
    step_share: float = 1.0
    """Of the budget's steps: less where a step costs more, for comparisons at equal compute."""
    noise_shift: tuple[float, ...] = (3.0,)
    """t = sigmoid(N(noise_shift, 1)); each sample has one of them."""
    motion_weight: float = 0.05
    motion_condition: bool = True
    muon: bool = True
    lr: float = 3e-3

    def build(self) -> Denoiser:
        network = MixedDenoiser if self.mixed else Denoiser
        settings: dict[str, Any] = XS | self.model
        return network(**settings)

    def record(self) -> dict[str, Any]:
        return asdict(self)


def lifted(*blocks: int) -> dict[str, Any]:
    return {"lift": 16, "lift_blocks": blocks}


BEST = lifted(1) | {"relative": "camera"}
BOTH = (0.8, 3.0)

VARIANTS = {
    "best": Variant(question="recipe", model=BEST, noise_shift=BOTH),
    "best, x0": Variant(question="recipe", model=BEST | {"prediction": "x0"}, noise_shift=BOTH),
    "best, v": Variant(question="recipe", model=BEST | {"prediction": "v"}, noise_shift=BOTH),
    "best, four levels": Variant(question="noise", model=BEST, noise_shift=(0.8, 3.0, 3.0, 4.0), motion_weight=0.0),
    "best, AdamW": Variant(question="recipe", model=BEST, noise_shift=BOTH, muon=False),
    "best, learning rate 6e-3": Variant(question="recipe", model=BEST, noise_shift=BOTH, lr=6e-3),
    "best, no motion condition": Variant(question="streams", model=BEST, noise_shift=BOTH, motion_condition=False),
    "best, no motion loss": Variant(question="streams", model=BEST, noise_shift=BOTH, motion_weight=0.0),
    "best, mixed": Variant(question="streams", model=BEST | {"spatial_width": 76}, noise_shift=BOTH, mixed=True),
    "base": Variant(question="base"),
    "camera": Variant(question="geometry", model={"relative": "camera"}),
    "camera, no rays": Variant(question="geometry", model={"relative": "camera", "rays": False}),
    "ray": Variant(question="geometry", model={"relative": "ray"}),
    "ray, no rays": Variant(question="geometry", model={"relative": "ray", "rays": False}),
    "lift": Variant(question="geometry", model=lifted(1)),
    "lift, camera": Variant(question="geometry", model=lifted(1) | {"relative": "camera"}),
    "24 frames": Variant(question="frames", frames=24, batch=1),
    "12 frames": Variant(question="frames", frames=12, batch=2),
    "4 frames": Variant(question="frames", frames=4, batch=7),
    "noise 0.8": Variant(question="noise", noise_shift=(0.8,)),
    "noise 0.8 and 3": Variant(question="noise", noise_shift=(0.8, 3.0)),
    "noise 1.6": Variant(question="noise", noise_shift=(1.6,)),
    "noise 4": Variant(question="noise", noise_shift=(4.0,)),
    "x0": Variant(question="noise", model={"prediction": "x0"}),
    "mixed": Variant(question="streams", mixed=True, model={"spatial_width": 76}),
    "no motion condition": Variant(question="streams", motion_condition=False),
    "no motion loss": Variant(question="streams", motion_weight=0.0),
    "learning rate 6e-3": Variant(question="recipe", lr=6e-3),
    "AdamW": Variant(question="recipe", muon=False),
}
