"""Where a model's files are: the package, a folder, or a Hugging Face repository; and how they are loaded, never from pickles."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from torch import nn

from ..errors import InputError
from ..files import parse_json
from .captioner import FILE as CAPTIONER
from .text import TEXT_WIDTH
from .vocabulary import Vocabulary

_Model = TypeVar("_Model", bound=nn.Module)
BUILT_IN = Path(__file__).parent.parent / "weights" / "std4d-s"
PARTS = ("autoencoder", "denoiser")
FILES = [
    "pipeline.json",
    "scheduler/scheduler_config.json",
    CAPTIONER,
    *(f"{p}/*.{s}" for p in PARTS for s in ("json", "safetensors")),
]
"""All that is ever downloaded: settings and tensors."""
HUB = "hf:"
"""Before a hub name that would else be taken for a path."""
MAX_WIDTH = 4096
MAX_DEPTH = 64
LATENT_SIZE = 16
"""Side of the latents of 128 x 128 frames, which are what a pipeline samples."""
MAX_LOG_M = 50.0
"""Of the motion scale's numbers, either way: m = exp of them."""
_HEADER = ("_class_name", "_diffusers_version", "_name_or_path")
_HUB_NAME = re.compile(r"[\w][\w.-]{0,95}/[\w][\w.-]{0,95}", re.ASCII)


def model_folder(name: str | Path | None, *, revision: str | None = None) -> Path:
    """The local folder of a model: None is the model inside the package, else a folder, else a hub name "owner/name".

    A hub name may end in "@revision" (a branch, tag or commit), which is what `revision` says, too. Only FILES are
    downloaded, into the cache of huggingface_hub; without a network, what is cached there is used.
    A name whose first part is a folder here is taken for a path, unless it begins with "hf:".
    Raises InputError when there is no such folder or repository, or when it can neither be reached nor is cached.
    """
    if name is None:
        return BUILT_IN
    if Path(name).is_dir():
        if revision is not None:
            raise InputError(
                f"{name}: is a folder here, which has no revision {revision!r:.60}; leave the revision out"
            )
        return Path(name)
    explicit = str(name).startswith(HUB)
    text = str(name).removeprefix(HUB)
    repository, _, tag = text.partition("@")
    if not explicit and "/" in text and Path(text).parent.is_dir():
        raise InputError(
            f"{name}: no such folder in {Path(text).parent}, which is a folder here; check --weights, "
            f"or say {HUB}{text} for a model on the hub"
        )
    if (not explicit and Path(text).exists()) or not _HUB_NAME.fullmatch(repository) or ("@" in text and not tag):
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
    """The tensors of a model's parts. Raises InputError when the folder lacks some, or `pipeline.json`, and when the parts do not
    fit each other."""
    parts = [folder / name for name in PARTS]
    weights = [file for part in parts for file in sorted(part.glob("*.safetensors"))]
    if not (folder / "pipeline.json").is_file() or {w.parent for w in weights} != set(parts):
        raise InputError(
            f"{folder}: expected autoencoder/, denoiser/ and pipeline.json with trained weights; check --weights"
        )
    autoencoder, denoiser = (_read_config(part / "config.json") for part in parts)
    detail = autoencoder.get("detail_channels")
    channels = 4 + detail if isinstance(detail, int) else "the autoencoder's"
    for name, wanted in (("latent_channels", channels), ("latent_size", LATENT_SIZE), ("text_width", TEXT_WIDTH)):
        if denoiser.get(name) != wanted:
            raise InputError(
                f"{folder}: its denoiser has {name} {denoiser.get(name)!r:.40}, expected {wanted}, as its autoencoder, frames of "
                "128 x 128 and the text encoder have; check --weights"
            )
    return weights


def load_complete(model: type[_Model], folder: Path) -> _Model:
    """A diffusers model whose every weight came from `folder`. Raises InputError otherwise: nothing stays untrained.

    Its config.json may be anyone's: it holds the model's own settings in bounds, for no more weights than the files have.
    """
    read_settings(model, folder)
    try:
        loaded, info = model.from_pretrained(  # type: ignore[attr-defined]
            folder, use_safetensors=True, low_cpu_mem_usage=False, local_files_only=True, output_loading_info=True
        )
    except (
        OSError,
        ValueError,
        RuntimeError,
        TypeError,
        KeyError,
        ArithmeticError,
        ImportError,
        SafetensorError,
    ) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{folder}: cannot be loaded as {model.__name__} ({reason}); check --weights") from error
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if wrong := list(info[kind]):
            raise InputError(
                f"{folder}: {kind.replace('_', ' ')} in its weights: {wrong[0]} and {len(wrong) - 1} more; check --weights"
            )
    return loaded


