"""Put what `train.py` left in its --out into a folder that `Orbit4DPipeline.from_pretrained` loads, and load it.

PYTHONPATH=src python benchmarks/gpu/unpack_weights.py OUT --autoencoder RUN/autoencoder/autoencoder --to runs/gpu/weights
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from orbit4d.diffusion.autoencoder import RGBAAutoencoder
from orbit4d.diffusion.denoiser import Denoiser
from orbit4d.diffusion.hub import load_complete
from orbit4d.diffusion.pipeline import Orbit4DPipeline
from orbit4d.errors import InputError
from orbit4d.files import atomic_folder, digest, parse_json


def unpack(source: Path, *, autoencoder: Path, to: Path) -> Path:
    """Raises InputError when `autoencoder` is not the one that made the latents, or the weights do not load."""
    file = source / "state.json"
    if not file.is_file():
        raise InputError(f"{source}: expected what train.py left, state.json and denoiser/, found no state.json")
    state = parse_json(file.read_bytes(), source=file)
    found, wanted = autoencoder_digest(autoencoder), state["autoencoder"]
    if found != wanted:
        raise InputError(f"{autoencoder}: digest {found}, but the latents were made by {wanted}; name that autoencoder")
    load_complete(RGBAAutoencoder, autoencoder)
    denoiser = load_complete(Denoiser, source / "denoiser")
    with atomic_folder(to) as folder:
        shutil.copytree(autoencoder, folder / "autoencoder")
        denoiser.half().save_pretrained(folder / "denoiser", safe_serialization=True, max_shard_size="14MB")
        for file in (folder / "denoiser").iterdir():  # safetensors writes files that only their owner can read
            file.chmod(0o644)
        record = state["pipeline"] | {"training": state["training"] | {"evaluation": state["evaluation"]}}
        (folder / "pipeline.json").write_text(json.dumps(record, indent=1))
    Orbit4DPipeline.from_pretrained(to)
    return to


def autoencoder_digest(folder: Path) -> str:
    """What latents say of their autoencoder."""
    return digest(sorted(folder.glob("*.safetensors")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="--out of train.py")
    parser.add_argument("--autoencoder", type=Path, required=True, help="the one that made the latents")
    parser.add_argument("--to", type=Path, required=True)
    a = parser.parse_args()
    print(unpack(a.source, autoencoder=a.autoencoder, to=a.to))


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
