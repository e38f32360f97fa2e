"""Rendering animated assets: any (view, time) pairs of a grid, and clips along the usual trajectories.

Where an object stands and which second of its animation a clip time is: see `placement`. Light: `lighting`. What a frame
holds, in which frame and units: `render_targets.Frame`; flow in pixels: `flow`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..assets.gltf import Asset, load_glb, without
from ..cameras import Cameras, Orbit
from ..clip import OrbitalClip
from ..errors import InputError
from .lighting import Lighting
from .placement import Fit, Loop, Placement, RootMotion, clip_seconds, duration_of, find_animation, place
from .plan import OUTPUTS, Output
from .render_targets import Frame
from .renderer import Renderer, check_size

__all__ = [
    "Fit",
    "Frame",
    "Lighting",
    "Loop",
    "Output",
    "Placement",
    "RenderedClip",
    "Renderer",
    "RootMotion",
    "clip_seconds",
    "find_animation",
    "iter_grid",
    "place",
    "render_clip",
    "render_grid",
]


@dataclass(kw_only=True)
class RenderedClip(OrbitalClip):
    """An `OrbitalClip` with, where asked for, what else the renderer knows of each frame (see `Frame`).

    Attributes:
        normals: (t, 3, h, w) unit, world frame, towards the camera, 0 where nothing is.
        flow: (t, 3, h, w) scene flow in world units to the next frame's time; the last frame's is 0.
    """

    normals: Tensor | None = None
    flow: Tensor | None = None


def iter_grid(
    asset: Asset,
    *,
    cameras: Cameras,
    times: Sequence[float],
    pairs: Sequence[tuple[int, int]],
    animation: int | None,
    size: int,
    placement: Placement | None = None,
    fit: Fit = "swept",
    loop: Loop = "loop",
    root_motion: RootMotion = "auto",
    lighting: Lighting | None = None,
    outputs: tuple[Output, ...] = (),
    next_times: Sequence[float] | None = None,
    supersample: int = 2,
    renderer: Renderer | None = None,
) -> Iterator[tuple[int, Frame]]:
    """Draw (view, time) index pairs of one animation; yields (index into `pairs`, its frame), time by time.

    Each time that occurs is posed once and all its views are drawn from that pose. Frames come in the order of times, and
    within one time in the order of `pairs`.

    Args:
        cameras: a batch of V square cameras; they are resized to `size`.
        times: T clip times in [0, 1].
        animation: number of the animation; None is the rest pose.
        placement: where the asset stands; None: `place(asset, animation, fit=..., loop=..., root_motion=...)`.
        next_times: T clip times that `flow` leads to; None: each time's successor in `times`, and for the last one the
            time itself, so that its flow is 0.
        renderer: one to use (and keep open), set to `size` and `supersample`; None makes one for this call.

    Raises InputError at once for pairs, cameras, times, sizes or outputs that do not fit together; with the first frame
    where there is no GL; and while it runs for assets that cannot be posed.
    """
    check_size(size, supersample)
    _check_grid(cameras, times, pairs, outputs, next_times)
    if animation is not None and not 0 <= animation < len(asset.animations):
        raise InputError(f"{asset.name}: no animation {animation}; it has {len(asset.animations)}")
    placed = placement or place(asset, animation, fit=fit, loop=loop, root_motion=root_motion)
    poses = _Poses(asset, animation, placed, loop)
    following = list(next_times) if next_times is not None else [*times[1:], times[-1]] if len(times) else []
    by_time: dict[int, list[int]] = {}
    for k, (_, j) in enumerate(pairs):
        by_time.setdefault(j, []).append(k)

    def frames() -> Iterator[tuple[int, Frame]]:
        own = renderer or Renderer(size=size, supersample=supersample)
        try:
            for j in sorted(by_time):
                u = float(times[j])
                positions, normals = poses.at(u)
                after = poses.at(float(following[j]), keep=u)[0] if "flow" in outputs else None
                for n, k in enumerate(by_time[j]):
                    # The renderer may have drawn something else since the last frame was handed over.
                    own.resize(size, supersample)
                    if n == 0 or own.shown is not positions:
                        own.upload(asset, positions, normals, following=after)
                    yield k, own.draw(cameras, pairs[k][0], lighting=lighting, outputs=outputs)
        finally:
            if renderer is None:
                own.close()

    return frames()


class _Poses:
    """Posed world vertices by clip time; the last two are kept, because the next time's pose soon is this time's."""

    def __init__(self, asset: Asset, animation: int | None, placement: Placement, loop: Loop) -> None:
        self._asset, self._animation, self._placement = asset, animation, placement
        self._loop: Loop = loop
        self._kept: dict[float, tuple[list[np.ndarray], list[np.ndarray]]] = {}

    def at(self, u: float, *, keep: float | None = None) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Positions and normals; `keep` is another time to hold on to."""
        if u not in self._kept:
            seconds = clip_seconds(duration_of(self._asset, self._animation), u, loop=self._loop)
            posed = self._asset.pose(self._animation, seconds)
            self._kept = {t: pose for t, pose in self._kept.items() if t == keep}
            self._kept[u] = self._placement.apply(posed, seconds), posed.normals
        return self._kept[u]


