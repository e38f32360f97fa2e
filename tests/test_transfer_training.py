"""The recipe as a whole: teachers on rows and columns, a student between them, runs that resume, batches that stay paired."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from sample_fixtures import disc_sample, write_folder

from orbit4d.cli import main
from orbit4d.data.latent_set import open_latents
from orbit4d.data.plan import RenderPlan
from orbit4d.diffusion import presets
from orbit4d.diffusion.autoencoder import RGBAAutoencoder
from orbit4d.diffusion.batches import LatentSet, gather_batch, plan_batch
from orbit4d.diffusion.denoiser import Denoiser
from orbit4d.diffusion.pipeline import Orbit4DPipeline
from orbit4d.diffusion.train_autoencoder import encode_training_set
from orbit4d.diffusion.train_denoiser import DenoiserConfig, DenoiserTask
from orbit4d.diffusion.training import save_half
from orbit4d.errors import InputError
from orbit4d.transfer.orster import TransferConfig, is_temporal
from orbit4d.transfer.own_teacher import OwnTeacher
from orbit4d.transfer.targets import crossings
from orbit4d.transfer.task import OrsterTask
from orbit4d.transfer.train import (
    check_autoencoder,
    default_block,
    start_from_teachers,
    train_orster,
    train_teacher,
    with_priors,
)

PLAN = RenderPlan(size=128, orbits=2, rows=4, columns=4, frames=8, outputs=())
TINY = {"spatial_width": 16, "temporal_width": 16, "depth": 2, "spatial_heads": 2, "temporal_heads": 2}
SMALL = {"prior_dims": 4}
FAST = {"steps": 2, "batch": 4, "frames": 4, "save_every": 1, "precision": "fp32"}
TRANSFER = TransferConfig(crossings=4, teacher_frames=3, statistics_batches=4, statistics_bins=2)


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """A folder with data/, a model's autoencoder and a teacher of each kind, of a preset that is smaller than tiny."""
    root = tmp_path_factory.mktemp("orster")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "denoiser_xs", lambda: Denoiser(**TINY))
        samples = [disc_sample(PLAN, key=f"disc{i}", radius=20 + 8 * i, kind=f"disc {i}") for i in range(3)]
        write_folder(root / "data", samples, plan=PLAN)
        torch.manual_seed(0)
        autoencoder = RGBAAutoencoder(detail_channels=8, widths=(8, 8, 16))
        save_half(autoencoder, autoencoder.state_dict(), root / "model" / "autoencoder")
        encode_training_set(root / "data", root / "model" / "autoencoder", root / "latents")
        for prior in ("spatial", "temporal"):
            train_teacher(
                "xs", prior=prior, data=root / "data", out=root / prior, autoencoder=root / "model", seed=7, **FAST
            )
    return root


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(presets, "denoiser_xs", lambda: Denoiser(**TINY))


def teachers(line) -> dict:
    return {p: OwnTeacher(line / p / "teacher", prior=p, block=1) for p in ("spatial", "temporal")}


def task(line, out, *, settings=None, bins=2, clips=None, **options) -> OrsterTask:
    torch.manual_seed(1)
    model = with_priors(lambda: Denoiser(**TINY), (1,), **(SMALL | options))
    config = DenoiserConfig(**(FAST | {"batch": 8, "frames": 6} | (settings or {})))
    return OrsterTask(
        LatentSet(clips or line / "latents"),
        config,
        model,
        out=out,
        autoencoder=None,
        teachers=teachers(line),
        transfer=replace(TRANSFER, statistics_bins=bins),
    )


