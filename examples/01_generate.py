"""Prompts to scenes from Python: one call, files on disk, and the report as a dict.

python examples/01_generate.py --out out/example1
"""

from pathlib import Path

import tyro

from orbit4d.pipeline import generate


def main(
    out: Path = Path("out/example1"), prompt: str = "a fox running", steps: int = 20, fit_steps: int = 600
) -> None:
    for seed in (0, 1):
        report = generate(prompt=prompt, seed=seed, steps=steps, fit_steps=fit_steps, out=out / f"seed{seed}")
        seconds = ", ".join(f"{stage} {s:.0f} s" for stage, s in report["seconds"].items())
        print(f"{out}/seed{seed}/scene.html  ({seconds})")


if __name__ == "__main__":
    tyro.cli(main)
