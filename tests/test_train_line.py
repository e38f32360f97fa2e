"""`orbit4d train`, from toys to weights that a pipeline loads; stopping and going on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from sample_fixtures import disc_sample, write_folder

from orbit4d.assets.toybox import write_toybox
from orbit4d.cameras import Orbit
from orbit4d.data import training_set
from orbit4d.data.latent_set import open_latents
from orbit4d.data.plan import RenderPlan
from orbit4d.data.sample_set import open_samples
from orbit4d.data.shards import write_shards
from orbit4d.data.training_set import Wording, vocabulary
from orbit4d.diffusion import presets
from orbit4d.diffusion import train as line
from orbit4d.diffusion.denoiser import Denoiser
from orbit4d.diffusion.pipeline import Orbit4DPipeline
from orbit4d.errors import InputError
from orbit4d.files import lock_folder


def brief() -> presets.Preset:
    preset = presets.tiny()
    return replace(
        preset,
        toys=2,
        autoencoder=replace(preset.autoencoder, steps=8, batch=2, save_every=4),
        captioner=replace(preset.captioner, steps=4, batch=4, save_every=2),
        denoiser=replace(preset.denoiser, steps=4, batch=2, save_every=2),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of the tiny preset, made brief."""
    out = tmp_path_factory.mktemp("train") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "tiny", brief)
        try:
            line.train("tiny", out=out, sample_every=4)
        except InputError as error:
            if "no OpenGL" not in str(error):
                raise
            pytest.skip(str(error))
    return out


def test_the_whole_line_ends_in_weights_that_load(run):
    assert (
        len(list((run / "data" / "samples").glob("*.tar"))) == len(list((run / "latents").glob("*.safetensors"))) == 2
    )
    pipe = Orbit4DPipeline.from_pretrained(run / "weights")
    clip = pipe(prompt="a fish swimming", steps=2, orbit=Orbit(frames=3), progress=False)
    assert clip.rgb.shape == (3, 3, 128, 128) and torch.isfinite(clip.rgb).all()
    assert pipe.motion["training"]["step"] == 4 and pipe.motion["autoencoder_training"]["step"] == 8
    assert pipe.captioner is not None and set(pipe.captioner.kinds) == set(pipe.motion["vocabulary"])


def test_sheets_are_drawn_while_it_trains(run):
    """Prompts and a reference, each row an orbit; the autoencoder's frames above what becomes of them."""
    sheet = Image.open(run / "denoiser" / "samples" / "step_000004.png")
    assert sheet.size == (7 * 128, 3 * 128), "two kinds of toy and one reference, six frames each"
    pixels = np.asarray(sheet).astype(int)
    assert (pixels[:256, :128] == 255).all() and (pixels[256:, :128] < 250).any(), "the reference stands in front"
    assert pixels[:, 128:].std() > 1
    assert [f.name for f in sorted((run / "autoencoder" / "samples").iterdir())] == [
        "step_000004.png",
        "step_000008.png",
    ]


def test_options_reach_both_trainings(run, tmp_path, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "tiny", brief)
    latents = shutil.copytree(run / "latents", tmp_path / "run" / "latents")
    shutil.copytree(run / "autoencoder", tmp_path / "run" / "autoencoder")
    options = {"batch": 3, "learning_rate": 1e-4, "steps": 2, "seed": 5, "precision": "fp32"}
    line.train("tiny", out=latents.parent, stage="denoiser", gradient_checkpointing=True, **options)
    record = json.loads((tmp_path / "run" / "weights" / "pipeline.json").read_text())["training"]
    wanted = {"batch": 3, "lr": 1e-4, "step": 2, "seed": 5, "precision": "fp32", "gradient_checkpointing": True}
    assert {key: record[key] for key in wanted} == wanted
    with pytest.raises(InputError, match="seed 5, not 0"):
        line.train("tiny", out=latents.parent, stage="denoiser", steps=3)


def test_a_stage_goes_on_with_more_steps(run, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "tiny", brief)
    with pytest.raises(InputError, match="holds a checkpoint"):
        line.train("tiny", out=run, stage="denoiser", resume=False)
    line.train("tiny", out=run, stage="denoiser", steps=6)
    assert Orbit4DPipeline.from_pretrained(run / "weights").motion["training"]["step"] == 6


