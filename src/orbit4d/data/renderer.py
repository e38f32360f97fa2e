"""The off-screen GL context that draws posed assets (moderngl over EGL; llvmpipe where there is no GPU).

llvmpipe itself draws with a thread for every core. Where several processes render side by side, set LP_NUM_THREADS=1 in
the environment of each before it makes its first renderer, so that there are as many busy threads as cores; a process
that has the machine to itself should leave it unset.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..assets.gltf import Asset
from ..cameras import Cameras
from ..errors import InputError
from .gl_asset import Draw, GlAsset
from .lighting import Lighting
from .plan import OUTPUTS, Output
from .render_shaders import BLEND_SURFACE_ALPHA, FRAGMENT, RESOLVE, SCREEN, SURFACE_TOLERANCE, VERTEX, source
from .render_targets import Frame, Targets, make_targets

DEVICE_VARIABLE = "ORBIT4D_EGL_DEVICE"
NEAR, FAR = 0.05, 20.0


class Renderer:
    """An off-screen GL context that draws posed assets, one after the other without leaving anything behind.

    Use as a context manager, in the thread that made it. Several renderers may live side by side.

    Args:
        size: side of the square pictures in pixels; `resize` changes it.
        supersample: samples along each side of a pixel.
        device: which EGL device, where there are several GPUs; None: that of the environment variable ORBIT4D_EGL_DEVICE,
            else the first.
        cull: leave out the backs of materials that glTF does not call double-sided. By default both sides are drawn: many
            files have triangles of the wrong winding, or single-sided sheets (leaves, capes, wings) that their
            authors saw from both sides, and such objects show holes when culled. Mirrored nodes are minded.

    Raises InputError: no OpenGL, no such device, a size that cannot be drawn.
    """

    def __init__(self, *, size: int, supersample: int = 2, device: int | None = None, cull: bool = False) -> None:
        check_size(size, supersample)
        self.size, self.supersample, self.cull = size, supersample, cull
        self.context = _create_context(_device(device))
        self._programs: dict[tuple, Any] = {}
        self._resolvers: dict[tuple, tuple[Any, Any]] = {}
        self._targets: dict[tuple, Targets] = {}
        self._loaded: GlAsset | None = None
        self.shown: list[np.ndarray] | None = None
        with self.context:  # made current around each use, for the sake of other contexts in this process
            self.info = str(self.context.info["GL_RENDERER"])
            """What draws, e.g. 'llvmpipe (LLVM 15.0.6, 256 bits)' or a GPU's name."""
            self._corners = self.context.buffer(np.array([-1, -1, 3, -1, -1, 3], dtype="f4"))

    def __enter__(self) -> Renderer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give everything back; the renderer is of no use afterwards."""
        self.context.release()

    def resize(self, size: int, supersample: int) -> None:
        """Change the pictures' size; costs nothing where it is the same."""
        if (size, supersample) == (self.size, self.supersample):
            return
        check_size(size, supersample)
        with self.context:
            for targets in self._targets.values():
                targets.release()
        self._targets.clear()
        self.size, self.supersample = size, supersample

    def upload(
        self,
        asset: Asset,
        positions: list[np.ndarray],
        normals: list[np.ndarray],
        *,
        following: list[np.ndarray] | None = None,
    ) -> None:
        """Set the pose that the next `draw` calls show: world positions and normals (n, 3) a primitive.

        `following`: the positions at the next time, for flow; None means that nothing moves.
        """
        with self.context:
            if self._loaded is None or self._loaded.asset is not asset:
                if self._loaded is not None:
                    self._loaded.release()
                self._loaded = None
                self._loaded = GlAsset(self.context, asset, cull=self.cull)
            self._loaded.pose(positions, normals, following)
        self.shown = positions

    def draw(
        self, cameras: Cameras, index: int, *, lighting: Lighting | None = None, outputs: Sequence[Output] = ()
    ) -> Frame:
        """The uploaded pose from camera `index` of `cameras` (square ones of any size; the renderer's size is drawn).

        What is nearer to the camera than 0.05 or farther than 20 world units is cut off.
        """
        if self._loaded is None:
            raise RuntimeError("draw: upload a pose first")
        wanted: tuple[Output, ...] = tuple(name for name in OUTPUTS if name in outputs)
        with self.context:
            targets = self._targets_for(wanted, blended=bool(self._loaded.blended and wanted))
            view = _View(cameras, index, lighting or Lighting(), tuple(n.upper() for n in wanted if n != "depth"))
            self._draw(self._loaded, targets, view)
            return self._resolve(targets, wanted)

    def _draw(self, loaded: GlAsset, targets: Targets, view: _View) -> None:
        gl = self.context
        targets.drawn.use()
        targets.drawn.clear(0, 0, 0, 0, depth=1.0)
        gl.enable_only(gl.DEPTH_TEST)
        self._run(loaded, loaded.opaque, view, ("COLOR", *view.surfaces))
        if not loaded.blended:
            return
        depths = [float(view.depth_row @ np.append(loaded.centroids[d.primitives[0]], 1)) for d in loaded.blended]
        blended = [loaded.blended[i] for i in np.argsort(-np.array(depths), kind="stable")]
        gl.enable_only(gl.DEPTH_TEST | gl.BLEND)
        gl.blend_func = gl.ONE, gl.ONE_MINUS_SRC_ALPHA
        targets.colored.use()
        targets.colored.depth_mask = False
        self._run(loaded, blended, view, ("COLOR",))
        targets.colored.depth_mask = True
        if targets.behind is not None:
            gl.enable_only(gl.DEPTH_TEST)
            targets.behind.use()
            targets.behind.clear(0, 0, 0, 0, depth=1.0)
            self._run(loaded, blended, view, ("SURFACE_ALPHA", *view.surfaces))

    def _run(self, loaded: GlAsset, draws: list[Draw], view: _View, what: tuple[str, ...]) -> None:
        gl, ready = self.context, set()
        for draw in draws:
            features = (*what, *draw.features, *view.features)
            program = self._program(features)
            if features not in ready:
                view.write(program)
                ready.add(features)
            for name, unit, texture in (("base", 0, draw.base), ("glow", 1, draw.glow)):
                if texture is not None and name in program:
                    texture.use(unit)
            for name in ("unlit", "alpha_mode", "cutoff", "emissive"):
                if name in program:
                    program[name].value = getattr(draw, name)
            if draw.culled:
                gl.enable(gl.CULL_FACE)
                # Row 0 is the top here (see _projection), which turns every triangle around.
                gl.front_face = "ccw" if loaded.mirrored[draw.primitives[0]] else "cw"
            vao = loaded.vertex_array(features, program, flow="FLOW" in features)
            vao.render(gl.TRIANGLES, vertices=draw.count, first=draw.first)
            if draw.culled:
                gl.disable(gl.CULL_FACE)

    def _program(self, features: tuple[str, ...]) -> Any:
        if features not in self._programs:
            defines: dict[str, object] = {name: 1 for name in features}
            outputs = [name for name in ("COLOR", "NORMALS", "FLOW") if name in features]
            defines |= {name: outputs.index(name) for name in outputs}
            if "SURFACE_ALPHA" in defines:
                defines["SURFACE_ALPHA"] = BLEND_SURFACE_ALPHA
            program = self.context.program(
                vertex_shader=source(VERTEX, defines), fragment_shader=source(FRAGMENT, defines)
            )
            for name, unit in (("base", 0), ("glow", 1)):
                if name in program:
                    program[name].value = unit
            self._programs[features] = program
        return self._programs[features]

    def _targets_for(self, wanted: tuple[Output, ...], *, blended: bool) -> Targets:
        key = (wanted, blended)
        if key not in self._targets:
            self._targets[key] = make_targets(self.context, self.size, self.supersample, wanted, blended)
        return self._targets[key]

    def _resolve(self, targets: Targets, wanted: tuple[Output, ...]) -> Frame:
        gl = self.context
        key = (self.supersample, wanted, tuple(targets.samplers))
        if key not in self._resolvers:
            self._resolvers[key] = self._make_resolver(targets)
        program, vao = self._resolvers[key]
        targets.resolved.use()
        gl.enable_only(gl.NOTHING)
        for unit, (name, texture) in enumerate(targets.samplers.items()):
            texture.use(unit)
            if name in program:
                program[name].value = unit
        vao.render(gl.TRIANGLES, vertices=3)
        side, read = self.size, {}
        rgba = np.empty((side, side, 4), np.uint8)
        targets.resolved.read_into(rgba, components=4, dtype="f1")
        for name, attachment in targets.attachments.items():
            read[name] = np.empty((side, side) if name == "depth" else (side, side, 3), np.float32)
            components = 1 if name == "depth" else 3
            targets.resolved.read_into(read[name], components=components, attachment=attachment, dtype="f4")
        return Frame(rgba=rgba, **{name: array for name, array in read.items() if name in wanted})

    def _make_resolver(self, targets: Targets) -> tuple[Any, Any]:
        defines: dict[str, object] = {"SAMPLES": self.supersample, "TOLERANCE": SURFACE_TOLERANCE}
        defines |= {name.upper(): attachment for name, attachment in targets.attachments.items()}
        if targets.behind is not None:
            defines["BLENDED"] = 1
        program = self.context.program(vertex_shader=source(SCREEN, defines), fragment_shader=source(RESOLVE, defines))
        if "range" in program:
            program["range"].value = (NEAR, FAR)
        return program, self.context.vertex_array(program, [(self._corners, "2f", "corner")])


