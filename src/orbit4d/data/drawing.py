"""Between the engine and the renderer: the frames of one animation as a plan asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..assets.amplitude import with_amplitude
from ..assets.gltf import Asset
from .lighting import Lighting
from .placement import place
from .plan import Pair, RenderPlan
from .render import Frame, Renderer, iter_grid
from .renderer import FAR


@dataclass(kw_only=True)
class Drawing:
    """The frames of an animation, drawn as they are taken; their light; the camera-z that depth is scaled to."""

    frames: Iterator[tuple[Pair, Frame]]
    lighting: Lighting
    depth_max: float


class Drawer:
    """One OpenGL context that draws what `plan` asks for; a context manager. Raises InputError where there is no OpenGL."""

    def __init__(self, plan: RenderPlan) -> None:
        self.plan = plan
        self.renderer = Renderer(size=plan.size, supersample=plan.supersample)

    def __enter__(self) -> Drawer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.renderer.__exit__(*exception)

    def draw(self, asset: Asset, animation: int, *, seed: int) -> Drawing:
        """One animation; `seed` decides its light where the plan's is random. Raises InputError for what cannot be posed."""
        plan, pairs = self.plan, self.plan.pairs()
        lighting = Lighting.random(seed) if plan.light == "random" else Lighting()
        placement = place(asset, animation, fit=plan.fit, loop=plan.loop, root_motion=plan.root_motion)
        if plan.amplitude != 1:
            asset = with_amplitude(asset, plan.amplitude)
            placement = replace(placement, drift=plan.amplitude * placement.drift)
        drawn = iter_grid(
            asset,
            cameras=plan.cameras(),
            times=plan.times(),
            pairs=pairs,
            animation=animation,
            size=plan.size,
            placement=placement,
            loop=plan.loop,
            lighting=lighting,
            outputs=plan.outputs,
            supersample=plan.supersample,
            renderer=self.renderer,
        )
        # A swept object stays within 1 of the centre; Diffusion4D's may go anywhere that is drawn.
        depth_max = plan.radius + 1 if plan.fit == "swept" else FAR
        return Drawing(frames=((pairs[k], frame) for k, frame in drawn), lighting=lighting, depth_max=depth_max)
