"""From depth and scene flow to points in the world and to flow in pixels."""

from __future__ import annotations

import numpy as np

from ..cameras import Cameras
from ..errors import InputError


def back_project(depth: np.ndarray, camera: Cameras) -> np.ndarray:
    """World points (h, w, 3) float64 of the pixel centres of a depth map (h, w) of camera-z; NaN where depth is 0.

    `camera`: one camera (`cameras[i]`) of the depth map's size.
    """
    c2w, k = _one(camera, depth)
    rows, columns = depth.shape
    u, v = np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(k).T
    z = np.where(depth > 0, depth, np.nan)[..., None]
    return (rays * z) @ c2w[:3, :3].T + c2w[:3, 3]


def optical_flow(depth: np.ndarray, flow: np.ndarray, *, camera: Cameras, to: Cameras | None = None) -> np.ndarray:
    """Flow in pixels (h, w, 2) float32, (right, down), from scene flow seen by `camera`.

    The point seen in a pixel, moved by its scene flow and projected into `to` (another camera or the same camera at the
    next time; None: `camera` itself), minus the pixel's centre. With a scene flow of 0 this is the parallax between the two.

    Args:
        depth: (h, w) camera-z of `camera`, 0 where nothing is.
        flow: (h, w, 3) world displacement of the points, as `Frame.flow`.

    Returns 0 where nothing is, NaN where the point comes to lie behind `to`. Whether something else hides it there is not
    looked at. Raises InputError for shapes that do not fit.
    """
    if flow.shape != (*depth.shape, 3):
        raise InputError(f"optical flow: depth of shape {depth.shape} needs flow (h, w, 3), got {flow.shape}")
    seen = camera if to is None else to
    c2w, k = _one(seen, None)
    moved = (back_project(depth, camera) + flow - c2w[:3, 3]) @ c2w[:3, :3]
    z = np.where(moved[..., 2:] > 0, moved[..., 2:], np.nan)
    pixels = (moved / z) @ k.T
    rows, columns = depth.shape
    u, v = np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
    out = pixels[..., :2] - np.stack([u, v], axis=-1)
    return np.where(depth[..., None] > 0, out, 0).astype(np.float32)


def _one(camera: Cameras, depth: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """camera-to-world (4, 4) and intrinsics (3, 3) in double precision."""
    if camera.camera_to_world.ndim != 2:
        raise InputError(f"flow: expected one camera (cameras[i]), got {tuple(camera.camera_to_world.shape)}")
    if depth is not None and depth.shape != (camera.height, camera.width):
        raise InputError(f"flow: depth {depth.shape} does not fit a camera of {camera.width} x {camera.height}")
    return camera.camera_to_world.double().numpy(), camera.intrinsics.double().numpy()
