"""HTTP for balancers and people: exact paths, answers made from the board, no query to the database, ever."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from healthagent import __version__, clock
from healthagent.balancers import Balancers
from healthagent.board import Board
from healthagent.decide import reports
from healthagent.handler import Server
from healthagent.healthcheck import SERVER, message, recognise, wants_json
from healthagent.metrics import Metrics
from healthagent.model import Publication, Verdict
from healthagent.policy import Role
from healthagent.question import tightened
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
from healthagent.tally import CONTROL, Cell
from healthagent.wire import Connection

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
TEXT = {"Cache-Control": "no-store", "Content-Type": TEXT_TYPE}
LIVENESS = {
    TEXT_TYPE: Answer(200, "OK", TEXT, b"OK liveness\n"),
    JSON_TYPE: document_answer({"role": "liveness", "verdict": "up"}),
}
ACK, METRICS = "/ack", "/metrics"
SEND_STATE = "X-Haproxy-Server-State"
# a role that exists only where the configuration asks for it, and how it does
OPT_IN = {"/stale-ok": "; /stale-ok exists with `roles: {stale-ok: {enabled: true}}`"}
FORMATS = {"json": JSON_TYPE, "text": TEXT_TYPE}
PREPARED = 256  # balancers ask in the same words each time; who does not is answered too, a few microseconds later


class RefusedError(Exception):
    """A request that gets 400; the text names what is wrong with it."""


@dataclass(slots=True)
class Shelf:
    """The answers of one listener that are ready, each with the cell that counts it: as bytes are made for a verdict
    and a second, so are these.
    """

    listener: str
    control: bool
    publication: Publication | None = None
    second: int = 0
    ready: dict[bytes, tuple[tuple[bytes, bool], Cell]] = field(default_factory=dict)


class Web:
    """The application behind every listener, TCP and Unix socket alike."""

    def __init__(
        self,
        board: Board,
        roles: tuple[Role, ...],
        about_config: Callable[[], Mapping[str, Any]],
        ask: Callable[[str, Role], Publication],
        acknowledge: Callable[[bool], tuple[str, ...]],
        metrics: Metrics | None = None,
        *,
        drain_code: int = 503,
    ) -> None:
        """`ask`: what to tell with one more question. `acknowledge`: takes whether another cluster is meant too, and
        returns the words of what it ended. `metrics`: where checks are counted, too; its own without. `drain_code`:
        503 or 404.
        """
        self._board = board
        self._acknowledge = acknowledge
        self._about_config = about_config
        self._ask = ask
        self._balancers = Balancers()
        self._clients: dict[Connection, None] = {}
        self._metrics = metrics or Metrics(board)
        self._cell = self._metrics.tally.cell
        self._rendered: Publication | None = None
        self._shelves: dict[str, Shelf] = {}
        self._documents: dict[str, Callable[[Mapping[str, str]], Answer]] = {"/state": self._state, "/why": self._why}
        self.adopt(roles, drain_code=drain_code)

    def adopt(self, roles: tuple[Role, ...], *, drain_code: int) -> None:
        """The roles that have a path from now on, and the status of one that is draining."""
        self._drain_code = drain_code
        for shelf in self._shelves.values():
            shelf.publication = None
        self._answers: dict[str, tuple[Verdict, dict[str, Answer]]] = {}
        self._roles = {role.name: role for role in roles}
        self._served = [role.name for role in roles if not role.dry_run]
        self._paths = ALIASES | {f"/{name}": name for name in self._served}

    def server(self, control: bool = False, listener: str = "") -> Server:
        """The protocol factory for a listener; only from `control`, the Unix socket, changes are accepted. `listener`:
        as what its checks are counted.
        """
        shelf = self.shelf(control, listener)
        return Server(
            partial(self.handle, shelf=shelf),
            partial(self.prepared, shelf=shelf),
            self._clients,
            posts=(ACK,),
            prefaces=not control,
            refused=lambda status: self._count(shelf, "", status),
        )

    def shelf(self, control: bool = False, listener: str = "") -> Shelf:
        """That of a listener, the same one if it comes back."""
        name = CONTROL if control else listener
        return self._shelves.setdefault(name, Shelf(name, control))

    def prepared(self, request: bytes, peer: str, *, shelf: Shelf) -> tuple[bytes, bool] | None:
        """The whole answer to a health check, and whether the connection goes on; None: handle() is to answer.

        `request`: all that the client has sent. The bytes are made once for each verdict and second (Date).
        """
        publication, second = self._board.current(), int(time.time())
        if publication is not shelf.publication or second != shelf.second:
            shelf.ready.clear()
            shelf.publication, shelf.second = publication, second
        known = shelf.ready.get(request) or self._prepare(request, peer, shelf)
        if known is None:
            return None
        answer, cell = known
        cell[0] += 1
        return answer

    def _prepare(self, request: bytes, peer: str, shelf: Shelf) -> tuple[tuple[bytes, bool], Cell] | None:
        publication, known = shelf.publication, recognise(request)
        role = self._paths.get(known.form.target) if known is not None else None
        if known is None or role is None or publication is None:
            return None
        answer = self._role_answer(publication, role)[known.form.media]
        date = formatdate(shelf.second, usegmt=True)
        ready = (
            (message(answer, known.form, date), known.form.stays),
            self._cell(shelf.listener, role, str(answer.code)),
        )
        if known.said is not None:  # to be heard each time
            if not shelf.control:
                self._balancers.hear(peer, role, known.said, clock.now())
        elif len(shelf.ready) < PREPARED:
            shelf.ready[request] = ready
        return ready

    async def handle(self, request: web.BaseRequest, *, shelf: Shelf) -> web.Response:
        """One request; whatever it asks for that is not known is 400. (wire has seen to its method and its form.)"""
        media = JSON_TYPE if wants_json(request.headers.get("Accept", "")) else TEXT_TYPE
        path, said = request.raw_path.partition("?")[0], request.headers.get(SEND_STATE)
        if said is not None and path in self._paths and not shelf.control:
            self._balancers.hear(request.remote or "", self._paths[path], said, clock.now())
        try:
            if path == ACK:
                answer = self._ack(request, media, shelf.control)
            elif path == METRICS:
                answer = self._scrape(request)
            else:
                answer = self._answer(request.raw_path, media)
        except RefusedError as error:
            answer = refusal("Bad Request", str(error), media)
        self._count(shelf, self._paths.get(path, ""), answer.code)
        return _respond(request, answer)

    def _count(self, shelf: Shelf, role: str, code: int) -> None:
        self._cell(shelf.listener, role, str(code))[0] += 1

    def _answer(self, target: str, media: str) -> Answer:
        path, _, query = target.partition("?")
        role = self._paths.get(path)
        if role is not None:
            if not query:
                return self._role_answer(self._board.current(), role)[media]
            parameters = _parameters(query, path)
            media = _format(parameters.pop("format", None), media)
            if not parameters:
                return self._role_answer(self._board.current(), role)[media]
            try:
                key, stricter = tightened(self._roles[role], parameters)
            except ValueError as error:
                raise RefusedError(str(error)) from error
            return self._role_answer(self._ask(key, stricter), key)[media]
        if path == "/liveness":
            return LIVENESS[_format(_parameters(query, path, "format").get("format"), media)]
        if path in self._documents:
            known = ("format", "role") if path == "/why" else ("format",)
            parameters = _parameters(query, path, *known)
            if _format(parameters.get("format"), JSON_TYPE) != JSON_TYPE:
                raise RefusedError(f"parameter 'format' is 'text'; {path} is JSON only")
            return self._documents[path](parameters)
        if path.removeprefix("/") in self._roles:
            raise RefusedError(_dry_run(path.removeprefix("/")))
        others = f"/liveness, /state, /why?role=ROLE, {METRICS}{OPT_IN.get(path, '')}"
        raise RefusedError(f"unknown path {path!r}; roles: {', '.join(self._served)}; others: {others}")

    def _scrape(self, request: web.BaseRequest) -> Answer:
        """Every metric, in the format that the Accept header asks for."""
        for name in _parameters(request.raw_path.partition("?")[2], METRICS):
            raise RefusedError(f"unknown parameter {name!r}; {METRICS} takes none, the Accept header says the format")
        content_type, body = self._metrics.scrape(request.headers.get("Accept", ""))
        return Answer(200, "OK", {"Cache-Control": "no-store", "Content-Type": content_type}, body)

    def _ack(self, request: web.BaseRequest, media: str, control: bool) -> Answer:
        """An administrator's word that what the agent holds against this node has been seen to."""
        if request.method != "POST":
            return _refusal(405, "Method Not Allowed", f"{ACK} takes POST, on the control socket", media, Allow="POST")
        if not control:
            return _refusal(403, "Forbidden", "changes are accepted on the control socket only", media)
        parameters = _parameters(request.raw_path.partition("?")[2], ACK, "format", "cluster")
        if parameters.get("cluster", "1") != "1":
            raise RefusedError(f"parameter 'cluster' is {parameters['cluster']!r}; must be 1, or left out")
        media = _format(parameters.get("format"), media)
        words = self._acknowledge("cluster" in parameters)
        if media == JSON_TYPE:
            return document_answer({"acknowledged": list(words)})
        says = f"acknowledged: {', '.join(words)}" if words else "nothing to acknowledge"
        return Answer(200, "OK", TEXT, f"{says}\n".encode())

    def _role_answer(self, publication: Publication, key: str) -> dict[str, Answer]:
        """Rendered once for each verdict, whoever asks how often."""
        verdict = publication.verdicts.get(key)
        if verdict is None:
            # a role that a reload has just brought has no verdict until the next sample
            return role_answers(Verdict(role=key.partition("?")[0], since_wall=time.time()))
        if publication is not self._rendered:
            answers = self._answers.items()
            self._answers = {name: known for name, known in answers if publication.verdicts.get(name) is known[0]}
            self._rendered = publication
        known = self._answers.get(key)
        if known is None:
            known = self._answers[key] = (verdict, role_answers(verdict, drain_code=self._drain_code))
        return known[1]

    def _state(self, parameters: Mapping[str, str]) -> Answer:
        publication, now, config = self._board.current(), clock.now(), self._about_config()
        balancers = self._balancers.known(now)
        return document_answer(
            state_document(publication, now=now, version=__version__, config=config, balancers=balancers)
        )

    def _why(self, parameters: Mapping[str, str]) -> Answer:
        role = parameters.get("role", "any")
        if role not in self._roles:
            raise RefusedError(f"unknown role {role!r}; roles: {', '.join(self._roles)}")
        publication = self._board.current()
        verdict, factors = publication.verdicts.get(role), publication.factors.get(role)
        return document_answer(why_document(reports(publication, role), factors, verdict))


