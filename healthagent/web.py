"""HTTP for balancers and people: exact paths, answers made from the board, no query to the database, ever."""

import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from healthagent import __version__, clock
from healthagent.board import Board
from healthagent.model import Publication, Role, Verdict
from healthagent.render import (
    JSON_TYPE,
    TEXT_TYPE,
    Answer,
    document_answer,
    refusal,
    role_answers,
    state_document,
    why_document,
)
from healthagent.wire import Connection, Server

__all__ = ["ALIASES", "Web"]

ALIASES: dict[str, str] = {
    "/": "any",
    "/health": "any",
    "/readiness": "any",
    "/primary": "writer",
    "/master": "writer",
    "/read-write": "writer",
    "/read-only": "reader",
    "/slave": "replica",
}
LIVENESS = {
    TEXT_TYPE: Answer(200, "OK", {"Cache-Control": "no-store", "Content-Type": TEXT_TYPE}, b"OK liveness\n"),
    JSON_TYPE: document_answer({"role": "liveness", "verdict": "up"}),
}
FORMATS = {"json": JSON_TYPE, "text": TEXT_TYPE}


class RefusedError(Exception):
    """A request that gets 400; the text names what is wrong with it."""


class Web:
    """The application behind every listener, TCP and Unix socket alike."""

    def __init__(self, board: Board, roles: tuple[Role, ...], about_config: Callable[[], Mapping[str, Any]]) -> None:
        self._board = board
        self._about_config = about_config
        self._clients: dict[Connection, None] = {}
        self._rendered: Publication | None = None
        self._answers: dict[str, dict[str, Answer]] = {}
        self._documents: dict[str, Callable[[Mapping[str, str]], Answer]] = {"/state": self._state, "/why": self._why}
        self.set_roles(roles)

    def set_roles(self, roles: tuple[Role, ...]) -> None:
        """The roles that have a path from now on."""
        self._roles = tuple(role.name for role in roles)
        self._paths = ALIASES | {f"/{name}": name for name in self._roles}

    def server(self) -> Server:
        """The protocol factory for a listener."""
        return Server(self.handle, self._clients)

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """One request; whatever it asks for that is not known is 400. (wire has seen to its method and its form.)"""
        media = JSON_TYPE if _wants_json(request.headers.get("Accept", "")) else TEXT_TYPE
        try:
            return _respond(request, self._answer(request.raw_path, media))
        except RefusedError as error:
            return _respond(request, refusal("Bad Request", str(error), media))

    def _answer(self, target: str, media: str) -> Answer:
        path, _, query = target.partition("?")
        role = self._paths.get(path)
        if role is not None:
            media = _parameters(query, path, "format").get("format", media)
            # a role that a reload has just brought has no verdict until the next sample
            answers = self._role_answers().get(role) or role_answers(Verdict(role=role, since_wall=time.time()))
            return answers[media]
        if path == "/liveness":
            return LIVENESS[_parameters(query, path, "format").get("format", media)]
        if path in self._documents:
            known = ("format", "role") if path == "/why" else ("format",)
            parameters = _parameters(query, path, *known)
            if parameters.get("format", JSON_TYPE) != JSON_TYPE:
                raise RefusedError(f"parameter 'format' is 'text'; {path} is JSON only")
            return self._documents[path](parameters)
        others = "/liveness, /state, /why?role=ROLE"
        raise RefusedError(f"unknown path {path!r}; roles: {', '.join(self._roles)}; others: {others}")

    def _role_answers(self) -> dict[str, dict[str, Answer]]:
        """Rendered once for each publication, whoever asks how often."""
        publication = self._board.current()
        if publication is not self._rendered:
            self._answers = {name: role_answers(verdict) for name, verdict in publication.verdicts.items()}
            self._rendered = publication
        return self._answers

    def _state(self, parameters: Mapping[str, str]) -> Answer:
        publication, now = self._board.current(), clock.now()
        return document_answer(state_document(publication, now=now, version=__version__, config=self._about_config()))

    def _why(self, parameters: Mapping[str, str]) -> Answer:
        role = parameters.get("role", "any")
        if role not in self._roles:
            raise RefusedError(f"unknown role {role!r}; roles: {', '.join(self._roles)}")
        return document_answer(why_document(self._board.current().gates.get(role, ())))


def _parameters(query: str, path: str, *known: str) -> dict[str, str]:
    """The parameters by name; `format` as a media type."""
    found: dict[str, str] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=8, errors="strict")
    except ValueError as error:
        raise RefusedError(f"malformed parameters: {error}") from error
    for name, value in pairs:
        if name not in known:
            raise RefusedError(f"unknown parameter {name!r}; {path} takes {', '.join(known)}")
        if name in found:
            raise RefusedError(f"parameter {name!r} is given twice")
        if name == "format":
            if value not in FORMATS:
                raise RefusedError(f"parameter 'format' is {value!r}; must be one of {', '.join(FORMATS)}")
            value = FORMATS[value]
        found[name] = value
    return found


def _wants_json(accept: str) -> bool:
    """`Accept` names application/json and does not refuse it."""
    for entry in accept.split(","):
        media, *options = (part.strip().lower() for part in entry.split(";"))
        if media == JSON_TYPE:
            return not any(re.fullmatch(r"q=0(\.0*)?", option) for option in options)
    return False


def _respond(request: web.BaseRequest, answer: Answer) -> web.Response:
    body = b"" if request.method == "OPTIONS" else answer.body
    headers = {**answer.headers, "Server": "healthagent"}
    return web.Response(status=answer.code, reason=answer.phrase, headers=headers, body=body)
