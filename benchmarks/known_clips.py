"""Animations of the vocabulary's assets that benchmarks compare samples with: what is asked for, and its truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

from shared import DATA

from orbit4d.clip import OrbitalClip, join_clips
from orbit4d.data.render import render_clip

SIZE = 128


@dataclass(frozen=True)
class KnownClip:
    """An animation, and the words that the model was trained to call it by."""

    asset: str
    animation: str
    prompt: str

    def orbit(self, azimuth: float = 0.0) -> OrbitalClip:
        """The true moving orbit that starts at `azimuth` degrees."""
        return self._render("orbit", azimuth)

    def orbits(self, count: int) -> OrbitalClip:
        """`count` true orbits in one clip, the k-th started 360 k / count degrees later, as the pipeline samples them."""
        return join_clips([self.orbit(360 * k / count) for k in range(count)])

    def static(self) -> OrbitalClip:
        return self._render("static", 0.0)

    def front(self, azimuth: float) -> OrbitalClip:
        """All times from one camera."""
        return self._render("front", azimuth)

    def _render(self, trajectory, azimuth: float) -> OrbitalClip:
        path = DATA / "assets" / self.asset
        clip = render_clip(path, trajectory=trajectory, azimuth=azimuth, animation=self.animation, size=SIZE)
        return replace(clip, depth=None)


CLIPS = [
    KnownClip("q_animals_Fox.glb", "Gallop", "a fox running"),
    KnownClip("raylib_robot.glb", "Dance", "a robot dancing"),
    KnownClip("q_cute_fish_Clownfish.glb", "Swimming_Normal", "a clownfish swimming"),
    KnownClip("q_platformer_game_Crab.glb", "Walk", "a crab walking"),
    KnownClip("q_animals_Horse_White.glb", "Eating", "a horse eating"),
    KnownClip("kaykit_Knight.glb", "Cheer", "a knight cheering"),
]
"""Benchmarks use the first so many: varied bodies, and motions large and small."""