def _read_config(file: Path) -> dict[str, Any]:
    if not file.is_file() or file.stat().st_size > 2**20:
        raise InputError(f"{file}: expected a model's settings of at most 1 MiB; check --weights")
    config = parse_json(file.read_bytes(), source=file)
    if not isinstance(config, dict):
        raise InputError(f"{file}: expected a model's settings; check --weights")
    return config


def read_settings(model: type[nn.Module], folder: Path) -> dict[str, Any]:
    """All settings of the model in `folder`, the class's own where its config.json leaves them out. Raises InputError when they are
    another class's, out of bounds, or ask for more weights than the folder's files can hold."""
    file = folder / "config.json"
    config = _read_config(file)
    if config.get("_class_name", model.__name__) != model.__name__:
        raise InputError(f"{file}: expected the settings of a {model.__name__}; check --weights")
    settings = {k: v for k, v in config.items() if k not in _HEADER}
    defaults = {n: p.default for n, p in inspect.signature(model.__init__).parameters.items() if n != "self"}
    for key, value in settings.items():
        if key not in defaults:
            raise InputError(
                f"{file}: a {model.__name__} has no setting {key!r:.40}; check --weights, or update orbit4d"
            )
        if not _fits(key, value, defaults[key]):
            raise InputError(f"{file}: {key} = {value!r:.40} is out of bounds or of the wrong type; check --weights")
    for part in ("spatial", "temporal"):
        width, heads = (settings.get(f"{part}_{k}", defaults.get(f"{part}_{k}", 1)) for k in ("width", "heads"))
        if width % heads:
            raise InputError(f"{file}: {part}_width {width} is no multiple of {part}_heads {heads}; check --weights")
    stored = sum(f.stat().st_size for f in folder.glob("*.safetensors"))
    try:
        with torch.device("meta"):  # shapes alone, before anything is allocated
            wanted = sum(p.numel() for p in model(**settings).parameters())
    except (ValueError, RuntimeError, TypeError, ArithmeticError, KeyError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{file}: no {model.__name__} has these settings ({reason}); check --weights") from error
    if wanted > stored:
        raise InputError(
            f"{folder}: cannot be loaded as {model.__name__} (config.json asks for {wanted} weights, there are {stored} bytes); "
            "check --weights"
        )
    return defaults | settings


def _fits(key: str, value: object, default: object) -> bool:
    """Whether a setting has its default's type, and numbers are small enough to be meant."""
    if isinstance(default, tuple):  # indices of blocks, or widths
        least = 1 if default else 0
        return (
            isinstance(value, list) and len(value) <= MAX_DEPTH and all(_is_count(v, least, MAX_WIDTH) for v in value)
        )
    if isinstance(default, bool | str):
        return type(value) is type(default)
    return _is_count(value, 0 if default == 0 else 1, MAX_DEPTH if key in ("depth", "blocks", "patch") else MAX_WIDTH)


def _is_count(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def read_record(file: Path) -> dict:
    """`pipeline.json`: the scale of the motion condition, as numbers in order within MAX_LOG_M, and the vocabulary.

    Raises InputError when that scale is missing or is not one.
    """
    if file.stat().st_size > 16 * 2**20:
        raise InputError(f"{file}: larger than 16 MiB, expected a model's pipeline.json; check --weights")
    record = parse_json(file.read_bytes(), source=file)
    try:
        mean, deviation, quantiles = (record[f"log_m_{k}"] for k in ("mean", "std", "quantiles"))
        plain = isinstance(quantiles, list) and all(type(n) in (int, float) for n in (mean, deviation, *quantiles))
        mean, deviation, *quantiles = map(float, (mean, deviation, *quantiles) if plain else ())
        good = len(quantiles) >= 2 and all(abs(n) <= MAX_LOG_M for n in (mean, deviation, *quantiles)) and deviation > 0
        good = good and quantiles == sorted(quantiles)
    except (ValueError, KeyError, TypeError, OverflowError):
        good = False
    if not good:
        raise InputError(
            f"{file}: expected numbers log_m_mean, log_m_std and ascending log_m_quantiles, of {MAX_LOG_M:.0f} at most; it was not "
            "written by `orbit4d train`"
        )
    return record | {"log_m_mean": mean, "log_m_std": deviation, "log_m_quantiles": quantiles}


def load_vocabulary(name: str | Path | None = None, *, revision: str | None = None) -> Vocabulary:
    """The words of a model (see `model_folder`), without loading its weights. Raises InputError as loading it would."""
    folder = model_folder(name, revision=revision)
    weight_files(folder)
    return Vocabulary.of_record(read_record(folder / "pipeline.json"))
