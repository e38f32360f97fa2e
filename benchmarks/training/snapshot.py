"""A denoiser in training as a few megabytes: what it differs by from the one in the package, in 31 levels a row.

    python benchmarks/training/snapshot.py write RUN/denoiser/denoiser --note "..."
    python benchmarks/training/snapshot.py read --out out/start

`write` puts a run's averaged weights into snapshot.safetensors.xz beside this script, so that a long run can go on from a clone, on
another machine; optimiser states are not kept, the learning rate is warmed up again. `read` makes a model's folder of it (the
package's autoencoder with it), which `long_run.py --init`, `orbit4d train --init` and `orbit4d generate --weights` take. Both
name the weights that the differences are to; other weights in the package are refused.
"""

from __future__ import annotations

import json
import lzma
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from orbit4d.diffusion.denoiser import Denoiser
from orbit4d.diffusion.hub import BUILT_IN, load_complete
from orbit4d.errors import InputError
from orbit4d.files import atomic_folder, atomic_path, digest

FILE = Path(__file__).with_name("snapshot.safetensors.xz")
LEVELS = 15
"""Of each sign; the largest difference of a row is the last."""
MAX_BYTES = 2**27


@dataclass(kw_only=True)
class Write:
    """Keep a run's averaged weights."""

    denoiser: tyro.conf.Positional[Path]
    """Folder of the denoiser: config.json and safetensors."""
    note: str
    """What was done to it: steps, recipe, hours."""
    to: Path = FILE


@dataclass(kw_only=True)
class Read:
    """Make a model's folder of the snapshot."""

    out: Path
    file: Path = FILE


def write(denoiser: Path, *, note: str, to: Path = FILE) -> dict:
    """Write the snapshot; returns its size and the error that rounding makes, as a share of the differences (RMS)."""
    base, values = weights_of(BUILT_IN / "denoiser"), weights_of(denoiser)
    if {k: v.shape for k, v in base.items()} != {k: v.shape for k, v in values.items()}:
        raise InputError(f"{denoiser}: another network than the package's; expected one that was started from it")
    kept: dict[str, Tensor] = {}
    wrong = total = 0.0
    for name, value in values.items():
        difference = value - base[name]
        rounded, scale = rounded_rows(difference)
        kept |= {f"{name}.rounded": rounded, f"{name}.scale": scale}
        wrong += float((restored(rounded, scale) - difference).square().sum())
        total += float(difference.square().sum())
    about = json.dumps({"base": base_digest(), "note": note})
    data = lzma.compress(save(kept, metadata={"snapshot": about}), preset=9)
    with atomic_path(to) as temporary:
        temporary.write_bytes(data)
    return {"bytes": len(data), "error": round((wrong / max(total, 1e-12)) ** 0.5, 4), "note": note}


def read(out: Path, *, file: Path = FILE) -> str:
    """Write the model to the new folder `out`; returns the note. Raises InputError where the package holds other weights."""
    try:
        data = lzma.LZMADecompressor(memlimit=2**28).decompress(file.read_bytes(), max_length=MAX_BYTES)
        kept = load(data)
        length = int.from_bytes(data[:8], "little")
        about = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["snapshot"])
    except (OSError, ValueError, KeyError, lzma.LZMAError, SafetensorError) as error:
        raise InputError(f"{file}: not a snapshot ({error}); write one with snapshot.py write") from error
    if about["base"] != base_digest():
        raise InputError(
            f"{file}: differences to weights {about['base']}, the package holds {base_digest()}; it is out of date"
        )
    model = load_complete(Denoiser, BUILT_IN / "denoiser").float()
    base = model.state_dict()
    model.load_state_dict(
        {
            k: v + restored(kept[f"{k}.rounded"], kept[f"{k}.scale"]) if f"{k}.scale" in kept else v
            for k, v in base.items()
        }
    )
    with atomic_folder(out) as folder:
        shutil.copytree(BUILT_IN / "autoencoder", folder / "autoencoder")
        shutil.copy(BUILT_IN / "pipeline.json", folder / "pipeline.json")
        model.half().save_pretrained(folder / "denoiser")
    return about["note"]


def rounded_rows(difference: Tensor) -> tuple[Tensor, Tensor]:
    """(int8 of the same shape, fp32 scale of each row); what has one dimension is one row."""
    rows = difference.reshape(len(difference), -1) if difference.ndim > 1 else difference.reshape(1, -1)
    scale = rows.abs().amax(dim=1) / LEVELS
    rounded = torch.where(scale[:, None] > 0, rows / scale[:, None].clamp_min(1e-30), 0.0).round().to(torch.int8)
    return rounded.reshape(difference.shape), scale


def restored(rounded: Tensor, scale: Tensor) -> Tensor:
    return (rounded.float().reshape(len(scale), -1) * scale[:, None]).reshape(rounded.shape)


def weights_of(folder: Path) -> dict[str, Tensor]:
    return load_complete(Denoiser, folder).float().state_dict()


def base_digest() -> str:
    return digest(sorted((BUILT_IN / "denoiser").glob("*.safetensors")))


def main(
    command: Annotated[Write, tyro.conf.subcommand("write")] | Annotated[Read, tyro.conf.subcommand("read")],
) -> None:
    if isinstance(command, Write):
        print(json.dumps(write(command.denoiser, note=command.note, to=command.to)))
    else:
        print(read(command.out, file=command.file))


if __name__ == "__main__":
    main(tyro.cli(Annotated[Write, tyro.conf.subcommand("write")] | Annotated[Read, tyro.conf.subcommand("read")]))
