"""Public teachers: tiny networks of the stock classes, saved to disk and loaded by the path that real ones take."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from sample_fixtures import disc_sample, write_folder

from orbit4d.cli import main
from orbit4d.data.plan import RenderPlan
from orbit4d.data.sample_set import open_samples
from orbit4d.diffusion import presets
from orbit4d.diffusion.autoencoder import RGBAAutoencoder
from orbit4d.diffusion.batches import LatentSet
from orbit4d.diffusion.denoiser import Denoiser
from orbit4d.diffusion.train_autoencoder import encode_training_set, premultiplied
from orbit4d.diffusion.train_denoiser import DenoiserConfig
from orbit4d.diffusion.training import save_half
from orbit4d.errors import InputError
from orbit4d.transfer.encoded import encoded_rows
from orbit4d.transfer.orster import TransferConfig
from orbit4d.transfer.public_teacher import PublicTeacher, licence_of
from orbit4d.transfer.task import OrsterTask
from orbit4d.transfer.teacher import TeacherClip, is_permissive
from orbit4d.transfer.train import check_licence, load_teacher, with_priors

PLAN = RenderPlan(size=32, frames=6, orbits=2, rows=3, columns=3, outputs=())
BLOCKS = {
    "block_out_channels": (32, 32),
    "layers_per_block": 1,
    "cross_attention_dim": 16,
    "norm_num_groups": 4,
    "sample_size": 16,
}


def card(folder, licence: str) -> None:
    (folder / "README.md").write_text(f"---\nlicense: {licence}\ntags:\n- x\n---\n# A model\n")


def words(folder) -> None:
    """A tokenizer of letters and a text encoder of two thousand parameters."""
    from transformers import CLIPTextConfig, CLIPTextModel

    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = [*letters, *(f"{x}</w>" for x in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer" / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 8})
    )
    config = CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=8,
        bos_token_id=52,
        eos_token_id=53,
    )
    CLIPTextModel(config).save_pretrained(folder / "text_encoder")


@pytest.fixture(scope="module")
def animate(tmp_path_factory):
    """An image model and a motion adapter, as AnimateDiff is published."""
    from diffusers import AutoencoderKL, DDIMScheduler, MotionAdapter, UNet2DConditionModel

    root = tmp_path_factory.mktemp("animate")
    torch.manual_seed(0)
    UNet2DConditionModel(
        **BLOCKS,
        in_channels=4,
        out_channels=4,
        attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).save_pretrained(root / "base" / "unet")
    AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4, latent_channels=4,
    ).save_pretrained(root / "base" / "vae")  # fmt: skip
    DDIMScheduler(beta_schedule="linear", beta_start=0.00085, beta_end=0.012).save_pretrained(
        root / "base" / "scheduler"
    )
    words(root / "base")
    card(root / "base", "creativeml-openrail-m")
    MotionAdapter(
        block_out_channels=(32, 32),
        motion_layers_per_block=1,
        motion_mid_block_layers_per_block=1,
        motion_num_attention_heads=2,
        motion_norm_num_groups=4,
        motion_max_seq_length=8,
        use_motion_mid_block=True,
    ).save_pretrained(root / "adapter")
    card(root / "adapter", "apache-2.0")
    return root


@pytest.fixture(scope="module")
def whole_animate(animate, tmp_path_factory):
    """The same as one saved pipeline, whose network is a UNetMotionModel; frames of 256 pixels become latents of 8."""
    from diffusers import AutoencoderKL, MotionAdapter, UNet2DConditionModel, UNetMotionModel

    root = tmp_path_factory.mktemp("whole")
    image = UNet2DConditionModel.from_pretrained(animate / "base" / "unet")
    adapter = MotionAdapter.from_pretrained(animate / "adapter")
    UNetMotionModel.from_unet2d(image, adapter).save_pretrained(root / "unet")
    torch.manual_seed(2)
    AutoencoderKL(
        block_out_channels=(8,) * 6, down_block_types=("DownEncoderBlock2D",) * 6, up_block_types=("UpDecoderBlock2D",) * 6,
        norm_num_groups=4, latent_channels=4,
    ).save_pretrained(root / "vae")  # fmt: skip
    for part in ("scheduler", "tokenizer", "text_encoder"):
        shutil.copytree(animate / "base" / part, root / part)
    card(root, "creativeml-openrail-m")
    return root


@pytest.fixture(scope="module")
def orbiting(tmp_path_factory):
    """A video model of Stable Video Diffusion's class, which SV3D's orbits have, too."""
    from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler, UNetSpatioTemporalConditionModel

    root = tmp_path_factory.mktemp("orbiting")
    torch.manual_seed(1)
    UNetSpatioTemporalConditionModel(
        sample_size=16,
        in_channels=8,
        out_channels=4,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        layers_per_block=1,
        cross_attention_dim=16,
        num_attention_heads=(2, 4),
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24,
    ).save_pretrained(root / "unet")
    AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2, latent_channels=4
    ).save_pretrained(root / "vae")
    EulerDiscreteScheduler(prediction_type="v_prediction").save_pretrained(root / "scheduler")
    card(root, "other\nlicense_name: stability-nc")
    return root


def clip_of(latents: torch.Tensor, *, level: float, reference: bool = False) -> TeacherClip:
    n, m = latents.shape[:2]
    shown = torch.zeros(n, m, dtype=torch.bool)
    shown[:, 0] = reference
    return TeacherClip(
        latents=latents,
        noise=torch.randn(latents.shape, generator=torch.Generator().manual_seed(0)),
        log_snr=torch.full((n,), level),
        reference=shown,
        plucker=torch.zeros(0),
        times=torch.zeros(n, m),
        text=None,
        text_mask=None,
        log_m=torch.zeros(n),
        prompts=["a fox", ""][:n],
        image=latents[:, 0] if reference else None,
    )


def animate_teacher(animate, **options) -> PublicTeacher:
    source = f"{animate / 'base'}+{animate / 'adapter'}"
    return PublicTeacher(source, prior="temporal", **({"grid": 4, "size": 32} | options))


def test_animatediff_is_loaded_encodes_and_answers(animate):
    teacher = animate_teacher(animate)
    assert teacher.licence == "creativeml-openrail-m + apache-2.0" and not is_permissive(teacher.licence)
    latents = teacher.encode(torch.rand(6, 4, 64, 64)).unflatten(0, (2, 3))
    assert latents.shape == (2, 3, 4, 16, 16)
    low, high = (teacher.features(clip_of(latents, level=level)) for level in (6.0, -6.0))
    assert low.shape == (2, 3, 16, teacher.width) and not low.requires_grad
    assert (low - high).abs().max() > 1e-4, "the level of noise counts"
    other = latents.clone()
    other[:, 2] += 1
    assert (teacher.features(clip_of(other, level=6.0))[:, :2] - low[:, :2]).abs().max() > 0, "frames see each other"


def test_a_saved_animatediff_pipeline_is_what_its_parts_are(animate, whole_animate):
    assert json.loads((whole_animate / "unet" / "config.json").read_text())["_class_name"] == "UNetMotionModel"
    whole = load_teacher(whole_animate, prior="temporal", grid=4, block=1)
    parts = animate_teacher(animate)
    assert isinstance(whole, PublicTeacher) and whole.licence == "creativeml-openrail-m"
    assert whole.ordered and whole.identity() != parts.identity()
    latents = torch.randn(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    found = whole.features(clip_of(latents, level=1.0))
    assert found.shape == (2, 3, 16, whole.width)
    assert torch.equal(found, parts.features(clip_of(latents, level=1.0)))
    assert whole.encode(torch.rand(1, 4, 64, 64)).shape == (1, 4, 8, 8)
    with pytest.raises(InputError, match="video model without views"):
        load_teacher(whole_animate, prior="spatial", grid=4, block=1)


def test_train_orster_takes_a_public_teacher(whole_animate, tmp_path, monkeypatch, capsys):
    """The verb as a whole: refused without agreement to the licence; then frames encoded, the damped ones' too, statistics, steps,
    weights."""
    small = {"spatial_width": 16, "temporal_width": 16, "depth": 2, "spatial_heads": 2, "temporal_heads": 2}
    monkeypatch.setattr(presets, "denoiser_xs", lambda: Denoiser(**small))
    plan = RenderPlan(size=128, frames=8, orbits=1, rows=2, columns=2, outputs=())
    for name, radius in (("data", 20), ("less", 12)):
        samples = [disc_sample(plan, key=f"disc{i}", radius=radius + 9 * i) for i in range(2)]
        write_folder(tmp_path / name, samples, plan=plan)
    torch.manual_seed(0)
    autoencoder = RGBAAutoencoder(detail_channels=8, widths=(8, 8, 16))
    save_half(autoencoder, autoencoder.state_dict(), tmp_path / "model" / "autoencoder")
    line = ["train", "orster", "xs", "--data", str(tmp_path / "data"), "--autoencoder", str(tmp_path / "model")]
    line += ["--damped", str(tmp_path / "less")]
    line += ["--out", str(tmp_path / "run"), "--temporal", str(whole_animate), "--steps", "1", "--batch", "4"]
    line += ["--precision", "fp32"]
    assert main(line) == 2
    assert "--non-commercial" in capsys.readouterr().err
    assert main([*line, "--non-commercial"]) == 0
    assert "NOT known to permit" in capsys.readouterr().out
    clean = {f.stem: load_file(f)["latents"] for f in (tmp_path / "run" / "clean-temporal").glob("*.safetensors")}
    assert set(clean) == {"disc0", "disc1", "disc0-d1", "disc1-d1"}
    less = open_samples(tmp_path / "less")["disc1"]
    frame = premultiplied(less, less.pairs[3:4]).float() / 255
    wanted = load_teacher(whole_animate, prior="temporal", grid=4, block=1).encode(frame)[0]
    torch.testing.assert_close(clean["disc1-d1"][3].float(), wanted, atol=2e-2, rtol=0)
    assert len(list((tmp_path / "run" / "denoiser" / "whitening").glob("temporal-*.safetensors"))) == 1
    record = json.loads((tmp_path / "run" / "weights" / "pipeline.json").read_text())
    assert record["transfer"]["teachers"]["temporal"]["licence"] == "creativeml-openrail-m"


def test_noise_is_matched_by_log_snr(animate):
    """What the network is given has the asked ratio of signal to noise."""
    teacher = animate_teacher(animate)
    latents = torch.randn(2, 3, 4, 16, 16)
    for level in (2.0, -3.0):
        clip = clip_of(latents, level=level)
        given = teacher._ddpm_call(clip)["sample"].transpose(1, 2).flatten()
        basis = torch.stack([latents.flatten(), clip.noise.flatten()], dim=1)
        a, s = torch.linalg.lstsq(basis, given[:, None]).solution[:, 0].tolist()
        assert 2 * torch.tensor(a / s).log() == pytest.approx(level, abs=0.05)
        assert a * a + s * s == pytest.approx(1, abs=1e-4)


def test_an_orbit_model_serves_either_prior(orbiting):
    for prior in ("spatial", "temporal"):
        teacher = PublicTeacher(str(orbiting), prior=prior, grid=4, size=32)
        latents = teacher.encode(torch.rand(4, 4, 32, 32)).unflatten(0, (2, 2))
        plain = teacher.features(clip_of(latents, level=0.0))
        shown = teacher.features(clip_of(latents, level=0.0, reference=True))
        assert plain.shape == (2, 2, 16, teacher.width)
        assert (plain - shown).abs().max() > 1e-4, "the reference is its image"
    assert teacher.licence == "stability-nc"


def test_another_module_can_be_watched(orbiting):
    teacher = PublicTeacher(str(orbiting), prior="spatial", grid=2, size=32, module="mid_block")
    assert teacher.width == 64
    with pytest.raises(InputError, match="no module 'up'"):
        PublicTeacher(str(orbiting), prior="spatial", grid=2, size=32, module="up")


def test_licences_are_said_and_must_be_agreed_to(orbiting, capsys):
    teacher = PublicTeacher(str(orbiting), prior="spatial", grid=2, size=32)
    with pytest.raises(InputError, match="--non-commercial"):
        check_licence(teacher, non_commercial=False)
    assert "stability-nc: NOT known to permit" in capsys.readouterr().out
    check_licence(teacher, non_commercial=True)
    assert licence_of(orbiting / "vae") == "unknown" and not is_permissive("unknown") and is_permissive("Apache-2.0")
    assert is_permissive("apache-2.0 + MIT") and not is_permissive("apache-2.0 + unknown") and not is_permissive("")


def test_what_is_no_teacher_is_refused(animate, orbiting, tmp_path):
    with pytest.raises(InputError, match="video model without views"):
        PublicTeacher(f"{animate / 'base'}+{animate / 'adapter'}", prior="spatial", grid=4)
    with pytest.raises(InputError, match="UNet2DConditionModel"):
        PublicTeacher(str(animate / "base"), prior="temporal", grid=4)
    with pytest.raises(InputError, match="expected a network's settings"):
        load_teacher(tmp_path, prior="spatial", grid=4, block=1)
    broken = tmp_path / "broken"
    shutil.copytree(orbiting, broken)
    (broken / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (broken / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(InputError, match="cannot be loaded"):
        PublicTeacher(str(broken), prior="spatial", grid=4)


def test_public_networks_must_be_whole_and_as_large_as_their_files(animate, orbiting, tmp_path):
    """What from_pretrained of diffusers or transformers would fill with random numbers, with a warning at most."""
    shutil.copytree(animate, tmp_path / "animate")
    words = tmp_path / "animate" / "base" / "text_encoder"
    kept = load_file(words / "model.safetensors")
    lost = next(name for name in kept if name.endswith("fc1.weight"))
    save_file({k: v for k, v in kept.items() if k != lost}, words / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"text_encoder: lacks weights of CLIPTextModel: .*fc1\.weight and 0 more"):
        animate_teacher(tmp_path / "animate")
    save_file(kept, words / "model.safetensors", metadata={"format": "pt"})
    shutil.copytree(orbiting, tmp_path / "orbiting")
    for part, change in (
        (words, {"vocab_size": 10**10}),
        (tmp_path / "orbiting" / "unet", {"block_out_channels": [32, 640000]}),
    ):
        file = part / "config.json"
        before = file.read_text()
        file.write_text(json.dumps(json.loads(before) | change))
        with pytest.raises(InputError, match=r"config\.json asks for \d{10,} weights") as caught:
            if part == words:
                animate_teacher(tmp_path / "animate")
            else:
                PublicTeacher(str(tmp_path / "orbiting"), prior="spatial", grid=4, size=32)
        assert "\n" not in str(caught.value)
        file.write_text(before)


def test_frames_are_encoded_once_and_a_student_trains_on_them(animate, orbiting, tmp_path, monkeypatch):
    samples = [disc_sample(PLAN, key=f"disc{i}", radius=5 + 3 * i) for i in range(2)]
    write_folder(tmp_path / "data", samples, plan=PLAN)
    torch.manual_seed(0)
    autoencoder = RGBAAutoencoder(detail_channels=8, widths=(8, 8, 16))
    save_half(autoencoder, autoencoder.state_dict(), tmp_path / "ae")
    data = LatentSet(encode_training_set(tmp_path / "data", tmp_path / "ae", tmp_path / "latents"))
    teachers = {
        "temporal": animate_teacher(animate, grid=2),
        "spatial": PublicTeacher(str(orbiting), prior="spatial", grid=2, size=32),
    }
    opened = open_samples(tmp_path / "data")
    clean = {p: encoded_rows(t, data, [opened], tmp_path / f"clean-{p}") for p, t in teachers.items()}
    row = int(data.index[1, 2, 2])
    frame = premultiplied(opened["disc1"], [(2, 2)]).float() / 255
    torch.testing.assert_close(clean["temporal"][row].float(), teachers["temporal"].encode(frame)[0], atol=2e-2, rtol=0)
    monkeypatch.setattr(PublicTeacher, "encode", lambda *_: pytest.fail("encoded again"))
    again = encoded_rows(teachers["temporal"], data, [opened], tmp_path / "clean-temporal")
    assert torch.equal(again, clean["temporal"])

    network = {
        "latent_size": 4,
        "spatial_width": 16,
        "temporal_width": 16,
        "depth": 2,
        "spatial_heads": 2,
        "temporal_heads": 2,
    }
    model = with_priors(lambda: Denoiser(**network), (1,), prior_dims=4)
    task = OrsterTask(
        data, DenoiserConfig(batch=8, frames=4, precision="fp32"), model, out=tmp_path / "run", autoencoder=None, teachers=teachers,
        transfer=TransferConfig(crossings=3, teacher_frames=3, statistics_batches=3, statistics_bins=1), clean=clean,
    )  # fmt: skip
    total, terms = task.loss(model, task.draw(torch.Generator().manual_seed(0), slice(None)), torch.float32)
    total.backward()
    assert float(terms["nll_spatial"]) != 0 and float(terms["nll_temporal"]) != 0
    assert model.prior_blocks["1"].spatial.head.outside.weight.grad.abs().sum() > 0
