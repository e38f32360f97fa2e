"""Captions: which source wins, nothing invented, hostile files refused in one line; and a captioning model's words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from curation_fixtures import curation_lines, disc, make_sample, rendered, write_manifest

from orbit4d.assets.gltf import Asset, load_glb
from orbit4d.assets.gltf_animation import Animation
from orbit4d.assets.toybox import write_toybox
from orbit4d.data.captions import CaptionTable, read_captions
from orbit4d.data.wordings import clean_name, motion_words, noun_of, with_article
from orbit4d.errors import InputError


def asset(*animations: str, name: str = "thing", **metadata: str) -> Asset:
    moves = [Animation(name=a, start=0.0, duration=1.0, channels=[]) for a in animations]
    return Asset(name=name, primitives=[], nodes=[], order=[], skins=[], animations=moves, metadata=metadata)


FOX = asset("Armature|Survey", "Armature|Walk_Slow", "Armature|Run_Forward")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Armature|Run_Forward", "running"),
        ("AnimalArmature|Gallop", "running"),
        ("Fish_Armature|Swimming_Fast", "swimming fast"),
        ("WalkJump", "leaping"),
        ("Bouncer_Idle", "standing"),
        ("1H_Melee_Attack_Chop", "chopping"),
        ("Attack", "attacking"),
        ("Death", "dying"),
        ("No", "shaking its head"),
        ("T-Pose", "holding still"),
        ("TheWave", "waving"),
        ("SpinCCW", "spinning"),
        ("Barrel_Tumbling", "tumbling"),
        ("trunk", "moving"),
        ("Transition", "moving"),
        ("Note", "moving"),
        ("king", "moving"),
        ("mixamo.com", "moving"),
        ("Take 001", "moving"),
        ("", "moving"),
    ],
)
def test_motions_are_worded_from_names(name: str, words: str) -> None:
    assert motion_words(name)[0] == words


@pytest.mark.parametrize(
    ("caption", "noun"),
    [
        ("a low-poly fox running", "a low-poly fox"),
        ("a cartoon character in a blue bunny suit walking with a gun", "a cartoon character in a blue bunny suit"),
        ("a green flying two-headed alien headbutting", "a green flying two-headed alien"),
        ("a fish, swimming in bursts", "a fish"),
        ("a milk truck with turning wheels", None),
        ("a king on a throne", None),
        ("running", None),
        ("", None),
    ],
)
def test_nouns_of_captions(caption: str, noun: str | None) -> None:
    assert noun_of(caption) == noun


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("HorseWhite.glb", "horse white"),
        ("sub/folder/dragon_v2_FINAL.glb", "dragon"),
        ("q_Low Poly-Fox (animated).gltf", "low poly fox"),
        ("scene.gltf", ""),
        ("0b1c2d3e4f5061728394a5b6c7d8e9f0.glb", ""),
        ("0b1c2d3e4f5061728394a5b6c7d8e9f0", ""),
        ("", ""),
    ],
)
def test_file_names_become_words(name: str, words: str) -> None:
    assert clean_name(name) == words
    assert [with_article(n) for n in ("fox", "owl", "the fox")] == ["a fox", "an owl", "the fox"]


def test_names_alone_say_no_kind_and_no_colour() -> None:
    found = CaptionTable.load(None, []).describe("animals/RedFox.glb", asset=FOX, animation=2)
    assert found.captions == ["a red fox running", "a red fox"] and found.source == "name"
    assert found.kind is None and found.license is None
    found = CaptionTable.load(None, []).describe("0123456789abcdef0123456789abcdef", asset=FOX, animation=0)
    assert found.captions == ["an object moving", "an object"]


def test_metadata_before_the_name() -> None:
    table = CaptionTable.load(None, [])
    titled = asset("Walk", title="Arctic_Owl", license="CC-BY-4.0", kind="bird")
    found = table.describe("scene.gltf", asset=titled, animation=0)
    assert found.captions == ["an arctic owl walking", "an arctic owl"] and found.source == "metadata"
    assert (found.kind, found.license) == ("bird", "CC-BY-4.0")
    told = asset("flap", caption="a spotted green bird flying", kind="bird")
    assert table.describe("x.glb", asset=told, animation=0).captions == ["a spotted green bird flying"]
    several = asset("flap", "walk", caption="a spotted green bird flying")
    assert table.describe("x.glb", asset=several, animation=1).captions[0] == "a spotted green bird walking"


TABLE = (
    "file\tcaption\tkind\tanimation\tanimation_index\tlicence\n"
    "fox.glb\ta low-poly fox running\tquadruped\tArmature|Run_Forward\t2\tCC0\n"
)


def test_a_caption_of_one_animation_is_not_given_to_others(tmp_path: Path) -> None:
    (tmp_path / "captions.tsv").write_text(TABLE)
    table = CaptionTable.load(tmp_path / "captions.tsv", [])
    found = table.describe("sub/fox.glb", asset=FOX, animation=2)
    assert (found.captions, found.kind, found.license) == (["a low-poly fox running"], "quadruped", "CC0")
    other = table.describe("sub/fox.glb", asset=FOX, animation=1)
    assert other.captions == ["a low-poly fox walking", "a low-poly fox"] and other.kind == "quadruped"
    assert other.source == "file"
    unclear = TABLE.replace("a low-poly fox running", "a fox, fast as the wind")
    (tmp_path / "captions.tsv").write_text(unclear)
    found = CaptionTable.load(tmp_path / "captions.tsv", []).describe("fox.glb", asset=FOX, animation=1)
    assert found.captions == ["a fox walking", "a fox"] and found.source == "name"


def test_precedence(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "fox.glb").write_bytes(b"")
    (tmp_path / "a" / "MANIFEST.tsv").write_text(TABLE)
    table = CaptionTable.load(None, [tmp_path])
    found = table.describe("a/fox.glb", asset=FOX, animation=2)
    assert found.captions == ["a low-poly fox running"] and found.source == "beside"
    assert table.describe("b/fox.glb", asset=FOX, animation=2).source == "name"
    (tmp_path / "own.json").write_text(json.dumps({"a/fox.glb": ["a red fox", "a fox"], "fox.glb": "another"}))
    found = CaptionTable.load(tmp_path / "own.json", [tmp_path]).describe("a/fox.glb", asset=FOX, animation=2)
    assert found.captions == ["a red fox", "a fox"] and found.source == "file"
    assert found.kind == "quadruped"  # from beside: the user's file does not say


def test_the_file_itself_may_be_the_root(tmp_path: Path) -> None:
    (tmp_path / "fox.glb").write_bytes(b"")
    (tmp_path / "MANIFEST.tsv").write_text(TABLE)
    found = CaptionTable.load(None, [tmp_path / "fox.glb"]).describe("fox.glb", asset=FOX, animation=2)
    assert found.captions == ["a low-poly fox running"]


def test_toybox_manifests_are_found(tmp_path: Path) -> None:
    paths = write_toybox(tmp_path, count=3, progress=False)
    entries = {e["file"]: e for e in json.loads((tmp_path / "manifest.json").read_text())["toys"]}
    table = CaptionTable.load(None, [tmp_path])
    for path in paths:
        found = table.describe(path.name, asset=load_glb(path), animation=0)
        assert found.captions[0] == entries[path.name]["caption"] and found.kind == entries[path.name]["kind"]
    (tmp_path / "manifest.json").write_text('{"name": "a web app", "icons": [{"src": "x"}]}')
    assert CaptionTable.load(None, [tmp_path]).describe(paths[0].name, asset=FOX, animation=0).source == "name"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'file,captions\nfox.glb,"[""a fox"", ""a vixen""]"\n'),
        ("a.tsv", "caption\tfile\na fox\tfox.glb\na vixen\t./fox.glb\n"),
        ("a.json", '[{"file": "fox.glb", "caption": "a fox", "captions": ["a vixen", " a\\n fox "]}]'),
        ("a.json", '{"toys": [{"file": "fox.glb", "captions": ["a fox", "a vixen"]}]}'),
        ("a.json", '{"fox.glb": ["a fox", "a vixen"]}'),
        ("a.csv", "\ufefffile,caption\r\nfox.glb,a fox\r\nfox.glb,a vixen\r\n"),
    ],
)
def test_caption_files(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = CaptionTable.load(tmp_path / name, []).describe("fox.glb", asset=FOX, animation=0)
    assert found.captions == ["a fox", "a vixen"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.tsv", "name\tcaption\nx\ty\n", "a.tsv:1: expected a header"),
        ("a.csv", "", "a.csv:1: expected a header"),
        ("a.csv", "file,caption\nfox.glb,a,b\n", "a.csv:2: has more cells"),
        ("a.csv", "file,caption\n,a fox\n", "a.csv:2: names no `file`"),
        ("a.csv", "file,caption,animation_index\nfox.glb,a fox,two\n", "a.csv:2: `animation_index`"),
        ("a.csv", 'file,captions\nfox.glb,"[1]"\n', "a.csv:2: expected `caption`"),
        ("a.csv", f"file,caption\nfox.glb,{'x' * 2_000_000}\n", "not a readable row"),
        ("a.json", "{", "does not parse"),
        ("a.json", "3", "expected {file: caption}"),
        ("a.json", '{"fox.glb": 3}', "expected `caption`"),
        ("a.json", "[3]", "entry 0"),
        ("a.txt", "x", "expected a .tsv, .csv or .json"),
    ],
)
def test_bad_caption_files_are_one_line(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as error:
        read_captions(tmp_path / name)
    assert says in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 400
    with pytest.raises(InputError, match="cannot be read"):
        read_captions(tmp_path / "absent.csv")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"file,caption\n\xff\xfe,x\n")
    with pytest.raises(InputError, match="UTF-8"):
        read_captions(tmp_path / "a.csv")


def test_captions_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"fox.glb": [f"{i}\x00\x1b[31m {'x' * 999}" for i in range(99)]}))
    found = CaptionTable.load(tmp_path / "a.json", []).describe("fox.glb", asset=FOX, animation=0).captions
    assert len(found) == 32 and all(len(c) <= 300 and c.isprintable() for c in found)


def test_paths_do_not_leave_the_root(tmp_path: Path) -> None:
    (tmp_path / "fox.glb").write_bytes(b"")
    (tmp_path / "MANIFEST.tsv").write_text(TABLE)
    table = CaptionTable.load(None, [tmp_path / "inner"])
    assert table.describe("../fox.glb", asset=FOX, animation=2).source == "name"
    assert table.describe(str(tmp_path / "fox.glb"), asset=FOX, animation=2).source == "name"


def test_the_shared_assets_are_described(data_dir: Path) -> None:
    folder = data_dir / "assets"
    if not (folder / "MANIFEST.tsv").is_file():
        pytest.skip(f"no assets in {data_dir}")
    rows, table = read_captions(folder / "MANIFEST.tsv"), CaptionTable.load(None, [folder])
    assert len(rows) == 85
    for file in ("khronos_Fox.glb", "q_monster_Bat.glb"):
        loaded, chosen = load_glb(folder / file), rows[file][0]
        for i in range(len(loaded.animations)):
            found = table.describe(file, asset=loaded, animation=i)
            assert (found.captions == chosen.captions) == (i == chosen.index)
            assert found.kind == chosen.kind and found.license == chosen.license and found.source == "beside"
            assert noun_of(chosen.captions[0]) in found.captions[0]


@pytest.fixture(scope="module")
def tiny_blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A randomly initialised BLIP of a few thousand parameters, saved as any other."""
    import torch
    from transformers import (
        BertTokenizerFast,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
    )

    folder = tmp_path_factory.mktemp("blip") / "tiny-blip"
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "fox", "cow", "running", "red", "blue", "toy"]
    (folder / "vocab.txt").write_text("\n".join(words))
    small = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "projection_dim": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = {
        "vocab_size": len(words),
        "encoder_hidden_size": 16,
        "bos_token_id": 5,
        "pad_token_id": 0,
        "sep_token_id": 3,
    }
    config = BlipConfig(
        text_config={**small, **text, "eos_token_id": 3, "max_position_embeddings": 64},
        vision_config={**small, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    torch.manual_seed(0)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    tokenizer = BertTokenizerFast.from_pretrained(folder)
    BlipProcessor(BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)
    return folder


def test_a_models_words_are_added_with_their_source(
    tiny_blip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orbit4d.data.captioner import Captioner
    from orbit4d.data.curate import curate_folder
    from orbit4d.data.curation import CurationRules

    samples = [make_sample(disc(step=0.25), key="moves"), make_sample(disc(), key="rests")]
    write_manifest(tmp_path, [rendered(tmp_path, sample) for sample in samples])
    options = {"rules": CurationRules(), "captioner": str(tiny_blip), "report": False, "progress": False}
    curate_folder(tmp_path, **options)
    moves, rests = curation_lines(tmp_path)
    frames = [samples[0].rgba((i, i)) for i in (0, 2, 4, 6)]
    said = Captioner.load(str(tiny_blip)).describe(frames)
    assert said and moves["captions"] == ["a disc", *said]
    assert moves["caption_sources"] == ["render"] + ["model:tiny-blip"] * len(said)
    assert rests["captions"] == ["a disc"]  # dropped: nobody will read it

    def refuse(*_):
        raise AssertionError("the model was asked again")

    real = Captioner.describe
    monkeypatch.setattr(Captioner, "describe", lambda self, f: refuse() if len(f) > 1 else real(self, f))
    curate_folder(tmp_path, **options)
    assert curation_lines(tmp_path)[0] == moves


def test_models_that_cannot_be_used_are_one_line(
    tiny_blip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    from safetensors.numpy import load_file, save_file

    from orbit4d.data.captioner import Captioner

    (tmp_path / "empty").mkdir()
    lacking = tmp_path / "lacking"
    shutil.copytree(tiny_blip, lacking)
    weights = load_file(lacking / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "vision_model.encoder" not in k}, lacking / "model.safetensors")
    pickled = tmp_path / "pickled"
    shutil.copytree(tiny_blip, pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    for name in ("no-such-folder", str(tmp_path / "empty"), str(lacking), str(pickled)):
        with pytest.raises(InputError, match="--captioner") as error:
            Captioner.load(name)
        assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_equal_words_are_said_once(tiny_blip: Path) -> None:
    from orbit4d.data.captioner import Captioner

    frame = np.full((40, 40, 4), 255, np.uint8)
    assert len(Captioner.load(str(tiny_blip)).describe([frame, frame])) == 1
