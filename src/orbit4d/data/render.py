"""Rendering clips of animated assets with moderngl (EGL; llvmpipe where there is no GPU).

How big an object appears is decided by `fit`:

- ``swept`` (default): the sphere swept by the whole motion is centred and just fits the default camera's frame.
- ``t0``: Diffusion4D's: the box at time 0 is centred and its largest side is 1.

Root motion policy: motion is kept as authored. Only when the object travels so far that ``swept`` would shrink it by more
than 1.5x against its own size, the straight-line part of the drift from the first to the last frame is removed
(``root_motion="auto"``; ``"keep"`` and ``"remove"`` force either).

Clip time: [0, 1] spans whole loops of the animation, as many as fit into about a second but at least one
(``loop="loop"``); ``"once"`` plays it exactly once; ``"clamp"`` plays 23/24 s at its own speed and holds the last pose
(Diffusion4D's).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..assets.gltf import Asset, Posed, load_glb, without
from ..cameras import Cameras, Orbit
from ..clip import OrbitalClip
from ..errors import InputError
from .render_shaders import FRAGMENT, VERTEX

Fit = Literal["swept", "t0"]
Loop = Literal["loop", "once", "clamp"]
RootMotion = Literal["auto", "keep", "remove"]
NEAR, FAR = 0.05, 20.0
PLACEMENT_MOMENTS = 25
FRAME_RADIUS = 2.0 * math.sin(math.radians(39.6 / 2)) * 0.95


@dataclass(kw_only=True)
class Placement:
    """asset -> world at a second s of the animation: scale * (x - centre - s * drift)."""

    scale: float
    centre: np.ndarray
    drift: np.ndarray
    """Asset units a second."""

    def apply(self, posed: Posed, seconds: float) -> list[np.ndarray]:
        shift = self.centre + seconds * self.drift
        return [((p - shift) * self.scale).astype(np.float32) for p in posed.positions]


class Renderer:
    """An off-screen GL context that draws posed assets. Use as a context manager; one per process."""

    def __init__(self, *, size: int, supersample: int = 2) -> None:
        if not 8 <= size * supersample <= 8192:
            raise InputError(f"--size: expected 8 to {8192 // supersample} pixels, got {size}")
        self.size, self.supersample = size, supersample
        self.context = _create_context()
        side = size * supersample
        self.color = self.context.texture((side, side), 4, dtype="f1")
        self.depth = self.context.depth_texture((side, side))
        self.framebuffer = self.context.framebuffer([self.color], self.depth)
        self.program = self.context.program(vertex_shader=VERTEX, fragment_shader=FRAGMENT)
        self.white = self.context.texture((1, 1), 4, b"\xff" * 4)
        self.asset: Asset | None = None
        self.resources: list[Any] = []

    def __enter__(self) -> Renderer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.context.release()

    def _load(self, asset: Asset) -> None:
        """Upload what does not change over time; kept until another asset comes."""
        if self.asset is asset:
            return
        for resource in self.resources:
            resource.release()
        gl, first = self.context, 0
        counts = [len(p.positions) for p in asset.primitives]
        uvs = np.concatenate([p.uvs for p in asset.primitives]).astype("f4")
        colors = np.concatenate([p.colors for p in asset.primitives]).astype("f4")
        offsets = np.cumsum([0, *counts])
        indices = np.concatenate([p.indices + o for p, o in zip(asset.primitives, offsets, strict=False)]).astype("i4")
        self.moving = gl.buffer(reserve=int(offsets[-1]) * 24, dynamic=True)
        buffers = [gl.buffer(uvs.tobytes()), gl.buffer(colors.tobytes()), gl.buffer(indices.tobytes())]
        self.vao = gl.vertex_array(
            self.program,
            [(self.moving, "3f 3f", "position", "normal"), (buffers[0], "2f", "uv"), (buffers[1], "4f", "color")],
            index_buffer=buffers[2],
            skip_errors=True,
        )
        self.draws, textures = [], {}
        for p in asset.primitives:
            m = p.material
            if m.texture is not None and id(m.texture) not in textures:
                height, width = m.texture.shape[:2]
                texture = gl.texture((width, height), 4, np.ascontiguousarray(m.texture).tobytes())
                texture.build_mipmaps()
                texture.repeat_x, texture.repeat_y = m.wrap
                if m.nearest:
                    texture.filter = (gl.NEAREST, gl.NEAREST)
                else:
                    texture.filter = (gl.LINEAR_MIPMAP_LINEAR, gl.LINEAR)
                textures[id(m.texture)] = texture
            texture = self.white if m.texture is None else textures[id(m.texture)]
            self.draws.append((m, texture, first, len(p.indices)))
            first += len(p.indices)
        self.draws.sort(key=lambda d: d[0].alpha_mode == "BLEND")
        self.resources = [self.moving, self.vao, *buffers, *textures.values()]
        self.asset = asset

    def upload(self, asset: Asset, positions: list[np.ndarray], normals: list[np.ndarray]) -> None:
        """Set the pose that the next `draw` calls show: world positions and normals per primitive."""
        self._load(asset)
        packed = np.concatenate([np.concatenate(positions), np.concatenate(normals)], axis=1).astype("f4")
        self.moving.write(packed.tobytes())

    def draw(self, cameras: Cameras, index: int, *, with_depth: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
        """(size, size, 4) uint8 straight RGBA and, on request, (size, size) float32 camera-z, 0 where nothing is."""
        gl, program = self.context, self.program
        gl_matrix = _projection(cameras, index) @ cameras.world_to_camera[index].double().numpy()
        program["matrix"].write(gl_matrix.T.astype("f4").tobytes())
        program["eye"].value = tuple(cameras.positions[index].tolist())
        self.framebuffer.use()
        self.framebuffer.clear(0, 0, 0, 0, depth=1.0)
        gl.enable_only(gl.DEPTH_TEST | gl.BLEND)
        gl.blend_func = gl.ONE, gl.ONE_MINUS_SRC_ALPHA
        for material, texture, first, count in self.draws:
            texture.use(0)
            program["factor"].value = tuple(material.color.tolist())
            program["unlit"].value = material.unlit
            program["alpha_mode"].value = {"OPAQUE": 0, "MASK": 1}.get(material.alpha_mode, 2)
            program["cutoff"].value = material.alpha_cutoff
            self.framebuffer.depth_mask = material.alpha_mode != "BLEND"
            self.vao.render(gl.TRIANGLES, vertices=count, first=first)
        self.framebuffer.depth_mask = True
        side = self.size * self.supersample
        color = np.frombuffer(self.framebuffer.read(components=4, dtype="f1"), np.uint8).reshape(side, side, 4)
        depth = None
        if with_depth:
            z = np.frombuffer(self.depth.read(), np.float32).reshape(side, side)
            depth = self._resolve_depth(z)
        return self._resolve(color), depth

    def _resolve(self, premultiplied: np.ndarray) -> np.ndarray:
        """Average supersamples (premultiplied), then divide by alpha."""
        s, n = self.supersample, self.size
        total = premultiplied.reshape(n, s, n, s, 4).astype(np.uint16).sum(axis=(1, 3), dtype=np.uint16)
        alpha = np.maximum(total[..., 3:], 1).astype(np.float32)
        out = np.empty((n, n, 4), np.uint8)
        out[..., :3] = np.minimum(total[..., :3] * (255 / alpha) + 0.5, 255)
        out[..., 3] = (total[..., 3] + s * s // 2) // (s * s)
        return out

    def _resolve_depth(self, z: np.ndarray) -> np.ndarray:
        """Mean camera-z of the covered supersamples."""
        s, n = self.supersample, self.size
        covered = z < 1
        linear = np.where(covered, NEAR * FAR / (FAR - z * (FAR - NEAR)), 0).reshape(n, s, n, s)
        return (linear.sum((1, 3)) / np.maximum(covered.reshape(n, s, n, s).sum((1, 3)), 1)).astype(np.float32)


def _create_context() -> Any:
    try:
        import moderngl

        return moderngl.create_context(standalone=True, backend="egl")  # type: ignore[arg-type]
    except Exception as error:  # moderngl and its loader raise bare Exceptions
        raise InputError(
            f"rendering: no OpenGL through EGL on this machine ({error}); install Mesa, "
            "e.g. `apt-get install libegl1 libgl1 libgl1-mesa-dri` (Debian) or `dnf install mesa-libEGL mesa-dri-drivers` (Fedora)"
        ) from error


def _projection(cameras: Cameras, index: int) -> np.ndarray:
    """OpenCV camera coordinates -> GL clip space whose row 0 is the image's top row (so that reads need no flip)."""
    k = cameras.intrinsics[index].double().numpy()
    w, h = cameras.width, cameras.height
    return np.array(
        [
            [2 * k[0, 0] / w, 0, 2 * k[0, 2] / w - 1, 0],
            [0, 2 * k[1, 1] / h, 2 * k[1, 2] / h - 1, 0],
            [0, 0, (FAR + NEAR) / (FAR - NEAR), -2 * FAR * NEAR / (FAR - NEAR)],
            [0, 0, 1, 0],
        ]
    )


