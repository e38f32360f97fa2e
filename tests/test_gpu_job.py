"""The training job for a machine with a GPU and little else: packed, trained where packages are missing, and brought back."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys

import pytest
import torch
from conftest import REPOSITORY
from safetensors.torch import load_file

from orbit4d.cameras import Orbit
from orbit4d.data.latent_set import LatentClip
from orbit4d.diffusion.autoencoder import RGBAAutoencoder
from orbit4d.diffusion.batches import LatentSet, gather_batch, plan_batch, sample_batch
from orbit4d.diffusion.denoiser import Denoiser
from orbit4d.diffusion.hub import load_complete
from orbit4d.diffusion.pipeline import Orbit4DPipeline
from orbit4d.diffusion.train_denoiser import DenoiserConfig
from orbit4d.errors import InputError

JOB = REPOSITORY / "benchmarks" / "gpu"
FRAMES = 6
BLOCKED = """
import importlib.machinery, runpy, sys
missing = {"diffusers", "transformers", "safetensors", "accelerate", "PIL", "tqdm", "moderngl", "tyro", "imageio", "plyfile"}
find = importlib.machinery.PathFinder.find_spec
def found(name, path=None, target=None):
    if name in missing and path is None:
        path = [p for p in sys.path if "packages" not in p]  # as if they were not installed
    return find(name, path, target)
importlib.machinery.PathFinder.find_spec = found
sys.path.insert(0, sys.argv[1])
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
assert "stand_in" in sys.modules["diffusers"].__file__
assert not (missing - {"diffusers"}) & set(sys.modules)
"""


@pytest.fixture(scope="module")
def job():
    """The job's modules, which lie beside each other and are no package."""
    sys.path.insert(0, str(JOB))
    try:
        names = ("batched_muon", "latent_pack", "pack_latents", "unpack_weights", "weight_files")
        return {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(JOB))


