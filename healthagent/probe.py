"""One kept connection, one deadline, and every failure becomes a Snapshot that says so."""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from pymysql.err import MySQLError

from healthagent import clock, parse
from healthagent.beside import Bystander
from healthagent.facts import Evidence, Failure, FailureKind, Heartbeat, LocalState, Rows, Snapshot
from healthagent.link import failure_of
from healthagent.lookout import Lookout
from healthagent.process import ServerProcess
from healthagent.session import Login, Session, Watch

__all__ = ["Probe"]

T = TypeVar("T")

# Logins that hang are neither closed (a frozen server would keep them all) nor followed by ever more of their kind.
MAX_ABANDONED = 2
MAX_CONNECTIONS = 3  # with those beside the probe; the account that `sql grants` prints has room for 5
ABANDONED_SECONDS = 30.0
GREETING_SECONDS = 0.1  # after an EOF on the kept connection; a living server greets within 10 ms
EVIDENCE_SECONDS = 0.2
# One for the facts, and one for the replication rows, or what slow facts have left of it: else two slow probes in a
# row would outlast a max_age of 3 s.
PROBE_TIMEOUTS = 1.8
LATE_SECONDS = 0.3  # far less than any freeze that a cluster notices (0.8 x evs.suspect_timeout)
CLOCK_DIGITS = 6  # of a second: what follows would be noise, and no small part of a record
NOTHING = Snapshot(sequence=0, ended_at=0.0)


class UnansweredError(Exception):
    """The deadline has passed. `after_eof`: the server had closed the kept connection right before."""

    def __init__(self, message: str, *, after_eof: bool = False) -> None:
        super().__init__(message)
        self.after_eof = after_eof


