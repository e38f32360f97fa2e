"""Sample prompts and lay the orbits out on one sheet: a row a prompt, uncurated.

python benchmarks/contact_sheet.py --out sheet.png [--weights DIR] [--seeds 1] [--steps 20] [--prompts "a fox running" ...]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from shared import row, save_sheet

from orbit4d.diffusion.pipeline import Orbit4DPipeline

PROMPTS = [
    "a fox running",
    "a wolf walking",
    "a cow eating",
    "a horse galloping",
    "a clownfish swimming",
    "a blue tang swimming fast",
    "a shark swimming",
    "a robot dancing",
    "a knight attacking with a sword",
    "a bunny waving",
    "a slime attacking",
    "a bat flying",
    "a crab dancing",
    "a frog jumping",
]
SHOWN = [0, 3, 6, 9, 12, 15, 18, 21]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance-scale", type=float, default=2.0)
    parser.add_argument("--guidance-3d", type=float, default=0.5)
    parser.add_argument("--prompts", nargs="*", default=PROMPTS)
    options = parser.parse_args()
    pipe = Orbit4DPipeline.from_pretrained(options.weights)
    rows, started = [], time.monotonic()
    for prompt in options.prompts:
        for seed in range(options.seeds):
            clip = pipe(
                prompt=prompt,
                seed=seed,
                steps=options.steps,
                guidance_scale=options.guidance_scale,
                guidance_3d=options.guidance_3d,
                progress=False,
            )
            rows.append(row(clip.on_background(), SHOWN))
            print(f"{prompt} (seed {seed}): {time.monotonic() - started:.0f} s", flush=True)
    save_sheet(rows, options.out)


if __name__ == "__main__":
    main()
