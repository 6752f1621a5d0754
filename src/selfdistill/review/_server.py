"""The page over HTTP, for this machine alone: nothing is served without the token, nor by a path from outside."""

from __future__ import annotations

import hmac
import json
import secrets
import socket
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from selfdistill._core.advice import Advice
from selfdistill._core.errors import DataError, SelfdistillError, SettingError, one_line
from selfdistill.review._groups import View
from selfdistill.review._session import Behind, Session

_HOST = "127.0.0.1"
_SIDES = {"small": 192, "large": 768}
_LARGEST = 2**22  # bytes of a request: a bulk decision on 100,000 examples has half of it
_PAGE = {"": "text/html", "page.js": "text/javascript", "page.css": "text/css"}
_CARDS = 24  # of one answer
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def listen(port: int = 0) -> socket.socket:
    """Take a port of this machine."""
    taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((_HOST, port))
        taken.listen()  # from now on pages wait
    except (OSError, OverflowError) as error:
        taken.close()
        raise SettingError(
            f"port {port} cannot be used: {error}", Advice("Choose another {--port}", "leave it out.")
        ) from error
    return taken


def address(taken: socket.socket, token: str) -> str:
    """Give the address of the page."""
    return f"http://{_HOST}:{taken.getsockname()[1]}/{token}/"


def serve(session: Session, taken: socket.socket, token: str) -> None:
    """Serve until the process is interrupted."""
    app = application(session, token, taken.getsockname()[1])
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, ws="none", timeout_graceful_shutdown=2
    )
    uvicorn.Server(config).run(sockets=[taken])


def new_token() -> str:
    """Draw a token that nobody guesses."""
    return secrets.token_urlsafe(24)


