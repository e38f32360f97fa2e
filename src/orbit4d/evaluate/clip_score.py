"""CLIP similarity: the cosine between embeddings of frames, or of frames and a text, by a CLIP of the user's choice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .weights import NotMeasured, from_pretrained, load_network

NO_CLIP = "no weights (pass --clip NAME_OR_DIR)"
BATCH = 16


@dataclass(kw_only=True)
class ClipScorer:
    """A CLIP model with its preprocessing, from `load_clip_scorer`; `name` is what reports call it."""

    name: str
    model: Any
    processor: Any

    @torch.no_grad()
    def images(self, frames: Tensor) -> Tensor:
        """(t, d) unit embeddings of frames (t, 3, h, w) in [0, 1], preprocessed as the model's own files say."""
        vectors = []
        pictures = (frames.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        for start in range(0, len(pictures), BATCH):
            pixels = self.processor(images=list(pictures[start : start + BATCH]), return_tensors="pt")["pixel_values"]
            pooled = self.model.vision_model(pixel_values=pixels).pooler_output
            vectors.append(self.model.visual_projection(pooled))
        return functional.normalize(torch.cat(vectors), dim=-1)

    @torch.no_grad()
    def text(self, text: str) -> Tensor:
        """(d,) unit embedding of a text, cut after as many tokens as the model takes."""
        length = self.model.config.text_config.max_position_embeddings
        tokens = self.processor.tokenizer([text], truncation=True, max_length=length, return_tensors="pt")
        pooled = self.model.text_model(**tokens).pooler_output
        return functional.normalize(self.model.text_projection(pooled)[0], dim=-1)

    def image_image(self, prediction: Tensor, target: Tensor) -> Tensor:
        """(t,) cosines in [-1, 1] between frames (t, 3, h, w) and the true frames of the same cameras and times."""
        return (self.images(prediction) * self.images(target)).sum(dim=-1)

    def image_text(self, frames: Tensor, text: str) -> Tensor:
        """(t,) cosines in [-1, 1] between frames (t, 3, h, w) and a text."""
        return self.images(frames) @ self.text(text)


def load_clip_scorer(model: str | Path | None) -> ClipScorer:
    """A CLIP by hub name or from a folder (config.json, model.safetensors, tokenizer and preprocessor files).

    Only safetensors are read and no code of the model's; a folder is read without the network. Raises NotMeasured where
    there are no weights, InputError for a folder that is missing or damaged.
    """
    if model is None:
        raise NotMeasured(NO_CLIP)
    from transformers import CLIPModel, CLIPProcessor

    network = load_network(CLIPModel, model, argument="--clip")
    processor = from_pretrained(CLIPProcessor, model, argument="--clip")
    return ClipScorer(name=str(model), model=network, processor=processor)
