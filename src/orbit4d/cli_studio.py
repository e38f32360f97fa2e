"""The verbs `studio`, `view` and `doctor`: thin layers, whatever they need is imported when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

Host = Annotated[str, arg(metavar="ADDRESS")]
Port = Annotated[int, arg(metavar="PORT")]
Flag = FlagCreatePairsOff[bool]


def studio(
    runs: Annotated[Path, arg(metavar="DIR")] = Path("orbit4d-runs"),
    host: Host = "127.0.0.1",
    port: Port = 4040,
    allow_remote: Flag = False,
    token: Flag = False,
    max_upload_mib: Annotated[int, arg(metavar="MIB")] = 64,
    weights: Annotated[Path | None, arg(metavar="DIR_OR_NAME")] = None,
    open_: Annotated[Flag, arg(name="open")] = False,
) -> None:
    """Make 4D assets in the browser: prompt, image, video or 3D asset in; watch it work; play, download, look back.

    Only this machine can reach it, unless --host and --allow-remote say otherwise; others then need the printed link, which
    carries a token. Needs `pip install 'orbit4d[studio]'`.

    For example:
      orbit4d studio
      orbit4d studio --runs ~/4d --open
      orbit4d studio --host 0.0.0.0 --allow-remote

    Args:
        runs: Folder of the gallery; every run is a folder in it, as `orbit4d generate` writes.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        allow_remote: Allow an address that other machines can reach. They need the token.
        token: Ask for the token on this machine, too (when others work on it).
        max_upload_mib: Largest file that may be uploaded, in MiB.
        weights: Folder with another model, or its name on the Hugging Face hub; the built-in one when absent.
        open_: Open the page in this machine's browser.
    """
    from .studio.app import Address, Studio, serve

    address = Address(host=host, port=port, allow_remote=allow_remote, token=token)
    serve(Studio(runs, address, weights=weights, max_upload_mib=max_upload_mib), open_browser=open_)


def view(
    scene: Annotated[Positional[Path], arg(metavar="SCENE")],
    /,
    host: Host = "127.0.0.1",
    port: Port = 4040,
    allow_remote: Flag = False,
    token: Flag = False,
    open_: Annotated[Flag, arg(name="open")] = False,
) -> None:
    """Play one scene in the browser, with a timeline and downloads. Needs `pip install 'orbit4d[studio]'`.

    To give a scene to others, use `orbit4d export`: its page needs no server.

    For example:
      orbit4d view out/fox
      orbit4d view out/fox/scene.safetensors --open

    Args:
        scene: scene.safetensors, the folder it lies in, or Gaussians of another program: .ply, .splat, .glb, a folder of PLY files.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        allow_remote: Allow an address that other machines can reach. They need the token.
        token: Ask for the token on this machine, too.
        open_: Open the page in this machine's browser.
    """
    from .studio.app import Address, open_viewer, serve

    address = Address(host=host, port=port, allow_remote=allow_remote, token=token)
    serve(open_viewer(scene, address), open_browser=open_)


def doctor(json_: Annotated[Flag, arg(name="json")] = False) -> None:
    """Say what this machine has, which parts of orbit4d work on it, and how to get what is missing.

    Every part is really tried (a small render, a few steps of a construction, a step of sampling). Exits with code 1 when
    something that `orbit4d generate` needs does not work.

    For example:
      orbit4d doctor
      orbit4d doctor --json > doctor.json

    Args:
        json_: Print JSON instead of a list.
    """
    from .doctor import as_json, as_text, examine

    report = examine()
    print(as_json(report) if json_ else as_text(report))
    if not report["core_works"]:
        raise SystemExit(1)