class _Guard:
    """Lets in only what comes from the page itself, and forbids a browser to run anything else with it."""

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app, self._before = app, f"/{token}/".encode()
        self._hosts = {f"{name}:{port}" for name in (_HOST, "localhost")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def closed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif why := self._refusal(scope):
            await PlainTextResponse(f"Refused: {why}.", 403)(scope, receive, closed)
        else:
            inside = scope["path"].encode()[len(self._before) - 1 :].decode()
            await self._app({**scope, "path": inside, "raw_path": inside.encode()}, receive, closed)

    def _refusal(self, scope: Scope) -> str:
        """Say why a request is not answered; "" where it is."""
        headers, path = Headers(scope=scope), scope["path"].encode()
        origin = headers.get("origin")
        if headers.get("host") not in self._hosts:
            return "another host"
        if origin is not None and origin not in {f"http://{host}" for host in self._hosts}:
            return "another origin"
        if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
            return "another site"
        if scope["method"] == "POST" and (origin is None or headers.get("content-type") != "application/json"):
            return "no origin, or no JSON"
        if not hmac.compare_digest(path[: len(self._before)], self._before):
            return "another address"
        return ""


def application(session: Session, token: str, port: int) -> ASGIApp:
    """Make the application."""

    def page(name: str) -> Route:
        content = (files("selfdistill.review") / (name or "page.html")).read_bytes()
        return Route(f"/{name}", lambda request: Response(content, media_type=_PAGE[name]))

    def json_route(path: str, work: Callable[[Session, Any], Any], method: str = "GET") -> Route:
        async def answer(request: Request) -> Response:
            try:
                parameters = (
                    await _body(request) if method == "POST" else {**request.query_params, **request.path_params}
                )
                return JSONResponse(await run_in_threadpool(work, session, parameters))
            except Behind:
                return JSONResponse({"behind": True}, 409)
            except KeyError as error:
                return JSONResponse({"error": f"The request has no field {error}."}, 400)
            except (SelfdistillError, ValueError, TypeError) as error:
                return JSONResponse({"error": one_line(error)}, 400)

        return Route(path, answer, methods=[method])

    routes = [
        *map(page, _PAGE),
        json_route("/start", _start),
        json_route("/state", lambda session, parameters: session.state(_view(parameters))),
        json_route("/next", _next),
        json_route("/card/{row:int}", lambda session, parameters: session.card(parameters["row"])),
        json_route("/content/{row:int}", lambda session, parameters: session.content(parameters["row"])),
        json_route("/words/{row:int}", lambda session, parameters: {"pieces": session.words(parameters["row"])}),
        json_route("/groups", _groups),
        json_route("/above", _above),
        json_route("/decide", _decide, "POST"),
        json_route("/undo", _undo, "POST"),
        Route("/photo/{row:int}/{side}", partial(_photo, session)),
        Route("/export/{form}", partial(_export, session)),
    ]
    return _Guard(Starlette(routes=routes), token, port)


async def _photo(session: Session, request: Request) -> Response:
    side = _SIDES.get(request.path_params["side"])
    if side is None:
        return PlainTextResponse("There is small and large.", 404)
    try:
        content = await run_in_threadpool(session.photo, request.path_params["row"], side)
    except SelfdistillError as error:
        return PlainTextResponse(one_line(error), 404)
    return Response(content, media_type="image/png" if content.startswith(b"\x89PNG") else "image/jpeg")


async def _export(session: Session, request: Request) -> Response:
    form = request.path_params["form"]
    if form not in {"csv", "json"}:
        return PlainTextResponse("There is csv and json.", 404)
    content = await run_in_threadpool(_exported, session, form)
    headers = {"Content-Disposition": f'attachment; filename="decisions.{form}"'}
    return Response(content, media_type="application/octet-stream", headers=headers)


async def _body(request: Request) -> Any:
    size = 0
    parts = []
    async for part in request.stream():
        size += len(part)
        if size > _LARGEST:
            raise DataError(f"the request has more than {_LARGEST:,} bytes", "Send less.")
        parts.append(part)
    found = json.loads(b"".join(parts))
    if not isinstance(found, dict):
        raise DataError("the request is no object", "Send one.")
    return found


def _view(parameters: Mapping[str, Any]) -> View:
    given, suggested, cluster = (
        int(parameters[name]) if parameters.get(name) else None for name in ("given", "suggested", "cluster")
    )
    return View(given, suggested, cluster, str(parameters.get("search") or ""))


def _start(session: Session, parameters: Any) -> dict[str, Any]:
    first = session.next(View(), _CARDS)
    return {"run": session.run.resolve().name, "classes": session.saved.classes, "cards": first, **session.state()}


def _groups(session: Session, parameters: Any) -> dict[str, Any]:
    session.shown.set()  # a page asks once its first card is there
    return session.groups()


def _next(session: Session, parameters: Any) -> dict[str, Any]:
    have = [int(row) for row in parameters.get("have", "").split(",") if row]
    view = _view(parameters)
    return {"cards": session.next(view, _CARDS, have), **session.state(view)}


def _above(session: Session, parameters: Any) -> dict[str, Any]:
    rows = session.above(_view(parameters), float(parameters["share"]))
    cards = [session.card(row) for row in rows[:_CARDS]]
    return {"rows": rows, "labels": [session.suggested(row) for row in rows], "cards": cards}


def _decide(session: Session, parameters: Any) -> dict[str, Any]:
    rows, labels = ([int(one) for one in parameters.get(name, ())] for name in ("rows", "labels"))
    session.decide(int(parameters["version"]), str(parameters["kind"]), rows, labels)
    return {"card": session.card(rows[0]), **session.state()}


def _undo(session: Session, parameters: Any) -> dict[str, Any]:
    rows = session.undo(int(parameters["version"]))
    return {"rows": rows[:_CARDS], "cards": [session.card(row) for row in rows[:_CARDS]], **session.state()}


def _exported(session: Session, form: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"decisions.{form}"
        session.write(out)
        return out.read_bytes()
