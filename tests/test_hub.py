"""Models on disk and on the hub: round trips, a prepared cache, and what is said when there is none."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from orbit4d.cameras import Orbit
from orbit4d.diffusion.autoencoder import FACTOR, RGBAAutoencoder
from orbit4d.diffusion.denoiser import Denoiser
from orbit4d.diffusion.hub import FILES, LATENT_SIZE, model_folder, read_record
from orbit4d.diffusion.pipeline import Orbit4DPipeline
from orbit4d.diffusion.sampling import SIZE
from orbit4d.diffusion.schedulers import make_scheduler, scheduler_name
from orbit4d.errors import InputError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def tiny(scheduler: str = "unipc") -> Orbit4DPipeline:
    torch.manual_seed(0)
    denoiser = Denoiser(spatial_width=32, temporal_width=16, depth=2, spatial_heads=2, temporal_heads=1)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    record = {"log_m_mean": -5.0, "log_m_std": 1.0, "log_m_quantiles": [-8.0, -5.0, -2.0], "vocabulary": ["a fox"]}
    return Orbit4DPipeline(
        autoencoder=RGBAAutoencoder(widths=(8, 8, 16)),
        denoiser=denoiser,
        scheduler=make_scheduler(scheduler),
        motion=record,
    )


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache that holds acme/orbits at one commit, and no network."""
    repository = tmp_path / "cache" / "models--acme--orbits"
    tiny().save_pretrained(repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def test_a_saved_model_draws_the_same(tmp_path: Path) -> None:
    pipe = tiny()
    pipe.save_pretrained(tmp_path / "m")
    names = {str(p.relative_to(tmp_path / "m")) for p in (tmp_path / "m").rglob("*") if p.is_file()}
    assert {"pipeline.json", "scheduler/scheduler_config.json", "denoiser/config.json"} <= names
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in names)
    loaded = Orbit4DPipeline.from_pretrained(tmp_path / "m")
    assert scheduler_name(loaded.scheduler) == "unipc" and loaded.motion == pipe.motion
    options = {"prompt": "a fox", "steps": 2, "orbit": Orbit(frames=3), "progress": False}
    assert torch.equal(pipe(**options).rgb, loaded(**options).rgb)
    loaded.save_pretrained(tmp_path / "again")
    assert not any(str(tmp_path) in file.read_text() for file in (tmp_path / "again").rglob("*.json"))
    with pytest.raises(InputError, match="not empty"):
        pipe.save_pretrained(tmp_path / "m")


def test_a_folder_without_a_scheduler_gets_the_default(tmp_path: Path) -> None:
    tiny("euler").save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "scheduler" / "scheduler_config.json").unlink()
    assert scheduler_name(Orbit4DPipeline.from_pretrained(tmp_path / "m").scheduler) == "dpm++"


def test_a_hub_name_is_read_from_the_cache(cache: Path) -> None:
    pipe = Orbit4DPipeline.from_pretrained("acme/orbits")
    assert scheduler_name(pipe.scheduler) == "unipc" and pipe.vocabulary.kinds == {"fox": ()}
    assert model_folder("acme/orbits@main") == model_folder(Path("acme/orbits"), revision=COMMIT)


@pytest.mark.parametrize("name", ["acme/absent", "acme/orbits@other"])
def test_what_is_not_cached_is_named_offline(cache: Path, name: str) -> None:
    with pytest.raises(InputError, match="offline") as caught:
        Orbit4DPipeline.from_pretrained(name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "match"),
    [
        (RepositoryNotFoundError, "no such .*model on the hub"),
        (RevisionNotFoundError, "no such revision"),
        (GatedRepoError, "granted"),
        (LocalEntryNotFoundError, "offline"),
        (OSError, "cannot be downloaded"),
    ],
)
def test_every_refusal_of_the_hub_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], match: str
) -> None:
    asked = {}

    def refuse(repository: str, **options: object) -> str:
        asked.update(options)
        raise error.__new__(error)

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(InputError, match=match) as caught:
        model_folder("acme/orbits@v2")
    assert "acme/orbits@v2" in str(caught.value) and "\n" not in str(caught.value)
    assert asked["revision"] == "v2" and asked["allow_patterns"] == FILES
    assert not any(pattern.endswith((".bin", ".pt", ".py", "*")) for pattern in FILES)


@pytest.mark.parametrize("name", ["nothing_here", "a/b/c", "../up/x", "acme/or bits", "acme/orbits@", "/abs/olute", ""])
def test_what_is_neither_a_folder_nor_a_name(name: str) -> None:
    with pytest.raises(InputError):
        Orbit4DPipeline.from_pretrained(name)


