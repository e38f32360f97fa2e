"""A viser server behind a `Guard`, with bounded uploads and without viser's public share links.

viser has no hook for this, so three of its inner parts are taken hold of, each of them checked: where one is not found (another
version of viser), nothing is served at all.
"""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .guard import Guard, harden

if TYPE_CHECKING:
    from viser import ViserServer

SUPPORTED = "viser>=1.1,<2"
MAX_TRANSFERS = 4
"""Uploads at one time, of all clients together."""
MAX_PARTS = 4096
_PATCHING = threading.Lock()


def start_server(*, host: str, port: int, label: str, guard: Guard, max_upload: int) -> ViserServer:
    """A running server. `port` 0 takes a free one; `max_upload` is in bytes.

    Raises InputError when viser is missing or not the one we know, or when the port cannot be had.
    """
    viser = import_viser()
    if port:
        _check_port(host, port)
    with _guarded(guard) as installed, contextlib.redirect_stdout(io.StringIO()):
        server = viser.ViserServer(host=host, port=port, label=label, verbose=False)
    try:
        if not installed():
            raise AttributeError("its server did not take the guard")
        _refuse_sharing(server)
        _limit_uploads(server, max_upload)
    except (AttributeError, KeyError, AssertionError, ImportError) as error:
        server.stop()
        raise InputError(
            f"viser {viser.__version__}: orbit4d cannot guard this version ({error}); pip install '{SUPPORTED}'"
        ) from error
    server.gui.configure_theme(show_logo=False, show_share_button=False, control_width="large")
    return server


def import_viser() -> Any:
    """The viser package. Raises InputError, naming the extra, when it is not installed."""
    try:
        import viser
        import websockets.asyncio.server  # noqa: F401
    except ImportError as error:
        raise InputError(f"the studio needs viser ({error}); pip install 'orbit4d[studio]'") from error
    return viser


def _check_port(host: str, port: int) -> None:
    """viser would silently take the next free port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--host {host} --port {port}: cannot be bound ({reason}); choose another --port") from error


@contextlib.contextmanager
def _guarded(guard: Guard) -> Iterator[Callable[[], bool]]:
    """Whatever websocket server starts in the block asks `guard` first. Yields whether one did start, with the guard in it."""
    from websockets.asyncio import server as module

    original, started = module.serve, []

    def serve(*args: Any, process_request: Callable[..., Any] | None = None, **kwargs: Any) -> Any:
        def checked(connection: Any, request: Any) -> Any:
            refused = guard.refusal(request)
            if refused is not None:
                return refused
            answer = None if process_request is None else process_request(connection, request)
            return answer if answer is None else harden(answer)

        started.append(True)
        return original(*args, process_request=checked, **kwargs)

    with _PATCHING:
        module.serve = serve  # type: ignore[assignment]
        try:
            yield lambda: bool(started)
        finally:
            module.serve = original  # type: ignore[assignment]


def _refuse_sharing(server: ViserServer) -> None:
    """A client could ask viser for a public link to this machine: nobody answers."""
    from viser import _messages

    for kind in (_messages.ShareUrlRequest, _messages.ShareUrlDisconnect):
        server._websock_server.unregister_handler(kind)


def _limit_uploads(server: ViserServer, limit: int) -> None:
    """viser gathers whatever a client sends in memory: bytes in all, at one time, and against what was declared are bounded."""
    from viser import _messages

    gui, connection = server.gui, server._websock_server
    states = gui._current_file_upload_states
    _ = _messages.FileTransferPartAck, _messages.RemoveNotificationMessage  # for refusals
    begin, proceed = gui._handle_file_transfer_start, gui._handle_file_transfer_part

    def on_start(client_id: Any, message: Any) -> None:
        declared = message.size_bytes
        if not (isinstance(declared, int) and 0 < declared <= limit and 0 < message.part_count <= MAX_PARTS):
            _refuse(
                server, client_id, message, f"the file is empty or larger than {limit / 2**20:.0f} MiB; make it smaller"
            )
        elif len(states) >= MAX_TRANSFERS:
            _refuse(server, client_id, message, "too many uploads at one time; try again in a moment")
        else:
            begin(client_id, message)

    def on_part(client_id: Any, message: Any) -> None:
        state = states.get(message.transfer_uuid)
        if state is None:
            return
        too_much = state["transferred_bytes"] + len(message.content) > state["total_bytes"]
        if state["client_id"] != client_id or too_much:
            states.pop(message.transfer_uuid, None)
            return
        proceed(client_id, message)

    for kind, handler in ((_messages.FileTransferStartUpload, on_start), (_messages.FileTransferPart, on_part)):
        connection.unregister_handler(kind)
        connection.register_handler(kind, handler)


def _refuse(server: ViserServer, client_id: Any, message: Any, text: str) -> None:
    """Say why, and end the upload: the page would wait for it, and keep its button disabled."""
    from viser import _messages

    component, transfer = message.source_component_uuid, message.transfer_uuid
    client = server.get_clients().get(client_id)
    if client is not None and isinstance(component, str) and isinstance(transfer, str):
        connection = client._websock_connection
        connection.queue_message(_messages.FileTransferPartAck(component, transfer, transferred_bytes=0, total_bytes=0))
        connection.queue_message(
            _messages.RemoveNotificationMessage(f"upload-{transfer}")
        )  # it would say "successfully"
        client.add_notification(title="Upload refused", body=text, color="red", auto_close_seconds=8)
