"""Finding the weights of metrics that measure with a trained network: by name or path, safetensors only, never code.

What has no weights is not measured, and says so: `NotMeasured` carries the words that stand in a report beside a null.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError

MAX_WEIGHTS_BYTES = 8 * 2**30
"""Of one weights file, and of all files in a model's folder together."""
TEXT = (".json", ".txt")


class NotMeasured(Exception):
    """A metric that cannot be had here. The message is one line that begins with "not measured:"."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"not measured: {' '.join(reason.split())}")


def local_folder(model: str | Path, *, argument: str) -> Path | None:
    """The folder that `model` names, or None where it is a name for the hub.

    A `Path`, and a text that exists or that starts with "/", "." or "~", is a folder; anything else is a name.
    Raises InputError, naming `argument`, for a folder that is missing or too large to be a model.
    """
    path = Path(model).expanduser()
    if not (isinstance(model, Path) or path.exists() or str(model)[:1] in ("/", ".", "~")):
        return None
    if not path.is_dir():
        what = "a file" if path.is_file() else "nothing there"
        raise InputError(f"{argument}: {path}: expected a folder with config.json and model.safetensors, found {what}")
    size = sum(f.stat().st_size for f in path.iterdir() if f.is_file() and f.suffix in (".safetensors", *TEXT))
    if size > MAX_WEIGHTS_BYTES:
        raise InputError(
            f"{argument}: {path} holds {size / 2**30:.1f} GiB, at most {MAX_WEIGHTS_BYTES / 2**30:.0f} are read"
        )
    return path


def from_pretrained(loader, model: str | Path, *, argument: str, **options):
    """`loader.from_pretrained` without remote code; a folder is read without the network.

    Raises InputError for a folder whose files do not load (it is there, and wrong), NotMeasured for a name that neither
    the cache nor the network gives (it is absent).
    """
    folder = local_folder(model, argument=argument)
    source = str(model) if folder is None else str(folder)
    try:
        with _no_bars():
            return loader.from_pretrained(
                source, local_files_only=folder is not None, trust_remote_code=False, **options
            )
    except Exception as error:  # transformers, tokenizers and safetensors raise many kinds, some of them bare
        words = str(error).strip() or type(error).__name__
        first = " ".join(words.split())[:160]
        if folder is not None:
            raise InputError(f"{argument}: {source}: cannot be read as {loader.__name__} ({first})") from error
        raise NotMeasured(f"no weights ({argument} {source} is neither cached nor within reach: {first})") from error


@contextmanager
def _no_bars() -> Iterator[None]:
    """Transformers' own bars stay out of ours."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def load_network(loader, model: str | Path, *, argument: str):
    """A transformers model in evaluation mode, from safetensors alone, with every weight it has: none is ever random.

    Raises as `from_pretrained` does; InputError also where the file lacks weights or holds some of other shapes.
    """
    network, info = from_pretrained(loader, model, argument=argument, use_safetensors=True, output_loading_info=True)
    lacking = sorted({str(key) for key in (*info["missing_keys"], *info["mismatched_keys"])})
    if lacking:
        raise InputError(
            f"{argument}: {model}: {len(lacking)} weights of {loader.__name__} are missing or of another shape "
            f"(the first is {lacking[0]}); expected a model of this kind"
        )
    return network.eval()


def read_tensors(path: str | Path, *, argument: str) -> dict[str, Tensor]:
    """Tensors by name from a .safetensors file, or from a .pth/.pt state dict that holds nothing but tensors.

    A .pth is read by torch's restricted reader (`weights_only=True`): no object in it is ever built. Raises InputError.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"{argument}: {path}: no such file; expected .safetensors or .pth weights")
    if path.stat().st_size > MAX_WEIGHTS_BYTES:
        raise InputError(
            f"{argument}: {path}: larger than {MAX_WEIGHTS_BYTES / 2**30:.0f} GiB; expected a weights file"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            loaded = load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise many kinds for damaged and foreign files
        first = " ".join(str(error).split())[:120]
        raise InputError(f"{argument}: {path}: cannot be read as plain tensors ({first})") from error
    if not isinstance(loaded, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in loaded.items()):
        raise InputError(f"{argument}: {path}: expected a state dict of tensors by name, got {type(loaded).__name__}")
    return loaded
