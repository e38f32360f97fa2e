"""The architecture as a test: which module may import which, also inside functions."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import orbit4d

PACKAGE = Path(orbit4d.__file__).parent
FLOW = ("assets", "data", "diffusion", "transfer", "splat", "imports", "export", "viewer", "evaluate")
"""Folders in the order of the data: each may import those before it."""
SHARED = (
    "errors",
    "files",
    "cameras",
    "clip",
    "clip_files",
    "foreground",
    "outputs",
    "images",
    "videos",
    "transforms",
    "report",
    "ssim",
)
"""Modules that every stage may use, and that use no stage."""
EXCEPTIONS = {("splat", "diffusion"), ("splat", "transfer")}
"""Folders that stand in the allowed order but must not meet: what passes between them is a clip."""
TOP = (
    "conditions",
    "pipeline",
    "cli",
    "cli_arguments",
    "cli_data",
    "cli_benchmark",
    "cli_train",
    "cli_parse",
    "cli_studio",
    "doctor",
    "studio",
    "watch",
    "__main__",
)


def _imports(path: Path) -> set[str]:
    """The orbit4d modules that the file imports, as dotted paths below `orbit4d`."""
    module = path.relative_to(PACKAGE).with_suffix("").parts
    package = module[:-1]  # the same for a module and for its package's __init__
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] == "orbit4d"]
            found.update(name.partition(".")[2] for name in names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - (node.level - 1)]
                target = [*base, *(node.module or "").split(".")]
            elif (node.module or "").split(".")[0] == "orbit4d":
                target = (node.module or "").split(".")[1:]
            else:
                continue
            stem = ".".join(part for part in target if part)
            found.update([stem] if stem else [alias.name for alias in node.names])
    return {name for name in found if name}


def _sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _violations(importer: str, imported: set[str]) -> list[str]:
    """What `importer` (dotted, below orbit4d) imports against the rules."""
    stage = importer.split(".")[0]
    problems = []
    for name in sorted(imported):
        other = name.split(".")[0]
        if stage in TOP[1:] or other == stage or other in (*SHARED, "__version__"):
            continue
        if stage in SHARED or stage == "__init__":
            problems.append(f"{importer} imports {name}: shared modules use no stage")
        elif other in TOP and stage not in TOP:
            problems.append(f"{importer} imports {name}: only the top knows the whole line")
        elif stage in FLOW and (other not in FLOW or FLOW.index(other) > FLOW.index(stage)):
            problems.append(f"{importer} imports {name}, which lies to its right in the flow")
        elif (stage, other) in EXCEPTIONS:
            problems.append(f"{importer} imports {name}: only clips pass between {stage} and {other}")
    return problems


def test_imports_follow_the_data() -> None:
    problems = []
    for path in _sources():
        problems += _violations(".".join(path.relative_to(PACKAGE).with_suffix("").parts), _imports(path))
    assert not problems, "\n".join(problems)


def test_every_folder_has_a_place_in_the_flow() -> None:
    folders = {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    assert folders <= {*FLOW, "studio"}, f"unknown folders {folders - set(FLOW)}"
    modules = {p.stem for p in PACKAGE.glob("*.py")} - {"__init__"}
    assert modules <= {*SHARED, *TOP}, f"unknown modules {modules - {*SHARED, *TOP}}"


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("splat.fit", "diffusion.denoiser"),
        ("diffusion.pipeline", "splat.gaussians"),
        ("data.render", "evaluate.metrics"),
        ("clip", "splat.gaussians"),
        ("evaluate.evaluate", "pipeline"),
    ],
)
def test_the_guard_sees_violations(importer: str, imported: str) -> None:
    assert _violations(importer, {imported})


def test_the_reader_sees_relative_absolute_and_hidden_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "splat").mkdir()
    source = tmp_path / "splat" / "fit.py"
    source.write_text(
        "from ..clip import load_clip\nfrom . import io\nimport orbit4d.cameras\nimport torch\n"
        "def f():\n    from ..diffusion.pipeline import P\n    from orbit4d.export import html\n"
    )
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    assert _imports(source) == {"clip", "splat", "cameras", "diffusion.pipeline", "export"}


def test_help_imports_no_stage() -> None:
    """`orbit4d --help` must be instant: the command line module loads neither torch nor any stage."""
    code = (
        "import sys, orbit4d.cli; "
        f"print([m for m in sys.modules if m == 'torch' or m.startswith(tuple('orbit4d.' + f for f in {FLOW!r}))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", _sources(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_every_module_imports(path: Path) -> None:
    if path.name == "__main__.py":
        pytest.skip("runs the command line")
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    importlib.import_module(".".join(["orbit4d", *(p for p in parts if p != "__init__")]))
