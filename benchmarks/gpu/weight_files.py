"""Model folders as diffusers writes them, read and written with nothing but torch and the standard library."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orbit4d.errors import InputError
from orbit4d.files import atomic_folder

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
SHARD = 14 * 10**6
"""Bytes of the largest file: what comes back from the machine is limited to 16 MiB a file."""
STEM = "diffusion_pytorch_model"


def read_tensors(file: Path) -> dict[str, Tensor]:
    """A safetensors file: 8 bytes of length, a JSON header, raw tensors. Raises InputError where it is none."""
    try:
        data = file.read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        header, body = json.loads(data[8 : 8 + length]), memoryview(bytearray(data[8 + length :]))
        header.pop("__metadata__", None)
        found = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            dtype = DTYPES[entry["dtype"]]
            if not 0 <= begin <= end <= len(body) or end - begin != math.prod(entry["shape"]) * dtype.itemsize:
                raise ValueError(f"{name} does not fit the file")
            flat = torch.frombuffer(body[begin:end], dtype=dtype) if end > begin else torch.zeros(0, dtype=dtype)
            found[name] = flat.reshape(entry["shape"]).clone()
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise InputError(f"{file}: not a safetensors file ({error}); copy it again") from error
    return found


def write_tensors(file: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file, tensors in the order of their names."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    blobs, place = [], 0
    for name, tensor in sorted(tensors.items()):
        blob = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape)}
        header[name]["data_offsets"] = [place, place + len(blob)]
        blobs.append(blob)
        place += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(b"".join([struct.pack("<Q", len(text)), text, *blobs]))


def read_model(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(config, float32 weights) of a model's folder. Raises InputError where there are none."""
    files = sorted(folder.glob("*.safetensors"))
    if not files or not (folder / "config.json").is_file():
        raise InputError(f"{folder}: expected config.json and *.safetensors, found none; check --start")
    config = {k: v for k, v in json.loads((folder / "config.json").read_text()).items() if not k.startswith("_")}
    weights = {name: tensor.float() for file in files for name, tensor in read_tensors(file).items()}
    return config, weights


def write_model(folder: Path, config: dict[str, Any], weights: dict[str, Tensor]) -> None:
    """Write (or replace) a Denoiser's folder with fp16 weights in as many files as their size asks for."""
    shards: list[dict[str, Tensor]] = [{}]
    room = SHARD
    for name, tensor in sorted(weights.items()):
        half = tensor.half() if tensor.is_floating_point() else tensor
        if half.nbytes > room and shards[-1]:
            shards.append({})
            room = SHARD
        shards[-1][name] = half
        room -= half.nbytes
    with atomic_folder(folder) as temporary:
        record = {"_class_name": "Denoiser"} | {k: v for k, v in config.items() if not k.startswith("_")}
        (temporary / "config.json").write_text(json.dumps(record, indent=2, sort_keys=True))
        places: dict[str, str] = {}
        for i, shard in enumerate(shards):
            count = f"-{i + 1:05}-of-{len(shards):05}" if len(shards) > 1 else ""
            write_tensors(temporary / f"{STEM}{count}.safetensors", shard)
            places |= dict.fromkeys(shard, f"{STEM}{count}.safetensors")
        if len(shards) > 1:
            total = sum(t.nbytes for shard in shards for t in shard.values())
            index = {"metadata": {"total_size": total}, "weight_map": places}
            (temporary / f"{STEM}.safetensors.index.json").write_text(json.dumps(index))
