"""The vocabulary: what is listed, which prompts are warned of, and which known words the warning names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orbit4d.cli import main
from orbit4d.data import vocabulary as vocabulary_module
from orbit4d.data.vocabulary import ALL_NAMES, MORE_NAMES, NAMES, motion_words
from orbit4d.diffusion.vocabulary import Vocabulary, nearest

MOTIONS = {
    "a fox": ["running", "walking", "jumping", "attacking", "eating", "dying"],
    "a robot": ["dancing", "waving", "giving a thumbs up", "sitting down", "shaking its head", "punching"],
    "a clownfish": ["swimming", "swimming fast", "biting"],
    "a knight": ["attacking with a sword", "cheering", "blocking", "sitting down"],
}
RECORD = {
    "vocabulary": [
        "a husky",
        "a horse",
        "a cow",
        "a crab",
        "a frog",
        "a wolf",
        "a bunny",
        "a shark",
        "a blue tang",
        "a deer",
        *MOTIONS,
        "toy bird",
    ],
    "prompts": {kind: [f"{kind} {m}" for m in motions] for kind, motions in MOTIONS.items()}
    | {"toy bird": ["a red bird flapping its wings", "a bird taking off"]},
}


@pytest.fixture(scope="module")
def words() -> Vocabulary:
    return Vocabulary.of_record(RECORD)


def test_kinds_and_motions_are_read(words: Vocabulary) -> None:
    assert words.kinds["fox"] == ("attacking", "dying", "eating", "jumping", "running", "walking")
    assert words.kinds["husky"] == () and words.toys == {"bird": ("flapping its wings", "taking off")}
    assert "giving a thumbs up" in words.motions
    text = words.as_text()
    assert "14 kinds" in text and "1 kinds of toys" not in text and "1 kind of toys" in text
    assert max(map(len, text.splitlines())) <= 100
    assert 'orbit4d generate --prompt "a clownfish biting"' in text


@pytest.mark.parametrize(
    "prompt",
    [
        "a fox", "A FOX running", "two foxes", "an orange fox running fast", "a fox runs", "a fox runing", "a robot that waves",
        "a robot sits down", "a robot giving thumbs up", "a grey wolf", "a wolf howling", "a blue tang",
        "a knight in shining armour",
    ],
)  # fmt: skip
def test_prompts_inside_are_not_warned_of(words: Vocabulary, prompt: str) -> None:
    assert words.warning(prompt) is None


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("a puppy running", "husky"),
        ("a stallion galloping", "horse"),
        ("a paladin", "knight"),
        ("a toad jumping", "frog"),
        ("a bull", "cow"),
        ("an automaton waving", "robot"),
        ("a hare", "bunny"),
        ("a goldfish", "clownfish"),
        ("a warrior cheering", "knight"),
        ("a fxo running", "did you mean 'fox'"),
        ("a robt dancing", "did you mean 'robot'"),
        ("a horze galloping", "did you mean 'horse'"),
        ("a fox sprinting", "running"),
        ("a robot boxing", "punching"),
        ("a knight celebrating", "cheering"),
        ("a knight dancing", "knows no knight dancing"),
        ("a fox dancing", "knows no fox dancing"),
    ],
)
def test_prompts_outside_name_the_nearest_words(words: Vocabulary, prompt: str, named: str) -> None:
    warning = words.warning(prompt)
    assert warning is not None and repr(prompt) in warning and "\n" not in warning
    assert named in warning.partition(repr(prompt))[2], warning


def test_nearest_is_ordered() -> None:
    assert nearest("puppy", ["crab", "dog", "robot"], count=1) == ["dog"]
    assert set(nearest("x", ["crab", "dog", "robot"], count=9)) == {"crab", "dog", "robot"}


@pytest.mark.parametrize(
    "record", [{}, {"vocabulary": None}, {"vocabulary": [3, "a fox"], "prompts": {"a fox": 7}}, {"prompts": ["a fox"]}]
)
def test_damaged_or_older_records(record: dict) -> None:
    words = Vocabulary.of_record(record)
    assert set(words.kinds) <= {"fox"} and isinstance(words.as_text(), str)
    assert (words.warning("a zeppelin") is None) == (not words.kinds)


def test_amounts_are_of_the_longest_motion_that_is_named() -> None:
    of_fox = {
        "running": 0.8,
        "galloping": 0.8,
        "running and jumping": 0.9,
        "standing": 0.1,
        "odd": 7,
        "flat": True,
        "\x1b": 0,
    }
    record = {"vocabulary": ["a fox"], "amounts": {"a fox": of_fox, "a stranger": 0.2}}
    words = Vocabulary.of_record(record)
    assert words.amounts == {"fox": dict(list(of_fox.items())[:4])}
    asked = {
        "two foxes running": 0.8,
        "A fox, running and jumping": 0.9,
        "a fox that stands": 0.1,
        "the fox gallops": 0.8,
    }
    asked |= {"a fox": None, "a horse running": None, "a fox odd": None, "a toy fox running": None}
    assert {prompt: words.amount(prompt) for prompt in asked} == asked
    for damaged in (["a fox"], {"a fox": 0.5}, None):
        assert Vocabulary.of_record(record | {"amounts": damaged}).amounts == {}


def test_names_that_cannot_be_shown_are_left_out() -> None:
    """From a stranger's file: nothing empty, no control characters, nothing endless."""
    bad = ["", "  ", "a  ", "\x1b[31ma red fox", "a fox\nnote: all is well", "a " + "x" * 1000, "\u202ea xof"]
    words = Vocabulary.of_record(
        {
            "vocabulary": [*bad, "a fox"],
            "prompts": {"a fox": ["a fox running", "a fox \x1b[2J"], "\x07": ["a \x07 ringing"]},
        }
    )
    assert words.kinds == {"fox": ("running",)} and words.toys == {}
    assert words.as_text().replace("\n", "").isprintable()
    assert isinstance(Vocabulary.of_record({"vocabulary": [""]}).as_text(), str)


