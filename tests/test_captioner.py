"""The captioner: what it says of a picture, what it is taught, and what it does not take for weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from orbit4d import conditions
from orbit4d.diffusion import train_captioner
from orbit4d.diffusion.captioner import SIZE, Captioner, load_captioner, save_captioner
from orbit4d.diffusion.hub import BUILT_IN
from orbit4d.diffusion.pipeline import Orbit4DPipeline
from orbit4d.diffusion.train_captioner import (
    NO_WORD,
    CaptionerConfig,
    CaptionerTask,
    NoWords,
    augmented,
    labelled,
    strange,
)
from orbit4d.diffusion.trainer import fit
from orbit4d.errors import InputError


def square(colour: tuple[float, float, float], *, low: bool, shift: int = 0) -> torch.Tensor:
    """A premultiplied picture of a bar of one colour: lying at the bottom, or standing."""
    picture = torch.zeros(4, SIZE, SIZE)
    rows, columns = (
        (slice(40, 52), slice(12 + shift, 52 + shift)) if low else (slice(12, 52), slice(26 + shift, 38 + shift))
    )
    picture[:3, rows, columns] = torch.tensor(colour)[:, None, None]
    picture[3, rows, columns] = 1
    return picture


RED, BLUE, GREEN = (0.9, 0.1, 0.1), (0.1, 0.1, 0.9), (0.2, 0.8, 0.2)


def views(colour: tuple[float, float, float], *, low: bool) -> torch.Tensor:
    return torch.stack([(square(colour, low=low, shift=s) * 255).byte() for s in range(-4, 5)])


PICTURES = [views(RED, low=False), views(RED, low=True), views(BLUE, low=False), views(GREEN, low=False)]
LABELS = [
    ("a fox", "a fox standing"),
    ("a fox", "a fox lying down"),
    ("a whale", "a whale standing"),
    ("toy box", "a green box hopping"),
]


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Captioner:
    torch.manual_seed(0)
    words, shown = labelled(PICTURES, LABELS)
    model = Captioner(words.kinds, words.motions, words.motions_of, width=8, dim=32)
    out = tmp_path_factory.mktemp("captioner")
    config = CaptionerConfig(steps=160, batch=32, precision="fp32", save_every=160)
    fit(model, CaptionerTask(shown, config, model, out=out), out, config=config)
    return load_captioner(out / "captioner.safetensors")


def test_words_are_numbered_and_toys_are_none_of_the_kinds() -> None:
    words, shown = labelled(PICTURES, LABELS)
    assert words.kinds == ("a fox", "a whale")
    assert words.motions == ("lying down", "standing")
    assert words.motions_of == ((0, 1), (1,))
    assert shown.kinds[::9].tolist() == [0, 0, 1, 2]
    assert shown.motions[::9].tolist() == [1, 0, 1, NO_WORD]
    only_toys, _ = labelled(PICTURES[3:], LABELS[3:])
    assert only_toys.kinds == ("toy box",)


def test_a_run_goes_on_only_with_the_same_words_for_the_same_pictures(tmp_path: Path) -> None:
    def run(labels: list[tuple[str, str]], steps: int) -> None:
        torch.manual_seed(0)
        words, shown = labelled(PICTURES, labels)
        model = Captioner(words.kinds, words.motions, words.motions_of, width=8, dim=32)
        config = CaptionerConfig(steps=steps, batch=8, precision="fp32", save_every=2)
        fit(model, CaptionerTask(shown, config, model, out=tmp_path), tmp_path, config=config)

    run(LABELS, 2)
    run(LABELS, 4)
    with pytest.raises(InputError, match="other data"):
        run([LABELS[1], LABELS[0], *LABELS[2:]], 6)


def test_the_parts_of_a_batch_are_the_batch(tmp_path: Path) -> None:
    words, shown = labelled(PICTURES, LABELS)
    model = Captioner(words.kinds, words.motions, words.motions_of, width=8, dim=32)
    task = CaptionerTask(shown, CaptionerConfig(batch=8), model, out=tmp_path)
    whole, *parts = (
        task.draw(torch.Generator().manual_seed(2), part)
        for part in (slice(None), slice(0, None, 2), slice(1, None, 2))
    )
    for name in ("pictures", "kinds", "motions"):
        value = getattr(whole, name)
        assert torch.equal(getattr(parts[0], name), value[::2]) and torch.equal(getattr(parts[1], name), value[1::2])


def test_no_more_words_are_learned_than_can_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commonest stay; a clip of another motion keeps its kind."""
    monkeypatch.setattr(train_captioner, "MAX_WORDS", 2)
    labels = [
        ("a fox", "a fox running"),
        ("a fox", "a fox running"),
        ("a fox", "a fox resting"),
        ("a fox", "a fox yawning"),
    ]
    words, shown = labelled(PICTURES, labels)
    assert len(words.motions) == 2 and "running" in words.motions
    assert shown.motions[::9].tolist().count(NO_WORD) == 1 and not shown.kinds.any()
    with pytest.raises(NoWords, match="3 kinds"):
        labelled(PICTURES, [("a fox", "a fox"), ("a wolf", "a wolf"), ("a cow", "a cow"), ("a cow", "a cow")])