def _check_grid(
    cameras: Cameras,
    times: Sequence[float],
    pairs: Sequence[tuple[int, int]],
    outputs: Sequence[str],
    next_times: Sequence[float] | None,
) -> None:
    if cameras.camera_to_world.ndim != 3 or cameras.width != cameras.height:
        shape = tuple(cameras.camera_to_world.shape)
        raise InputError(
            f"render: expected a batch (V, 4, 4) of square cameras, got {shape} of {cameras.width} x {cameras.height}"
        )
    for view, j in pairs:
        if not (0 <= view < len(cameras) and 0 <= j < len(times)):
            raise InputError(f"render: pair ({view}, {j}) is outside of {len(cameras)} views and {len(times)} times")
    unknown = [name for name in outputs if name not in OUTPUTS]
    if unknown:
        raise InputError(f"render: unknown output {unknown[0]!r}, expected some of {', '.join(OUTPUTS)}")
    if next_times is not None and len(next_times) != len(times):
        raise InputError(f"render: {len(next_times)} next times for {len(times)} times, expected one each")
    for u in (*times, *(next_times or ())):
        if not 0 <= float(u) <= 1:
            raise InputError(f"render: expected clip times in [0, 1], got {float(u):g}")


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
    lighting: Lighting | None = None,
    renderer: Renderer | None = None,
) -> np.ndarray:
    """Any (view, time) index pairs of one animation: (n, size, size, 4) uint8 straight RGBA, in the order of `pairs`."""
    out = np.empty((len(pairs), size, size, 4), np.uint8)
    for k, frame in iter_grid(
        asset,
        cameras=views.cameras(size),
        times=times.tolist(),
        pairs=pairs,
        animation=animation,
        size=size,
        fit=fit,
        loop=loop,
        root_motion=root_motion,
        lighting=lighting,
        supersample=2 if renderer is None else renderer.supersample,
        renderer=renderer,
    ):
        out[k] = frame.rgba
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
    lighting: Lighting | None = None,
    outputs: tuple[Output, ...] = (),
    supersample: int | None = None,
    renderer: Renderer | None = None,
) -> RenderedClip:
    """Render an asset along a trajectory: RGBA and depth, and what else `outputs` names.

    Args:
        asset: a loaded asset or a .glb/.gltf path.
        trajectory: ``orbit`` (view and time advance together), ``static`` (time frozen at 0), ``front`` (camera fixed).
        azimuth, elevation: degrees, of the first camera; fov in degrees, radius in world units.
        animation: index or name; None is the first.
        hide: names of meshes to leave out, see `orbit4d.assets.gltf.without`.
        supersample: samples along a pixel's side; None: the given renderer's, else 2.

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
    drawn = [Frame(rgba=np.empty(0, np.uint8))] * frames
    for k, frame in iter_grid(
        asset,
        cameras=cameras,
        times=times.tolist(),
        pairs=[(i, i) for i in range(frames)],
        animation=number,
        size=size,
        fit=fit,
        loop=loop,
        root_motion=root_motion,
        lighting=lighting,
        outputs=tuple({"depth", *outputs}),  # type: ignore[arg-type]
        supersample=supersample or (2 if renderer is None else renderer.supersample),
        renderer=renderer,
    ):
        drawn[k] = frame
    rgba = _stacked([f.rgba for f in drawn]).float() / 255
    motion = "" if number is None else " " + asset.animations[number].name.rsplit("|", 1)[-1]
    return RenderedClip(
        rgb=rgba[:, :3],
        alpha=rgba[:, 3:],
        cameras=cameras,
        times=times,
        depth=_stacked([f.depth[..., None] for f in drawn if f.depth is not None]),
        normals=_stacked([f.normals for f in drawn if f.normals is not None]) if "normals" in outputs else None,
        flow=_stacked([f.flow for f in drawn if f.flow is not None]) if "flow" in outputs else None,
        caption=asset.name + motion,
    )


def _stacked(pictures: list[np.ndarray]) -> Tensor:
    """t pictures (h, w, c) -> (t, c, h, w)."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