def test_the_command_lists_the_built_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vocabulary", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert "fox" in listed["kinds"]
    assert main(["vocabulary"]) == 0
    assert "fox" in capsys.readouterr().out
    assert main(["vocabulary", "--weights", "not/a/hub/name"]) == 2
    assert "--weights" in capsys.readouterr().err


def test_what_is_trained_on_is_the_training_side() -> None:
    """No asset that is held out has a name to be trained with; with all names every other one does."""
    split = json.loads((Path(vocabulary_module.__file__).parent / "split.json").read_text())
    sides = {file: family["side"] for family in split["families"].values() for file in family["assets"]}
    assert set(ALL_NAMES) == {file for file, side in sides.items() if side == "train"}
    assert len(ALL_NAMES) == len(NAMES) + len(MORE_NAMES)
    plain = [names[0] for names in ALL_NAMES.values()]
    assert len(set(plain)) == len(plain)


def test_animations_whose_names_say_little_have_words() -> None:
    assert motion_words("SpikeTrap_Activate") == ["opening and closing", "thrusting its spikes"]
    assert motion_words("0") == ["driving"]
    assert motion_words("Gallop") == ["running", "galloping"]


TOYS = {
    "vocabulary": ["a fish", "a robot", "toy bird", "toy car", "toy robot"],
    "prompts": {
        "a fish": ["a fish swimming"],
        "a robot": ["a robot waving"],
        "toy bird": ["a red owl that is saying no", "parrot flapping its wings"],
        "toy car": ["a racing car spinning", "car rearing up on its back wheels"],
        "toy robot": ["a tin robot saying no"],
    },
}


def test_toys_are_known_by_what_their_captions_call_them_and_said_to_be_rough() -> None:
    words = Vocabulary.of_record(TOYS)
    assert words.toys["car"] == ("rearing up on its back wheels", "spinning")  # "racing" is the car's name
    named = {
        "a toy bird flapping its wings": "toy bird", "parrots flapping their wings": "toy bird", "a racing car": "toy car",
        "a robot waving": "robot", "a toy robot": "toy robot", "a tin robot saying no": "robot", "a toy fish": "fish",
    }  # fmt: skip
    assert {prompt: words.kind_of(prompt) for prompt in named} == named
    rough = words.warning("a toy bird flapping its wings")
    assert rough is not None and "names a toy" in rough and "no kind" not in rough
    assert "  toy bird" in words.as_text() and "\n  bird" not in words.as_text()