class Probe:
    """Reads one server, again and again. Single flight: the owner awaits each `sample` before the next."""

    def __init__(self, login: Login, *, timeout_seconds: float, watch: Watch | None = None) -> None:
        self._login = login
        self._watch = watch or Watch()
        self._timeout = timeout_seconds
        self._session: Session | None = None
        self._abandoned: dict[asyncio.Task[Any], float] = {}
        self._stuck: dict[str, asyncio.Task[Any]] = {}
        self._process = ServerProcess(login.datadir, login.pid_file)
        self._lookout = Lookout("look", seconds=EVIDENCE_SECONDS)
        self._bystander = Bystander(login, self._watch, self._process, timeout_seconds=timeout_seconds)
        self._sequence = 0
        self._answered_at: float | None = None

    def relogin(self, login: Login, timeout_seconds: float, watch: Watch | None = None) -> None:
        """A changed login to the same server: for the next connection. The kept one outlives a password rotation."""
        before, self._login, self._timeout = self._login, login, timeout_seconds
        self._watch = watch or Watch()
        self._bystander.relogin(login, self._watch, timeout_seconds)
        if (login.datadir, login.pid_file) != (before.datadir, before.pid_file):
            self._process.datadir, self._process.pid_file = login.datadir, login.pid_file

    async def sample(self) -> Snapshot:
        """One probe. Ends within twice the timeout and half a second and never raises for anything the server does."""
        return await self._sample(clock.now(), greeting_seconds=self._timeout)

    async def glance(self, *, fast_seconds: float) -> Snapshot | None:
        """A look, between two samples, at what the gates fall for at once. None: all is as the last one has told.

        Else a sample: a whole probe at once, on the same connection; or that nobody answers, which no login has to
        prove again. The glance itself ends within one timeout, so that a slow server's next probe ends before its last
        facts are too old. An answer that is late for a pace of `fast_seconds` leads to a whole probe too: who was
        slow, or was frozen, this program or the server, is judged by a sample.
        """
        session, started = self._session, clock.now()
        deadline = started + self._timeout
        if session is None or session.over:
            return await self.sample()
        try:
            moved = await self._within(session, session.moved(), deadline)
            moved = moved or self._late(fast_seconds)
        except UnansweredError as silence:
            return self._told(await self._silent(silence), started)
        except MySQLError as error:
            session.over, moved = failure_of(error, abandoned=0).kind is FailureKind.LOST, True
        except Exception:
            session.over = moved = True  # it has ended, or is out of step: a new connection tells, within a moment
        if not moved and session.has_threads:
            moved = await self._aside("replications", session.threads_moved(), deadline) is not False
            moved = moved or self._late(fast_seconds)
        if not moved:
            self._answered_at = round(clock.now(), CLOCK_DIGITS)
            return None
        # Where the replication rows have taken the session with them, the timeout has passed once: not once more for a
        # server that is frozen. A living one greets at once.
        gone = self._session is None
        return await self._sample(clock.now(), greeting_seconds=GREETING_SECONDS if gone else self._timeout)

    async def _sample(self, started: float, *, greeting_seconds: float) -> Snapshot:
        self._give_up_abandoned()
        try:
            found = await self._read(greeting_seconds)
        except UnansweredError as silence:
            found = await self._silent(silence)
        except Exception as error:
            # The boundary to the server: whatever it sends (a foreign protocol too) is a fact about it, not a bug.
            found = await self._failed(error)
        return self._told(found, started)

    async def _silent(self, silence: UnansweredError) -> Snapshot:
        failure = Failure(kind=FailureKind.TIMEOUT, message=str(silence), silent_after_eof=silence.after_eof)
        return replace(NOTHING, failure=failure, evidence=await self._evidence(transfers=False))

    async def _failed(self, error: Exception) -> Snapshot:
        self._drop()
        failure = failure_of(error, abandoned=len(self._abandoned))
        shut = failure.kind in (FailureKind.REFUSED, FailureKind.LOST)
        return replace(NOTHING, failure=failure, evidence=await self._evidence(transfers=True) if shut else Evidence())

    def _told(self, found: Snapshot, started: float) -> Snapshot:
        ended = round(clock.now(), CLOCK_DIGITS)
        self._sequence += 1
        found = replace(
            found,
            sequence=self._sequence,
            ended_at=ended,
            duration_seconds=round(ended - started, CLOCK_DIGITS),
            glanced_at=self._answered_at,
        )
        if found.failure is None:
            self._answered_at = ended
        return replace(found, beside=self._bystander.look(found, spare=self._spare()))

    def _late(self, fast_seconds: float) -> bool:
        """Whether the answer that has just come is later behind the last one than a healthy pace makes it."""
        if self._answered_at is None:
            return True
        return clock.now() - self._answered_at > fast_seconds + min(fast_seconds, LATE_SECONDS)

    async def ended(self) -> None:
        """Returns when the server closes the kept connection: a reason to probe now. To await between samples."""
        if self._session is None:
            await asyncio.Event().wait()
        elif not self._session.over:
            await self._session.ended()

    async def close(self) -> None:
        """Gives every connection back."""
        self._drop()
        tasks = list(self._abandoned)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._bystander.close()

    async def _read(self, greeting_seconds: float) -> Snapshot:
        last = clock.now() + PROBE_TIMEOUTS * self._timeout
        rows = await self._facts(greeting_seconds)
        server, galera = parse.server(rows), parse.galera(rows)
        if self._spare() > 0:
            await self._bystander.first(server)
        donor = galera is not None and galera.local_state in (LocalState.DONOR_DESYNCED, LocalState.JOINED)
        deadline = min(clock.now() + self._timeout, last)
        slaves = await self._replications(deadline)
        replications = None if slaves is None else parse.replications(slaves)
        return replace(
            NOTHING,
            server=server,
            galera=galera,
            replications=replications,
            rows=Rows(facts=rows, slaves=None if slaves is None else tuple(slaves)),
            heartbeats=await self._heartbeats(deadline) if replications else None,
            evidence=await self._evidence(transfers=True) if donor else Evidence(),
        )

    async def _facts(self, greeting_seconds: float) -> Mapping[str, object]:
        deadline = clock.now() + self._timeout
        if self._session is None:
            return await self._login_and_read(deadline, greeting_seconds=greeting_seconds)
        if not self._session.over:
            try:
                return await self._within(self._session, self._session.facts(), deadline)
            except UnansweredError:
                raise
            except Exception as error:
                # also an answer that cannot be understood: the last word of a killed session comes out of turn
                if failure_of(error, abandoned=0).kind not in (FailureKind.LOST, FailureKind.QUERY):
                    raise
        # Somebody killed our session, or the server is gone. A new connection tells, at once.
        self._drop()
        try:
            return await self._login_and_read(deadline, greeting_seconds=GREETING_SECONDS)
        except UnansweredError as silence:
            raise UnansweredError(str(silence), after_eof=True) from silence

    async def _login_and_read(self, deadline: float, *, greeting_seconds: float) -> Mapping[str, object]:
        await self._await_room(deadline)
        session = Session(self._login, statement_seconds=self._timeout)
        rows = await self._within(session, session.facts(), deadline, greeting_seconds=greeting_seconds)
        self._session = session
        if self._login.local:
            self._process.datadir = self._login.datadir or session.datadir
            self._process.pid_file = self._login.pid_file or session.pid_file
            pid = session.server_pid
            await self._lookout.look(lambda: self._process.adopt(pid))
        return rows

    async def _replications(self, deadline: float) -> list[dict[str, str | None]] | None:
        """With a deadline of its own: the statement waits behind a STOP SLAVE, and the other facts must not."""
        if self._session is None:
            return None
        return await self._aside("replications", self._session.replications(), deadline)

    async def _heartbeats(self, deadline: float) -> tuple[Heartbeat, ...] | None:
        """Within what the replication rows have left: a probe ends within twice the timeout."""
        if self._session is None or self._watch.heartbeat_table is None or clock.now() > deadline - self._timeout / 2:
            return None
        return await self._aside("heartbeats", self._session.heartbeats(self._watch), deadline)

    async def _aside(self, name: str, work: Coroutine[Any, Any, T], deadline: float) -> T | None:
        """What the kept session brings, or None. It is not asked again while that very question still hangs."""
        session, stuck = self._session, self._stuck.get(name)
        if session is None or (stuck is not None and not stuck.done()):
            work.close()
            return None
        try:
            return await self._within(session, work, deadline)
        except UnansweredError:
            self._stuck[name] = next(reversed(self._abandoned))
        except MySQLError as error:
            # an answer is no end: a right is missing (1227, 1142), the statement killed (1317) or too slow (1969)
            session.over = failure_of(error, abandoned=0).kind is FailureKind.LOST
        except Exception:
            self._drop()  # not understood, so nobody knows where the next answer begins
        return None

    async def _within(
        self, session: Session, work: Coroutine[Any, Any, T], deadline: float, *, greeting_seconds: float = 0.0
    ) -> T:
        """The result of `work`, or UnansweredError: then it is left alone with its session until the server speaks."""
        task = asyncio.ensure_future(work)
        try:
            if greeting_seconds:
                await asyncio.wait({task}, timeout=greeting_seconds)
            if not greeting_seconds or session.greeted:
                await asyncio.wait({task}, timeout=max(0.0, deadline - clock.now()))
            if task.done():
                return task.result()
        finally:
            if not task.done():
                self._abandon(task, session)
            elif not task.cancelled():
                task.exception()  # we are cancelled at this very moment: else the log would tell of it at the end
        raise UnansweredError(f"{self._login.where} did not answer in {self._timeout * 1000:.0f} ms")

    def _abandon(self, task: asyncio.Task[Any], session: Session) -> None:
        self._abandoned[task] = clock.now()
        if session is self._session:
            self._session = None

        def forget(done: asyncio.Task[Any]) -> None:
            del self._abandoned[done]
            if not done.cancelled():
                done.exception()  # it has been told already, as a timeout
            session.close()

        task.add_done_callback(forget)

    def _give_up_abandoned(self) -> None:
        """A peer that vanished without a word (a firewall that forgot the flow) never answers."""
        for task, since in self._abandoned.items():
            if clock.now() - since > ABANDONED_SECONDS:
                task.cancel()

    async def _await_room(self, deadline: float) -> None:
        """While two logins hang, a third would only fill the account's limit: one of them must end first."""
        if self._full():
            waiting = self._bystander.logins | self._abandoned.keys()
            timeout = max(0.0, deadline - clock.now())
            await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if self._full():
            raise UnansweredError(f"{len(self._abandoned)} connections to {self._login.where} still wait for an answer")

    def _full(self) -> bool:
        return len(self._abandoned) >= MAX_ABANDONED or self._spare() <= 0

    def _spare(self) -> int:
        """How many connections may be opened now."""
        kept = self._session is not None
        return MAX_CONNECTIONS - kept - len(self._abandoned) - self._bystander.connections

    def _drop(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session = None

    async def _evidence(self, *, transfers: bool) -> Evidence:
        """What /proc shows; unknown on another host, and where a look at /proc itself hangs."""
        if not self._login.local:
            return Evidence()
        return await self._lookout.look(lambda: self._process.look(transfers=transfers)) or Evidence()