def test_two_revisions() -> None:
    with pytest.raises(InputError, match="revision"):
        model_folder("acme/orbits@v1", revision="v2")


@pytest.mark.parametrize(
    ("part", "change", "match"),
    [
        ("denoiser", {"patch": 0}, "patch"),
        ("denoiser", {"spatial_heads": 0}, "spatial_heads"),
        ("denoiser", {"spatial_heads": 3}, "spatial_width 32"),
        ("denoiser", {"depth": 10**6}, "depth"),
        ("denoiser", {"spatial_width": 4096}, "weights"),
        ("denoiser", {"depth": True}, "depth"),
        ("denoiser", {"prediction": "epsilon"}, "epsilon"),
        ("denoiser", {"lift_blocks": "01"}, "lift_blocks"),
        ("denoiser", {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}, "quantization"),
        ("denoiser", {"_class_name": "UNet2DModel"}, "Denoiser"),
        ("autoencoder", {"widths": [8, 8]}, "settings"),
        ("autoencoder", {"widths": [8, 8, 0]}, "widths"),
        ("autoencoder", {"blocks": 10**9}, "blocks"),
    ],
)
def test_settings_out_of_bounds_are_refused_before_anything_is_built(
    tmp_path: Path, part: str, change: dict, match: str
) -> None:
    tiny().save_pretrained(tmp_path / "m")
    file = tmp_path / "m" / part / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(InputError, match=match) as caught:
        Orbit4DPipeline.from_pretrained(tmp_path / "m")
    assert "\n" not in str(caught.value) and "config.json" in str(caught.value)


@pytest.mark.parametrize("change", [{"latent_size": 32}, {"latent_channels": 8}, {"text_width": 64}])
def test_parts_that_do_not_fit_each_other_are_refused(tmp_path: Path, change: dict) -> None:
    """Another autoencoder's channels, another size of frames, another text encoder: each a whole model by itself."""
    tiny().save_pretrained(tmp_path / "m")
    torch.manual_seed(0)
    small = {"spatial_width": 32, "temporal_width": 16, "depth": 2, "spatial_heads": 2, "temporal_heads": 1}
    Denoiser(**(small | change)).save_pretrained(tmp_path / "m" / "denoiser")
    with pytest.raises(InputError, match=f"{next(iter(change))} {next(iter(change.values()))}, expected") as caught:
        Orbit4DPipeline.from_pretrained(tmp_path / "m")
    assert "\n" not in str(caught.value) and str(tmp_path / "m") in str(caught.value)
    assert LATENT_SIZE * FACTOR == SIZE


@pytest.mark.parametrize(
    "change",
    [
        {"log_m_quantiles": ["1", "2"]},
        {"log_m_quantiles": "12"},
        {"log_m_quantiles": [2.0, 1.0]},
        {"log_m_quantiles": [1.0]},
        {"log_m_quantiles": [1.0, 10**400]},
        {"log_m_quantiles": [1.0, 800.0]},
        {"log_m_quantiles": [-800.0, 1.0]},
        {"log_m_mean": float("nan")},
        {"log_m_mean": "0"},
        {"log_m_std": True},
        {"log_m_std": 0},
    ],
)
def test_a_motion_scale_is_numbers_in_order(tmp_path: Path, change: dict) -> None:
    record = {"log_m_mean": -5, "log_m_std": 1, "log_m_quantiles": [-8, -5.5, -2]}
    file = tmp_path / "pipeline.json"
    file.write_text(json.dumps(record))
    assert all(type(q) is float for q in read_record(file)["log_m_quantiles"])
    file.write_text(json.dumps(record | change))
    with pytest.raises(InputError, match="log_m_quantiles"):
        read_record(file)


def test_a_mistyped_folder_is_not_looked_up_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: asked.append(name) or str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "m").mkdir(parents=True)
    for name in ("runs/s", "./s", Path("runs/s")):
        with pytest.raises(InputError, match="no such folder"):
            model_folder(name)
    with pytest.raises(InputError, match="revision"):
        model_folder("runs/m", revision="v2")
    assert asked == []
    assert model_folder("hf:runs/s") == model_folder("acme/orbits") == tmp_path
    assert asked == ["runs/s", "acme/orbits"]


def test_a_damaged_scheduler_is_named(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path / "m")
    file = tmp_path / "m" / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({"_class_name": "PickleScheduler"}))
    with pytest.raises(InputError, match=r"scheduler_config.json.*PickleScheduler"):
        Orbit4DPipeline.from_pretrained(tmp_path / "m")