def test_training_starts_from_another_model(run, tmp_path, monkeypatch):
    """What fits is taken over; what the network has besides begins as it would."""

    def grown() -> Denoiser:
        return Denoiser(
            spatial_width=64, temporal_width=32, depth=2, spatial_heads=2, temporal_heads=1, lift=8, lift_blocks=(1,)
        )

    old = Orbit4DPipeline.from_pretrained(run / "weights").denoiser.state_dict()
    new = line.started(grown, run / "weights").state_dict()
    assert all(torch.equal(new[name], value) for name, value in old.items()) and len(new) > len(old)
    with pytest.raises(InputError, match="do not fit"):
        line.started(lambda: Denoiser(spatial_width=32, temporal_width=32, depth=2), run / "weights")
    with pytest.raises(InputError, match="holds no weights"):
        line.started(grown, tmp_path)
    same = {"spatial_width": 64, "temporal_width": 32, "depth": 2, "spatial_heads": 2, "temporal_heads": 1}
    for name, other in (("prediction", "v"), ("relative", "camera")):
        with pytest.raises(InputError, match=rf"--init: .*has {name} .*, this preset '?{other}"):
            line.started(partial(Denoiser, **(same | {name: other})), run / "weights")
    monkeypatch.setitem(line.PRESETS, "tiny", brief)
    with pytest.raises(InputError, match="--init"):
        line.train("tiny", out=tmp_path / "run", init=tmp_path)


def test_a_denoiser_does_not_go_on_with_other_latents(run, tmp_path, monkeypatch):
    monkeypatch.setitem(line.PRESETS, "tiny", brief)
    shutil.copytree(run, tmp_path / "run")
    line.train("tiny", out=tmp_path / "run", stage="autoencoder", steps=10)
    line.train("tiny", out=tmp_path / "run", stage="latents")
    before = (tmp_path / "run" / "denoiser" / "pipeline.json").read_bytes()
    with pytest.raises(InputError, match="other data"):
        line.train("tiny", out=tmp_path / "run", stage="denoiser", steps=8)
    assert (tmp_path / "run" / "denoiser" / "pipeline.json").read_bytes() == before


def test_bad_settings_are_one_line(tmp_path):
    with pytest.raises(InputError, match="tiny, xs, s, m"):
        line.train("huge", out=tmp_path)
    with pytest.raises(InputError, match="--data"):
        line.train("s", out=tmp_path)
    with pytest.raises(InputError, match="--steps"):
        line.train("tiny", out=tmp_path, steps=5)
    with pytest.raises(InputError, match="--sample-every"):
        line.train("tiny", out=tmp_path / "early", sample_every=-1)
    assert not (tmp_path / "early" / "data").exists()
    with pytest.raises(InputError, match="--learning-rate: expected a number above 0"):
        line.train("tiny", out=tmp_path, stage="denoiser", learning_rate=float("nan"))
    with pytest.raises(InputError, match="--batch: of which training"):
        line.train("tiny", out=tmp_path, batch=4)
    with pytest.raises(InputError, match="missing"):
        line.collect_weights(tmp_path)


def test_any_samples_are_trained_on(tmp_path, monkeypatch):
    """Shards of a user's own data, larger than the preset's, in place of what the preset renders."""
    monkeypatch.setitem(presets.PRESETS, "tiny", brief)
    plan = RenderPlan(size=256, frames=6, outputs=())
    samples = [disc_sample(plan, key=f"mine_{i}", radius=40 + 5 * i, kind="ball") for i in range(2)]
    write_shards(write_folder(tmp_path / "mine", samples, plan=plan), out=tmp_path / "shards", progress=False)
    line.train("tiny", out=tmp_path / "run", data=tmp_path / "shards")
    pipe = Orbit4DPipeline.from_pretrained(tmp_path / "run" / "weights")
    assert pipe.motion["vocabulary"] == ["ball"] and pipe.motion["clips"] == 2
    assert not (tmp_path / "run" / "data").exists()
    folder, run = write_folder(tmp_path / "others", samples[:1], plan=plan), tmp_path / "run"
    with pytest.raises(InputError, match="started with other data"):
        line.train("tiny", out=run, data=folder)
    with lock_folder(run), pytest.raises(InputError, match="another run is writing"):
        line.train("tiny", out=run, data=tmp_path / "shards")
    small = RenderPlan(size=64, frames=6, outputs=())
    write_folder(tmp_path / "small", [disc_sample(small, key="little")], plan=small)
    with pytest.raises(InputError, match="frames are 64 x 64, the model is trained on 128 x 128"):
        line.train("tiny", out=tmp_path / "other", data=tmp_path / "small")


def test_a_captioner_that_is_trained_further_is_in_the_weights(run, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "tiny", brief)
    before = Orbit4DPipeline.from_pretrained(run / "weights").captioner_hash
    line.train("tiny", out=run, stage="captioner", steps=6)
    assert Orbit4DPipeline.from_pretrained(run / "weights").captioner_hash not in ("", before)