class _View:
    """What the shader needs of one camera and one lighting."""

    def __init__(self, cameras: Cameras, index: int, lighting: Lighting, surfaces: tuple[str, ...]) -> None:
        world_to_camera = cameras.world_to_camera[index].double().numpy()
        self.depth_row = world_to_camera[2]
        self.surfaces = surfaces
        self.features = ("HARMONICS",) if lighting.harmonics else ()
        self._matrix = (_projection(cameras, index) @ world_to_camera).T.astype("f4").tobytes()
        self._vectors = {
            "eye": tuple(cameras.positions[index].tolist()),
            "sky": lighting.sky,
            "ground": lighting.ground,
            "key": lighting.key,
            "fill": lighting.fill,
            "key_direction": _unit(lighting.key_direction),
            "fill_direction": _unit(lighting.fill_direction),
        }
        self._harmonics = np.array(lighting.harmonics, dtype="f4").tobytes()

    def write(self, program: Any) -> None:
        program["matrix"].write(self._matrix)
        for name, value in self._vectors.items():
            if name in program:
                program[name].value = value
        if "harmonics" in program:
            program["harmonics"].write(self._harmonics)


def check_size(size: int, supersample: int) -> None:
    """Raises InputError for pictures that cannot be drawn."""
    if not 1 <= supersample <= 8:
        raise InputError(f"--supersample: expected 1 to 8, got {supersample}")
    if not 8 <= size * supersample <= 8192:
        raise InputError(f"--size: expected 8 to {8192 // supersample} pixels, got {size}")


def _device(device: int | None) -> int | None:
    text = os.environ.get(DEVICE_VARIABLE, "") if device is None else str(device)
    if not text:
        return None
    if not text.isdecimal() or len(text) > 4:
        raise InputError(f"{DEVICE_VARIABLE}: expected the number of an EGL device from 0, got {text[:20]!r}")
    return int(text)


def _create_context(device: int | None) -> Any:
    try:
        import moderngl

        chosen = {} if device is None else {"device_index": device}
        return moderngl.create_context(standalone=True, backend="egl", **chosen)  # type: ignore[arg-type]
    except Exception as error:  # moderngl and its loader raise bare Exceptions
        if device:
            raise InputError(
                f"rendering: EGL device {device} cannot be used ({error}); choose another, from 0"
            ) from error
        raise InputError(
            f"rendering: no OpenGL through EGL on this machine ({error}); install Mesa, "
            "e.g. `apt-get install libegl1 libgl1 libgl1-mesa-dri` (Debian) or `dnf install mesa-libEGL mesa-dri-drivers` (Fedora)"
        ) from error


def _unit(direction: tuple[float, float, float]) -> tuple[float, ...]:
    vector = np.array(direction)
    return tuple((vector / np.linalg.norm(vector)).tolist())


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
