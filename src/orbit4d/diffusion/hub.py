"""Where a model's files are: the package, a folder, or a Hugging Face repository; and how they are loaded, never from pickles."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError
from torch import nn

from ..errors import InputError
from ..files import parse_json
from .vocabulary import Vocabulary

_Model = TypeVar("_Model", bound=nn.Module)
BUILT_IN = Path(__file__).parent.parent / "weights" / "std4d-s"
PARTS = ("autoencoder", "denoiser")
FILES = [
    "pipeline.json",
    "scheduler/scheduler_config.json",
    *(f"{p}/*.{s}" for p in PARTS for s in ("json", "safetensors")),
]
"""All that is ever downloaded: settings and tensors."""
_HUB_NAME = re.compile(r"[\w][\w.-]{0,95}/[\w][\w.-]{0,95}", re.ASCII)


def model_folder(name: str | Path | None, *, revision: str | None = None) -> Path:
    """The local folder of a model: None is the model inside the package, else a folder, else a hub name "owner/name".

    A hub name may end in "@revision" (a branch, tag or commit), which is what `revision` says, too. Only FILES are
    downloaded, into the cache of huggingface_hub; without a network, what is cached there is used.
    Raises InputError when there is no such folder or repository, or when it can neither be reached nor is cached.
    """
    if name is None:
        return BUILT_IN
    text = str(name)
    if Path(name).is_dir():
        return Path(name)
    repository, _, tag = text.partition("@")
    if Path(name).exists() or not _HUB_NAME.fullmatch(repository) or ("@" in text and not tag):
        raise InputError(f"{name}: expected a folder with a model, or a hub name such as owner/name; check --weights")
    if tag and revision and tag != revision:
        raise InputError(f"{name}: names revision {tag!r}, but revision {revision!r} was given; name one")
    return _download(repository, revision=tag or revision)


def _download(repository: str, *, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    which = repository if revision is None else f"{repository}@{revision}"
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=FILES))
    except GatedRepoError as error:
        raise InputError(f"{which}: access on the hub must be granted to you first; ask there, then log in") from error
    except RevisionNotFoundError as error:
        raise InputError(f"{which}: the hub has no such revision; check the part after @") from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"{which}: no such folder here, and no such (public) model on the hub; check --weights"
        ) from error
    except LocalEntryNotFoundError as error:
        raise InputError(
            f"{which}: no such folder here, not in the hub's cache, and the hub cannot be reached (offline); "
            "connect once to download it, or pass a folder"
        ) from error
    except (HFValidationError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{which}: cannot be downloaded from the hub ({reason}); check --weights") from error


def weight_files(folder: Path) -> list[Path]:
    """The tensors of a model's parts. Raises InputError when the folder lacks some, or `pipeline.json`."""
    parts = [folder / name for name in PARTS]
    weights = [file for part in parts for file in sorted(part.glob("*.safetensors"))]
    if not (folder / "pipeline.json").is_file() or {w.parent for w in weights} != set(parts):
        raise InputError(
            f"{folder}: expected autoencoder/, denoiser/ and pipeline.json with trained weights; check --weights"
        )
    return weights


def load_complete(model: type[_Model], folder: Path) -> _Model:
    """A diffusers model whose every weight came from `folder`. Raises InputError otherwise: nothing stays untrained."""
    try:
        loaded, info = model.from_pretrained(  # type: ignore[attr-defined]
            folder, use_safetensors=True, low_cpu_mem_usage=False, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, TypeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{folder}: cannot be loaded as {model.__name__} ({reason}); check --weights") from error
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if wrong := list(info[kind]):
            raise InputError(
                f"{folder}: {kind.replace('_', ' ')} in its weights: {wrong[0]} and {len(wrong) - 1} more; check --weights"
            )
    return loaded


def read_record(file: Path) -> dict:
    """`pipeline.json`: the scale of the motion condition and the vocabulary. Raises InputError when that scale is missing."""
    if file.stat().st_size > 16 * 2**20:
        raise InputError(f"{file}: larger than 16 MiB, expected a model's pipeline.json; check --weights")
    record = parse_json(file.read_bytes(), source=file)
    try:
        quantiles = [float(q) for q in record["log_m_quantiles"]]
        numbers = [float(record["log_m_mean"]), float(record["log_m_std"]), *quantiles]
        good = len(quantiles) >= 2 and all(map(math.isfinite, numbers)) and record["log_m_std"] > 0
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise InputError(
            f"{file}: expected numbers log_m_mean, log_m_std and log_m_quantiles; it was not written by `orbit4d train`"
        )
    return record


def load_vocabulary(name: str | Path | None = None, *, revision: str | None = None) -> Vocabulary:
    """The words of a model (see `model_folder`), without loading its weights. Raises InputError as loading it would."""
    folder = model_folder(name, revision=revision)
    weight_files(folder)
    return Vocabulary.of_record(read_record(folder / "pipeline.json"))
