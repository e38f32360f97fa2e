"""Looking at a run: it sees every step, changes nothing, and ends the run by raising."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from splat_fixtures import moving_orbit
from test_pipeline import Double, _quick, model  # noqa: F401 (a fixture)

from orbit4d.splat.fit import FitConfig, fit

CONFIG = FitConfig(steps=6, gaussians=200, nodes=16, hull_resolution=32, size=32, seed=1)


def test_looking_changes_nothing() -> None:
    seen, clip = [], moving_orbit(size=32, frames=6)

    def look(step: int, steps: int, scene: Any) -> None:
        moved = scene().at(0.7)
        seen.append((step, steps, moved.means.clone()))

    watched = fit(clip, config=CONFIG, progress=False, on_step=look).scene.at(0.7)
    alone = fit(clip, config=CONFIG, progress=False).scene.at(0.7)
    assert torch.equal(watched.means, alone.means) and torch.equal(watched.sh, alone.sh)
    assert [(step, steps) for step, steps, _ in seen] == [(i, 6) for i in range(1, 7)]
    assert torch.equal(seen[-1][2], alone.means) and not torch.equal(seen[0][2], seen[-1][2])


class Stopper:
    """Remembers the stages; raises in the construction."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def warning(self, text: str) -> None: ...

    def sampled(self, *_: Any, **__: Any) -> None: ...

    def fitted(self, step: int, *_: Any) -> None:
        if step == 3:
            raise KeyboardInterrupt


def test_what_a_watcher_raises_ends_the_run_and_leaves_nothing(model: Double, tmp_path: Path) -> None:  # noqa: F811
    watch, model.decode = Stopper(), None  # type: ignore[attr-defined]  # the double denoises nothing
    with pytest.raises(KeyboardInterrupt):
        _quick(tmp_path / "ball", prompt="a ball", watch=watch)
    assert watch.stages == ["conditions", "load_model", "sample", "construct"]
    assert list(tmp_path.iterdir()) == []
    assert [set(call) >= {"on_step"} for call in model.calls] == [True, True]
