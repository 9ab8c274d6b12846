"""The way that clients take: a login over TCP at the server's port, or whether that port is listened on at all."""

import asyncio
from dataclasses import replace

from healthagent.errand import Errand
from healthagent.facts import ClientPort, Failure, FailureKind, Server, Snapshot
from healthagent.link import failure_of
from healthagent.lookout import Lookout
from healthagent.process import ServerProcess, listens
from healthagent.session import Login, link_to

__all__ = ["ClientPortCheck"]

AGAIN_SECONDS = 1.0  # after a bad result: a server that is back must not wait for the whole pace
HANGING_SECONDS = 30.0
LOOK_SECONDS, FIRST_SECONDS = 0.2, 0.2
WILDCARDS = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


class ClientPortCheck:
    """A login where the account has a password; an account by unix_socket is refused over TCP, so there it looks.

    It never just connects: the server counts that as an aborted connection, and blocks a host after too many of them.
    """

    def __init__(self, login: Login, process: ServerProcess, *, timeout_seconds: float) -> None:
        self._process = process
        self._errand = Errand()
        self._lookout = Lookout("listen", seconds=LOOK_SECONDS)
        self._server: Server | None = None
        self._login, self._timeout = login, timeout_seconds
        self._denied = False
        self._result: ClientPort | None = None

    def relogin(self, login: Login, timeout_seconds: float) -> None:
        """Another login is tried anew, even if the last one was refused."""
        if login != self._login:
            self._denied, self._result = False, None
            self._errand.soon()
        self._login, self._timeout = login, timeout_seconds

    async def first(self, server: Server) -> None:
        """Waits for the first check of a server, but not long: whether clients get in is asked before they are sent."""
        if self._result is None and not self._errand.under_way:
            self._learn(server)
            self._errand.run(self._check(server))
            await self._errand.wait(FIRST_SECONDS)

    @property
    def logins(self) -> set[asyncio.Task[None]]:
        """The one under way, or none."""
        return self._errand.tasks

    def look(self, snapshot: Snapshot, pace_seconds: float, *, may_begin: bool) -> ClientPort | None:
        """What is known by now, after each probe; begins a check when one is due. None: nothing yet.

        Nothing is known either while nobody answers at all: then a result from before would outlive the server.
        """
        if snapshot.server is not None:
            self._learn(snapshot.server)
        elif snapshot.failure is not None and snapshot.failure.kind in (FailureKind.REFUSED, FailureKind.LOST):
            self._result = None
            self._errand.soon()
            return None
        if self._server is None:
            return None
        if self._errand.late(self._timeout):
            self._result = self._unanswered(self._server)
        if self._errand.late(HANGING_SECONDS):
            self._errand.cancel()
        closed = self._result is not None and self._result.open is False
        # A frozen server keeps whatever comes: the probe's own logins are enough of it.
        hung = snapshot.failure is not None and snapshot.failure.kind is FailureKind.TIMEOUT
        if may_begin and not hung and self._errand.due(min(pace_seconds, AGAIN_SECONDS) if closed else pace_seconds):
            self._errand.run(self._check(self._server))
        return self._result

    async def close(self) -> None:
        await self._errand.close()

    def _learn(self, server: Server) -> None:
        """A server that has been started anew may know our account differently."""
        before = self._server
        if before is not None and (server.uptime_seconds or 0) < (before.uptime_seconds or 0):
            self._denied = False
        self._server = server

    async def _check(self, server: Server) -> None:
        self._result = await self._seen(server)

    async def _seen(self, server: Server) -> ClientPort:
        if self._login.local and (server.skip_networking or server.port == 0):
            return ClientPort(open=False, how="listen", message="skip_networking is ON")
        address = self._address(server)
        if address is None or self._denied:
            return await self._listening(server)
        host, port = address
        failure = await self._log_in(host, port)
        where = f"{host}:{port}"
        if failure is None:
            return ClientPort(open=True, how="login", address=where)
        if failure.kind in (FailureKind.LOGIN, FailureKind.QUERY):
            # Also 4031 (TLS demanded) and plugins that we cannot speak. Every further try would be a line in its log.
            self._denied = True
            return await self._listening(server)
        if failure.kind is FailureKind.LOCAL:
            return ClientPort(how="login", address=where, message=failure.message)
        if failure.kind in (FailureKind.REFUSED, FailureKind.UNREACHABLE) and self._login.local:
            # a server with a network of its own (a container) listens there, and not at its address here
            listening = await self._listening(server)
            if listening.open:
                return listening
        limit = failure.kind is FailureKind.LIMIT
        return ClientPort(open=limit, how="login", address=where, code=failure.code, message=failure.message)

    def _address(self, server: Server) -> tuple[str, int] | None:
        """Where to log in; None where this account cannot, or where its own way is not the one of clients."""
        login = self._login
        if login.socket is None and not login.local:
            return login.host, login.port
        if login.socket is None and login.port != server.port:  # extra_port, or the mapped port of a container
            return None
        if login.socket is not None and not login.password:
            return None
        return (_bound(server), server.port) if server.port is not None else None

    async def _log_in(self, host: str, port: int) -> Failure | None:
        link = link_to(replace(self._login, socket=None, host=host, port=port))
        try:
            await link.greet()
            await link.leave()
        except Exception as error:  # whatever answers there: a fact about the server, not a bug
            return failure_of(error, abandoned=0)
        finally:
            link.abort()
        return None

    async def _listening(self, server: Server) -> ClientPort:
        port, pid = server.port, self._process.pid
        if not self._login.local or port is None or pid is None:
            return ClientPort(how="listen")
        found = await self._lookout.look(lambda: listens(pid, port, server.bind_address))
        where = f"{(server.bind_address or '*').partition(',')[0]}:{port}"
        message = "nobody listens there" if found is False else None
        return ClientPort(open=found, how="listen", address=where, message=message)

    def _unanswered(self, server: Server) -> ClientPort:
        address = self._address(server)
        if address is None:
            return ClientPort(how="listen")
        message = f"no answer in {self._timeout * 1000:.0f} ms"
        return ClientPort(open=False, how="login", address=f"{address[0]}:{address[1]}", message=message)


def _bound(server: Server) -> str:
    """The first of bind_address (a list from MariaDB 11 on); none at all means every address."""
    first = (server.bind_address or "*").partition(",")[0].strip()
    return WILDCARDS.get(first, first)
