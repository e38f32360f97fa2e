"""Construction on real assets: our own ablations and input kinds, mean and worst over twelve assets.

    python benchmarks/construction.py --out benchmarks/results/construction.json --pictures out/construction
    python benchmarks/construction.py --size 128 --variants all --out benchmarks/results/ablations.json

Protocol C: twelve animated assets are rendered here; from one moving orbit and one static orbit (24 frames each) the scene
is constructed and scored at four fixed cameras, 15 degrees above the orbit at azimuths 45, 135, 225 and 315, at all 24
times: 96 frames that share no view with the input. A variant changes one thing. Protocols A and B (the elk with and
without its static orbit) are `elk.py`.

A run is a row of `--rows` (JSON lines), written as soon as it is done; rows that are there are not run again.
"""

from __future__ import annotations

import json
import resource
import statistics
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
import tyro
from shared import DATA, frame_scores, row, save_sheet, scene_row, write_report
from torch import Tensor

from orbit4d.clip import OrbitalClip
from orbit4d.data.render import render_clip
from orbit4d.evaluate.evaluate import render_scene
from orbit4d.splat.fit import FitConfig, FitResult, LossWeights, fit

ASSETS = {
    "fox running": ("khronos_Fox.glb", "Run"),
    "clownfish attacking": ("q_cute_fish_ZebraClownFish.glb", "Attack"),
    "robot dancing": ("raylib_robot.glb", "Robot_Dance"),
    "barbarian running": ("kaykit_Barbarian.glb", "Running_A"),
    "monster biting": ("q_platformer_game_Enemy.glb", "Bite_Front"),
    "person walking": ("khronos_CesiumMan.glb", None),
    "horse galloping": ("q_animals_Horse.glb", "Gallop"),
    "deer walking": ("q_animals_Deer.glb", "Walk"),
    "bat flying": ("q_monster_Bat.glb", "Bat_Flying"),
    "frog jumping": ("q_easy_enemies_Frog.glb", "Frog_Jump"),
    "tentacle": ("sharpgltf_InfiniteSkinnedTentacle.glb", None),
    "koi swimming": ("q_cute_fish_Koi.glb", "Swimming_Fast"),
}
"""Name -> file and animation (None: the first)."""
AZIMUTHS = (45.0, 135.0, 225.0, 315.0)
ELEVATION = 15.0
WITHOUT_PRIORS = {"rigidity": 0.0, "acceleration": 0.0}
VARIANTS: dict[str, dict] = {
    "full": {},
    "no hull": {"init": "random"},
    "no coarse stage": {"coarse_share": 0.0},
    "no rigidity": {"weights": LossWeights(rigidity=0.0)},
    "no acceleration": {"weights": LossWeights(acceleration=0.0)},
    "no tracking": {"widen_share": 0.0},
    "no loop": {"loop": False},
    "no control nodes": {"deformation": "hexplane"},
    "HexPlane only": {"deformation": "hexplane", "weights": LossWeights(**WITHOUT_PRIORS), "widen_share": 0.0},
    "nodes + residual HexPlane": {"residual": True},
    "trajectories": {"deformation": "trajectories"},
    "no static orbit": {"orbits": 1},
    "2 orbits, no static": {"orbits": 2},
    "4 orbits, no static": {"orbits": 4},
}
"""Changes of the configuration; `orbits`: so many phase-shifted moving orbits instead of one and a static one."""
SHOWN = list(range(0, 24, 3))


@dataclass(kw_only=True)
class Arguments:
    out: Path | None = None
    """JSON report; printed only when left out."""
    rows: Path = Path("out/construction.jsonl")
    """Runs that are done, one a line."""
    pictures: Path | None = None
    """Folder for a sheet an asset: truth, then a row for each variant, at the first test camera."""
    size: int = 256
    """Side of the frames in pixels."""
    variants: tuple[str, ...] = ("full",)
    """Names of variants, or "all"."""
    assets: tuple[str, ...] = tuple(ASSETS)
    seeds: tuple[int, ...] = (0,)


@cache
def rendered(name: str, size: int, trajectory: str, azimuth: float, elevation: float = 0.0) -> OrbitalClip:
    file, animation = ASSETS[name]
    path = DATA / "assets" / file
    return render_clip(
        path, size=size, animation=animation, trajectory=trajectory, azimuth=azimuth, elevation=elevation
    )


