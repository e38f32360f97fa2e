"""`orbit4d doctor`: what it finds here, and what it says where something is missing or broken."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import torch

from orbit4d import doctor
from orbit4d.cli import main
from orbit4d.cli_studio import doctor as verb
from orbit4d.doctor import EXTRAS, TRIALS, NotHere, as_text, examine


@pytest.fixture(scope="module")
def report() -> dict:
    return examine()


def _finding(report: dict, name: str) -> dict:
    return next(f for f in report["findings"] if f["name"] == name)


def test_what_generate_needs_works_here(report: dict) -> None:
    """The suite could not run otherwise."""
    assert report["core_works"], as_text(report)
    assert {f["name"] for f in report["findings"] if f["core"]} >= {"C++ core", "construction", "sampling", "video"}
    assert _finding(report, "C++ core")["detail"].startswith("SIMD: ")
    assert report["machine"]["cores"] >= 1 and report["versions"]["torch"] == torch.__version__


def test_cuda_is_told_as_it_is(report: dict) -> None:
    expected = {"works", "missing"} if torch.cuda.is_available() else {"missing"}
    assert _finding(report, "CUDA")["state"] in expected


def test_whatever_does_not_work_comes_with_advice(report: dict) -> None:
    assert all(bool(f["advice"]) == (f["state"] != "works") for f in report["findings"])
    json.dumps(report, allow_nan=False)
    for finding in report["findings"]:
        assert "\n" not in finding["detail"] and finding["name"] in as_text(report)


def test_every_extra_is_known(report: dict) -> None:
    file = Path(__file__).parent.parent / "pyproject.toml"
    extras = tomllib.loads(file.read_text())["project"]["optional-dependencies"]
    for name, (packages, _) in EXTRAS.items():
        assert name in extras, name
        asked = {requirement.split(">")[0].split("=")[0] for requirement in extras[name]}
        assert set(packages) <= asked, name


def test_the_weights_are_named_by_what_is_in_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    from orbit4d.diffusion import hub

    before = doctor._weights()
    copy = shutil.copytree(hub.BUILT_IN, tmp_path / "copy")
    monkeypatch.setattr(hub, "BUILT_IN", copy)
    assert before.split("checksum ")[1] == doctor._weights().split("checksum ")[1]
    file = next((copy / "denoiser").glob("*.safetensors"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert before.split("checksum ")[1] != doctor._weights().split("checksum ")[1]


def _with(monkeypatch: pytest.MonkeyPatch, *, core: bool, error: Exception) -> None:
    def trial() -> str:
        raise error

    monkeypatch.setattr(doctor, "TRIALS", (TRIALS[0], ("a part", trial, core, "mend it")))


def test_a_broken_core_ends_with_code_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _with(monkeypatch, core=True, error=RuntimeError("it is\nbroken"))
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "!!  a part" in out and "RuntimeError: it is broken" in out and "-> mend it" in out
    assert main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["core_works"] is False


@pytest.mark.parametrize("error", [NotHere("none"), RuntimeError("odd")])
def test_what_is_optional_may_be_missing_or_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    _with(monkeypatch, core=False, error=error)
    assert main(["doctor"]) == 0
    assert "-> mend it" in capsys.readouterr().out


def test_other_pictures_than_the_references_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A core that computes something else is broken even if it runs."""
    rendered = doctor._rendered
    monkeypatch.setattr(
        doctor, "_rendered", lambda b, d="cpu": tuple(x * (1.1 if b == "cpu" else 1) for x in rendered(b, d))
    )
    with pytest.raises(RuntimeError, match="other pictures"):
        doctor._agrees("cpu")


def test_a_missing_viser_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import sys

    (tmp_path / "scene.safetensors").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "viser", None)
    for command in (["studio", "--runs", str(tmp_path / "runs")], ["view", str(tmp_path)]):
        assert main([*command, "--port", "0"]) == 2
        error = capsys.readouterr().err.strip()
        assert "pip install 'orbit4d[studio]'" in error and "\n" not in error


def test_a_remote_bind_without_the_flag_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["studio", "--runs", str(tmp_path / "runs"), "--host", "0.0.0.0"]) == 2
    assert "--allow-remote" in capsys.readouterr().err
    assert verb.__doc__
