"""Between the engine and the renderer: the frames of one animation as a plan asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..assets.gltf import Asset
from .plan import Pair, RenderPlan
from .sample import RenderedFrame


@dataclass(kw_only=True)
class Drawing:
    """The frames of an animation, drawn as they are taken; what their light is; the camera-z that depth is scaled to."""

    frames: Iterator[tuple[Pair, RenderedFrame]]
    lighting: Mapping[str, Any]
    depth_max: float


class Drawer:
    """One OpenGL context that draws what `plan` asks for; a context manager. Raises InputError where there is no OpenGL."""

    def __init__(self, plan: RenderPlan) -> None:
        from .render import Renderer

        self.plan = plan
        self.renderer = Renderer(size=plan.size, supersample=plan.supersample)

    def __enter__(self) -> Drawer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.renderer.__exit__(*exception)

    def draw(self, asset: Asset, animation: int, *, seed: int) -> Drawing:
        """One animation; `seed` decides its light where the plan's is random."""
        from .render import FAR

        # A swept object stays within 1 of the centre; Diffusion4D's may go anywhere that is drawn.
        depth_max = self.plan.radius + 1 if self.plan.fit == "swept" else FAR
        return Drawing(frames=self._frames(asset, animation), lighting={}, depth_max=depth_max)

    def _frames(self, asset: Asset, animation: int) -> Iterator[tuple[Pair, RenderedFrame]]:
        from .render import _pose, place

        plan, cameras, times = self.plan, self.plan.cameras(), self.plan.times()
        placed = place(asset, animation, fit=plan.fit, loop=plan.loop, root_motion=plan.root_motion)
        for j in range(plan.frames):
            pairs = [pair for pair in plan.pairs() if pair[1] == j]
            _pose(self.renderer, asset, animation, placed, u=times[j], loop=plan.loop)
            for pair in pairs:
                yield pair, _Frame(*self.renderer.draw(cameras, pair[0], with_depth="depth" in plan.outputs))


@dataclass
class _Frame:
    rgba: np.ndarray
    depth: np.ndarray | None
    normals: np.ndarray | None = None
    flow: np.ndarray | None = None
