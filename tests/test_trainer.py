"""The training loop: it is the plain loop, bit for bit; what is killed goes on; two processes train as one does."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from sample_fixtures import disc_sample, write_folder

from orbit4d.data.plan import RenderPlan
from orbit4d.diffusion import machine
from orbit4d.diffusion import train_denoiser as module
from orbit4d.diffusion.autoencoder import RGBAAutoencoder
from orbit4d.diffusion.batches import LatentSet, sample_batch
from orbit4d.diffusion.denoiser import Denoiser
from orbit4d.diffusion.machine import check_training, chosen_dtype, gathered_rng, restore_rng
from orbit4d.diffusion.objective import losses, losses_at
from orbit4d.diffusion.presets import PRESETS
from orbit4d.diffusion.train_autoencoder import AutoencoderConfig, encode_training_set, train_autoencoder
from orbit4d.diffusion.train_denoiser import DenoiserConfig, DenoiserTask, train_denoiser
from orbit4d.diffusion.trainer import Stream, TrainingDiverged
from orbit4d.diffusion.training import EMA, Log, Optimizers, learning_rate_factor
from orbit4d.errors import InputError

pytest.importorskip("accelerate", reason="training needs accelerate: pip install 'orbit4d[train]'")

NETWORK = {
    "latent_size": 4,
    "spatial_width": 32,
    "temporal_width": 16,
    "depth": 2,
    "spatial_heads": 2,
    "temporal_heads": 1,
    "relative": "camera",
    "lift": 4,
    "lift_blocks": (1,),
}
SETTINGS = {"steps": 14, "batch": 4, "frames": 3, "save_every": 5, "log_every": 4, "precision": "fp32"}


@pytest.fixture(scope="module")
def latents(tmp_path_factory):
    plan = RenderPlan(size=32, orbits=1, outputs=())
    samples = [disc_sample(plan, key=f"disc{i}", radius=r, kind=f"disc {i}") for i, r in enumerate((6, 9))]
    folder = tmp_path_factory.mktemp("latents")
    frames = write_folder(folder / "data", samples, plan=plan)
    torch.manual_seed(0)
    RGBAAutoencoder(widths=(8, 8, 16)).save_pretrained(folder / "autoencoder", safe_serialization=True)
    return encode_training_set(frames, folder / "autoencoder", folder / "latents")


def network() -> Denoiser:
    torch.manual_seed(3)
    return Denoiser(**NETWORK)


def config(**changes) -> DenoiserConfig:
    return DenoiserConfig(**(SETTINGS | changes))


@pytest.fixture(scope="module")
def whole(latents, tmp_path_factory):
    """A run that nothing interrupted."""
    return train_denoiser(latents, tmp_path_factory.mktemp("whole"), config=config(), model=network())


def content(run: Path) -> dict:
    return torch.load(run / "checkpoint.pt", weights_only=True)


def assert_equal_runs(one: Path, other: Path) -> None:
    a, b = content(one), content(other)
    assert a["step"] == b["step"] == SETTINGS["steps"]
    assert torch.equal(a["generator"], b["generator"]), "the data's position"
    for part in ("model", "ema"):
        for key, value in a[part].items():
            assert torch.equal(value, b[part][key]), f"{part}.{key}"


def losses_of(run: Path) -> list[tuple]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [(line["step"], line["flow"], line["motion"]) for line in lines]


def test_it_is_the_plain_loop_and_goes_on_from_its_checkpoints(latents, whole, tmp_path):
    """The loop that anyone would write, which saved what the first trainer saved, half way."""
    model, c, data = network(), config(), LatentSet(latents)
    ema, optimizers = EMA(model, c.ema), Optimizers(model, lr=c.lr, muon=c.muon)
    generator = torch.Generator().manual_seed(c.seed)
    (tmp_path / "run").mkdir()
    for step in range(c.steps):
        if step == 6:
            state = {
                "model": model.state_dict(),
                "ema": ema.values,
                "ema_updates": ema.updates,
                "optimizers": optimizers.state_dict(),
                "step": step,
                "generator": generator.get_state(),
                "torch_rng": torch.get_rng_state(),
                "seconds": 1.0,
            }
            torch.save(state, tmp_path / "run" / "checkpoint.pt")
        batch = sample_batch(data, c, generator)
        flow, motion = losses(model, *batch, noise_shift=c.noise_shift, m_scale=data.m_scale, generator=generator)
        (flow + c.motion_weight * motion).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers.step(learning_rate_factor(step, steps=c.steps))
        ema.update(model)
    trained = content(whole)
    for part, plain in (("model", model.state_dict()), ("ema", ema.values)):
        for key, value in plain.items():
            assert torch.equal(value, trained[part][key]), f"{part}.{key}"
    train_denoiser(latents, tmp_path / "run", config=c, model=network())
    assert_equal_runs(whole, tmp_path / "run")


CHILD = """
import json, sys, time
from pathlib import Path
from types import SimpleNamespace
import torch
from orbit4d.diffusion.denoiser import Denoiser
from orbit4d.diffusion.train_denoiser import DenoiserConfig, DenoiserTask, train_denoiser

