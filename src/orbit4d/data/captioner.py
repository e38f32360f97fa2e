"""A captioning model's words for rendered animations: any image-to-text model that transformers loads without remote code.

The model sees a few frames of the orbit on white and says what it sees in each; its captions follow those that the asset came
with. Made for models that describe an image without a question, such as BLIP and GIT.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from ..errors import InputError
from ..files import parse_json
from .curation import orbit_pairs
from .sample import load_sample, on_white

FRAMES = 4
MAX_TOKENS = 40
MAX_CAPTION = 300


@dataclass(kw_only=True)
class Captioner:
    """A loaded model. `name` is what sources call it, `identity` changes whenever its files do."""

    name: str
    identity: str
    processor: Any
    model: Any

    @staticmethod
    def load(name: str, *, device: str | None = None) -> Captioner:
        """Load a model by its folder or its name on the Hugging Face hub, from safetensors, never running its own code.

        Raises InputError, in one line, for a model that is absent, incomplete or cannot describe an image by itself.
        """
        from transformers import AutoModelForImageTextToText, AutoProcessor

        folder = Path(name)
        local = folder.is_dir()
        if not local and not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
            raise InputError(f"--captioner: {name}: no such folder, and no model's name (owner/name)")
        try:
            processor = AutoProcessor.from_pretrained(name, trust_remote_code=False, local_files_only=local)
            loaded: Any = AutoModelForImageTextToText.from_pretrained(
                name, trust_remote_code=False, local_files_only=local, use_safetensors=True, output_loading_info=True
            )
            model, info = loaded
        except Exception as error:  # transformers raises many kinds, each of many lines
            reason = " ".join(str(error).split())[:160]
            raise InputError(
                f"--captioner: {name}: cannot be loaded ({type(error).__name__}: {reason}); expected an image-to-text "
                "model with safetensors weights"
            ) from error
        lacking = sorted(info["missing_keys"]) or sorted(str(k) for k in info["mismatched_keys"])
        if lacking:
            raise InputError(
                f"--captioner: {name}: its weights lack {lacking[0]!r} and {len(lacking) - 1} more; load another"
            )
        model = model.eval().to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        short = folder.resolve().name if local else name
        found = Captioner(name=short, identity=_identity(folder, model, local=local), processor=processor, model=model)
        try:
            found.describe([np.full((64, 64, 4), 255, np.uint8)])
        except Exception as error:
            reason = " ".join(str(error).split())[:160]
            raise InputError(
                f"--captioner: {name}: cannot describe an image by itself ({type(error).__name__}: {reason}); "
                "expected a captioning model such as BLIP or GIT"
            ) from error
        return found

    @torch.no_grad()
    def describe(self, frames: Sequence[np.ndarray]) -> list[str]:
        """What the model says of straight 8-bit RGBA frames (h, w, 4) on white: different captions, the most frequent first."""
        images = [Image.fromarray((on_white(frame) * 255).round().astype(np.uint8)) for frame in frames]
        inputs = self.processor(images=images, return_tensors="pt").to(self.model.device)
        tokens = self.model.generate(**inputs, max_new_tokens=MAX_TOKENS, do_sample=False)
        said = [
            " ".join(text.split())[:MAX_CAPTION]
            for text in self.processor.batch_decode(tokens, skip_special_tokens=True)
        ]
        said = [text for text in said if text]
        return sorted(dict.fromkeys(said), key=lambda text: (-said.count(text), said.index(text)))


def caption_kept(folder: Path, lines: Sequence[dict[str, Any]], *, model: Captioner, progress: bool) -> None:
    """Append the model's words to the `captions` of curation lines, and ``model:NAME`` to their `caption_sources`.

    What the same model said of the same sample before is taken from `folder`/curation/captions.jsonl.
    Raises InputError for a sample that cannot be read.
    """
    cache = folder / "curation" / "captions.jsonl"
    known = _read_cache(cache, model)
    for line in tqdm(lines, desc="caption", unit="sample", disable=not progress):
        said = known.get((line["key"], line["sha256"]))
        if said is None:
            sample = load_sample(folder / "samples" / f"{line['key']}.tar")
            orbit = orbit_pairs(sample)
            said = model.describe([sample.rgba(orbit[i * len(orbit) // FRAMES]) for i in range(FRAMES)])
            entry = {"key": line["key"], "sha256": line["sha256"], "model": model.identity, "captions": said}
            cache.parent.mkdir(parents=True, exist_ok=True)
            with open(
                cache, "ab"
            ) as handle:  # after a torn line, which a killed run may have left, on a line of its own
                handle.write(b"\n" * (handle.tell() > 0) + json.dumps(entry).encode())
        new = [caption for caption in said if caption not in line["captions"]]
        line["captions"] = [*line["captions"], *new]
        line["caption_sources"] = [*line["caption_sources"], *[f"model:{model.name}"] * len(new)]


def _identity(folder: Path, model: Any, *, local: bool) -> str:
    if not local:
        return f"{folder} {getattr(model.config, '_commit_hash', None)}"
    seen = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(folder.iterdir()) if p.is_file()]
    return f"{folder.resolve().name} {hashlib.sha256(repr(seen).encode()).hexdigest()[:16]}"


def _read_cache(path: Path, model: Captioner) -> dict[tuple[str, str], list[str]]:
    """(key, sha256) -> captions of this very model; other lines are of no use."""
    out = {}
    for text in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            entry = parse_json(text, source=path)
            if entry["model"] == model.identity and all(isinstance(c, str) for c in entry["captions"]):
                out[entry["key"], entry["sha256"]] = list(entry["captions"])
        except (InputError, KeyError, TypeError):
            continue
    return out
