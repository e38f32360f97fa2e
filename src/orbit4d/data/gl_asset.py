"""An asset in GL buffers and textures: what stays over time, the moving vertices, and the list of draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..assets.gltf import Asset
from ..assets.gltf_materials import Material

_ALPHA_MODES = {"OPAQUE": 0, "MASK": 1, "BLEND": 2}


@dataclass(kw_only=True)
class Draw:
    """Triangles of equal state: a range of the index buffer, with what the shader must know of their material."""

    first: int
    count: int
    primitives: list[int]
    alpha_mode: int
    cutoff: float
    unlit: bool
    emissive: tuple[float, float, float]
    base: Any
    """Texture or None."""
    glow: Any
    culled: bool

    @property
    def features(self) -> tuple[str, ...]:
        """The shader's defines."""
        glowing = not self.unlit and max(self.emissive) > 0
        wanted = {
            "TEXTURED": self.base is not None,
            "GLOW_TEXTURED": glowing and self.glow is not None,
            "GLOWING": glowing and self.glow is None,
        }
        return tuple(name for name, on in wanted.items() if on)

    def continues(self, other: Draw) -> bool:
        """Whether this draw can be the end of `other`: neighbours of equal state, whose order does not matter."""
        state = ("alpha_mode", "cutoff", "unlit", "emissive", "base", "glow")
        return not (self.culled or other.culled or self.alpha_mode == 2) and all(
            getattr(self, name) == getattr(other, name) for name in state
        )


class GlAsset:
    """Buffers and textures of one asset in one context. `pose` gives it vertices; `release` frees all of it.

    Base colour factors are multiplied into the vertex colours, so that primitives that differ only in them are one draw.
    """

    def __init__(self, gl: Any, asset: Asset, *, cull: bool) -> None:
        self._gl, self._vaos, self._textures = gl, {}, {}
        self.asset = asset
        self.offsets = np.cumsum([0, *[len(p.positions) for p in asset.primitives]])
        vertices = int(self.offsets[-1])
        uvs = np.concatenate([p.uvs for p in asset.primitives]).astype("f4")
        colors = np.concatenate([p.colors * p.material.color for p in asset.primitives]).astype("f4")
        indices = np.concatenate([p.indices + o for p, o in zip(asset.primitives, self.offsets, strict=False)])
        self._moving = gl.buffer(reserve=vertices * 24, dynamic=True)
        self._displaced: Any = None
        self._uvs, self._colors = gl.buffer(uvs), gl.buffer(colors)
        self._indices = gl.buffer(indices.astype("i4"))
        self._staging = np.empty((vertices, 6), np.float32)
        self._flows = np.zeros((vertices, 3), np.float32)
        self._flows_stale = True
        self.centroids = np.zeros((len(asset.primitives), 3))
        self.mirrored = np.zeros(len(asset.primitives), bool)
        self._rest = self._handedness_at([(p.positions, p.normals) for p in asset.primitives]) if cull else None
        draws = self._draws(cull)
        self.opaque = [d for d in draws if d.alpha_mode != 2]
        self.blended = [d for d in draws if d.alpha_mode == 2]

    def _draws(self, cull: bool) -> list[Draw]:
        first, draws = 0, []
        for i, p in enumerate(self.asset.primitives):
            m = p.material
            glow = m.emissive_texture if not m.unlit and m.emissive.max() > 0 else None
            draw = Draw(
                first=first,
                count=len(p.indices),
                primitives=[i],
                alpha_mode=_ALPHA_MODES[m.alpha_mode],
                cutoff=m.alpha_cutoff if m.alpha_mode == "MASK" else 0.0,
                unlit=m.unlit,
                emissive=(0.0, 0.0, 0.0)
                if m.unlit
                else (float(m.emissive[0]), float(m.emissive[1]), float(m.emissive[2])),
                base=self._texture(m.texture, m),
                glow=self._texture(glow, m),
                culled=cull and not m.double_sided,
            )
            if draws and draw.continues(draws[-1]):
                draws[-1].count += draw.count
                draws[-1].primitives.append(i)
            else:
                draws.append(draw)
            first += len(p.indices)
        return draws

    def _texture(self, image: np.ndarray | None, m: Material) -> Any:
        if image is None:
            return None
        key = (id(image), m.wrap, m.nearest)
        if key not in self._textures:
            height, width = image.shape[:2]
            texture = self._gl.texture((width, height), 4, np.ascontiguousarray(image))
            texture.build_mipmaps()
            texture.repeat_x, texture.repeat_y = m.wrap
            filters = (
                (self._gl.NEAREST, self._gl.NEAREST) if m.nearest else (self._gl.LINEAR_MIPMAP_LINEAR, self._gl.LINEAR)
            )
            texture.filter = filters
            self._textures[key] = texture
        return self._textures[key]

    def pose(self, positions: list[np.ndarray], normals: list[np.ndarray], following: list[np.ndarray] | None) -> None:
        """World positions and normals a primitive now, and the positions at the next time (None: nothing moves)."""
        staging, flows = self._staging, self._flows
        np.concatenate(positions, out=staging[:, :3])
        np.concatenate(normals, out=staging[:, 3:])
        self._moving.write(staging)
        if following is not None:
            np.concatenate(following, out=flows)
            flows -= staging[:, :3]
            self._flows_stale = True
        elif flows.any():
            flows[:] = 0
            self._flows_stale = True
        if self.blended:
            self.centroids = np.array([p.mean(0) for p in positions], dtype=float)
        if self._rest is not None:
            self.mirrored = self._handedness_at(list(zip(positions, normals, strict=True))) * self._rest < 0

    def _handedness_at(self, shapes: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        """A number a primitive: do its corners turn counter-clockwise about its normals (> 0)? Mirroring changes the sign.

        Normals transform with the surface, so only the change against the rest pose tells of mirrored nodes; files whose
        normals point inwards stay as they are.
        """
        out = np.zeros(len(shapes))
        for i, (p, (positions, normals)) in enumerate(zip(self.asset.primitives, shapes, strict=True)):
            triangles = p.indices.reshape(-1, 3)
            a, b, c = (positions[triangles[:, k]] for k in range(3))
            out[i] = (np.cross(b - a, c - a).astype(float) * normals[triangles[:, 0]]).sum()
        return out

    def vertex_array(self, key: object, program: Any, *, flow: bool) -> Any:
        """The vertex array for `program`, made once."""
        if flow and self._flows_stale:
            if self._displaced is None:
                self._displaced = self._gl.buffer(reserve=self._flows.nbytes, dynamic=True)
            self._displaced.write(self._flows)
            self._flows_stale = False
        if key not in self._vaos:
            content = [
                (self._moving, "3f 3f", "position", "normal"),
                (self._uvs, "2f", "uv"),
                (self._colors, "4f", "color"),
            ]
            if flow:
                content.append((self._displaced, "3f", "displacement"))
            self._vaos[key] = self._gl.vertex_array(program, content, index_buffer=self._indices, skip_errors=True)
        return self._vaos[key]

    def release(self) -> None:
        """Free everything; the object is of no use afterwards."""
        held = [*self._vaos.values(), self._moving, self._uvs, self._colors, self._indices, *self._textures.values()]
        for resource in [*held, *([] if self._displaced is None else [self._displaced])]:
            resource.release()
