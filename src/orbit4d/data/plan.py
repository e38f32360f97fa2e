"""What is rendered of an animation: which (view, time) pairs of its grid, how large, how lit.

The grid has V = frames - 1 distinct views (an orbit's last camera is its first again) and T = frames times. Every clip kind
is a set of its pairs: an orbit the diagonal, a static orbit a row, a front clip a column.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from ..cameras import Cameras, Orbit
from ..errors import InputError
from ..files import json_digest

Pair = tuple[int, int]
"""(view index, time index)."""
Output = Literal["depth", "normals", "flow"]
OUTPUTS: tuple[Output, ...] = ("depth", "normals", "flow")
LIGHTS, FITS = ("studio", "random"), ("swept", "t0")
LOOPS, ROOT_MOTIONS = ("loop", "once", "clamp"), ("auto", "keep", "remove")
MAX_FRAMES = 120
MAX_RADIUS = 18.5
"""World units. The renderer's far plane is at 20: what fits the frame, within 1 of the centre, must be nearer."""


@dataclass(kw_only=True, frozen=True)
class RenderPlan:
    """The settings of a rendering run; the same for all of its assets. Frozen: its digest names the run.

    Attributes:
        frames: T, and V + 1. size: pixels. supersample: samples along a pixel's side.
        radius: world units; elevation, fov: degrees.
        orbits: phase-shifted orbits, evenly spread; the first is Diffusion4D's.
        rows: times at which all views are rendered; the first is time 0, the static orbit.
        columns: views from which all times are rendered; the first is the front clip.
        outputs: what is stored besides RGBA.
        light: ``studio`` is one fixed light; ``random`` draws one per animation, from its key and `seed`.
        fit, loop, root_motion: as in `orbit4d.data.render`.
        amplitude: of the motion, relative to the pose at time 0 (`orbit4d.assets.amplitude`); the framing stays that of 1.
    """

    frames: int = 24
    size: int = 256
    supersample: int = 2
    radius: float = 2.0
    elevation: float = 0.0
    fov: float = 39.6
    orbits: int = 1
    rows: int = 1
    columns: int = 1
    outputs: tuple[Output, ...] = ("depth",)
    light: Literal["studio", "random"] = "studio"
    fit: Literal["swept", "t0"] = "swept"
    loop: Literal["loop", "once", "clamp"] = "loop"
    root_motion: Literal["auto", "keep", "remove"] = "auto"
    seed: int = 0
    amplitude: float = 1.0

    def __post_init__(self) -> None:
        ranges: list[tuple[str, float, float]] = [
            ("frames", 3, MAX_FRAMES),
            ("size", 8, 2048),
            ("supersample", 1, 4),
            ("radius", 0.5, MAX_RADIUS),
            ("elevation", -89, 89),
            ("fov", 5, 120),
            ("orbits", 1, self.frames - 1),
            ("rows", 1, self.frames),
            ("columns", 1, self.frames - 1),
            ("seed", 0, 2**63 - 1),
            ("amplitude", 0, 2),
        ]
        for name, low, high in ranges:
            whole = name not in ("radius", "elevation", "fov", "amplitude")
            if whole and not isinstance(getattr(self, name), int):
                raise InputError(f"--{name}: expected a whole number, got {getattr(self, name)!r}")
            if not low <= getattr(self, name) <= high:
                raise InputError(f"--{name}: expected {low:g} to {high:g}, got {getattr(self, name)}")
        for name, words in (("light", LIGHTS), ("fit", FITS), ("loop", LOOPS), ("root_motion", ROOT_MOTIONS)):
            if getattr(self, name) not in words:
                raise InputError(f"--{name}: expected {', '.join(words)}, got {getattr(self, name)!r}")
        unknown = [o for o in self.outputs if o not in OUTPUTS]
        if unknown or len(set(self.outputs)) != len(self.outputs):
            raise InputError(f"--outputs: expected some of {', '.join(OUTPUTS)}, each once, got {list(self.outputs)}")

    @property
    def views(self) -> int:
        """V."""
        return self.frames - 1

    def cameras(self) -> Cameras:
        """The V cameras of the grid."""
        orbit = Orbit(frames=self.frames, radius=self.radius, elevation_deg=self.elevation, fov_deg=self.fov)
        return orbit.cameras(self.size)[list(range(self.views))]

    def times(self) -> list[float]:
        """The T times, in [0, 1]."""
        return [j / (self.frames - 1) for j in range(self.frames)]

    def orbit(self, phase: int = 0) -> list[Pair]:
        """The pairs of orbit number `phase`, in the order of time."""
        shift = round(phase * self.views / self.orbits)
        return [((j + shift) % self.views, j) for j in range(self.frames)]

    def row_times(self) -> list[int]:
        return [round(k * self.frames / self.rows) for k in range(self.rows)]

    def column_views(self) -> list[int]:
        return [round(k * self.views / self.columns) for k in range(self.columns)]

    def pairs(self) -> list[Pair]:
        """Every pair that is rendered, once: the orbits first, then rows, then columns."""
        out = [pair for phase in range(self.orbits) for pair in self.orbit(phase)]
        out += [(i, j) for j in self.row_times() for i in range(self.views)]
        out += [(i, j) for i in self.column_views() for j in range(self.frames)]
        return list(dict.fromkeys(out))

    def to_json(self) -> dict[str, Any]:
        values = asdict(self) | {"outputs": list(self.outputs)}
        if self.amplitude == 1:  # plans from before there was a choice keep their digest
            del values["amplitude"]
        return values

    @staticmethod
    def from_json(values: Any, *, source: str) -> RenderPlan:
        """The plan that `to_json` wrote. Raises InputError, naming `source`, for anything else."""
        known = {f.name for f in fields(RenderPlan)}
        if not isinstance(values, dict) or set(values) | {"amplitude"} != known:
            raise InputError(
                f"{source}: expected the settings {', '.join(sorted(known))}; render again into a new folder"
            )
        try:
            checked: dict[str, Any] = values | {"outputs": tuple(values["outputs"])}
            return RenderPlan(**checked)
        except (InputError, TypeError) as error:
            raise InputError(f"{source}: {error}") from error

    def digest(self) -> str:
        """16 hexadecimal digits that name these settings."""
        return json_digest(self.to_json())
