"""What a frame holds, and the textures and framebuffers that it is drawn into, resolved in and read from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .plan import Output


@dataclass(kw_only=True)
class Frame:
    """One picture of `size` s, row 0 at the top. What was not asked for is None.

    Attributes:
        rgba: (s, s, 4) uint8, sRGB, straight alpha.
        depth: (s, s) float32 camera-z in world units (not the distance along the ray), 0 where nothing is.
        normals: (s, s, 3) float32 unit normals in the world frame (z up), turned towards the camera, 0 where nothing is.
        flow: (s, s, 3) float32 scene flow: the displacement, in world units along the world axes, of the surface point seen
            here from this frame's time to the next; 0 where nothing is. It does not depend on the camera's own motion.

    Of a pixel's samples, depth, normals and flow take the mean over those of the nearest surface: covered, and at most 2 %
    farther than the nearest one. So neither background nor what lies behind an edge is mixed in. They exist wherever a
    sample is covered, be alpha ever so small.

    Transparency: depth, normals and flow are those of opaque and masked surfaces; where none is behind, those of the
    nearest blended surface with an alpha of 0.05 or more.
    """

    rgba: np.ndarray
    depth: np.ndarray | None = None
    normals: np.ndarray | None = None
    flow: np.ndarray | None = None


@dataclass(kw_only=True)
class Targets:
    """Textures and framebuffers of one size: supersampled ones to draw into, and small ones to read."""

    drawn: Any
    colored: Any
    behind: Any
    resolved: Any
    samplers: dict[str, Any]
    attachments: dict[str, int]

    def release(self) -> None:
        for framebuffer in (self.drawn, self.colored, self.behind, self.resolved):
            if framebuffer is not None:
                for attachment in framebuffer.color_attachments:
                    attachment.release()
                framebuffer.release()
        for texture in self.samplers.values():
            texture.release()


def make_targets(gl: Any, size: int, supersample: int, wanted: tuple[Output, ...], blended: bool) -> Targets:
    """Depth is resolved whenever any surface output is: it says which samples belong together."""
    side = (size * supersample,) * 2
    surfaces = [name for name in ("normals", "flow") if name in wanted]
    # Half floats hold unit normals to 5e-4; flow must stay exact for slow motion.
    formats = {"normals": "f2", "flow": "f4"}
    color, depth = gl.texture(side, 4, dtype="f1"), gl.depth_texture(side)
    samplers = {"colors": color, "opaque": depth}
    layers = [gl.texture(side, 4, dtype=formats[name]) for name in surfaces]
    samplers |= {"flows" if name == "flow" else name: layer for name, layer in zip(surfaces, layers, strict=True)}
    drawn = gl.framebuffer([color, *layers], depth)
    behind = None
    if blended:
        samplers["blended"] = gl.depth_texture(side)
        layers = [gl.texture(side, 4, dtype=formats[name]) for name in surfaces]
        behind = gl.framebuffer(layers, samplers["blended"])
        names = ["blended_flows" if name == "flow" else "blended_normals" for name in surfaces]
        samplers |= dict(zip(names, layers, strict=True))
    for texture in samplers.values():
        texture.repeat_x = texture.repeat_y = False
    for texture in (depth, *([samplers["blended"]] if blended else [])):
        texture.compare_func = ""
        texture.filter = (gl.NEAREST, gl.NEAREST)
    names = ["depth", *surfaces] if wanted else []
    small = [gl.texture((size, size), 1 if name == "depth" else 4, dtype="f4") for name in names]
    return Targets(
        drawn=drawn,
        colored=gl.framebuffer([color], depth),
        behind=behind,
        resolved=gl.framebuffer([gl.texture((size, size), 4, dtype="f1"), *small]),
        samplers=samplers,
        attachments={name: i + 1 for i, name in enumerate(names)},
    )