def _dry_run(role: str) -> str:
    told = f"/state and /why?role={role} tell its verdict"
    return f"{role} is a dry run, nothing may go by it; {told}, and without roles.{role}.dry_run it is served"


def _parameters(query: str, path: str, *known: str) -> dict[str, str]:
    """The parameters by name, each given once; only `known` ones where those are named."""
    found: dict[str, str] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=8, errors="strict")
    except ValueError as error:
        raise RefusedError(f"malformed parameters: {error}") from error
    for name, value in pairs:
        if known and name not in known:
            raise RefusedError(f"unknown parameter {name!r}; {path} takes {', '.join(known)}")
        if name in found:
            raise RefusedError(f"parameter {name!r} is given twice")
        found[name] = value
    return found


def _format(value: str | None, default: str) -> str:
    """`json` or `text` -> the media type."""
    if value is not None and value not in FORMATS:
        raise RefusedError(f"parameter 'format' is {value!r}; must be one of {', '.join(FORMATS)}")
    return FORMATS[value] if value is not None else default


def _refusal(code: int, phrase: str, says: str, media: str, **headers: str) -> Answer:
    answer = refusal(phrase, says, media)
    return replace(answer, code=code, headers={**answer.headers, **headers})


def _respond(request: web.BaseRequest, answer: Answer) -> web.Response:
    body = b"" if request.method == "OPTIONS" else answer.body
    headers = {**answer.headers, "Server": SERVER}
    return web.Response(status=answer.code, reason=answer.phrase, headers=headers, body=body)