def clip_seconds(duration: float, u: float, *, loop: Loop = "loop") -> float:
    """Seconds into an animation of `duration` at clip time u in [0, 1]; see the module's text."""
    if loop == "clamp":
        return min(u * 23 / 24, duration)
    if loop == "once" or duration <= 0:
        return u * duration
    cycles = max(1, int(1.0 / max(duration, 1e-3) + 0.3))
    position = u * cycles * duration
    return position if u >= 1 and cycles == 1 else min(math.fmod(position, duration) if u < 1 else duration, duration)


def place(
    asset: Asset, animation: int | None, *, fit: Fit = "swept", loop: Loop = "loop", root_motion: RootMotion = "auto"
) -> Placement:
    """The similarity (and drift) that puts the asset into the world, from its vertices over the motion."""
    duration = _duration(asset, animation)
    played = clip_seconds(duration, 1.0, loop=loop)
    # Moments of the animation, not of the clip: short loops repeat, and few clip times would meet the same phases again.
    moments = np.linspace(0, played, PLACEMENT_MOMENTS) if played > 0 else np.zeros(1)
    drawn = _drawn(asset)
    clouds = [np.concatenate(asset.pose(animation, float(s)).positions)[drawn] for s in moments]
    zero = np.zeros(3)
    low, high = clouds[0].min(0), clouds[0].max(0)
    extent = float((high - low).max())
    if not np.isfinite(extent) or extent < 1e-9:
        raise InputError(f"{asset.name}: its vertices span nothing at time 0; expected a visible mesh")
    if fit == "t0":
        return Placement(scale=1 / extent, centre=(low + high) / 2, drift=zero)
    travel = clouds[-1].mean(0) - clouds[0].mean(0)
    centre, radius = _sphere(np.concatenate(clouds))
    alone = max(_sphere(cloud)[1] for cloud in clouds)
    if root_motion == "remove" or (
        root_motion == "auto" and played > 0 and radius > 1.5 * alone and np.linalg.norm(travel) > 0.3 * alone
    ):
        drift = travel / max(played, 1e-6)
        clouds = [cloud - s * drift for cloud, s in zip(clouds, moments, strict=True)]
        centre, radius = _sphere(np.concatenate(clouds))
        return Placement(scale=FRAME_RADIUS / radius, centre=centre, drift=drift)
    return Placement(scale=FRAME_RADIUS / radius, centre=centre, drift=zero)