def test_batches_of_rows_are_static_and_of_columns_have_one_view(line):
    data = LatentSet(line / "latents")
    for only in ("rows", "columns"):
        config = DenoiserConfig(**(FAST | {"batch": 12}), only=only)
        times = set()
        for seed in range(4):
            plan = plan_batch(data, config, torch.Generator().manual_seed(seed))
            x0, still, c, reference = gather_batch(data, plan)
            assert bool(c.static_mode.all()) == (only == "rows") and bool((reference.sum(1) < 4).all())
            for b in range(12):
                views, moments = (data.pairs[plan.x0[b]][:, k] for k in (0, 1))
                assert len(set((moments if only == "rows" else views).tolist())) == 1
                assert len(set((views if only == "rows" else moments).tolist())) >= 3
                times |= set(moments.tolist())
            assert torch.equal(x0, still) or only == "columns"
        assert len(times) > 2, "rows of several moments, columns of all"


def test_wide_clips_give_static_orbits_and_videos_only(line):
    clips = list(open_latents(line / "latents"))
    clips[0].meta["role"], clips[1].meta["role"] = "static", "video"
    data = LatentSet(clips)
    config = DenoiserConfig(**(FAST | {"batch": 12}), wide_share=0.5, static_share=0.5, still_share=0)
    seen = {0: 0, 1: 0, 2: 0}
    for seed in range(5):
        plan = plan_batch(data, config, torch.Generator().manual_seed(seed))
        for b, clip in enumerate(plan.clips.tolist()):
            seen[clip] += 1
            views, moments = (data.pairs[plan.x0[b]][:, k] for k in (0, 1))
            assert clip != 0 or (bool(plan.static_mode[b]) and len(set(moments.tolist())) == 1)
            assert clip != 1 or (not plan.static_mode[b] and len(set(views.tolist())) == 1)
    assert min(seen.values()) > 5
    clips[0].meta["role"] = "other"
    with pytest.raises(InputError, match="role"):
        LatentSet(clips)


def test_teachers_see_rows_and_columns_that_cross_the_students_frames(line, tmp_path):
    made = task(line, tmp_path)
    data, seen = made.latents, 0
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        batch, plan = made.draw_planned(torch.Generator().manual_seed(seed), slice(None))
        found = made.draw(generator, slice(None))
        for crossing, spatial in ((found.rows, True), (found.columns, False)):
            assert crossing is not None
            n = torch.arange(len(crossing.sample))
            b, f, p = crossing.sample, crossing.frame, crossing.position
            assert torch.equal(crossing.clip.latents[n, p], batch.x0[b, f]), "the crossing frame is the student's own"
            assert torch.equal(crossing.clip.noise[n, p], batch.noise[b, f]), "under the same noise"
            assert torch.equal(crossing.clip.plucker[n, p], batch.conditions.plucker[b, f])
            assert not bool(crossing.clip.reference[n, p].any())
            for k in range(len(b)):
                rows = [
                    int((data.latents.float() == x).flatten(1).all(1).nonzero()[0]) for x in crossing.clip.latents[k]
                ]
                pairs = data.pairs[torch.tensor(rows)]
                clip = {int(data.clip_ids[r]) for r in rows}
                assert clip == {int(plan.clips[b[k]])}, "of the same asset"
                line_of = set(pairs[:, 1 if spatial else 0].tolist())
                assert len(line_of) == 1 and len(set(map(tuple, pairs.tolist()))) == len(rows)
                seen += int(crossing.clip.reference[k].any())
    assert seen > 3, "clean frames where the student is shown some"


