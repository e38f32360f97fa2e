"""An animated GLB to a playing scene, scored on a view that the construction has not seen.

python examples/02_from_an_animated_asset.py --out out/example2              a toy from the toybox
python examples/02_from_an_animated_asset.py --asset mine.glb --out out/mine
"""

from pathlib import Path

import tyro

from orbit4d.assets.toybox import write_toybox
from orbit4d.data.render import render_clip
from orbit4d.evaluate.evaluate import evaluate_scene, format_scores
from orbit4d.pipeline import reconstruct
from orbit4d.splat.io import load_scene


def main(out: Path = Path("out/example2"), asset: Path | None = None, size: int = 128, steps: int = 600) -> None:
    if asset is None:
        write_toybox(out / "toys", count=1, seed=3)
        asset = next((out / "toys").glob("*.glb"))
    # The camera circles while the object moves; then the same circle with time frozen; then one new view, all times.
    orbit = render_clip(asset, trajectory="orbit", size=size)
    still = render_clip(asset, trajectory="static", size=size)
    unseen = render_clip(asset, trajectory="front", azimuth=52, elevation=10, size=size)

    reconstruct(orbit, static_clip=still, steps=steps, out=out / "scene")
    scene = load_scene(out / "scene" / "scene.safetensors")
    print(format_scores(evaluate_scene(scene, unseen, save_frames=out / "frames")))


if __name__ == "__main__":
    tyro.cli(main)