@pytest.fixture(scope="module")
def clips() -> list[LatentClip]:
    """A ring that turns and rises, twice with less amplitude, before a background; and another kind."""
    torch.manual_seed(0)
    background = torch.randn(12, 16, 16)
    views = FRAMES - 1
    cameras = Orbit(frames=FRAMES).cameras(128)[list(range(views))]
    found = []
    for number, (name, amplitude, magnitude) in enumerate(
        [("a", 1.0, 0.02), ("a-less", 0.45, 0.004), ("a-least", 0.15, 0.001), ("b", 1.0, 0.05)]
    ):
        generator = torch.Generator().manual_seed(number // 3)
        shapes = torch.randn(views, 12, 2, 2, generator=generator)
        motion = torch.randn(views, FRAMES, 12, 2, 2, generator=generator)
        motion[:, 0] = 0
        pairs = [(v, 0) for v in range(views)] + [(i % views, i) for i in range(1, FRAMES)]
        pairs += [((i + 2) % views, i) for i in range(1, FRAMES)]
        latents = background.repeat(len(pairs), 1, 1, 1)
        for row, (v, j) in enumerate(pairs):
            latents[row, :, 1:3, 1:3] = shapes[v] + amplitude * motion[v, j]
        meta = {
            "captions": [f"a thing {name[0]}", "a thing"],
            "kind": f"thing {name[0]}",
            "motion_magnitude": magnitude,
            "width": 128,
            "height": 128,
            "times": torch.linspace(0, 1, FRAMES).tolist(),
            "camera_to_world": cameras.camera_to_world,
            "intrinsics": cameras.intrinsics,
        }
        found.append(LatentClip(key=name, meta=meta, pairs=pairs, latents=latents.half()))
    return found


@pytest.fixture(scope="module")
def states(clips) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    captions = sorted({c for clip in clips for c in clip.captions})
    return {caption: torch.randn(len(caption.split()) + 2, 384) for caption in captions}


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job") / "autoencoder"
    RGBAAutoencoder(detail_channels=8, widths=(8, 8, 16)).half().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pack(job, clips, states, autoencoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pack")
    recipe = job["pack_latents"].recipes(
        clips, autoencoder=job["unpack_weights"].autoencoder_digest(autoencoder), presets=("tiny",)
    )
    small = {"spatial_width": 32, "temporal_width": 16, "relative": "camera"}
    recipe["presets"]["tiny"]["network"] |= small | {"lift": 4, "lift_blocks": (1,)}
    job["latent_pack"].write_pack(folder, clips, states=states, recipe=recipe, step=0.1, extra=3, extra_damped=1)
    return folder


def test_a_pack_holds_what_training_reads(job, clips, states, pack):
    data, head = job["latent_pack"].read_pack(pack)
    whole = LatentSet(clips, encode=data.encode)
    orbit = torch.arange(FRAMES)
    for index in range(len(clips)):
        for a, b in ((data.index[index, orbit, orbit], whole.index[index, orbit, orbit]), (data.still, whole.still)):
            gap = data.latents[a].float() - whole.latents[b].float()
            assert gap.abs().max() < 0.055
        background = data.latents[data.still[index], :, 0, 0], whole.latents[whole.still[index], :, 0, 0]
        assert torch.equal(*background), "the background is exact"
    assert [len(rows) for rows in data.rows] == [5 + 5 + n for n in (3, 1, 1, 3)]
    assert [c["captions"] for c in data.clips] == [c["captions"] for c in whole.clips]
    assert torch.equal(data.motion, whole.motion) and data.log_m_quantiles == whole.log_m_quantiles
    assert torch.equal(data.camera_rays, whole.camera_rays) and head["recipe"]["record"]["clips"] == len(clips)
    text, mask = data.encode(["a thing", ""])
    assert mask.sum(1).tolist() == [4, 0] and not text[1].any()
    assert (text[0, :4] - states["a thing"]).square().mean().sqrt() < 0.06


def test_less_of_the_same_motion_costs_little(job, clips, states, tmp_path):
    sizes = []
    for name, chosen in (("one", clips[:1]), ("three", clips[:3])):
        (tmp_path / name).mkdir()
        found = {c: states[c] for clip in chosen for c in clip.captions}
        job["latent_pack"].write_pack(tmp_path / name, chosen, states=found, recipe={}, step=0.1)
        sizes.append((tmp_path / name / "part-000.xz").stat().st_size)
    assert sizes[1] < 2.5 * sizes[0]


def test_a_damaged_pack_is_refused(job, pack, tmp_path):
    with pytest.raises(InputError, match=r"pack_latents\.py"):
        job["latent_pack"].read_pack(tmp_path)
    for file in pack.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    data = bytearray((tmp_path / "part-000.xz").read_bytes())
    data[len(data) // 2] ^= 255
    (tmp_path / "part-000.xz").write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        job["latent_pack"].read_pack(tmp_path)


def test_a_planned_batch_is_the_batch(job, pack):
    data, _ = job["latent_pack"].read_pack(pack)
    config = DenoiserConfig(batch=6, frames=4)
    one = sample_batch(data, config, torch.Generator().manual_seed(3))
    two = gather_batch(data, plan_batch(data, config, torch.Generator().manual_seed(3)))
    assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1]) and torch.equal(one[3], two[3])
    assert torch.equal(one[2].plucker, two[2].plucker) and torch.equal(one[2].times, two[2].times)


def _train(*arguments: object) -> str:
    command = [sys.executable, "-c", BLOCKED, str(JOB), str(JOB / "train.py"), *map(str, arguments)]
    command += ["--device", "cpu", "--preset", "tiny", "--batch", "5", "--frames", "3", "--no-compile"]
    command += ["--eval-batches", "1", "--log-every", "2", "--seed", "1"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=REPOSITORY, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_trains_without_the_packages_resumes_and_comes_back(job, pack, autoencoder, tmp_path):
    first, second, scratch = tmp_path / "first", tmp_path / "second", tmp_path / "scratch"
    _train("--pack", pack, "--out", first, "--steps", 6, "--workers", 2, "--scratch", scratch)
    names = sorted(str(f.relative_to(first)) for f in first.rglob("*") if f.is_file())
    assert names == ["denoiser/config.json", "denoiser/diffusion_pytorch_model.safetensors", "log.jsonl", "state.json"]
    assert json.loads((first / "state.json").read_text())["step"] == 6
    lines = [json.loads(line) for line in (first / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 6] and "eval_0.5" in lines[-1] and lines[0]["flow"] > 0

    # Exactly on this machine, and from the averaged weights on another one
    said = _train("--pack", pack, "--out", second, "--steps", 2, "--workers", 0, "--scratch", scratch, "--decay", 1)
    assert "goes on exactly at step 6" in said
    said = _train("--pack", pack, "--out", tmp_path / "third", "--start", first, "--steps", 1, "--workers", 0)
    assert "starts at step 6" in said and json.loads((tmp_path / "third" / "state.json").read_text())["step"] == 7

    trained = load_complete(Denoiser, first / "denoiser")
    assert trained.config["lift_blocks"] in ([1], (1,)) and trained.config["spatial_width"] == 32
    stored = load_file(first / "denoiser" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(stored[k].float(), v.float()) for k, v in trained.state_dict().items())
    assert stored["spatial.head.weight"].any(), "what starts at zero has been trained"
    job["unpack_weights"].unpack(first, autoencoder=autoencoder, to=tmp_path / "weights")
    pipe = Orbit4DPipeline.from_pretrained(tmp_path / "weights")
    again = pipe.denoiser.state_dict()
    assert all(torch.equal(stored[k].float(), again[k].float()) for k in stored)
    other = tmp_path / "other"
    RGBAAutoencoder(detail_channels=8, widths=(8, 8, 16)).save_pretrained(other)
    with pytest.raises(InputError, match="digest"):
        job["unpack_weights"].unpack(first, autoencoder=other, to=tmp_path / "weights2")


def test_large_weights_come_back_in_several_files(job, tmp_path, monkeypatch):
    files = job["weight_files"]
    monkeypatch.setattr(files, "SHARD", 20_000)
    model = Denoiser(latent_size=4, spatial_width=32, temporal_width=16, depth=2, spatial_heads=2, temporal_heads=1)
    files.write_model(tmp_path / "denoiser", dict(model.config), model.state_dict())
    assert len(list((tmp_path / "denoiser").glob("*.safetensors"))) > 2
    loaded = load_complete(Denoiser, tmp_path / "denoiser").state_dict()
    _, own = files.read_model(tmp_path / "denoiser")
    for name, value in model.state_dict().items():
        assert torch.equal(loaded[name].float(), value.half().float()) and torch.equal(own[name], value.half().float())
    (tmp_path / "denoiser" / "config.json").unlink()
    with pytest.raises(InputError, match="--start"):
        files.read_model(tmp_path / "denoiser")


def test_batched_muon_steps_as_torchs(job):
    torch.manual_seed(0)
    shapes = [(24, 8), (8, 24), (24, 8), (16, 16), (24, 8)]
    ours = [torch.nn.Parameter(torch.randn(s)) for s in shapes]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    a = job["batched_muon"].BatchedMuon(ours, lr=0.1, weight_decay=0.01)
    b = torch.optim.Muon(theirs, lr=0.1, weight_decay=0.01, adjust_lr_fn="match_rms_adamw", ns_steps=5)
    for _ in range(4):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn(p.shape)
            q.grad = p.grad.clone()
        a.step()
        b.step()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, atol=0.03, rtol=0)  # five steps in bf16, in another order of additions
        assert (p - q).abs().max() < 0.1 * (p - p.detach().mean()).abs().max()