def test_it_says_what_it_was_taught_and_nothing_of_what_it_does_not_know(learned: Captioner) -> None:
    said = learned.caption(square(RED, low=True, shift=2))
    assert said is not None and (said.text, said.kind, said.motion) == ("a fox lying down", "a fox", "lying down")
    assert said.kind_share > 0.8 and said.motion_share > 0.8
    said = learned.caption(square(BLUE, low=False, shift=-2))
    assert said is not None and said.text == "a whale standing"
    assert learned.caption(square(GREEN, low=False)) is None
    large = torch.nn.functional.interpolate(square(RED, low=False)[None], scale_factor=2.0)[0]
    said = learned.caption(large)
    assert said is not None and said.text == "a fox standing"


def test_a_motion_that_it_is_not_sure_of_is_a_guess(learned: Captioner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The likeliest is said; with MOTION_SURE above it, the kind alone."""
    said = learned.caption(square(RED, low=True))
    assert said is not None and not said.is_guess
    wider = Captioner(("a fox",), ("a", "b", "c"), ((0, 1, 2),), width=8, dim=32)
    with torch.no_grad():
        wider.motion.weight.zero_()
        wider.motion.bias.zero_()
        wider.kind.weight.zero_()
        wider.kind.bias.copy_(torch.tensor([9.0, 0.0]))
    said = wider.caption(square(RED, low=True))
    assert said is not None and said.is_guess and said.text in ("a fox a", "a fox b", "a fox c")
    assert said.motion_share == pytest.approx(1 / 3, abs=1e-3)
    monkeypatch.setattr("orbit4d.diffusion.captioner.MOTION_SURE", 0.5)
    said = wider.caption(square(RED, low=True))
    assert said is not None and (said.text, said.motion, said.is_guess) == ("a fox", None, False)
    assert said.motion_share == pytest.approx(1 / 3, abs=1e-3)


def test_motions_that_a_kind_was_never_seen_with_are_not_said(learned: Captioner) -> None:
    told = learned.among(torch.zeros(2, 2), torch.tensor([0, 1]))
    assert told[0].isfinite().all()
    assert told[1].tolist() == [float("-inf"), 0.0]
    assert learned.among(torch.zeros(1, 2), torch.tensor([2])).isfinite().all(), (
        "none of the kinds has no motions: all stay"
    )


def test_augmented_pictures_stay_premultiplied_and_differ() -> None:
    generator = torch.Generator().manual_seed(0)
    given = square(RED, low=False, shift=8)[None].expand(64, -1, -1, -1)
    made = augmented(given, generator)
    assert made.shape == given.shape
    assert (made[:, :3] - made[:, 3:]).max() < 0.4, "noise alone is above alpha"
    centre = (made[:, 3] * torch.arange(SIZE)).sum((1, 2)) / made[:, 3].sum((1, 2))
    assert (centre < 31).any() and (centre > 33).any(), "some are mirrored"


def test_some_are_centred_as_users_pictures_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SHIFT", "SCALE"):
        monkeypatch.setattr(train_captioner, name, 0.0)
    given = torch.zeros(32, 4, SIZE, SIZE)
    given[:, :, 30:50, 8:16] = 1
    made = augmented(given, torch.Generator().manual_seed(3))[:, 3] > 0.5
    straight = torch.cat([given[:1, :3], given[:1, 3:]], dim=1)[0]
    wanted = conditions.centred(straight, size=SIZE)[3] > 0.5
    assert train_captioner.MARGIN == conditions.MARGIN
    alike = [bool((m == wanted).float().mean() > 0.99) for m in made]
    assert 8 < sum(alike) < 24
    left = [m for m, a in zip(made, alike, strict=True) if not a]
    as_given = given[0, 3] > 0.5
    assert all(max((m == g).float().mean() for g in (as_given, as_given.flip(-1))) > 0.99 for m in left)
    window, centre = train_captioner.centred_windows(torch.zeros(1, SIZE, SIZE))
    assert (window.tolist(), centre.tolist()) == ([1.0], [[0.0, 0.0]])


def test_strange_pictures_are_of_none_of_the_kinds() -> None:
    """Every second one, and every grey one, gets the upper half of another kind: exchanged colours would leave grey as it is."""
    grey = square((0.5, 0.5, 0.5), low=True)
    given = torch.stack([square(RED, low=True)] * 3 + [grey] + [grey] + [square(BLUE, low=False)] * 3)
    kinds = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])
    made = strange(given, kinds, 5, torch.Generator().manual_seed(1))
    assert made.shape == (5, 4, SIZE, SIZE)
    for i in (0, 2):
        assert not torch.equal(made[i, :3], given[i, :3]) and torch.equal(made[i, 3], given[i, 3])
    middle = SIZE // 2
    for i in (1, 3, 4):
        assert torch.equal(made[i, :, middle:], given[i, :, middle:])
        tops = [g[:, :middle] for g, kind in zip(given, kinds, strict=True) if kind != kinds[i]]
        assert any(torch.equal(made[i, :, :middle], top) for top in tops)
    alone = strange(given[:3], kinds[:3], 3, torch.Generator().manual_seed(1))
    assert not torch.equal(alone[1, :3], given[1, :3]), "of a single kind the colours alone are exchanged"


def test_it_is_saved_and_loaded(learned: Captioner, tmp_path: Path) -> None:
    again = load_captioner(save_captioner(learned, tmp_path / "c.safetensors"))
    assert (again.kinds, again.motions, again.motions_of) == (learned.kinds, learned.motions, learned.motions_of)
    picture = square(BLUE, low=False)
    assert again.caption(picture) == learned.caption(picture)


HEADER = {
    "format": "orbit4d-captioner-1",
    "kinds": ["a fox"],
    "motions": ["running"],
    "motions_of": [[0]],
    "sizes": {"width": 8, "dim": 16},
}


@pytest.mark.parametrize(
    "change",
    [
        {"format": "another"},
        {"kinds": []},
        {"kinds": ["\x1b[31mred"]},
        {"motions": "running"},
        {"motions_of": [[1]]},
        {"motions_of": [[-1]]},
        {"motions_of": [["0"]]},
        {"motions_of": []},
        {"sizes": {"width": 8}},
        {"sizes": {"width": 4096, "dim": 16}},
        {"sizes": {"width": 16, "dim": 16}},
    ],
)
def test_other_files_are_one_line(change: dict, tmp_path: Path) -> None:
    tensors = Captioner(["a fox"], ["running"], [[0]], width=8, dim=16).state_dict()
    path = tmp_path / "captioner.safetensors"
    save_file(tensors, path, metadata={"captioner": json.dumps(HEADER)})
    load_captioner(path)
    save_file(tensors, path, metadata={"captioner": json.dumps(HEADER | change)})
    with pytest.raises(InputError, match="not the weights of a captioner"):
        load_captioner(path)


def test_weights_that_are_no_numbers_are_one_line(tmp_path: Path) -> None:
    model = Captioner(["a fox"], ["running"], [[0]], width=8, dim=16)
    path = save_captioner(model, tmp_path / "captioner.safetensors")
    before = load_captioner(path).digest()
    assert before == model.digest()
    with torch.no_grad():
        model.kind.bias[0] = float("nan")
    assert model.digest() != before
    with pytest.raises(InputError, match="no numbers"):
        load_captioner(save_captioner(model, path))


def test_files_that_are_none_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "captioner.safetensors"
    path.write_bytes(b"\x00" * 64)
    with pytest.raises(InputError, match="not the weights of a captioner"):
        load_captioner(path)


def test_a_model_keeps_its_captioner(learned: Captioner, tmp_path: Path) -> None:
    pipe = Orbit4DPipeline.from_pretrained()
    pipe.captioner = learned
    again = Orbit4DPipeline.from_pretrained(pipe.save_pretrained(tmp_path / "model"))
    assert again.captioner is not None and again.captioner.kinds == learned.kinds
    pipe.captioner = None
    assert Orbit4DPipeline.from_pretrained(pipe.save_pretrained(tmp_path / "without")).captioner is None
    assert pipe.caption(torch.rand(4, 64, 64)) is None


def test_the_built_in_captioner_knows_its_kinds(data_dir: Path) -> None:
    """From azimuths that no training view has (they lie 15.7 degrees apart, from 0)."""
    from orbit4d.data.render import render_clip

    pipe = Orbit4DPipeline.from_pretrained()
    assert (BUILT_IN / "captioner.safetensors").is_file()
    for file, kind in (("q_animals_Fox", "a fox"), ("q_cute_fish_Koi", "a koi"), ("kaykit_Knight", "a knight")):
        [path] = (data_dir / "assets").glob(f"{file}*.glb")
        for azimuth in (23.5, 117.4):
            clip = render_clip(path, trajectory="front", frames=2, size=128, azimuth=azimuth)
            said = pipe.caption(torch.cat([clip.rgb[0], clip.alpha[0]]))
            assert said is not None and said.kind == kind