def main():
    latents, out, network, settings, stop = json.loads(sys.argv[1])
    drawn, draw = [0], DenoiserTask.draw

    def stopping(self, generator, part):
        drawn[0] += 1
        if stop and drawn[0] > stop:
            (Path(out) / "stopped").touch()
            time.sleep(1000)
        return draw(self, generator, part)

    DenoiserTask.draw = stopping
    torch.manual_seed(3)
    model = Denoiser(**(network | {"lift_blocks": tuple(network["lift_blocks"])}))
    train_denoiser(Path(latents), Path(out), config=DenoiserConfig(**settings), model=model)

main()
"""


def child_arguments(latents: Path, out: Path, *, stop: int = 0, **changes) -> str:
    settings = asdict(config(**changes))
    settings["noise_shift"] = list(settings["noise_shift"])
    return json.dumps([str(latents), str(out), NETWORK, settings, stop])


def test_a_killed_run_that_goes_on_is_the_run_that_was_not(latents, whole, tmp_path):
    """Killed between a checkpoint (step 10) and the log's next line (12, which was written already)."""
    out = tmp_path / "run"
    arguments = [sys.executable, "-c", CHILD, child_arguments(latents, out, stop=13)]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    with subprocess.Popen(arguments, env=environment) as child:
        deadline = time.monotonic() + 300
        while not (out / "stopped").is_file():
            assert child.poll() is None and time.monotonic() < deadline, "the child failed, or never came to its step"
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
    assert content(out)["step"] == 10 and losses_of(out)[-1][0] == 12
    train_denoiser(latents, out, config=config(), model=network())
    assert_equal_runs(whole, out)
    assert losses_of(out) == losses_of(whole), "no line twice, and averages over the same steps"


def test_the_second_process_gets_its_random_state_back(tmp_path: Path) -> None:
    """The rows of what was gathered, straight and as a checkpoint holds them."""
    second = SimpleNamespace(
        num_processes=2, process_index=1, device=torch.device("cpu"), gather=lambda own: torch.cat([0 * own, own])
    )
    with torch.random.fork_rng(devices=[]):
        states = gathered_rng(second)  # type: ignore[arg-type]
        wanted = torch.rand(3)
        torch.save(torch.stack(states), tmp_path / "rows.pt")
        for rows in (states, list(torch.load(tmp_path / "rows.pt", weights_only=True))):
            restore_rng(rows, second)  # type: ignore[arg-type]
            assert torch.equal(torch.rand(3), wanted)