def test_an_ordered_teacher_is_given_the_frame_that_the_student_is_shown(line, tmp_path):
    """Clean, of the crossing frame's own row or column, wherever it lies there; the m frames stay evenly spaced."""
    made = task(line, tmp_path, settings={"image_share": 0.5, "several_share": 0.5, "video_share": 0})
    data, off_the_line = made.latents, 0
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        batch, plan = made.draw_planned(generator, slice(None))
        for prior in ("spatial", "temporal"):
            found = crossings(
                data, batch, plan, teacher=SimpleNamespace(prior=prior, ordered=True), clean=None, prediction="flow", count=6,
                frames=3, generator=generator,
            )  # fmt: skip
            assert found is not None and found.clip.image is not None
            for k, (b, f) in enumerate(zip(found.sample.tolist(), found.frame.tolist(), strict=True)):
                own = (plan.views if prior == "spatial" else plan.times)[b]
                shown = own[plan.reference[b]]
                shown = shown[shown % 7 != own[f] % 7] if prior == "spatial" else shown[shown != own[f]]
                if not len(shown):
                    assert not bool(found.clip.image[k].any())
                    continue
                at = int(shown[0]) % 7 if prior == "spatial" else int(shown[0])
                i, j = (at, int(plan.times[b, f])) if prior == "spatial" else (int(plan.views[b, f]), at)
                still = bool((plan.x0[b] == plan.still[b]).all())
                row = data.still[plan.clips[b], i] if still else data.index[plan.clips[b], i, j]
                assert torch.equal(found.clip.image[k], data.latents[row].float())
                off_the_line += not bool(found.clip.reference[k].any())
    assert off_the_line > 3, "also where it is not one of the m frames"


def test_transfer_leaves_the_batches_as_they_are(line, tmp_path):
    made = task(line, tmp_path)
    plain = DenoiserTask(made.latents, made.config, made.model, out=tmp_path, autoencoder=None)
    a, b = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    for _ in range(3):
        one, two = made.draw(a, slice(None)), plain.draw(b, slice(None))
        assert torch.equal(one.x0, two.x0) and torch.equal(one.noise, two.noise) and torch.equal(one.t, two.t)


def test_each_teacher_teaches_its_own_stream_only(line, tmp_path):
    made = task(line, tmp_path)
    batch = made.draw(torch.Generator().manual_seed(0), slice(None))
    _, terms = made.loss(made.model, batch, torch.float32)
    assert all(float(terms[f"{name}_{p}"]) != 0 for name in ("nll", "bures") for p in ("spatial", "temporal"))
    gradients = {}
    for prior in ("rows", "columns"):
        made.model.zero_grad(set_to_none=True)
        for other in ("rows", "columns"):
            setattr(batch, other, getattr(batch, other) if other == prior else None)
        total, _ = made.loss(made.model, batch, torch.float32)
        total.backward()
        with_teacher = {n: p.grad.clone() for n, p in made.model.named_parameters() if p.grad is not None}
        setattr(batch, prior, None)
        made.model.zero_grad(set_to_none=True)
        total, _ = made.loss(made.model, batch, torch.float32)
        total.backward()
        without = {n: p.grad for n, p in made.model.named_parameters() if p.grad is not None}
        changed = {
            n for n, g in with_teacher.items() if n not in without or not torch.allclose(g, without[n], atol=1e-7)
        }
        gradients[prior] = changed
        batch = made.draw(torch.Generator().manual_seed(0), slice(None))
    assert gradients["rows"] and not any(is_temporal(n) for n in gradients["rows"])
    assert gradients["columns"] and all(is_temporal(n) for n in gradients["columns"])


@pytest.mark.parametrize("options", [{"prior_kind": "means"}, {"prior_shared": True}, {"prior_inject": False}])
def test_ablated_students_have_losses_too(line, tmp_path, options):
    made = task(line, tmp_path, **options)
    total, terms = made.loss(made.model, made.draw(torch.Generator().manual_seed(0), slice(None)), torch.float32)
    total.backward()
    assert bool(torch.isfinite(total)) and float(terms["nll_temporal"]) != 0
    assert ("bures_spatial" in terms) == (options.get("prior_kind") != "means"), "what has no target is not logged as 0"


