"""The recognition bench: labels, what is kept out of training, a network that learns order in time, resumable scoring."""

# pyright: reportMissingImports=false

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import sphere_clip
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sample_fixtures import disc_sample, write_folder
from torch import Tensor

from orbit4d.data.latent_set import open_latents
from orbit4d.data.plan import RenderPlan
from orbit4d.data.sample_set import open_samples
from orbit4d.diffusion.autoencoder import RGBAAutoencoder
from orbit4d.diffusion.train_autoencoder import encode_training_set
from orbit4d.errors import InputError
from orbit4d.evaluate.recognition import (
    FRAMES,
    SIZE,
    Classes,
    Label,
    Recogniser,
    accuracies,
    chance,
    clip_thumbnails,
    judge,
    label_of,
    load_recogniser,
    network_input,
    recognise,
    save_recogniser,
    thumbnails,
)
from orbit4d.evaluate.recognition_data import (
    RealClip,
    Source,
    held_out_starts,
    held_out_toys,
    latent_sources,
    orbit_rows,
    read_clips,
    sample_sources,
    scrambled,
    static_rows,
)
from orbit4d.evaluate.recognition_training import Settings, augmented, held_out_figures, train_recogniser
from orbit4d.evaluate.resampling import bootstrap_interval

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "recognition"
PLAN = RenderPlan(orbits=8, outputs=())


def benchmark(name: str) -> Any:
    """A script of the benchmark under a name of its own: other benchmarks have a score.py, too."""
    sys.path.append(str(BENCHMARK))
    spec = importlib.util.spec_from_file_location(f"recognition_{name}", BENCHMARK / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("kind", "captions", "motion"),
    [
        ("a fox", ["a fox attacking", "an orange fox attacking"], "attacking"),
        ("a knight", ["a knight attacking with a sword"], "attacking with a sword"),
        ("a fox", ["a fox"], None),
        ("a fox", ["a foxglove swaying"], "swaying"),
        ("disc", ["a disc moving", "a disc"], "moving"),
        ("quadruped", ["a low-poly fox running fast"], "running fast"),
        ("quadruped", ["a low-poly fox"], None),
        ("a fox", [], None),
        ("toy bird", ["a spotted bird taking a walk"], "walking"),
        ("toy humanoid", ["a wizard waving a hand quickly"], "waving"),
        ("toy person", ["a person clapping their hands"], "clapping"),
        ("toy bird", ["a parrot", "a parrot turning in circles"], "spinning"),
        ("toy bird", ["a parrot"], None),
    ],
)
def test_labels(kind: str, captions: list[str], motion: str | None) -> None:
    assert label_of(kind, captions) == Label(kind=kind, motion=motion)


def test_all_captions_of_the_toybox_name_their_motion() -> None:
    """Every wording that the toybox may choose leads back to the motion that it words."""
    from orbit4d.assets.toybox.captions import words

    for motion, wordings in words()["motions"].items():
        for wording in wordings:
            assert label_of("toy thing", [f"a red thing {wording} quickly"]).motion == words()["motions"][motion][0]


def test_orbits_are_found_by_their_pairs() -> None:
    pairs = PLAN.pairs()
    rows = orbit_rows(pairs, PLAN.frames)
    assert {s: [pairs[r] for r in found] for s, found in rows.items()} == {
        PLAN.orbit(k)[0][0]: PLAN.orbit(k) for k in range(PLAN.orbits)
    }
    first_format = [(23, j) if (i, j) == (0, 23) else (i, j) for i, j in pairs]
    assert orbit_rows(first_format, PLAN.frames).keys() == rows.keys()
    still = static_rows(pairs, PLAN.frames, time=0)
    assert still is not None and [pairs[r] for r in still] == [(i % 23, 0) for i in range(24)]
    assert static_rows(PLAN.orbit(), PLAN.frames, time=0) is None


