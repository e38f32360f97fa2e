"""The studio's parts without a browser: who may come in, what may come in, the queue, the gallery, what is drawn."""

from __future__ import annotations

import http.client
import io
import json
import logging
import shutil
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from plyfile import PlyData
from splat_fixtures import moving_orbit

from orbit4d.errors import InputError
from orbit4d.export import by_suffix
from orbit4d.export.ply import write_ply, write_ply_sequence
from orbit4d.imports.ply import read_ply
from orbit4d.imports.scenes import load_gaussians
from orbit4d.pipeline import reconstruct
from orbit4d.splat.gaussians import Gaussians, Gaussians4D
from orbit4d.splat.io import load_scene, save_scene
from orbit4d.studio.runs import INPUTS, Runs
from orbit4d.studio.wishes import Wish, checked_name, defaults, shown_name, slug

viser = pytest.importorskip("viser", reason="viser is not installed: pip install 'orbit4d[studio]'")

from websockets.datastructures import Headers  # noqa: E402
from websockets.exceptions import InvalidStatus  # noqa: E402
from websockets.http11 import Request  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

from orbit4d.studio import runs as runs_module  # noqa: E402
from orbit4d.studio import server as server_module  # noqa: E402
from orbit4d.studio.app import Address, Studio, Viewer, open_viewer  # noqa: E402
from orbit4d.studio.exports import FORMATS, exported, scene_bytes, zipped  # noqa: E402
from orbit4d.studio.guard import Guard  # noqa: E402
from orbit4d.studio.queue import Job, Queue  # noqa: E402
from orbit4d.studio.result_panel import number  # noqa: E402
from orbit4d.studio.splats import ENLARGED, pack_splats  # noqa: E402
from orbit4d.studio.worker import receive, send  # noqa: E402

PROTOCOL = f"viser-v{viser.__version__}"


