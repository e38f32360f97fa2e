"""The command line: what it teaches, what bad input ends in (one line, exit code 2, nothing left behind), real runs."""

from __future__ import annotations

import inspect
import json
import struct
import subprocess
import sys
from pathlib import Path

import docstring_parser.google
import pytest
import torch
from conftest import sphere_clip
from PIL import Image

import orbit4d
from orbit4d import cli
from orbit4d.cli import VERBS, main
from orbit4d.cli_benchmark import BENCHMARK_VERBS
from orbit4d.cli_data import DATA_VERBS
from orbit4d.clip import load_clip, save_clip
from orbit4d.diffusion.pipeline import BUILT_IN
from orbit4d.export import compact

OUTPUTS = ["clip", "orbit.mp4", "report.json", "scene.html", "scene.safetensors"]


def write_cube(path: Path, *, animated: bool = False) -> Path:
    """A GLB with a unit cube, red, optionally turning once about its vertical axis."""
    corners = [(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    indices = [i for a, b, c, d in faces for i in (a, b, c, a, c, d)]
    chunks = [struct.pack("<24f", *sum(corners, ())), struct.pack("<36H", *indices)]
    accessors: list[dict] = [
        {"bufferView": 0, "componentType": 5126, "count": 8, "type": "VEC3", "min": [-0.5] * 3, "max": [0.5] * 3},
        {"bufferView": 1, "componentType": 5123, "count": 36, "type": "SCALAR"},
    ]
    document: dict = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "materials": [{"pbrMetallicRoughness": {"baseColorFactor": [0.8, 0.1, 0.1, 1.0]}}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "material": 0}]}],
    }
    if animated:
        chunks += [struct.pack("<3f", 0, 0.5, 1), struct.pack("<12f", 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, -1)]
        accessors += [
            {"bufferView": 2, "componentType": 5126, "count": 3, "type": "SCALAR", "min": [0], "max": [1]},
            {"bufferView": 3, "componentType": 5126, "count": 3, "type": "VEC4"},
        ]
        channel = {"sampler": 0, "target": {"node": 0, "path": "rotation"}}
        document["animations"] = [{"name": "Turn", "samplers": [{"input": 2, "output": 3}], "channels": [channel]}]
    views, offset = [], 0
    for chunk in chunks:
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": len(chunk)})
        offset += len(chunk)
    document |= {"accessors": accessors, "bufferViews": views, "buffers": [{"byteLength": offset}]}
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    blob = b"".join(chunks)
    total = 12 + 8 + len(text) + 8 + len(blob)
    header = struct.pack("<4sII", b"glTF", 2, total) + struct.pack("<I4s", len(text), b"JSON")
    path.write_bytes(header + text + struct.pack("<I4s", len(blob), b"BIN\0") + blob)
    return path


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A folder with good and bad inputs; tests write beside it, into `tmp_path`."""
    folder = tmp_path / "in"
    folder.mkdir()
    write_cube(folder / "cube.glb")
    whole = write_cube(folder / "turning.glb", animated=True).read_bytes()
    (folder / "truncated.glb").write_bytes(whole[: len(whole) // 2])
    (folder / "stub.glb").write_bytes(whole[:10])
    (folder / "text.glb").write_text("this is not a model")
    (folder / "file").write_text("a file where a folder is expected")
    (folder / "scene.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    save_clip(sphere_clip(frames=6, size=32), folder / "clip")
    save_clip(sphere_clip(frames=6, size=32), folder / "broken_clip")
    (folder / "broken_clip" / "frame_003.png").unlink()
    noise = torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(0))
    Image.fromarray((noise * 255).byte().numpy()).save(folder / "noise.png")
    (folder / "precious").mkdir()
    (folder / "precious" / "thesis.txt").write_text("years of work")
    return folder


BAD = {
    "no input": (["generate", "--out", "O"], ["--prompt", "--image", "--static"]),
    "command": (["generat", "--prompt", "a fox", "--out", "O"], ["generat", "did you mean 'generate'"]),
    "shared frames alone": (
        ["generate", "--prompt", "a fox", "--shared-frames", "4", "--out", "O"],
        ["--shared-frames", "--orbits"],
    ),
    "empty prompt": (["generate", "--prompt", "", "--out", "O"], ["--prompt", "empty"]),
    "blank prompt": (["generate", "--prompt", "  \t", "--out", "O"], ["--prompt", "empty"]),
    "motion": (["generate", "--prompt", "a fox", "--motion", "1.5", "--out", "O"], ["--motion", "1.5"]),
    "motion nan": (["generate", "--prompt", "a fox", "--motion", "nan", "--out", "O"], ["--motion", "nan"]),
    "steps": (["generate", "--prompt", "a fox", "--steps", "0", "--out", "O"], ["--steps", "0"]),
    "fit steps": (["generate", "--prompt", "a fox", "--fit-steps", "0", "--out", "O"], ["--fit-steps", "0"]),
    "size": (["generate", "--prompt", "a fox", "--size", "100", "--out", "O"], ["--size", "128", "100"]),
    "guidance": (["generate", "--prompt", "a fox", "--guidance-scale", "inf", "--out", "O"], ["--guidance-scale"]),
    "seed": (["generate", "--prompt", "a fox", "--seed", "-1", "--out", "O"], ["--seed", "-1"]),
    "weights": (["generate", "--prompt", "a fox", "--weights", "I/precious", "--out", "O"], ["precious", "--weights"]),
    "image and static": (
        ["generate", "--image", "I/noise.png", "--static", "I/cube.glb", "--out", "O"],
        ["--image", "--static"],
    ),
    "mask alone": (["generate", "--prompt", "a fox", "--mask", "I/noise.png", "--out", "O"], ["--mask", "--image"]),
    "video and image": (
        ["generate", "--image", "I/noise.png", "--video", "I/clip", "--out", "O"],
        ["--image and --video", "--prompt"],
    ),
    "video of a moving camera": (["generate", "--video", "I/clip", "--out", "O"], ["--video", "camera moves"]),
    "text as video": (["generate", "--video", "I/text.glb", "--out", "O"], ["--video", "text.glb", ".mp4"]),
    "azimuth alone": (["generate", "--prompt", "a fox", "--azimuth", "30", "--out", "O"], ["--azimuth", "--video"]),
    "scheduler": (["generate", "--prompt", "a fox", "--scheduler", "magic", "--out", "O"], ["--scheduler", "magic"]),
    "shared frames": (
        ["generate", "--prompt", "a fox", "--shared-frames", "99", "--out", "O"],
        ["--shared-frames", "99"],
    ),
    "vocabulary of nothing": (["vocabulary", "--weights", "I/precious"], ["precious", "--weights"]),
    "foreground": (["generate", "--image", "I/noise.png", "--out", "O"], ["noise.png", "--mask"]),
    "missing image": (["generate", "--image", "I/absent.png", "--out", "O"], ["absent.png", "no such file"]),
    "text as image": (["generate", "--image", "I/text.glb", "--out", "O"], ["text.glb", "image"]),
    "missing static": (["generate", "--static", "I/absent.glb", "--out", "O"], ["absent.glb", "no such file"]),
    "truncated static": (["generate", "--static", "I/truncated.glb", "--out", "O"], ["truncated.glb"]),
    "static not a clip": (["generate", "--static", "I/precious", "--out", "O"], ["precious", "transforms.json"]),
    "generate below a file": (["generate", "--prompt", "a fox", "--out", "I/file/out"], ["file/out"]),
    "generate onto a file": (["generate", "--prompt", "a fox", "--out", "I/file"], ["--out", "file"]),
    "generate over others": (["generate", "--prompt", "a fox", "--out", "I/precious"], ["--out", "precious"]),
    "missing glb": (["render", "I/absent.glb", "--out", "O"], ["absent.glb", "no such file"]),
    "truncated glb": (["render", "I/truncated.glb", "--out", "O"], ["truncated.glb", "truncated"]),
    "ten bytes": (["render", "I/stub.glb", "--out", "O"], ["stub.glb", "truncated"]),
    "not glTF": (["render", "I/text.glb", "--out", "O"], ["text.glb", "glTF"]),
    "folder as glb": (["render", "I/precious", "--out", "O"], ["precious"]),
    "still orbit": (["render", "I/cube.glb", "--trajectory", "orbit", "--out", "O"], ["cube", "animation", "static"]),
    "still front": (["render", "I/cube.glb", "--trajectory", "front", "--out", "O"], ["cube", "animation", "static"]),
    "no such animation": (["render", "I/turning.glb", "--animation", "Fly", "--out", "O"], ["Fly", "Turn"]),
    "render too much": (
        ["render", "I/turning.glb", "--frames", "1024", "--size", "2048", "--out", "O"],
        ["--frames", "--size", "million pixels"],
    ),
    "export too much": (
        ["export", "I/scene.safetensors", "O.mp4", "--frames", "1024", "--size", "2048"],
        ["--frames", "--size", "million pixels"],
    ),
    "toybox seed": (["data", "toybox", "--count", "1", "--seed", "-1", "--out", "O"], ["--seed", "-1"]),
    "moving static": (["generate", "--static", "I/clip", "--out", "O"], ["--static", "clip", "0 to 1"]),
    "frames": (["render", "I/turning.glb", "--frames", "1", "--out", "O"], ["--frames", "1"]),
    "render size": (["render", "I/turning.glb", "--size", "0", "--out", "O"], ["--size", "0"]),
    "elevation": (["render", "I/turning.glb", "--elevation", "90", "--out", "O"], ["--elevation", "90"]),
    "azimuth": (["render", "I/turning.glb", "--azimuth", "nan", "--out", "O"], ["--azimuth", "nan"]),
    "render below a file": (["render", "I/turning.glb", "--out", "I/file/deep/out"], ["file"]),
    "render over others": (["render", "I/turning.glb", "--out", "I/precious"], ["--out", "thesis.txt"]),
    "frames missing": (
        ["reconstruct", "I/broken_clip", "--out", "O"],
        ["frame_003.png", "does not exist; put it beside"],
    ),
    "nothing to reconstruct": (["reconstruct", "--out", "O"], ["at least one clip"]),
    "no second clip": (["reconstruct", "I/clip", "I/absent", "--out", "O"], ["absent"]),
    "no clip": (["reconstruct", "I/absent", "--out", "O"], ["absent"]),
    "not a clip": (["reconstruct", "I/precious", "--out", "O"], ["precious", "transforms.json"]),
    "bad static clip": (["reconstruct", "I/clip", "--static-clip", "I/absent", "--out", "O"], ["absent"]),
    "moving static clip": (["reconstruct", "I/clip", "--static-clip", "I/clip", "--out", "O"], ["static", "times"]),
    "reconstruct steps": (["reconstruct", "I/clip", "--steps", "0", "--out", "O"], ["--steps", "0"]),
    "reconstruct size": (["reconstruct", "I/clip", "--size", "4", "--out", "O"], ["--size", "4"]),
    "reconstruct below a file": (["reconstruct", "I/clip", "--out", "I/file/a/b"], ["file"]),
    "no scene": (["evaluate", "I/absent.safetensors", "--against", "I/clip"], ["absent.safetensors"]),
    "not a scene": (["evaluate", "I/scene.safetensors", "--against", "I/clip"], ["scene.safetensors"]),
    "no truth": (["evaluate", "I/scene.safetensors", "--against", "I/absent"], ["absent"]),
    "export suffix": (["export", "I/scene.safetensors", "O.obj"], [".obj", ".html", ".mp4"]),
    "export nothing": (["export", "I/absent.safetensors", "O.html"], ["absent.safetensors"]),
    "export over others": (["export", "I/scene.safetensors", "I/precious"], ["thesis.txt"]),
    "count": (["data", "toybox", "--count", "0", "--out", "O"], ["--count", "0"]),
    "toybox onto a file": (["data", "toybox", "--count", "1", "--out", "I/file"], ["file", "--out"]),
    "train without data": (["train", "s", "--out", "O"], ["--data", "'s'"]),
    "train on nothing": (["train", "s", "--data", "I/absent", "--out", "O"], ["absent", "no such folder"]),
    "train half": (["train", "tiny", "--steps", "5", "--out", "O"], ["--steps", "--stage"]),
    "train too early": (["train", "tiny", "--stage", "autoencoder", "--out", "O"], ["data", "orbit4d data render"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(
    case: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    argv, words = BAD[case]
    argv = [
        a.replace("I/", f"{inputs}/").replace("O", str(tmp_path / "new" / "out")) if a[:1] in "IO" else a for a in argv
    ]
    before = sorted(tmp_path.rglob("*"))
    code = main(argv)
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert code == 2, captured.err
    assert len(lines) == 1 and lines[0].startswith("orbit4d: error: "), captured.err
    assert captured.out == ""
    for word in words:
        assert word in lines[0]
    assert sorted(tmp_path.rglob("*")) == before, "something was left behind"


USAGE = {
    "no such verb": (["fly"], ["fly", "generate"]),
    "nothing": ([], ["generate", "reconstruct", "orbit4d --help"]),
    "missing": (["render"], ["ASSET, --out DIR", "orbit4d render --help"]),
    "unknown option": (["export", "a", "b", "--sed", "3"], ["--sed", "orbit4d export --help"]),
    "no number": (["generate", "--out", "x", "--seed", "one"], ["--seed", "expected INT", "'one'"]),
    "no optional number": (["generate", "--out", "x", "--motion", "much"], ["--motion", "expected FLOAT", "'much'"]),
    "no value": (["generate", "--out", "x", "--prompt"], ["--prompt"]),
    "no choice": (["render", "a", "--out", "x", "--fit", "big"], ["--fit", "'swept', 't0'", "'big'"]),
    "data alone": (["data"], ["toybox", "orbit4d data --help"]),
    "data verb": (["data", "shard"], ["DIR, --out DIR", "orbit4d data shard --help"]),
    "data choice": (
        ["data", "render", "--out", "x", "--light", "sun"],
        ["--light", "'sun'", "orbit4d data render --help"],
    ),
}


@pytest.mark.parametrize("case", USAGE)
def test_usage_errors_are_one_line(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    argv, words = USAGE[case]
    assert main(argv) == 2
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("orbit4d: error: ") and captured.out == ""
    for word in words:
        assert word in lines[0]


GROUPS = {"": VERBS, "data": DATA_VERBS, "benchmark": BENCHMARK_VERBS}
EVERY_VERB = [tuple(f"{group} {name}".split()) for group, verbs in GROUPS.items() for name in ("", *verbs)]


@pytest.mark.parametrize("words", EVERY_VERB, ids=" ".join)
def test_help_teaches(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--help"]) == 0
    text = capsys.readouterr().out
    group = words[0] if words and words[0] in GROUPS else ""
    verb = GROUPS[group].get(words[-1] if words else "")
    if verb is None:
        assert all(name in text for name in GROUPS[group])
    else:
        assert "For example:" in text
        example = f"orbit4d {' '.join(words)} "
        assert example in text.split("usage:", 1)[1].split("\n", 1)[1], "no example"
        explained = {p.arg_name for p in docstring_parser.google.parse(verb.__doc__ or "").params}
        named = {name.removesuffix("_") for name in inspect.signature(verb).parameters}
        assert {name.removesuffix("_") for name in explained} == named, "an option without help"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("orbit4d ")


def test_interrupt_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(out: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.VERBS, "export", interrupted)
    assert main(["export", "--out", "x"]) == 130
    assert capsys.readouterr().err.strip() == "orbit4d: interrupted"


def test_a_reader_that_stops_is_no_error() -> None:
    command = [sys.executable, "-m", "orbit4d", "vocabulary"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_module_and_exit_code_of_the_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "orbit4d", "generate", "--prompt", "", "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("orbit4d: error: --prompt") and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_reconstruct_evaluate_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A clip becomes a scene that explains it; it is scored and exported; a second run replaces the first."""
    clip = save_clip(sphere_clip(frames=12, size=48), tmp_path / "clip")
    out = tmp_path / "new" / "ball"
    assert main(["reconstruct", str(clip), "--steps", "60", "--out", str(out)]) == 0
    assert sorted(p.name for p in out.iterdir()) == OUTPUTS
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["ball"]
    report = json.loads((out / "report.json").read_text())
    assert report["settings"]["steps"] == 60 and report["settings"]["clip"] == [str(clip)]
    assert report["seconds"].keys() >= {"read", "construct", "write"}
    assert report["peak_memory_mib"] > 50 and report["versions"]["torch"] == torch.__version__
    assert len(load_clip(out / "clip")) == 12
    capsys.readouterr()

    argv = ["evaluate", str(out), "--against", str(clip), "--frames", "2-9", "--json"]
    assert main(argv) == 0
    scores = json.loads(capsys.readouterr().out)
    assert len(scores["frames"]) == 8
    assert scores["mean"]["psnr"] > 18, "60 steps explain a ball"

    assert main(["export", str(out), str(tmp_path / "ball.html")]) == 0
    assert main(["export", str(out), str(tmp_path / "ball.glb.gz")]) == 0
    assert len(compact.decode((tmp_path / "ball.glb.gz").read_bytes()).at(0.5)) > 0
    assert main(["export", str(out), str(tmp_path / "ball.mp4"), "--frames", "4", "--size", "64"]) == 0
    assert main(["export", str(out), str(tmp_path / "ply"), "--frames", "3"]) == 0
    assert len(list((tmp_path / "ply").glob("*.ply"))) == 3
    assert (tmp_path / "ball.html").stat().st_size > 10_000 and (tmp_path / "ball.mp4").stat().st_size > 500

    (out / "clip" / "notes.txt").write_text("by the user")
    again = ["reconstruct", str(clip), "--steps", "5", "--seed", "1", "--out", str(out)]
    capsys.readouterr()
    assert main(again) == 2
    assert "clip/notes.txt" in capsys.readouterr().err
    assert json.loads((out / "report.json").read_text()) == report, "the first run's files are kept"
    (out / "clip" / "notes.txt").unlink()
    assert main(again) == 0
    assert sorted(p.name for p in out.iterdir()) == OUTPUTS
    assert json.loads((out / "report.json").read_text())["seed"] == 1