def test_clips_without_kinds_train_no_captioner(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(presets.PRESETS, "tiny", brief)
    plan = RenderPlan(size=128, frames=6, outputs=())
    folder = write_folder(tmp_path / "mine", [disc_sample(plan, key="mine", kind="")], plan=plan)
    line.train("tiny", out=tmp_path / "run", data=folder)
    assert "no captioner is trained: mine: has no kind" in capsys.readouterr().err
    assert Orbit4DPipeline.from_pretrained(tmp_path / "run" / "weights").captioner is None
    with pytest.raises(InputError, match="has no kind"):
        line.train("tiny", out=tmp_path / "run", data=folder, stage="captioner")


def test_the_vocabulary_is_what_curation_keeps(tmp_path):
    """Assets with names of their own: their wanted animations and the toys are kept, with the vocabulary's words."""
    write_toybox(tmp_path / "assets", count=2, seed=3)
    names = []
    for file in sorted((tmp_path / "assets").glob("*.glb")):
        names.append(f"own_{file.name}")
        file.rename(file.with_name(names[-1]))
    called = {names[0]: ["a thing", "a blue thing"]}
    out = tmp_path / "data"
    try:
        training_set.render_training_set(
            out,
            assets=tmp_path / "assets",
            toy_folder=tmp_path / "toys",
            toy_count=1,
            plan=RenderPlan(frames=4, size=16, outputs=()),
            names=called,
            workers=1,
        )
    except InputError as error:
        if "no OpenGL" not in str(error):
            raise
        pytest.skip(str(error))
    damped = training_set.render_damped(
        tmp_path / "damped",
        assets=tmp_path / "assets",
        amplitude=0.2,
        plan=RenderPlan(frames=4, size=16, outputs=()),
        names=called,
    )
    (less,), (whole,) = (
        [sample for sample in open_samples(folder) if sample.meta["kind"] == "a thing"] for folder in (damped, out)
    )
    assert less.captions == whole.captions and less.key == whole.key
    assert 0 < less.meta["motion_magnitude"] < whole.meta["motion_magnitude"]
    samples = open_samples(out)
    kinds = sorted(str(sample.meta["kind"]) for sample in samples)
    assert kinds[0] == "a thing" and kinds[1].startswith("toy ") and len(kinds) == 2
    thing = next(sample for sample in samples if sample.meta["kind"] == "a thing")
    assert thing.captions[-1] == "a thing" and thing.captions[1].startswith("a blue thing ")
    training_set.write_curation(out, {(names[0], 0): Wording(captions=["one"], kind="k")})
    (only,) = open_samples(out)
    assert only.captions == ["one"]
    dropped = [json.loads(text) for text in (out / "curation.jsonl").read_text().splitlines()]
    assert [d["rule"] for d in dropped if d["decision"] == "dropped"] == ["vocabulary"]
    with pytest.raises(InputError, match="nothing of the training set"):
        training_set.write_curation(out, {})
    with pytest.raises(InputError, match=r"own, pass --data"):
        vocabulary(tmp_path)


def test_the_same_words_with_less_motion(tmp_path, monkeypatch):
    """A user's own animations and their damped renders: both are encoded, under different keys, with different m."""
    monkeypatch.setitem(line.PRESETS, "tiny", brief)
    plan = RenderPlan(size=128, frames=6, outputs=())
    folders = [tmp_path / "whole", tmp_path / "less"]
    for folder, radius in zip(
        folders, (40, 20), strict=True
    ):  # stand-ins: what matters is which files are made of which
        write_folder(folder, [disc_sample(plan, key="ball", radius=radius, kind="ball")], plan=plan)
    run = tmp_path / "run"
    line.train("tiny", out=run, data=folders[0], damped=[folders[1]])
    assert sorted(file.stem for file in (run / "latents").glob("*.safetensors")) == ["ball", "ball-d1"]
    store = open_latents(run / "latents")
    assert store.keys == ["ball", "ball-d1"] and [clip.meta["key"] for clip in store] == store.keys
    magnitudes = [float(clip.meta["motion_magnitude"]) for clip in store]
    assert magnitudes[0] != magnitudes[1]
    assert Orbit4DPipeline.from_pretrained(run / "weights").motion["clips"] == 2
    with pytest.raises(InputError, match="--damped"):
        line.train("tiny", out=tmp_path / "other", damped=[folders[1]])
    with pytest.raises(InputError, match="--damped"):
        line.train("tiny", out=tmp_path / "other", data=folders[0], damped=[tmp_path / "nothing"])


def test_a_folder_without_samples_is_one_line(tmp_path):
    with pytest.raises(InputError, match="--data"):
        line.train("tiny", out=tmp_path / "run", data=tmp_path)