@pytest.fixture(scope="module")
def asset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished run, as `orbit4d reconstruct` writes it."""
    out = tmp_path_factory.mktemp("asset") / "ball"
    reconstruct(moving_orbit(size=32, frames=6), out=out, steps=4, progress=False)
    return out


# Who may come in


@pytest.fixture(scope="module", params=["open", "token"])
def guarded(request: pytest.FixtureRequest) -> Iterator[tuple[Viewer, str | None]]:
    """A viewer of nothing, with and without a token, and that token."""
    with Viewer(Address(port=0, token=request.param == "token"), label="test") as viewer:
        yield viewer, viewer.url.partition("?token=")[2] or None


def _get(viewer: Viewer, path: str = "/", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", viewer.server.get_port(), timeout=60)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    return connection.getresponse()


def _greeting(viewer: Viewer, path: str = "/", **headers: str) -> bytes:
    """The first message of a websocket."""
    url = f"ws://127.0.0.1:{viewer.server.get_port()}{path}"
    with connect(url, subprotocols=[PROTOCOL], additional_headers=headers, open_timeout=60) as socket:  # type: ignore[list-item]
        message = socket.recv(timeout=60)
        assert isinstance(message, bytes)
        return message


def _refused(viewer: Viewer, path: str = "/", **headers: str) -> int:
    """The status with which a websocket is refused."""
    with pytest.raises(InvalidStatus) as refusal:
        _greeting(viewer, path, **headers)
    return refusal.value.response.status_code


def test_without_the_token_nobody_comes_in(guarded) -> None:
    viewer, token = guarded
    if token is None:
        assert _get(viewer).status == 200 and _greeting(viewer)
        return
    for path in (
        "/",
        "/?token=",
        "/?token=x",
        f"/?token={token[:-1]}",
        f"/?token={token}x",
        f"/?token={token}&token=x",
        "/x",
    ):
        assert _get(viewer, path).status == 401, path
        assert _refused(viewer, path) == 401, path
    for cookie in ("orbit4d_00000000=x", "=", "orbit4d=" + token):
        assert _get(viewer, Cookie=cookie).status == 401
        assert _refused(viewer, Cookie=cookie) == 401


def test_the_link_is_exchanged_for_a_cookie(guarded) -> None:
    viewer, token = guarded
    if token is None:
        pytest.skip("this one has no token")
    answer = _get(viewer, f"/?token={token}")
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    cookie, *flags = answer.headers["Set-Cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Lax"} <= set(flags)
    page = _get(viewer, Cookie=cookie)
    assert page.status == 200 and b"<html" in page.read(500).lower()
    assert _greeting(viewer, Cookie=cookie) and _greeting(viewer, f"/?token={token}")


def test_other_sites_and_other_names_are_refused(guarded) -> None:
    viewer, token = guarded
    port = viewer.server.get_port()
    path = f"/?token={token}" if token else "/"
    for origin in (
        "http://evil.example",
        "http://[evil",
        "null",
        f"http://127.0.0.1:{port + 1}",
        f"http://localhost:{port}",
    ):
        assert _refused(viewer, path, Origin=origin) == 403, origin
    assert _greeting(viewer, path, Origin=f"http://127.0.0.1:{port}")
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "localhost@evil.example", "["):
        assert _get(viewer, path, Host=host).status == 403, host
    for host in ("localhost", "127.0.0.1", "127.0.0.2", "[::1]"):
        assert _get(viewer, path, Host=f"{host}:{port}").status in (200, 303), host


def test_what_does_not_parse_is_refused(guarded) -> None:
    viewer, token = guarded
    if token is None:
        pytest.skip("nothing is asked for")
    for path in ("//[x", "/?token=%ff"):
        assert _get(viewer, path).status == 401, path
    answer = Guard(token=token, local=True).refusal(Request("/?token=\udcff", Headers(Host="localhost")))
    assert answer is not None and answer.status_code == 401  # bytes that are no text


def test_every_loopback_address_can_be_used() -> None:
    with Viewer(Address(host="127.0.0.2", port=0), label="test") as viewer:
        connection = http.client.HTTPConnection("127.0.0.2", viewer.server.get_port(), timeout=60)
        connection.request("GET", "/")
        assert f"//127.0.0.2:{viewer.server.get_port()}/" in viewer.url and connection.getresponse().status == 200


def test_the_page_cannot_be_framed(guarded) -> None:
    viewer, _ = guarded
    assert _get(viewer).headers["X-Frame-Options"] == "DENY"


def test_a_remote_address_needs_the_flag_and_gets_a_token() -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(InputError, match="--allow-remote"):
            Address(host=host).guard()
        assert Address(host=host, allow_remote=True).guard().token is not None
    for host in ("127.0.0.1", "127.0.0.2", "::1", "localhost"):
        guard = Address(host=host).guard()
        assert guard.token is None and guard.local


def test_a_remote_address_serves_whoever_has_the_token() -> None:
    with Viewer(Address(host="0.0.0.0", port=0, allow_remote=True), label="test") as viewer:
        token = viewer.url.partition("?token=")[2]
        assert len(token) > 40
        assert _get(viewer, Host="studio.example").status == 401 and _refused(viewer) == 401
        assert _get(viewer, f"/?token={token}", Host="studio.example").status == 303


def test_a_viser_that_cannot_be_guarded_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = []

    class Other:
        """Serves without asking anybody."""

        def __init__(self, **_: Any) -> None:
            self.gui = None

        def stop(self) -> None:
            stopped.append(self)

    monkeypatch.setattr(viser, "ViserServer", Other)
    with pytest.raises(InputError, match="cannot guard this version"):
        Viewer(Address(port=0), label="test")
    assert len(stopped) == 1


def test_a_taken_port_is_said() -> None:
    with Viewer(Address(port=0), label="test") as viewer, pytest.raises(InputError, match="choose another --port"):
        Viewer(Address(port=viewer.server.get_port()), label="test")


# What may come in


class _Message:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


def _offer(viewer: Viewer, button: Any, *, size: int, parts: int, name: str = "a.png") -> Callable[[int, bytes], None]:
    """Begin an upload as a client would; returns what sends a part."""
    from viser import _messages

    handlers = viewer.server._websock_server._incoming_handlers
    values = {"source_component_uuid": button._impl.uuid, "transfer_uuid": f"t{time.monotonic_ns()}"}
    start = _Message(**values, filename=name, mime_type="image/png", part_count=parts, size_bytes=size)
    for handler in handlers[_messages.FileTransferStartUpload]:
        handler(0, start)

    def part(index: int, content: bytes) -> None:
        for handler in handlers[_messages.FileTransferPart]:
            handler(0, _Message(**values, part_index=index, content=content))

    return part


def test_uploads_are_bounded() -> None:
    with Viewer(Address(port=0), label="test", max_upload=1000) as viewer:
        button = viewer.server.gui.add_upload_button("up")
        states = viewer.server.gui._current_file_upload_states
        for size, parts in ((1001, 1), (10**12, 10**6), (0, 0), (-1, 1), (1000, 10**9)):
            _offer(viewer, button, size=size, parts=parts)
            assert not states, (size, parts)
        part = _offer(viewer, button, size=1000, parts=4)
        part(0, b"x" * 600)
        assert len(states) == 1
        part(1, b"x" * 600)  # more than was declared
        assert not states
        for _ in range(10):
            _offer(viewer, button, size=1000, parts=2)
        assert len(states) == server_module.MAX_TRANSFERS


def test_a_bounded_upload_arrives() -> None:
    with Viewer(Address(port=0), label="test", max_upload=1000) as viewer:
        button = viewer.server.gui.add_upload_button("up")
        part = _offer(viewer, button, size=5, parts=2)
        part(1, b"lo")
        part(0, b"hel")
        assert button.value.content == b"hello"


def test_nobody_answers_a_request_for_a_public_link(guarded) -> None:
    from viser import _messages

    handlers = guarded[0].server._websock_server._incoming_handlers
    assert not handlers.get(_messages.ShareUrlRequest)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"prompt": "x" * 301},
        {"prompt": "a\nb"},
        {"prompt": 3},
        {"prompt": "a", "motion": 1.1},
        {"prompt": "a", "motion": float("nan")},
        {"prompt": "a", "motion": True},
        {"prompt": "a", "steps": 101},
        {"prompt": "a", "fit_steps": 10**9},
        {"prompt": "a", "fit_steps": 1.5},
        {"prompt": "a", "seed": -1},
        {"prompt": "a", "guidance_scale": "7"},
        {"image": "a.png", "video": "b.mp4"},
    ],
)
def test_wishes_are_checked(values: dict) -> None:
    with pytest.raises(InputError):
        Wish(**values)


def test_wishes_have_the_defaults_of_the_command_line() -> None:
    assert Wish(prompt="a fox").as_dict() == {**defaults(), "prompt": "a fox"}
    assert Wish.of(Wish(prompt="a fox", motion=0.5).as_dict()).motion == 0.5
    with pytest.raises(InputError, match="nonsense"):
        Wish.of({"prompt": "a", "nonsense": 1})


def test_of_an_uploads_name_harmless_letters_and_the_suffix_count(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    path = runs.keep_input("../../x/My <evil>.PNG", b"abc", kind="image")
    assert path.parent == tmp_path / INPUTS and path.read_bytes() == b"abc"
    assert path.name[17:] == shown_name(path) == "my-evil.png"
    assert shown_name(runs.keep_input("狐.jpg", b"abc", kind="image")) == "image.jpg"
    for name in ("a.exe", "a", "", ".png.", "a.glb", None, 3):
        with pytest.raises(InputError):
            checked_name(name, "image")
    with pytest.raises(InputError, match=r"^fox\.glb: does not begin as a \.glb"):
        runs.keep_input("fox.glb", b"<html>", kind="static")
    assert len(list((tmp_path / INPUTS).iterdir())) == 2


def test_messages_name_uploads_and_not_where_they_lie(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    runs = Runs(tmp_path / "link")
    path = runs.keep_input("ball.mp4", b"", kind="video")
    told = runs.told(f"--video: {path}: cannot be read ({path.resolve()}), or pass --mask")
    assert told == "video: ball.mp4: cannot be read (ball.mp4), or pass a mask"
    note = f"{path.name} looks like 'a fox'; say what it shows with --prompt, or nothing with --no-caption"
    assert runs.told(note) == (
        "ball.mp4 looks like 'a fox'; say what it shows with a prompt, or switch “Guess its words” off"
    )
    own = runs.keep_input("0123456789abcdef-cat.png", b"", kind="image")
    assert runs.told(f"{own}: empty") == "0123456789abcdef-cat.png: empty"
    assert runs.told("--motion 0.7 stands for 2e-2") == "motion 0.7 stands for 2e-2"


# The gallery


def test_the_gallery_shows_finished_runs_newest_first(tmp_path: Path, asset: Path) -> None:
    import shutil

    runs = Runs(tmp_path / "runs")
    for name in ("20260101-000000-a", "20260102-000000-b", ".20260103-hidden"):
        shutil.copytree(asset, runs.folder / name)
    (runs.folder / "20260104-half").mkdir()
    (runs.folder / "20260105-strange").mkdir()
    (runs.folder / "20260105-strange" / "report.json").write_text('{"program": "other"}')
    (runs.folder / "20260106-link").symlink_to(asset)
    assert [run.id for run in runs.all()] == ["20260102-000000-b", "20260101-000000-a"]
    assert "Gaussians" in runs.all()[0].figures
    for name in ("..", "../runs", "a/b", "", ".20260103-hidden", "20260104-half"):
        assert runs.get(name) is None, name


def test_inputs_live_as_long_as_their_runs(tmp_path: Path, asset: Path) -> None:
    import shutil

    runs = Runs(tmp_path)
    used, unused, queued = (runs.keep_input("a.png", b"abc", kind="image") for _ in range(3))
    shutil.copytree(asset, tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    report["settings"]["image"] = str(used)
    (tmp_path / "run" / "report.json").write_text(json.dumps(report))
    runs.in_use = lambda: {queued.name}
    runs.prune()
    assert used.is_file() and queued.is_file() and not unused.exists()
    run = runs.get("run")
    assert run is not None
    runs.delete(run)
    assert not used.exists() and not (tmp_path / "run").exists() and queued.is_file()
    runs.delete(run)  # again, as another browser may
    shutil.rmtree(tmp_path / INPUTS)
    runs.prune()


def test_a_run_that_vanishes_while_it_is_read_is_none(
    tmp_path: Path, asset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(tmp_path)
    shutil.copytree(asset, tmp_path / "run")

    def read_and_gone(folder: Path) -> dict:
        (folder / "report.json").unlink()
        return {"program": "orbit4d"}

    monkeypatch.setattr(runs_module, "_report", read_and_gone)
    assert runs.all() == []


def test_reports_are_read_once_to_tidy_up(tmp_path: Path, asset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, read, report = Runs(tmp_path), [], runs_module._report
    shutil.copytree(asset, tmp_path / "run")
    monkeypatch.setattr(runs_module, "_report", lambda folder: read.append(folder) or report(folder))
    runs.prune()
    assert read == [tmp_path / "run"]


def test_a_file_that_is_handed_to_the_queue_meanwhile_is_in_use() -> None:
    """Between the two reads, whichever comes first, the file leaves the choice and joins the queue."""
    inputs = {"create": {"a.png"}, "queue": set()}

    class Place:
        def __init__(self, name: str) -> None:
            self.name = name

        @property
        def inputs(self) -> set[str]:
            found = set(inputs[self.name])
            inputs.update(create=set(), queue={"a.png"})
            return found

    studio: Any = SimpleNamespace(create=Place("create"), queue=Place("queue"))
    assert Studio._in_use(studio) == {"a.png"}


def test_names_of_folders_are_harmless() -> None:
    assert slug("A Fox, running!") == "a-fox-running" and slug("../..") == "run" and slug("狐") == "run"
    assert len(slug("x" * 500)) <= 40


# The queue


def test_messages_arrive_whole_or_not_at_all() -> None:
    stream = io.BytesIO()
    send(stream, {"kind": "a"}, b"body")
    send(stream, {"kind": "b"})
    data = stream.getvalue()
    assert list(receive(io.BytesIO(data))) == [({"kind": "a"}, b"body"), ({"kind": "b"}, b"")]
    assert [h for h, _ in receive(io.BytesIO(data[:-1]))] == [{"kind": "a"}]
    assert list(receive(io.BytesIO(struct.pack("<II", 2**31, 0) + b"x"))) == []


class Record:
    """A listener that remembers, and waits for a job's end."""

    def __init__(self) -> None:
        self.kinds: list[tuple[str, str]] = []
        self.ended: list[Job] = []
        self._changed = threading.Condition()

    def __call__(self, job: Job, header: dict, body: bytes) -> None:
        with self._changed:
            self.kinds.append((header["kind"], job.state))
            if header["kind"] == "state" and job.state not in ("running", "waiting"):
                self.ended.append(job)
            self._changed.notify_all()

    def wait(self, check: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(check, timeout=240), self.kinds


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[tuple[Queue, Record, Runs]]:
    runs, record = Runs(tmp_path / "runs"), Record()
    made = Queue(runs, record, log=tmp_path / "log")
    yield made, record, runs
    made.close()


def test_a_wrong_wish_fails_in_one_line_and_the_next_is_taken(queue) -> None:
    made, record, runs = queue
    image = runs.keep_input("a.png", b"no picture", kind="image")
    jobs = [made.submit(Wish(image=str(image))), made.submit(Wish(prompt="a fox", weights="nothing/here/at-all"))]
    record.wait(lambda: len(record.ended) == 2)
    assert [job.state for job in jobs] == ["failed", "failed"]
    assert "cannot be read as an image" in jobs[0].message and "\n" not in jobs[0].message
    assert "nothing/here" in jobs[1].message
    assert sorted(p.name for p in runs.folder.iterdir()) == [INPUTS]


def test_a_cancelled_run_leaves_nothing(queue) -> None:
    made, record, runs = queue
    job = made.submit(Wish(prompt="a fox running", steps=100, size=64))
    others = [made.submit(Wish(prompt="a cat")) for _ in range(3)]
    record.wait(lambda: ("stage", "running") in record.kinds)
    assert made.cancel_waiting() == 3 and all(j.state == "cancelled" for j in others)
    made.cancel()
    record.wait(lambda: job in record.ended)
    assert job.state == "cancelled" and sorted(p.name for p in runs.folder.iterdir()) == [INPUTS]
    assert made.current is None


def test_the_queue_is_bounded(queue, monkeypatch: pytest.MonkeyPatch) -> None:
    made, *_ = queue
    monkeypatch.setattr(made, "_run", lambda job: threading.Event().wait(0.5))
    with pytest.raises(InputError, match="waiting already"):
        for _ in range(20):
            made.submit(Wish(prompt="a fox"))


def test_jobs_of_one_second_and_title_have_folders_of_their_own(queue, monkeypatch: pytest.MonkeyPatch) -> None:
    made, record, _ = queue

    class OneSecond(runs_module.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return cls(2026, 1, 1)

    go = threading.Event()
    monkeypatch.setattr(runs_module, "datetime", OneSecond)

    def run(job: Job) -> None:
        go.wait(60)
        job.state = "done"

    monkeypatch.setattr(made, "_run", run)
    jobs = [made.submit(Wish(prompt="a fox")) for _ in range(3)]
    go.set()
    names = [job.out.name for job in jobs]
    assert names == ["20260101-000000-a-fox", "20260101-000000-a-fox-2", "20260101-000000-a-fox-3"]
    record.wait(lambda: len(record.ended) == 3)


@pytest.mark.parametrize("what", ["sweep", "listener"])
def test_what_fails_at_a_jobs_end_does_not_end_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    runs, record = Runs(tmp_path / "runs"), Record()

    def fail(*_: Any) -> None:
        raise RuntimeError("of all things")

    def listener(job: Job, header: dict, body: bytes) -> None:
        record(job, header, body)
        if what == "listener":
            fail()

    if what == "sweep":
        monkeypatch.setattr(runs, "sweep", fail)
    made = Queue(runs, listener)

    def ends(job: Job) -> None:
        job.state = "done"

    monkeypatch.setattr(made, "_run", ends)
    with caplog.at_level(logging.ERROR):
        for number in (1, 2):
            made.submit(Wish(prompt="a fox"))
            record.wait(lambda count=number: len(record.ended) == count)
        made.close()
    assert caplog.text.count("RuntimeError: of all things") >= 1


def test_cancelling_those_that_wait_leaves_the_running_one_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Studio(tmp_path, Address(port=0)) as studio:
        runs, go = threading.Event(), threading.Event()

        def run(job: Job) -> None:
            studio.queue._tell(job)
            runs.set()
            go.wait(60)
            job.state = "failed"

        monkeypatch.setattr(studio.queue, "_run", run)
        studio.submit(Wish(prompt="a fox"))
        assert runs.wait(60)
        waiting = [studio.submit(Wish(prompt="a cat")) for _ in range(2)]
        progress = studio.progress
        progress._picture.visible = True
        studio.view.show(np.zeros((1, 8), np.uint32))
        assert progress._drop.visible
        assert studio.queue.cancel_waiting() == 2 and all(job.state == "cancelled" for job in waiting)
        assert progress._bar.visible and progress._cancel.visible and progress._picture.visible
        assert studio.view._handle is not None and "a fox" in progress._status.content
        assert not progress._drop.visible
        go.set()


def test_two_studios_do_not_share_a_folder(tmp_path: Path) -> None:
    with Studio(tmp_path, Address(port=0)), pytest.raises(InputError, match="another run is writing"):
        Studio(tmp_path, Address(port=0))


# What is drawn and downloaded


def test_packed_splats_are_those_of_viser() -> None:
    """Against viser's own packing, from covariances computed in another way."""
    generator = torch.Generator().manual_seed(1)
    n = 50
    g = Gaussians(
        means=torch.randn(n, 3, generator=generator),
        quats=torch.randn(n, 4, generator=generator),
        log_scales=torch.randn(n, 3, generator=generator) * 0.5 - 4,
        logit_opacities=torch.randn(n, generator=generator),
        sh=torch.randn(n, 1, 3, generator=generator) * 0.3,
    )
    matrices = viser.transforms.SO3(
        torch.nn.functional.normalize(g.quats, dim=-1).numpy().astype(np.float64)
    ).as_matrix()
    scales = np.exp(g.log_scales.numpy().astype(np.float64)) * ENLARGED
    covariances = np.einsum("nij,nj,nkj->nik", matrices, scales**2, matrices)
    with Viewer(Address(port=0), label="test") as viewer:
        handle = viewer.server.scene.add_gaussian_splats(
            "/expected",
            centers=g.means.numpy() * ENLARGED,
            covariances=covariances,
            rgbs=g.base_colors.clamp(0, 1).numpy(),
            opacities=g.logit_opacities.sigmoid()[:, None].numpy(),
        )
        packed, expected = pack_splats(g), np.asarray(handle.buffer)
    assert np.array_equal(packed[:, :4], expected[:, :4])
    half, theirs = (np.ascontiguousarray(p[:, 4:7]).view(np.float16).astype(float) for p in (packed, expected))
    assert np.allclose(half, theirs, rtol=2e-3, atol=2e-5)
    rgba, wanted = (np.ascontiguousarray(p[:, 7:]).view(np.uint8).astype(int) for p in (packed, expected))
    assert np.abs(rgba - wanted).max() <= 1


def test_playback_moves_the_splats_and_stops(asset: Path) -> None:
    with open_viewer(asset, Address(port=0)) as viewer:
        playback, view = viewer.result.playback, viewer.view
        playback.play(False)
        playback.seek(0.0)
        first = np.array(view._handle.buffer)
        playback.seek(1.0)
        last = np.array(view._handle.buffer)
        assert first.shape == last.shape and not np.array_equal(first, last)
        expected = pack_splats(playback.scene.at(1.0))
        assert np.array_equal(last, expected)
        playback.load(None)
        assert view._handle is None


def test_nothing_moves_while_nobody_looks(asset: Path) -> None:
    with open_viewer(asset, Address(port=0)) as viewer:
        assert viewer.result.playback.playing
        time.sleep(0.3)
        assert viewer.result.playback.time == 0.0


def _still() -> Gaussians4D:
    generator = torch.Generator().manual_seed(2)
    n = 20
    return Gaussians4D(
        canonical=Gaussians(
            means=torch.randn(n, 3, generator=generator) * 0.3,
            quats=torch.nn.functional.normalize(torch.randn(n, 4, generator=generator), dim=-1),
            log_scales=torch.full((n, 3), -3.0),
            logit_opacities=torch.zeros(n),
            sh=torch.zeros(n, 1, 3),
        )
    )


def test_at_rest_one_moment_is_packed(tmp_path: Path) -> None:
    with open_viewer(save_scene(_still(), tmp_path / "a.safetensors"), Address(port=0)) as viewer:
        for moment in (0.0, 0.3, 0.7, 1.0):
            viewer.result.playback.seek(moment)
        assert len(viewer.result.playback._packed) == 1
        assert viewer.result._time.disabled and viewer.result._play.disabled
        assert not viewer.result._buttons[0].disabled


def test_what_other_programs_write_is_viewed_and_downloaded_as_a_scene(tmp_path: Path, asset: Path) -> None:
    scene = load_scene(asset / "scene.safetensors")
    write_ply(_still().canonical, tmp_path / "a.ply")
    write_ply_sequence(scene, tmp_path / "sequence", frames=3)
    for given in (tmp_path / "a.ply", tmp_path / "sequence"):
        with open_viewer(given, Address(port=0)) as viewer:
            assert viewer.result.scene is not None
            name, content = scene_bytes(viewer.result.scene, name="a")
        assert name == "a.safetensors"
        (tmp_path / name).write_bytes(content)
        read, expected = load_scene(tmp_path / name), load_gaussians(given)
        for moment in (0.0, 0.4, 1.0):
            assert torch.allclose(read.at(moment).means, expected.at(moment).means, atol=1e-6)
    own = (asset / "scene.safetensors").read_bytes()
    assert scene_bytes(asset, name="a")[1] == scene_bytes(asset / "scene.safetensors", name="a")[1] == own
    with pytest.raises(InputError, match="no longer there"):
        scene_bytes(tmp_path / "gone" / "scene.safetensors", name="a")


def test_a_download_that_fails_says_so(asset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    with open_viewer(asset, Address(port=0)) as viewer:
        viewer.result._send(SimpleNamespace(send_file_download=fail), "scene")
        assert "cannot be written (ZeroDivisionError)" in viewer.result._note.content
        viewer.result._frames = SimpleNamespace(value=float("inf"))  # what a client sends is not coerced
        sent: list[str] = []
        client = SimpleNamespace(send_file_download=lambda name, *_, **__: sent.append(name))
        viewer.result._send(client, next(f for f in FORMATS if f.suffix == ".ply"))
        assert sent == ["ball.ply"]


def test_what_is_no_number_is_the_default() -> None:
    for value in (float("inf"), float("-inf"), float("nan"), 10**400, "3", None):
        assert number(value, 2.0) == 2.0
    assert number(3, 2.0) == 3.0 and number(-0.5, 2.0) == -0.5


def test_every_format_of_the_command_line_has_a_button() -> None:
    suffixes = {*by_suffix.SCENE_SUFFIXES, *by_suffix.SUFFIXES, f"/{by_suffix.TRANSFORMS}", ""}
    assert sorted(form.suffix for form in FORMATS) == sorted(suffixes - {".safetensors"})  # which is "Scene file"


def test_a_sequence_is_y_down_as_its_hint_says(asset: Path, tmp_path: Path) -> None:
    import zipfile

    form = next(f for f in FORMATS if f.suffix == "")
    _, content = exported(asset, form, name="ball", frames=2, size=32)
    zipfile.ZipFile(io.BytesIO(content)).extractall(tmp_path)
    expected = load_scene(asset / "scene.safetensors").at(0).means
    assert "y points down" in form.hint
    assert torch.allclose(read_ply(tmp_path / "frame_000.ply").means, expected, atol=1e-5)
    height = np.array(PlyData.read(str(tmp_path / "frame_000.ply"))["vertex"]["y"])
    assert np.allclose(height, -expected[:, 2].numpy(), atol=1e-5)


@pytest.mark.parametrize("form", FORMATS, ids=lambda f: f.label)
def test_every_format_can_be_downloaded(asset: Path, form: Any) -> None:
    import zipfile

    name, content = exported(asset / "scene.safetensors", form, name="ball", frames=2, size=32)
    assert name.startswith("ball") and len(content) > 500
    if name.endswith(".zip"):
        assert len(zipfile.ZipFile(io.BytesIO(content)).namelist()) >= 2


def test_a_run_is_downloaded_whole(asset: Path) -> None:
    import zipfile

    names = zipfile.ZipFile(io.BytesIO(zipped(asset))).namelist()
    assert {"scene.safetensors", "scene.html", "report.json", "orbit.mp4"} <= set(names)


def test_what_is_no_scene_is_not_viewed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a scene"):
        open_viewer(tmp_path, Address(port=0))
    (tmp_path / "scene.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="safetensors"):
        open_viewer(tmp_path, Address(port=0))