@pytest.mark.parametrize("out", [".", "..", "", "/", "inner/.."])
@pytest.mark.parametrize("verb", ["generate", "reconstruct", "render", "export"])
def test_the_current_folder_is_refused_before_anything_is_computed(
    verb: str, out: str, inputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (inputs.parent / "here" / "inner").mkdir(parents=True)
    monkeypatch.chdir(inputs.parent / "here")
    monkeypatch.setattr("orbit4d.data.render.render_clip", lambda *_, **__: pytest.fail("computed first"))
    monkeypatch.setattr("orbit4d.pipeline.load_clip", lambda *_, **__: pytest.fail("computed first"))
    argv = {
        "generate": ["generate", "--prompt", "a fox", "--out", out],
        "reconstruct": ["reconstruct", str(inputs / "clip"), "--out", out],
        "render": ["render", str(inputs / "turning.glb"), "--out", out],
        "export": ["export", str(inputs / "scene.safetensors"), out],
    }[verb]
    assert main(argv) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "current folder" in lines[0], lines


def test_a_failure_keeps_the_earlier_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = save_clip(sphere_clip(frames=6, size=32), tmp_path / "clip")
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.json").write_text('{"program": "orbit4d"}')

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", str(out))

    monkeypatch.setattr("orbit4d.pipeline._write_asset", full)
    assert main(["reconstruct", str(clip), "--steps", "1", "--out", str(out)]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert [p.name for p in out.iterdir()] == ["report.json"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [".out.orbit4d-resume", "clip", "out"], (
        "the construction is kept"
    )


def test_render_a_turning_cube(inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["render", str(inputs / "turning.glb"), "--frames", "5", "--size", "48", "--out", str(tmp_path / "clip")]
    code = main(argv)
    message = capsys.readouterr().err
    if code == 2 and "GL" in message:
        pytest.skip(f"no OpenGL here: {message.strip()}")
    assert code == 0, message
    clip = load_clip(tmp_path / "clip")
    assert clip.rgb.shape == (5, 3, 48, 48) and clip.depth is not None
    assert 0.05 < float(clip.alpha.mean()) < 0.8
    red = clip.rgb[:, :, 20:28, 20:28].mean(dim=(0, 2, 3))
    assert red[0] > 2 * red[1] and red[0] > 2 * red[2]
    assert main(argv) == 0, "an earlier clip is replaced"
    assert main(["render", str(inputs / "cube.glb"), "--trajectory", "static", "--out", str(tmp_path / "still")]) == 0
    assert float(load_clip(tmp_path / "still").times.max()) == 0


def test_generate_from_a_prompt_twice_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The built-in model, few steps: every file is there, and the same seed gives the same scene."""
    reports = []
    for name in ("a", "b"):
        argv = ["generate", "--prompt", "a fox running", "--steps", "4", "--fit-steps", "10", "--size", "64"]
        assert main([*argv, "--seed", "7", "--out", str(tmp_path / name)]) == 0, capsys.readouterr().err
        assert sorted(p.name for p in (tmp_path / name).iterdir()) == OUTPUTS
        reports.append(json.loads((tmp_path / name / "report.json").read_text()))
    assert reports[0]["seed"] == 7 and reports[0]["weights_hash"]
    assert reports[0]["scores"] == reports[1]["scores"]
    scenes = [(tmp_path / name / "scene.safetensors").read_bytes() for name in ("a", "b")]
    assert scenes[0] == scenes[1]
    assert len(load_clip(tmp_path / "a" / "clip")) == 24


def test_the_package_holds_its_weights() -> None:
    assert BUILT_IN.is_relative_to(Path(orbit4d.__file__).parent)
    files = [p for p in BUILT_IN.rglob("*") if p.is_file()]
    assert any(p.suffix == ".safetensors" for p in files), f"no weights in {BUILT_IN}"
    assert all(p.stat().st_size <= 15 * 2**20 for p in files)
    assert sum(p.stat().st_size for p in files) <= 24 * 2**20