def test_two_processes_train_as_one(latents, tmp_path):
    """Equal but for the order in which gradients are summed."""
    (tmp_path / "child.py").write_text(CHILD)
    changes = {"steps": 6, "save_every": 3}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(tmp_path / "child.py")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    arguments = child_arguments(latents, tmp_path / "two", **changes)
    done = subprocess.run([sys.executable, *launch, arguments], env=environment, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    train_denoiser(latents, tmp_path / "one", config=config(**changes), model=network())
    one, two = content(tmp_path / "one"), content(tmp_path / "two")
    assert torch.equal(one["generator"], two["generator"]) and len(two["rng"]) == 2
    for a, b in zip(losses_of(tmp_path / "one"), losses_of(tmp_path / "two"), strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    moved = {k: (v - network().state_dict()[k]).norm() for k, v in one["model"].items()}
    for key, value in one["model"].items():
        assert (value - two["model"][key]).norm() <= 0.02 * moved[key] + 1e-6, key


def test_the_parts_of_a_batch_are_the_batch(latents, tmp_path):
    """Losses of two parts average to the whole's, whatever share of each part is a reference."""
    task = DenoiserTask(LatentSet(latents), config(several_share=0.4), network(), out=tmp_path, autoencoder=None)
    parts = [slice(0, None, 1), slice(0, None, 2), slice(1, None, 2)]
    drawn = [task.draw(torch.Generator().manual_seed(5), part) for part in parts]
    with torch.no_grad():
        total, first, second = (task.loss(task.model, batch, torch.float32)[1] for batch in drawn)
    for name, value in total.items():
        torch.testing.assert_close((first[name] + second[name]) / 2, value)
    assert torch.equal(drawn[0].x0[1::2], drawn[2].x0)
    assert torch.equal(drawn[2].conditions.plucker, drawn[0].conditions.plucker[1::2])


def failing(monkeypatch: pytest.MonkeyPatch, bad: Callable[[int], bool]) -> None:
    """Steps, counted from 1, whose loss is NaN."""
    count = [0]

    def loss(*arguments, **options):
        count[0] += 1
        flow, motion = losses_at(*arguments, **options)
        return (flow * math.nan if bad(count[0]) else flow), motion

    monkeypatch.setattr(module, "losses_at", loss)


def test_a_single_bad_step_is_left_out(latents, tmp_path, monkeypatch):
    failing(monkeypatch, lambda step: step in (5, 6))
    train_denoiser(latents, tmp_path, config=config(steps=8), model=network())
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line.get("skipped", 0) for line in lines] == [0, 2]
    state = content(tmp_path)
    assert state["ema_updates"] == 6 and all(value.isfinite().all() for value in state["model"].values())


def test_a_run_that_diverges_stops_and_leaves_a_good_checkpoint(latents, whole, tmp_path, monkeypatch):
    failing(monkeypatch, lambda step: step > 9)
    with pytest.raises(TrainingDiverged, match=r"flow nan.*step 12.*of step 5 and good.*--learning-rate"):
        train_denoiser(latents, tmp_path, config=config(), model=network())
    monkeypatch.undo()
    train_denoiser(latents, tmp_path, config=config(), model=network())
    assert_equal_runs(whole, tmp_path)


def test_checkpoints_that_cannot_be_gone_on_from_are_one_line(latents, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(InputError, match="damaged"):
        train_denoiser(latents, tmp_path, config=config(), model=network())
    torch.save({"model": {}, "step": 3}, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match="not a checkpoint of this configuration"):
        train_denoiser(latents, tmp_path, config=config(), model=network())
    train_denoiser(latents, tmp_path / "seeded", config=config(steps=1), model=network())
    with pytest.raises(InputError, match="seed 0, not 1"):
        train_denoiser(latents, tmp_path / "seeded", config=config(seed=1), model=network())


def test_weights_are_written_even_if_the_run_was_killed_before(latents, whole, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes((whole / "checkpoint.pt").read_bytes())
    train_denoiser(latents, tmp_path, config=config(), model=network())
    assert (tmp_path / "denoiser" / "config.json").is_file() and (tmp_path / "pipeline.json").is_file()


def test_a_torn_log_is_mended(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 4}\n{"step": 8}\n{"step": 12}\n{"st')
    Log(tmp_path / "log.jsonl", start_step=8)
    assert (tmp_path / "log.jsonl").read_text() == '{"step": 4}\n{"step": 8}\n'


def test_a_name_is_averaged_over_the_steps_that_had_it(tmp_path):
    log = Log(tmp_path / "log.jsonl")
    for step in range(4):
        log.add(flow=1.0, **({"nll": 3.0} if step == 2 else {}))
    assert (log.write(4)["flow"], json.loads((tmp_path / "log.jsonl").read_text())["nll"]) == (1.0, 3.0)
    log.add(flow=2.0)
    assert "nll" not in log.write(5)


def test_checkpoints_that_count_steps_for_all_names_are_read(latents, whole, tmp_path, monkeypatch):
    """As they were before each name had a count: the log goes on with the same averages."""
    drawn, draw = [], DenoiserTask.draw

    def until_the_twelfth(self, generator, part):
        drawn.append(part)
        if len(drawn) == 12:
            raise KeyboardInterrupt
        return draw(self, generator, part)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(DenoiserTask, "draw", until_the_twelfth)
        train_denoiser(latents, tmp_path, config=config(), model=network())
    state = content(tmp_path)
    assert set(state["log"].pop("counts").values()) == {2} == {state["log"]["count"]}, "steps since the line of step 8"
    torch.save(state, tmp_path / "checkpoint.pt")
    train_denoiser(latents, tmp_path, config=config(), model=network())
    assert_equal_runs(whole, tmp_path)
    assert losses_of(tmp_path) == losses_of(whole)


def test_batches_drawn_ahead_are_the_same_and_not_counted_before_they_are_taken():
    def numbers(ahead: bool) -> tuple[list[float], torch.Tensor]:
        stream = Stream(lambda g: float(torch.rand((), generator=g)), torch.Generator().manual_seed(1), ahead=ahead)
        found = [stream.next() for _ in range(4)]
        stream.close()
        return found, stream.state

    (now, state), (ahead, ahead_state) = numbers(False), numbers(True)
    assert now == ahead and torch.equal(state, ahead_state)


def test_curves_for_tensorboard(latents, tmp_path):
    pytest.importorskip("tensorboard", reason="pip install 'orbit4d[train]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = config(log="tensorboard", steps=8, log_every=2, save_every=3)
    train_denoiser(latents, tmp_path, config=settings, model=network(), stop_after=5)
    train_denoiser(latents, tmp_path, config=settings, model=network())
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    points = {event.step: event.value for event in events.Scalars("flow")}
    assert points == pytest.approx({step: flow for step, flow, _ in losses_of(tmp_path)}, abs=1e-6)
    assert {"motion", "samples_per_second", "frames_per_second", "hours_left", "lr"} <= set(events.Tags()["scalars"])


def test_what_is_missing_is_said_before_anything_starts(latents, tmp_path, monkeypatch):
    absent = {"wandb", "tensorboard"}
    find = machine.find_spec
    monkeypatch.setattr(machine, "find_spec", lambda name: None if name in absent else find(name))
    for name, hint in (("tensorboard", r"orbit4d\[train\]"), ("wandb", "wandb")):
        with pytest.raises(InputError, match=rf"--log {name}: .*pip install '{hint}'"):
            train_denoiser(latents, tmp_path, config=config(log=name), model=network())
    absent.add("accelerate")
    with pytest.raises(InputError, match=r"pip install 'orbit4d\[train\]'"):
        train_denoiser(latents, tmp_path, config=config(), model=network())
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    absent.clear()
    monkeypatch.setattr(machine, "_on_cpu", lambda: True)
    with pytest.raises(InputError, match=r"--compile: no C\+\+ compiler"):
        check_training(precision="auto", tracker="none", compile=True)
    with pytest.raises(InputError, match="--precision fp16"):
        check_training(precision="fp16", tracker="none", compile=False)


def test_settings_out_of_range_are_one_line():
    for bad, words in (({"lr": math.nan}, "learning rate"), ({"save_every": 0}, "save_every"), ({"batch": 0}, "batch")):
        with pytest.raises(InputError, match=words):
            config(**bad)


def test_auto_is_bf16_only_where_the_cpu_has_it(monkeypatch):
    cpu = torch.device("cpu")
    for native, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(machine, "cpu_multiplies_bf16", lambda native=native: native)
        assert chosen_dtype("auto", cpu) == dtype
    assert chosen_dtype("bf16", cpu) == torch.bfloat16


def test_it_compiles_without_breaks_and_once(latents, tmp_path):
    """Static orbits, references and absent conditions change from batch to batch; the graph does not."""
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    task = DenoiserTask(LatentSet(latents), config(static_share=0.25), network(), out=tmp_path, autoencoder=None)
    compiled, generator = torch.compile(task.model, backend="eager", fullgraph=True), torch.Generator().manual_seed(0)
    for _ in range(4):
        batch = task.draw(generator, slice(0, None, 1))
        found = task.loss(compiled, batch, torch.float32)[0]
        torch.testing.assert_close(found, task.loss(task.model, batch, torch.float32)[0])
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]


def test_the_presets_have_the_sizes_that_they_promise():
    sizes = {name: sum(p.numel() for p in preset().make_denoiser().parameters()) for name, preset in PRESETS.items()}
    assert sizes["xs"] <= 2e6 and 5.9e6 <= sizes["s"] <= 8e6 and 22e6 <= sizes["m"] <= 28e6
    for name, preset in PRESETS.items():
        assert preset().make_denoiser().config["relative"] == ("none" if name == "tiny" else "camera")


def test_the_autoencoder_goes_on_too(tmp_path):
    plan = RenderPlan(size=32, orbits=1, outputs=())
    data = write_folder(tmp_path / "data", [disc_sample(plan, key="disc")], plan=plan)
    settings = {"batch": 2, "crop": 32, "precision": "fp32", "save_every": 2, "log_every": 2, "sample_every": 4}

    def run(out: Path, steps: int) -> dict:
        torch.manual_seed(0)
        model = RGBAAutoencoder(widths=(8, 8, 16))
        train_autoencoder(data, out, config=AutoencoderConfig(steps=steps, **settings), model=model)
        return content(out)

    run(tmp_path / "a", 6)
    state = run(tmp_path / "a", 8)
    lines = [json.loads(line)["step"] for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    assert state["step"] == 8 and lines == [2, 4, 6, 8]
    assert (tmp_path / "a" / "samples" / "step_000008.png").is_file()
    assert (tmp_path / "a" / "autoencoder" / "config.json").is_file()
