"""CLIP similarity through a tiny CLIP with random weights, saved to disk and loaded as a user's would be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from orbit4d.errors import InputError
from orbit4d.evaluate.clip_score import load_clip_scorer
from orbit4d.evaluate.weights import NotMeasured

SIDE = 32


def save_tiny_clip(folder: Path) -> Path:
    """A whole CLIP folder: random weights, a byte-level tokenizer without merges, and CLIP's preprocessing at 32 pixels."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*letters, *(c + "</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    small = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
    config = CLIPConfig(
        text_config={
            **small,
            "vocab_size": len(words),
            "max_position_embeddings": 16,
            "bos_token_id": len(words) - 2,
            "eos_token_id": len(words) - 1,
            "pad_token_id": len(words) - 1,
        },
        vision_config={**small, "image_size": SIDE, "patch_size": 8},
        projection_dim=12,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPModel(config).save_pretrained(folder)
    tokenizer = CLIPTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=[])
    pictures = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    CLIPProcessor(image_processor=pictures, tokenizer=tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_clip(tmp_path_factory.mktemp("clip"))


def _frames(count: int = 3, side: int = SIDE, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def test_image_embeddings_are_the_models_own(tiny_clip: Path) -> None:
    """Against the model called by hand with the published mean and deviation, at its own size (no resampling)."""
    from transformers import CLIPModel

    scorer = load_clip_scorer(tiny_clip)
    frames = (_frames(20) * 255).round() / 255  # more than one batch
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    model = CLIPModel.from_pretrained(tiny_clip).eval()
    with torch.no_grad():
        pooled = model.vision_model(pixel_values=(frames - mean) / deviation).pooler_output
        expected = torch.nn.functional.normalize(model.visual_projection(pooled), dim=-1)
    torch.testing.assert_close(scorer.images(frames), expected, atol=1e-5, rtol=1e-4)


def test_cosines(tiny_clip: Path) -> None:
    scorer = load_clip_scorer(str(tiny_clip))
    frames, others = _frames(), _frames(seed=1)
    assert scorer.image_image(frames, frames).tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    mixed = scorer.image_image(frames, others)
    assert (mixed < 0.9999).all()
    assert mixed.tolist() == pytest.approx(scorer.image_image(others, frames).tolist(), abs=1e-6)
    fox, cat = scorer.image_text(frames, "a fox"), scorer.image_text(frames, "a cat")
    assert fox.shape == (3,)
    assert fox.abs().max() <= 1
    assert not torch.allclose(fox, cat)
    assert scorer.image_text(frames, "long " * 100).isfinite().all()


def test_frames_of_any_size_are_resampled(tiny_clip: Path) -> None:
    scorer = load_clip_scorer(tiny_clip)
    assert scorer.images(_frames(side=50)).shape == (3, 12)


def test_without_weights_nothing_is_measured() -> None:
    with pytest.raises(NotMeasured, match=r"^not measured: no weights \(pass --clip NAME_OR_DIR\)$"):
        load_clip_scorer(None)


def test_a_name_out_of_reach_is_not_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        NotMeasured, match=r"^not measured: no weights \(--clip nobody/no-such-clip is neither"
    ) as caught:
        load_clip_scorer("nobody/no-such-clip")
    assert "\n" not in str(caught.value)


def test_missing_and_damaged_folders_are_one_line(tiny_clip: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--clip: .*nothing there"):
        load_clip_scorer(tmp_path / "none")
    with pytest.raises(InputError, match="nothing there"):
        load_clip_scorer("./no-such-folder")
    broken = shutil.copytree(tiny_clip, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    with pytest.raises(InputError, match=r"--clip: .*CLIPModel") as caught:
        load_clip_scorer(broken)
    assert "\n" not in str(caught.value)


def test_pickled_weights_and_code_are_refused(tiny_clip: Path, tmp_path: Path) -> None:
    pickled = shutil.copytree(tiny_clip, tmp_path / "pickled")
    (pickled / "model.safetensors").unlink()
    torch.save({}, pickled / "pytorch_model.bin")
    with pytest.raises(InputError, match="safetensors"):
        load_clip_scorer(pickled)
    coded = shutil.copytree(tiny_clip, tmp_path / "coded")
    config = json.loads((coded / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "evil.Model"}
    (coded / "config.json").write_text(json.dumps(config))
    (coded / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    load_clip_scorer(coded)
    assert not (tmp_path / "ran").exists()


def test_weights_that_are_missing_are_never_random(tiny_clip: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    partial = shutil.copytree(tiny_clip, tmp_path / "partial")
    tensors = load_file(partial / "model.safetensors")
    del tensors["visual_projection.weight"]
    save_file(tensors, partial / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"1 weights of CLIPModel are missing.*visual_projection.weight"):
        load_clip_scorer(partial)
