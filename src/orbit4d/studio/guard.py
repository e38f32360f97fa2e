"""Who may talk to the studio: every HTTP request and every websocket handshake passes here before viser sees it.

On this machine alone (the default) the page must be asked for by a name of this machine, which stops a foreign page whose name
resolves to 127.0.0.1 (DNS rebinding). With a token, whoever lacks it is refused; the printed link carries it once and a cookie
from then on. Either way a websocket that another site's page opens is refused, which browsers themselves do not do.
"""

from __future__ import annotations

import hmac
import http
import ipaddress
import secrets
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from websockets.http11 import Request, Response

_HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Whether `host` is a name or address of this machine only: safe to bind to, and as a Host header, since no name that
    others can give an address is among them."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """Checks requests. `token`: what the link must carry, None asks for none; `local`: only names of this machine are served."""

    def __init__(self, *, token: str | None, local: bool) -> None:
        if token is None and not local:
            raise ValueError("a studio that others can reach needs a token")
        self.token, self.local = token, local
        self._cookie = f"orbit4d_{secrets.token_hex(4)}"  # cookies do not know ports: two studios must not share one

    @classmethod
    def make(cls, *, local: bool, with_token: bool) -> Guard:
        return cls(token=secrets.token_urlsafe(32) if with_token else None, local=local)

    def refusal(self, request: Request) -> Response | None:
        """What to answer instead of serving the request; None lets it pass. A link with the token becomes a cookie."""
        hosts = request.headers.get_all("Host")
        if len(hosts) != 1:
            return _answer(http.HTTPStatus.BAD_REQUEST, "expected one Host header")
        if self.local and not is_loopback(_name(hosts[0])):
            return _answer(http.HTTPStatus.FORBIDDEN, "this studio is open to its own machine only; use localhost")
        origins = request.headers.get_all("Origin")
        if any(_place(origin) != hosts[0].lower() for origin in origins):
            return _answer(http.HTTPStatus.FORBIDDEN, "another site's page may not use this studio")
        if self.token is None or self._has_cookie(request):
            return None
        shown = parse_qs(request.path.partition("?")[2]).get("token", [])
        if len(shown) != 1 or not _equal(shown[0], self.token):
            return _answer(
                http.HTTPStatus.UNAUTHORIZED, "open the link that `orbit4d studio` printed: it carries a token"
            )
        if "Upgrade" in request.headers:
            return None
        cookie = f"{self._cookie}={self.token}; Path=/; HttpOnly; SameSite=Lax"
        return _answer(http.HTTPStatus.SEE_OTHER, "", {"Location": "/", "Set-Cookie": cookie})

    def _has_cookie(self, request: Request) -> bool:
        for header in request.headers.get_all("Cookie"):
            try:
                morsel = SimpleCookie(header).get(self._cookie)
            except CookieError:
                continue
            if morsel is not None and self.token is not None and _equal(morsel.value, self.token):
                return True
        return False


def harden(response: Response) -> Response:
    """Headers that keep the page out of frames, and its address out of others' logs."""
    for name, value in _HEADERS.items():
        if name not in response.headers:
            response.headers[name] = value
    return response


def _answer(status: http.HTTPStatus, text: str, headers: dict[str, str] | None = None) -> Response:
    from websockets.datastructures import Headers
    from websockets.http11 import Response

    body = f"{text}\n".encode()
    fields = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body)), "Connection": "close"}
    return harden(Response(status.value, status.phrase, Headers(fields | (headers or {})), body))


def _name(host: str) -> str:
    """The name in a Host header, lower case, without port or brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _place(origin: str) -> str | None:
    """Name and port in an Origin header, lower case; None, which is no Host, where it does not parse."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _equal(a: str, b: str) -> bool:
    """In constant time; `a` may hold bytes that are no text."""
    return hmac.compare_digest(a.encode(errors="replace"), b.encode())