def same(one, two) -> bool:
    """Bit for bit, through dictionaries and lists; seconds of training aside."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        return set(one) == set(two) and all(same(v, two[k]) for k, v in one.items() if k != "seconds")
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two


def checkpoint(run) -> dict:
    return torch.load(run / "denoiser" / "checkpoint.pt", weights_only=True)


def weights(folder) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.glob("**/*.safetensors"))}


def stopped_and_whole(train, root, *, stop: int) -> None:
    """The same training in `root`/whole, and in `root`/stopped with a stop in between."""
    train(out=root / "whole")
    for end in (stop, None):
        train(out=root / "stopped", stop_after=end)


def test_stopped_teacher_equals_the_uninterrupted_one(line, tmp_path, small):
    common = {"data": line / "data", "autoencoder": line / "model"} | FAST | {"steps": 4, "lr": 1e-3}
    stopped_and_whole(lambda **o: train_teacher("xs", prior="temporal", **(common | o)), tmp_path, stop=2)
    whole, stopped = (checkpoint(tmp_path / n) for n in ("whole", "stopped"))
    assert whole["step"] == 4 and whole["ema_updates"] == 4 and same(whole, stopped)
    assert weights(tmp_path / "whole" / "teacher") == weights(tmp_path / "stopped" / "teacher")


def test_stopped_student_equals_the_uninterrupted_one_and_needs_no_teacher(line, tmp_path, small):
    common = {"data": line / "data", "autoencoder": line / "model", "transfer": TRANSFER} | FAST
    common |= {p: line / p / "teacher" for p in ("spatial", "temporal")} | {"steps": 4, "lr": 1e-3}
    before = {p: weights(line / p / "teacher") for p in ("spatial", "temporal")}
    stopped_and_whole(lambda **o: train_orster("xs", **(common | o)), tmp_path, stop=2)
    whole, stopped = (checkpoint(tmp_path / n) for n in ("whole", "stopped"))
    assert {"model", "ema", "ema_updates", "optimizers", "generator", "torch_rng"} <= set(whole)
    assert whole["step"] == 4 and not same(whole["model"], whole["ema"]) and same(whole, stopped)
    for name in ("weights", "denoiser/whitening"):
        kept = weights(tmp_path / "whole" / name)
        assert kept and kept == weights(tmp_path / "stopped" / name)
    assert before == {p: weights(line / p / "teacher") for p in before}, "teachers are frozen"
    made = tmp_path / "stopped" / "weights"
    pipe = Orbit4DPipeline.from_pretrained(made)
    assert tuple(pipe.denoiser.config["priors"]) == (1,)
    record = json.loads((made / "pipeline.json").read_text())
    assert record["transfer"]["teachers"]["spatial"]["licence"] == "apache-2.0"
    clip = pipe(prompt="a disc", steps=2, seed=0, progress=False)
    assert bool(torch.isfinite(clip.rgb).all())


def test_a_run_killed_between_checkpoints_loses_nothing(line, tmp_path, monkeypatch):
    """Of steps after the last checkpoint nothing is left, and they are done again as they were."""
    from orbit4d.diffusion.trainer import fit

    settings = {"save_every": 2, "steps": 4}
    whole = task(line, tmp_path / "whole", settings=settings)
    fit(whole.model, whole, tmp_path / "whole", config=whole.config)
    killed = task(line, tmp_path / "killed", settings=settings)
    loss, seen = killed.loss, []

    def until_the_fourth(*given):
        seen.append(given)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return loss(*given)

    monkeypatch.setattr(killed, "loss", until_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        fit(killed.model, killed, tmp_path / "killed", config=killed.config)
    again = task(line, tmp_path / "killed", settings=settings)
    fit(again.model, again, tmp_path / "killed", config=again.config)
    one, two = (torch.load(tmp_path / n / "checkpoint.pt", weights_only=True) for n in ("whole", "killed"))
    assert one["step"] == 4 and same(one, two)


def test_statistics_are_kept_for_what_they_were_measured_on(line, tmp_path):
    """The same data, teacher and bins: read again. Others: measured, and both are kept."""

    def files() -> dict[str, int]:
        return {f.name: f.stat().st_mtime_ns for f in (tmp_path / "whitening").iterdir()}

    task(line, tmp_path)
    first = files()
    task(line, tmp_path)
    assert files() == first and len(first) == 2
    assert len(task(line, tmp_path, bins=3).whitenings["spatial"].mean) == 3
    assert len(files()) == 4 and first.items() <= files().items()
    clips = list(open_latents(line / "latents"))[:2]
    task(line, tmp_path, clips=clips)
    assert len(files()) == 6 and first.items() <= files().items()


def test_a_student_can_start_from_its_teachers(line):
    given = teachers(line)
    model = with_priors(lambda: Denoiser(**TINY), (1,))
    start_from_teachers(model, given)
    state = model.state_dict()
    for prior, part in (("spatial", "spatial."), ("temporal", "temporal.")):
        own = given[prior].denoiser.state_dict()
        assert all(torch.equal(v, state[n]) for n, v in own.items() if n.startswith(part))
    for change in ({"spatial_width": 32}, {"depth": 3}, {"lift": 4, "lift_blocks": (1,)}, {"relative": "camera"}):
        other = with_priors(lambda change=change: Denoiser(**(TINY | change)), (1,))
        before = {name: v.clone() for name, v in other.state_dict().items()}
        with pytest.raises(InputError, match="does not fit"):
            start_from_teachers(other, given)
        assert same(before, dict(other.state_dict())), "nothing of a teacher that does not fit as a whole"


def test_a_teachers_record_may_be_anyones(line, tmp_path):
    folder = tmp_path / "teacher"
    shutil.copytree(line / "spatial" / "teacher", folder)
    record = json.loads((folder / "teacher.json").read_text())
    for change, match in (
        ({"licence": "mit\x1b[2J"}, "licence"),
        ({"licence": "m" * 81}, "licence"),
        ({"x": "x" * 2**20}, "1 MiB"),
    ):
        (folder / "teacher.json").write_text(json.dumps(record | change))
        with pytest.raises(InputError, match=match) as caught:
            OwnTeacher(folder, prior="spatial", block=1)
        assert str(caught.value).isprintable()


def test_several_processes_are_refused_at_once(line, tmp_path, small, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="expected one process"):
        train_orster(
            "xs", data=line / "data", out=tmp_path / "run", spatial=line / "spatial" / "teacher", temporal=None
        )
    assert not (tmp_path / "run").exists()


def test_what_does_not_fit_is_refused(line, tmp_path, small, capsys):
    with pytest.raises(InputError, match="is a spatial teacher"):
        OwnTeacher(line / "spatial" / "teacher", prior="temporal", block=0)
    with pytest.raises(InputError, match="autoencoder"):
        other = RGBAAutoencoder(detail_channels=8, widths=(8, 8, 16))
        save_half(other, other.state_dict(), tmp_path / "other")
        check_autoencoder(teachers(line), tmp_path / "other")
    options = ["--data", str(line / "data"), "--out", str(tmp_path / "x")]
    assert main(["train", "orster", "xs", *options]) == 2
    assert "one teacher" in capsys.readouterr().err
    assert main(["train", "orster", "xs", *options, "--spatial", str(line / "data")]) == 2
    assert "diffusers pipeline" in capsys.readouterr().err
    assert main(["train", "teacher", "xs", "--prior", "both", *options]) == 2
    assert "expected" in capsys.readouterr().err


def test_verbs_on_the_command_line(line, tmp_path, small, capsys):
    common = ["--data", str(line / "data"), "--autoencoder", str(line / "model"), "--steps", "1", "--precision", "fp32"]
    assert main(["train", "teacher", "xs", "--prior", "temporal", "--out", str(tmp_path / "t"), *common]) == 0
    assert "teacher:" in capsys.readouterr().out
    out = ["--out", str(tmp_path / "s"), "--temporal", str(tmp_path / "t" / "teacher"), "--batch", "4"]
    assert main(["train", "orster", "xs", *out, *common]) == 0
    said = capsys.readouterr().out
    assert "licence apache-2.0" in said and "weights:" in said


def test_the_default_block_attends_across_frames():
    assert [default_block(d) for d in (2, 4, 6, 8)] == [1, 1, 3, 3]