def construct(name: str, variant: str, size: int, seed: int) -> FitResult:
    change = dict(VARIANTS[variant])
    orbits = change.pop("orbits", 0)
    clips = [rendered(name, size, "orbit", 360.0 * i / max(orbits, 1)) for i in range(max(orbits, 1))]
    still = None if orbits else rendered(name, size, "static", 0.0)
    config = replace(FitConfig.for_size(size), seed=seed, **change)
    return fit(clips, static_clip=still, config=config, progress=False)


def run(name: str, variant: str, size: int, seed: int) -> tuple[dict, Tensor]:
    """Scores of one construction, and its row of a sheet."""
    cpu = time.process_time()
    result = construct(name, variant, size, seed)
    cpu = time.process_time() - cpu
    scores = []
    for azimuth in AZIMUTHS:
        test = rendered(name, size, "front", azimuth, ELEVATION)
        prediction = render_scene(result.scene, test.cameras, test.times)[0]
        scores.append(frame_scores(prediction, test.on_background(), test.alpha))
    entry = {"asset": name, "variant": variant, "size": size, "seed": seed}
    entry |= {key: round(statistics.mean(s[key] for s in scores), 4) for key in scores[0]}
    entry |= {
        "train_psnr": result.history[-1]["psnr"],
        "seconds": round(result.seconds, 1),
        "cpu_seconds": round(cpu, 1),
    }
    shown = rendered(name, size, "front", AZIMUTHS[0], ELEVATION)
    return entry, scene_row(result.scene, shown, SHOWN)


def table(rows: list[dict]) -> dict[str, dict]:
    """Variant -> mean over assets and seeds, and the worst asset."""
    out = {}
    for variant in VARIANTS:
        mine = [r for r in rows if r["variant"] == variant]
        if not mine:
            continue
        worst = min(
            {r["asset"] for r in mine}, key=lambda a: _mean([r for r in mine if r["asset"] == a], "foreground_psnr")
        )
        keys = ("whole_psnr", "foreground_psnr", "ssim", "train_psnr", "cpu_seconds")
        out[variant] = {"runs": len(mine), **{key: _mean(mine, key) for key in keys}}
        at_worst = [r for r in mine if r["asset"] == worst]
        out[variant]["worst"] = {"asset": worst, **{key: _mean(at_worst, key) for key in keys[:3]}}
    return out


def _mean(rows: list[dict], key: str) -> float:
    return round(statistics.mean(r[key] for r in rows), 3)


def main(arguments: Arguments) -> None:
    variants = tuple(VARIANTS) if arguments.variants == ("all",) else arguments.variants
    arguments.rows.parent.mkdir(parents=True, exist_ok=True)
    lines = arguments.rows.read_text().splitlines() if arguments.rows.is_file() else []
    rows = [json.loads(line) for line in lines]
    done = {(r["asset"], r["variant"], r["size"], r["seed"]) for r in rows}
    for name in arguments.assets:
        sheet = [row(rendered(name, arguments.size, "front", AZIMUTHS[0], ELEVATION).on_background(), SHOWN)]
        for variant in variants:
            for seed in arguments.seeds:
                if (name, variant, arguments.size, seed) in done:
                    continue
                entry, picture = run(name, variant, arguments.size, seed)
                sheet.append(picture)
                rows.append(entry)
                with open(arguments.rows, "a") as file:
                    file.write(json.dumps(entry) + "\n")
                print(json.dumps(entry), flush=True)
        if arguments.pictures is not None and len(sheet) > 1:
            save_sheet(sheet, arguments.pictures / f"{name.replace(' ', '_')}_{arguments.size}.png")
        rendered.cache_clear()
    wanted = [
        r for r in rows if r["size"] == arguments.size and r["variant"] in variants and r["asset"] in arguments.assets
    ]
    report = {
        "benchmark": "construction: orbit + static orbit -> four other views x 24 times",
        "size": arguments.size,
        "threads": torch.get_num_threads(),
        "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "variants": table(wanted),
        "rows": wanted,
    }
    write_report(arguments.out, report)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
