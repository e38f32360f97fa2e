"""Gaussians in the form that viser draws, and a scene that plays in it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..cameras import Orbit
from ..export.home import Home, home_view
from ..splat.gaussians import Gaussians, Gaussians4D

if TYPE_CHECKING:
    from viser import ViserServer

ENLARGED = 32.0
"""Scenes are sent this much larger, and shown at their own size: viser keeps covariances in half precision, where the squares of
small Gaussians lose their last digits."""
WORDS = 8
"""32-bit words of a packed Gaussian."""
FRAMES = 48
"""Moments that playback shows: one cycle at 24 a second takes SECONDS."""
SECONDS = 2.0
FOV = math.radians(Orbit().fov_deg)


def pack_splats(gaussians: Gaussians) -> np.ndarray:
    """(n, 8) uint32 in viser's layout, enlarged: centre (3 float32), 0, upper triangle of the covariance (6 float16), RGBA.

    Colour is what is seen from everywhere: viser draws no view dependence.
    """
    g = gaussians.detach()
    rotation = _matrices(torch.nn.functional.normalize(g.quats, dim=-1))
    axes = rotation * (g.log_scales.exp() * ENLARGED)[:, None, :]
    covariance = (axes @ axes.transpose(1, 2)).reshape(-1, 9)[:, [0, 1, 2, 4, 5, 8]].clamp(-6e4, 6e4)
    rgba = torch.cat([g.base_colors.clamp(0, 1), g.logit_opacities.sigmoid()[:, None]], dim=1)
    packed = np.zeros((len(g), WORDS), np.uint32)
    packed[:, :3] = (g.means * ENLARGED).float().numpy().view(np.uint32)
    packed[:, 4:7] = np.ascontiguousarray(covariance.numpy().astype(np.float16)).view(np.uint32)
    packed[:, 7:] = np.ascontiguousarray((rgba * 255).round().byte().numpy()).view(np.uint32)
    return packed


def _matrices(quats: torch.Tensor) -> torch.Tensor:
    """(n, 3, 3) rotations of unit quaternions wxyz (n, 4)."""
    w, x, y, z = quats.unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


class SplatView:
    """The one set of splats in a server's 3D view."""

    def __init__(self, server: ViserServer) -> None:
        self._server, self._handle = server, None
        self._lock = threading.Lock()

    def show(self, packed: np.ndarray) -> None:
        """Draw these instead of what is there; (0, 8) draws nothing."""
        with self._lock:
            if not len(packed):
                self._remove()
            elif self._handle is not None and self._handle.buffer.shape == packed.shape:
                self._handle.buffer = packed
            else:
                self._remove()
                self._handle = self._add(packed)

    def _add(self, packed: np.ndarray) -> Any:
        n = len(packed)
        handle = self._server.scene.add_gaussian_splats(
            "/splats",
            centers=np.zeros((n, 3), np.float32),
            covariances=np.zeros((n, 3, 3), np.float32),
            rgbs=np.zeros((n, 3), np.float32),
            opacities=np.zeros((n, 1), np.float32),
            scale=1 / ENLARGED,
        )
        handle.buffer = packed
        return handle

    def _remove(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def look(self, home: Home) -> None:
        """Turn every client's camera, and those to come, to the first view of a scene."""
        x, y, z = home.target
        position, target = (x, y - 1.15 * home.radius, z + 0.25 * home.radius), (x, y, z)
        camera = self._server.initial_camera
        camera.look_at, camera.position, camera.up, camera.fov = target, position, (0.0, 0.0, 1.0), FOV
        for client in self._server.get_clients().values():
            with client.atomic():
                client.camera.fov = FOV
                client.camera.up_direction = (0.0, 0.0, 1.0)
                client.camera.position = position
                client.camera.look_at = target


class Playback:
    """Plays a scene in a `SplatView`, in a thread of its own while it plays. Moments are computed when first shown, then kept."""

    def __init__(self, view: SplatView, *, on_time: Callable[[float], None], watched: Callable[[], bool]) -> None:
        """`on_time` is told the time that is shown; nothing moves while `watched` says that nobody looks."""
        self._view, self._on_time, self._watched = view, on_time, watched
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._closed = False
        self._scene: Gaussians4D | None = None
        self._packed: dict[int, np.ndarray] = {}
        self.time, self.speed, self.playing = 0.0, 1.0, False
        self._thread = threading.Thread(target=self._run, daemon=True, name="playback")
        self._thread.start()

    def load(self, scene: Gaussians4D | None, *, play: bool = True) -> None:
        """Show another scene from time 0 and look at it; None shows nothing."""
        with self._lock:
            self._scene, self._packed, self.time = scene, {}, 0.0
            if scene is None:
                self._view.show(np.zeros((0, WORDS), np.uint32))
            else:
                self.seek(0.0)
                self._view.look(home_view(scene))
        self.play(play and scene is not None and scene.deformation is not None)

    @property
    def scene(self) -> Gaussians4D | None:
        return self._scene

    def look_home(self) -> None:
        if self._scene is not None:
            self._view.look(home_view(self._scene))

    def play(self, on: bool) -> None:
        self.playing = on
        self._wake.set()

    def seek(self, moment: float) -> None:
        """Show the scene at a time in [0, 1]."""
        with self._lock:
            self.time = min(max(float(moment), 0.0), 1.0)
            if self._scene is not None:
                self._view.show(self._at(round(self.time * (FRAMES - 1))))

    def close(self) -> None:
        self._closed = True
        self._wake.set()
        self._thread.join(timeout=5)

    def _at(self, index: int) -> np.ndarray:
        assert self._scene is not None
        if self._scene.deformation is None:
            index = 0  # at rest, all moments are one
        if index not in self._packed:
            with torch.no_grad():
                self._packed[index] = pack_splats(self._scene.at(index / (FRAMES - 1)))
        return self._packed[index]

    def _run(self) -> None:
        last = time.perf_counter()
        while not self._closed:
            if not (self.playing and self._scene is not None and self._watched()):
                self._wake.wait(timeout=0.5)
                self._wake.clear()
                last = time.perf_counter()
                continue
            now = time.perf_counter()
            moment = (self.time + (now - last) * self.speed / SECONDS) % 1.0
            last = now
            self.seek(moment)
            self._on_time(self.time)
            time.sleep(max(0.0, SECONDS / FRAMES - (time.perf_counter() - now)))