def _drawn(asset: Asset) -> np.ndarray:
    """Indices of the vertices that triangles use (files often hold stray ones)."""
    offsets = np.cumsum([0, *[len(p.positions) for p in asset.primitives]])
    return np.unique(np.concatenate([p.indices + o for p, o in zip(asset.primitives, offsets, strict=False)]))


def _sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre and radius of a small enclosing sphere (Badoiu-Clarkson iterations; within about 1 % of the smallest)."""
    centre = (points.min(0) + points.max(0)) / 2
    for i in range(1, 60):
        far = points[int(((points - centre) ** 2).sum(1).argmax())]
        centre = centre + (far - centre) / (i + 1) ** 1.2 * 0.5
    return centre, float(np.sqrt(((points - centre) ** 2).sum(1).max()))


def find_animation(asset: Asset, wanted: int | str | None) -> int | None:
    """Index of an animation by index or name; None picks the first, if any.

    Case does not matter; the part after '|' suffices, and so does any part of a name that only one animation has.
    """
    names = [a.name for a in asset.animations]
    if wanted is None:
        return 0 if names else None
    if isinstance(wanted, str) and not wanted.isdigit():
        for i, name in enumerate(names):
            if wanted.lower() in (name.lower(), name.rsplit("|", 1)[-1].lower()):
                return i
        holding = [i for i, name in enumerate(names) if wanted and wanted.lower() in name.lower()]
        if len(holding) == 1:
            return holding[0]
    elif 0 <= int(wanted) < len(names):
        return int(wanted)
    listing = ", ".join(f"{i}={n.rsplit('|', 1)[-1]}" for i, n in enumerate(names)) or "none"
    raise InputError(f"{asset.name}: no animation {wanted!r}; it has: {listing}")


def _duration(asset: Asset, animation: int | None) -> float:
    """Seconds; 0 for the rest pose."""
    return 0.0 if animation is None else asset.animations[animation].duration


def _pose(
    renderer: Renderer, asset: Asset, animation: int | None, placement: Placement, *, u: float, loop: Loop
) -> None:
    """Give `renderer` the asset as it stands in the world at clip time u."""
    seconds = clip_seconds(_duration(asset, animation), u, loop=loop)
    posed = asset.pose(animation, seconds)
    renderer.upload(asset, placement.apply(posed, seconds), posed.normals)


def render_grid(
    asset: Asset,
    *,
    views: Orbit,
    times: Tensor,
    pairs: list[tuple[int, int]],
    animation: int | None,
    size: int = 128,
    fit: Fit = "swept",
    loop: Loop = "loop",
    root_motion: RootMotion = "auto",
    renderer: Renderer | None = None,
) -> np.ndarray:
    """Any (view, time) index pairs of one animation: (n, size, size, 4) uint8 straight RGBA, in the order of `pairs`."""
    cameras = views.cameras(size)
    placement = place(asset, animation, fit=fit, loop=loop, root_motion=root_motion)
    out = np.empty((len(pairs), size, size, 4), np.uint8)
    own = renderer or Renderer(size=size)
    try:
        by_time: dict[int, list[int]] = {}
        for k, (_, j) in enumerate(pairs):
            by_time.setdefault(j, []).append(k)
        for j, members in by_time.items():
            _pose(own, asset, animation, placement, u=float(times[j]), loop=loop)
            for k in members:
                out[k], _ = own.draw(cameras, pairs[k][0])
    finally:
        if renderer is None:
            own.context.release()
    return out


def render_clip(
    asset: Asset | str | Path,
    *,
    trajectory: Literal["orbit", "static", "front"] = "orbit",
    frames: int = 24,
    size: int = 128,
    azimuth: float = 0.0,
    elevation: float = 0.0,
    animation: int | str | None = None,
    fit: Fit = "swept",
    loop: Loop = "loop",
    root_motion: RootMotion = "auto",
    hide: Sequence[str] = (),
    radius: float = 2.0,
    fov: float = 39.6,
    supersample: int = 2,
    renderer: Renderer | None = None,
) -> OrbitalClip:
    """Render an asset along a trajectory: RGBA and depth.

    Args:
        asset: a loaded asset or a .glb/.gltf path.
        trajectory: ``orbit`` (view and time advance together), ``static`` (time frozen at 0), ``front`` (camera fixed).
        azimuth, elevation: degrees, of the first camera; fov in degrees, radius in world units.
        animation: index or name; None is the first.
        hide: names of meshes to leave out, see `orbit4d.assets.gltf.without`.

    Raises InputError: unreadable file, unknown animation, nothing to animate where the trajectory needs it, no GL.
    """
    asset = asset if isinstance(asset, Asset) else load_glb(asset)
    asset = without(asset, hide) if hide else asset
    number = find_animation(asset, animation)
    if number is None and trajectory != "static":
        raise InputError(
            f"{asset.name}: has no animation, which --trajectory {trajectory} needs; use --trajectory static"
        )
    try:
        orbit = Orbit(frames=frames, radius=radius, elevation_deg=elevation, azimuth_start_deg=azimuth, fov_deg=fov)
    except ValueError as error:
        raise InputError(f"render: {error}") from error
    cameras = orbit.cameras(size)
    if trajectory == "front":
        cameras = cameras[[0] * frames]
    times = torch.zeros(frames) if trajectory == "static" else orbit.times
    placement = place(asset, number, fit=fit, loop=loop, root_motion=root_motion)
    own = renderer or Renderer(size=size, supersample=supersample)
    images, depths = [], []
    try:
        for i, u in enumerate(times.tolist()):
            _pose(own, asset, number, placement, u=u, loop=loop)
            image, depth = own.draw(cameras, i, with_depth=True)
            images.append(image)
            depths.append(depth)
    finally:
        if renderer is None:
            own.context.release()
    rgba = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    motion = "" if number is None else " " + asset.animations[number].name.rsplit("|", 1)[-1]
    return OrbitalClip(
        rgb=rgba[:, :3],
        alpha=rgba[:, 3:],
        cameras=cameras,
        times=times,
        depth=torch.from_numpy(np.stack([d for d in depths if d is not None]))[:, None],
        caption=asset.name + motion,
    )