def source(key: str, kind: str, caption: str, *, seen: list[str] | None = None) -> Source:
    """A clip whose frames hold their row, and half of it where they went through the autoencoder."""

    def look(rows: list[int], through: bool) -> Tensor:
        if seen is not None:
            seen.append(key)
        values = torch.tensor(rows, dtype=torch.uint8) // (2 if through else 1)
        return values[:, None, None, None].expand(-1, 4, SIZE, SIZE).contiguous()

    return Source(
        key=key,
        kind=kind,
        captions=[caption],
        pairs=PLAN.pairs(),
        frames=FRAMES,
        static_time=0,
        identity=key,
        rendered=True,
        look=look,
    )


def test_what_is_held_out_is_never_trained_on(tmp_path: Path) -> None:
    toys = [source(f"toy_{i}", "toy bird", "a bird walking") for i in range(6)]
    clips = read_clips([source("fox", "a fox", "a fox running"), *toys], tmp_path, autoencoder_digest="x", decoded=1)
    for clip in clips:
        pairs = {s: {((j + s) % clip.views, j) for j in range(FRAMES)} for s in clip.orbits}
        assert clip.held_out == (0, 12) and set(clip.tested) == {0, 12}
        trained = set().union(*(pairs[s] for s in clip.trained))
        assert not trained & set().union(*(pairs[s] for s in clip.tested))
    assert [c.key for c in clips if c.toy_held_out] == ["toy_2"]
    assert next(c for c in clips if c.key == "toy_2").trained == []
    assert held_out_starts([0, 3, 6, 9, 12, 14, 17, 20]) == (0, 12)
    assert held_out_toys([("b", "toy x"), ("c", "toy x"), ("a", "toy x"), ("d", "a fox")]) == {"c"}
    fox = clips[0]
    rows = orbit_rows(PLAN.pairs(), FRAMES)
    assert fox.orbits[0][:, 0, 0, 0].tolist() == [r // 2 for r in rows[0]]  # decoded
    through = [s for s in fox.trained if fox.orbits[s][:, 0, 0, 0].tolist() == [r // 2 for r in rows[s]]]
    assert len(through) == 1  # of the trained ones one is decoded, as asked for, the others as rendered

    class Untouchable:
        def __getitem__(self, _: Any) -> Tensor:
            raise AssertionError("a held-out orbit was trained on")

    poisoned = [
        replace(c, orbits={s: v if s in c.trained else Untouchable() for s, v in c.orbits.items()}) for c in clips
    ]  # type: ignore[arg-type]
    train_recogniser(poisoned, Settings(steps=2, batch=16, frames=4, width=4, dim=8, layers=1))


def test_clips_are_decoded_once(tmp_path: Path) -> None:
    seen: list[str] = []
    for _ in range(2):
        first = read_clips([source("fox", "a fox", "a fox running", seen=seen)], tmp_path, autoencoder_digest="x")
        count = len(seen)
    assert count == len(first[0].orbits) + 1 == 9
    read_clips([source("fox", "a fox", "a fox running", seen=seen)], tmp_path, autoencoder_digest="another")
    assert len(seen) == 2 * count
    (tmp_path / "fox.safetensors").write_bytes(b"damaged")
    again = read_clips([source("fox", "a fox", "a fox running", seen=seen)], tmp_path, autoencoder_digest="x")
    assert all(torch.equal(again[0].orbits[s], first[0].orbits[s]) for s in first[0].orbits)


def test_clips_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fox: has no kind"):
        read_clips([source("fox", "", "a fox running")], tmp_path, autoencoder_digest="x")
    short = replace(source("fox", "a fox", "a fox running"), pairs=PLAN.orbit())
    with pytest.raises(InputError, match=r"fox: expected 4 orbits .* got 1 of 24"):
        read_clips([short], tmp_path, autoencoder_digest="x")
    with pytest.raises(InputError, match="no clip of the kinds a cat"):
        read_clips([source("fox", "a fox", "a fox running")], tmp_path, autoencoder_digest="x", kinds=["a cat"])


def moving_square(colour: int, direction: int, start: int) -> Tensor:
    """(FRAMES, 4, SIZE, SIZE) uint8: a square that goes to the right or to the left."""
    frames = torch.zeros(FRAMES, 4, SIZE, SIZE, dtype=torch.uint8)
    for j in range(FRAMES):
        x = 24 + round(direction * (j - 11.5)) + start % 5
        frames[j, colour, 20:40, x : x + 14] = 220
        frames[j, 3, 20:40, x : x + 14] = 255
    return frames


def squares() -> list[RealClip]:
    """Red and blue squares, to the right and to the left: colour is the kind, and only the order in time tells the motion."""
    starts = (0, 3, 6, 9, 12, 14, 17, 20)
    return [
        RealClip(
            key=f"{kind}_{motion}",
            label=Label(kind=f"a {kind}", motion=motion),
            orbits={s: moving_square(colour, direction, s) for s in starts},
            static=moving_square(colour, 0, 0),
            views=23,
            held_out=(0, 12),
            toy_held_out=False,
        )
        for kind, colour in (("ruby", 0), ("sapphire", 2))
        for motion, direction in (("leaving", 1), ("arriving", -1))
    ]


def test_learns_kind_and_motion_and_uses_the_order_in_time(tmp_path: Path) -> None:
    clips = squares()
    model = train_recogniser(clips, Settings(steps=100, batch=16, frames=8, width=4, dim=32, layers=1))
    figures = held_out_figures(model, clips)
    assert figures["all"]["kind"]["mean"] == 1
    assert figures["all"]["motion"]["mean"] >= 0.85
    assert figures["static"]["motion"]["mean"] <= 0.75
    assert figures["scrambled"]["motion"]["mean"] <= figures["all"]["motion"]["mean"] - 0.1
    assert figures["chance"] == {
        "kind_uniform": 0.5,
        "kind_most_frequent": 0.5,
        "motion_uniform": 0.5,
        "motion_most_frequent": 0.5,
        "motion_of_kind_uniform": 0.5,
    }
    path = save_recogniser(model, tmp_path / "recogniser.safetensors", about={"data": "squares"})
    loaded, about = load_recogniser(path)
    assert about == {"data": "squares"}
    frames = torch.stack([clip.orbits[0] for clip in clips])
    for a, b in zip(recognise(loaded, frames), recognise(model, frames), strict=True):
        torch.testing.assert_close(a, b, atol=0.1, rtol=0)


def test_scrambled_keeps_the_views() -> None:
    """Frame i of a scrambled clip shows the view that frame i of the orbit shows, at some time."""
    clip = squares()[0]
    marked = {
        s: torch.tensor([(j + s) % 23 for j in range(FRAMES)], dtype=torch.uint8)[:, None, None, None].expand(
            -1, 4, 2, 2
        )
        for s in clip.orbits
    }
    still = torch.tensor([i % 23 for i in range(FRAMES)], dtype=torch.uint8)[:, None, None, None].expand(-1, 4, 2, 2)
    mixed = scrambled(replace(clip, orbits=marked, static=still), 12, torch.Generator().manual_seed(0))
    assert mixed[:, 0, 0, 0].tolist() == marked[12][:, 0, 0, 0].tolist()


def test_judgement_is_among_all_and_among_the_kinds_motions() -> None:
    labels = [
        Label(kind="a fox", motion="running"),
        Label(kind="a cow", motion="eating"),
        Label(kind="a cow", motion=None),
    ]
    classes = Classes.of([*labels, Label(kind="a fox", motion="leaping")])
    assert classes.kinds == ("a cow", "a fox") and classes.motions == ("eating", "leaping", "running")
    assert classes.motion_mask(["a cow", "a bat"]).tolist() == [[True, False, False], [False] * 3]
    model = Recogniser(classes, width=4, dim=8, layers=0).eval()
    with torch.no_grad():  # always says "a fox" and, of motions, eating before running before leaping
        model.kind.weight.zero_(), model.motion.weight.zero_()
        model.kind.bias.copy_(torch.tensor([0.0, 1.0]))
        model.motion.bias.copy_(torch.tensor([2.0, 0.0, 1.0]))
    told = judge(model, torch.zeros(3, FRAMES, 4, SIZE, SIZE, dtype=torch.uint8), labels)
    assert told.kind_right == [True, False, False]
    assert told.motion == ["eating"] * 3 and told.motion_right == [False, True, None]
    assert told.motion_of_kind == ["running", "eating", "eating"] and told.motion_of_kind_right == [True, True, None]
    figures = accuracies(told, [True] * 3, cases=["a", "b", "b"])
    assert figures["kind"]["mean"] == 0.5 and figures["kind"]["count"] == 2
    assert figures["motion"]["mean"] == 0.5 and figures["motion_of_kind"]["mean"] == 1
    assert chance(classes, labels)["motion_of_kind_uniform"] == 0.75


def test_bootstrap() -> None:
    values = [0.0] * 50 + [1.0] * 50
    found = bootstrap_interval(values)
    assert found["mean"] == 0.5 and found["count"] == 100
    assert found["low"] is not None and found["high"] is not None
    assert 0.37 < found["low"] < 0.45 and 0.55 < found["high"] < 0.63
    assert bootstrap_interval([0.3]) == {"mean": 0.3, "low": None, "high": None, "count": 1}
    few = bootstrap_interval([0.1, 0.2, 0.3, 0.4])
    assert few == {"mean": 0.25, "low": None, "high": None, "count": 4}
    assert bootstrap_interval([0.1, 0.2, 0.3, 0.4, 0.5])["low"] is not None
    assert bootstrap_interval([]) == {"mean": None, "low": None, "high": None, "count": 0}


def test_damped_clips_are_not_for_the_recogniser(tmp_path: Path) -> None:
    """They have two orbits, where four are the fewest, and are left out of latents; nothing else is."""
    plan = RenderPlan(frames=FRAMES, size=SIZE, orbits=4, outputs=())
    few = RenderPlan(frames=FRAMES, size=SIZE, orbits=2, outputs=())
    for folder, p in (("set", plan), ("damped", few)):
        write_folder(tmp_path / folder, [disc_sample(p, key="disc__000", radius=20)], plan=p)
    torch.manual_seed(0)
    RGBAAutoencoder(detail_channels=2, widths=(4, 4, 4)).save_pretrained(tmp_path / "autoencoder")
    autoencoder = RGBAAutoencoder.from_pretrained(tmp_path / "autoencoder", low_cpu_mem_usage=False).eval()
    folder, weights = tmp_path / "latents", tmp_path / "autoencoder"
    store = open_latents(encode_training_set(tmp_path / "set", weights, folder, damped=[tmp_path / "damped"]))
    assert store.keys == ["disc__000", "disc__000-d1"]
    say_damped(folder / "disc__000-d1.safetensors", 1)
    (clip,) = read_clips(latent_sources(store, autoencoder), tmp_path / "a", autoencoder_digest="x")
    assert (clip.key, len(clip.orbits)) == ("disc__000", 4)
    say_damped(folder / "disc__000-d1.safetensors", 0)
    with pytest.raises(InputError, match="disc__000-d1: expected 4 orbits"):
        read_clips(latent_sources(store, autoencoder), tmp_path / "b", autoencoder_digest="x")


def say_damped(file: Path, number: int) -> None:
    """Write into a latent clip's metadata which damped set it is of, 0 for none."""
    with safe_open(file, framework="pt") as handle:
        metadata = handle.metadata()
    clip = json.loads(metadata["clip"]) | {"damped": number}
    save_file(load_file(file), file, metadata=metadata | {"clip": json.dumps(clip)})


def test_thumbnails_average_colours_by_alpha() -> None:
    rgb, alpha = torch.zeros(1, 3, 2 * SIZE, 2 * SIZE), torch.zeros(1, 1, 2 * SIZE, 2 * SIZE)
    rgb[:, 0], alpha[..., ::2] = 1.0, 1.0  # red stripes over nothing
    rgba = thumbnails(rgb, alpha)
    assert rgba[0, 0].float().mean() == 255 and abs(rgba[0, 3].float().mean() - 127.5) <= 1
    assert torch.allclose(network_input(rgba)[0, 0], torch.full((SIZE, SIZE), 0.5), atol=0.01)
    assert clip_thumbnails(sphere_clip(frames=30, size=32)).shape == (FRAMES, 4, SIZE, SIZE)


def test_augmentation_keeps_colour_below_alpha_before_noise() -> None:
    frames = network_input(torch.stack([c.orbits[0] for c in squares()]))
    out = augmented(frames.clone(), torch.Generator().manual_seed(0))
    assert out.shape == frames.shape and float(out.min()) >= 0 and float(out.max()) <= 1
    assert (out - frames).abs().mean() > 1e-3


def test_files_that_are_no_recogniser(tmp_path: Path) -> None:
    classes = Classes.of([Label(kind="a fox", motion="running")])
    path = save_recogniser(Recogniser(classes, width=4, dim=8, layers=1), tmp_path / "r.safetensors", about={})
    whole = path.read_bytes()
    with pytest.raises(InputError, match="expected the weights of a recogniser"):
        load_recogniser(tmp_path / "absent.safetensors")
    for name, content in (("cut", whole[: len(whole) // 2]), ("empty", b""), ("text", b"{}" * 100)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="not the weights of a recogniser"):
            load_recogniser(tmp_path / name)
    tensors = load_file(path)
    header = {"format": "orbit4d-recogniser-1", "kinds": ["a"], "motions": [], "motions_of": {}, "about": {}}
    for config in ({"width": 4, "dim": 8, "layers": 10**6}, {"width": 4, "dim": 16, "layers": 1}, {}):
        save_file(tensors, tmp_path / "odd", metadata={"recogniser": json.dumps(header | {"config": config})})
        with pytest.raises(InputError, match="not the weights of a recogniser"):
            load_recogniser(tmp_path / "odd")


def test_scoring_goes_on_where_it_stopped(tmp_path: Path) -> None:
    score = benchmark("score")
    made: list[tuple[str, int]] = []

    def sample(text: str, seed: int) -> Any:
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append((text, seed))
        return sphere_clip(frames=FRAMES, size=32)

    prompts = [score.Prompt(text=t, label=label_of("a ball", [t])) for t in ("a ball rising", "a ball rolling")]
    with pytest.raises(KeyboardInterrupt):
        score.sampled(prompts, (0, 1), tmp_path, sample=sample)
    finished = made.copy()
    made.clear()
    frames, cases = score.sampled(prompts, (0, 1), tmp_path, sample=sample)
    assert finished + made == [("a ball rising", 0), ("a ball rising", 1), ("a ball rolling", 0), ("a ball rolling", 1)]
    assert [(p.text, s) for p, s in cases] == finished + made
    assert torch.equal(frames[0], clip_thumbnails(sphere_clip(frames=FRAMES, size=32)))
    model = Recogniser(Classes.of([p.label for p in prompts]), width=4, dim=8, layers=1)
    report, _ = score.report_of(model, {"real": {"kind": 1}}, frames, cases)
    assert report["generated"]["kind"]["mean"] == 1 and report["generated"]["motion"]["count"] == 2
    assert report["generated"]["motion"]["mean"] == 0.5  # equal clips: one prompt is right, the other wrong
    assert report["chance"]["motion_uniform"] == 0.5 and report["real_held_out_clips"] == {"kind": 1}
    damaged = next(tmp_path.glob("*.png"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(InputError, match="not a sampled clip"):
        score.sampled(prompts, (0, 1), tmp_path, sample=sample)


def test_prompts_come_from_the_models_grammar(tmp_path: Path) -> None:
    score = benchmark("score")
    listed = {"a fox": ["a fox running", "a fox"], "toy bird": ["a bird walking", "a green bird taking a walk"]}
    (tmp_path / "pipeline.json").write_text(json.dumps({"vocabulary": ["a fox", "toy bird"], "prompts": listed}))
    prompts = score.grammar(tmp_path, tmp_path)
    assert [p.text for p in prompts] == ["a fox running", "a bird walking"]
    assert [p.text for p in score.chosen_prompts(prompts, kinds=(), most=None)] == ["a fox running"]
    assert [p.text for p in score.chosen_prompts(prompts, kinds=("toy bird",), most=5)] == ["a bird walking"]
    with pytest.raises(InputError, match="--kinds: expected some of a fox, toy bird, got 'a cat'"):
        score.chosen_prompts(prompts, kinds=("a cat",), most=None)
    (tmp_path / "pipeline.json").write_text(json.dumps({"prompts": ["a fox"]}))
    with pytest.raises(InputError, match="prompts: expected"):
        score.grammar(tmp_path, tmp_path)


def test_prompts_of_a_model_that_lists_none(data_dir: Path) -> None:
    from orbit4d.diffusion.pipeline import BUILT_IN

    score = benchmark("score")
    prompts = score.grammar(BUILT_IN, data_dir / "assets", held_out=True)
    kinds = json.loads((BUILT_IN / "pipeline.json").read_text())["vocabulary"]
    assert {p.label.kind for p in prompts} <= set(kinds)
    assert {p.text for p in prompts if p.trained} >= {"a fox running", "a knight walking"}
    assert not {p.label for p in prompts if p.trained} & {p.label for p in prompts if not p.trained}


def test_samples_and_their_latents_show_the_same_clips(tmp_path: Path) -> None:
    """Rendered frames come as they are, in the order of the orbit; decoded ones are the same from samples and from latents."""
    plan = RenderPlan(frames=FRAMES, size=SIZE, orbits=4, outputs=())
    samples = open_samples(write_folder(tmp_path / "set", [disc_sample(plan, key="disc__000", radius=20)], plan=plan))
    torch.manual_seed(0)
    RGBAAutoencoder(detail_channels=2, widths=(4, 4, 4)).save_pretrained(tmp_path / "autoencoder")
    autoencoder = RGBAAutoencoder.from_pretrained(tmp_path / "autoencoder", low_cpu_mem_usage=False).eval()
    store = open_latents(encode_training_set(tmp_path / "set", tmp_path / "autoencoder", tmp_path / "latents"))
    (rendered,) = read_clips(sample_sources(samples, autoencoder), tmp_path / "a", autoencoder_digest="x", decoded=0)
    for start in rendered.trained:
        frames = rendered.orbits[start]
        inside = frames[:, 3] == 255
        for j in range(FRAMES):
            assert frames[j, 0][inside[j]].unique().tolist() == [10 * ((j + start) % 23)]
            assert frames[j, 2][inside[j]].unique().tolist() == [10 * j]
    (of_samples,) = read_clips(sample_sources(samples, autoencoder), tmp_path / "b", autoencoder_digest="x")
    (of_latents,) = read_clips(latent_sources(store, autoencoder), tmp_path / "c", autoencoder_digest="x")
    assert of_samples.label == of_latents.label == Label(kind="disc", motion="moving")
    assert set(of_samples.orbits) == set(of_latents.orbits) == set(rendered.orbits)
    for start, frames in of_samples.orbits.items():
        seen = (frames[:, 3:] > 20) & (
            of_latents.orbits[start][:, 3:] > 20
        )  # colours of what is nearly empty are noise
        difference = (frames.float() - of_latents.orbits[start].float()).abs()
        assert float((difference * seen).max()) <= 4  # latents are stored in half precision
    assert not list(sample_sources(samples, autoencoder, kinds=["a fox"]))
