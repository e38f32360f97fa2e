"""What can be done with a scene: look at it from any camera at any time, follow its Gaussians, hand it to other programs.

python examples/03_use_a_scene.py out/example1/seed0/scene.safetensors --out out/example3
"""

from pathlib import Path

import torch
import tyro

from orbit4d.cameras import Orbit
from orbit4d.export.ply import write_ply_sequence
from orbit4d.export.video import write_video
from orbit4d.splat.io import load_scene
from orbit4d.splat.rasterize import render


@torch.no_grad()
def main(scene: tyro.conf.Positional[Path], out: Path = Path("out/example3"), size: int = 256) -> None:
    scene4d = load_scene(scene)
    out.mkdir(parents=True, exist_ok=True)

    # One frozen moment from all around: times and cameras are independent of each other.
    cameras = Orbit(frames=25, elevation_deg=15).cameras(size)
    moment = scene4d.at(0.4)
    frames = [render(moment, cameras[i : i + 1], background=0.0).rgb for i in range(24)]
    write_video(torch.cat(frames), out / "frozen.mp4", fps=12)

    # `at` keeps the order of the Gaussians, so row i of `means` is the path of Gaussian i: motion, not a changing cloud.
    paths = torch.stack([scene4d.at(t / 23).means for t in range(24)])
    travel = (paths[1:] - paths[:-1]).norm(dim=-1).sum(0)
    print(
        f"{len(travel)} Gaussians; the median one travels {travel.median():.3f}, the liveliest {travel.max():.3f} units"
    )

    write_ply_sequence(scene4d, out / "ply", frames=8)
    print(f"{out}/frozen.mp4, {out}/ply")


if __name__ == "__main__":
    tyro.cli(main)
