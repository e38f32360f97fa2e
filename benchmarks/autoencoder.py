"""Round trip of the autoencoder on assets of held-out families: whole-image and foreground PSNR (on white), alpha IoU.

python benchmarks/autoencoder.py --assets FOLDER [--weights DIR] [--out benchmarks/results/autoencoder.json]
"""

from __future__ import annotations

import argparse
import json
from importlib.resources import files
from pathlib import Path

import torch

from orbit4d.assets.gltf import load_glb
from orbit4d.data.render import Renderer, render_clip
from orbit4d.diffusion.autoencoder import RGBAAutoencoder, premultiply
from orbit4d.diffusion.pipeline import BUILT_IN
from orbit4d.report import hardware, versions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=BUILT_IN)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/autoencoder.json"))
    options = parser.parse_args()
    model = RGBAAutoencoder.from_pretrained(options.weights / "autoencoder", low_cpu_mem_usage=False).eval().float()
    split = json.loads((files("orbit4d") / "data" / "split.json").read_text())["families"]
    names = [name for family in split.values() if family["side"] == "held_out" for name in family["assets"]]
    rows = {}
    with Renderer(size=128) as renderer, torch.inference_mode():
        for name in sorted(names):
            clip = render_clip(load_glb(options.assets / name), renderer=renderer)[::4]
            target = premultiply(clip.rgb, clip.alpha)
            output = model.decode(model.encode(target))
            error = ((output[:, :3] - output[:, 3:]) - (target[:, :3] - target[:, 3:])).square().mean(1, keepdim=True)
            inside, drawn = target[:, 3:] > 0.5, output[:, 3:] > 0.5
            rows[name] = {
                "whole_db": round(float(-10 * error.mean().log10()), 2),
                "foreground_db": round(float(-10 * error[inside].mean().log10()), 2),
                "alpha_iou": round(float((inside & drawn).sum() / (inside | drawn).sum()), 4),
            }
            print(name, rows[name], flush=True)
    mean = {key: round(sum(r[key] for r in rows.values()) / len(rows), 3) for key in next(iter(rows.values()))}
    print("mean", mean)
    record = {"mean": mean, "assets": rows, "frames_per_asset": 6, "hardware": hardware(), "versions": versions()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
