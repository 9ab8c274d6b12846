"""The gates of a Galera node. docs/gates.md has them as a table, and what state 2 can be."""

from healthagent.assess import desync_explains, episode_state, node_state, reason_of, rejecting
from healthagent.model import Base, Finding, Gate, LocalState, Outcome
from healthagent.reasons import Reason, State
from healthagent.trail import provider_loaded, thaw_seconds
from healthagent.view import View, at_once

# a receive queue that a node out of flow control may have and still serve; a desynced one comes back at half of it
SHORT_QUEUE = 100
# how long state 2 may last: wsrep_desync and IST; what hangs writes (FTWRL, RSU, a backup's end); the same for reads
HOLD_DESYNC, HOLD_WRITES, HOLD_READS = 5.0, 2.0, 5.0


def wsrep_on(view: View) -> Finding:
    loaded, on = provider_loaded(view.snapshot.galera), view.galera.on
    reason = Reason.WSREP_OFF if not loaded or on is False else Reason.UNKNOWN
    return at_once(
        Gate.WSREP_ON, loaded and on is True, reason, value=on if loaded else view.galera.provider, limit=True
    )


def primary_component(view: View) -> Finding:
    status = view.galera.cluster_status
    disconnected = status == "Disconnected" or view.galera.connected is False
    reason = Reason.DISCONNECTED if disconnected else Reason.UNKNOWN if status is None else Reason.NON_PRIMARY
    return at_once(Gate.PRIMARY_COMPONENT, status == "Primary", reason, value=status, limit="Primary")


def ready(view: View) -> Finding:
    ready, connected = view.galera.ready, view.galera.connected
    reason = Reason.DISCONNECTED if connected is False else Reason.NOT_READY if ready is False else Reason.UNKNOWN
    return at_once(Gate.READY, ready is True and connected is True, reason, value=ready, limit=True)


def accepting(view: View) -> Finding:
    galera = view.galera
    reason = Reason.UNKNOWN if galera.reject_queries is None else Reason.REJECTING
    passed = galera.reject_queries == "NONE" and not rejecting(galera)
    return at_once(Gate.ACCEPTING, passed, reason, value=galera.reject_queries, limit="NONE")


def thaw(view: View) -> Finding:
    """A node that was frozen says Synced and serves old rows until it has noticed."""
    frozen, now = view.trail.thaw, view.snapshot.ended_at
    value = None if frozen is None else round(now - frozen.at, 3)
    return at_once(Gate.THAW, frozen is None, Reason.THAWED, value=value, limit=thaw_seconds(view.galera))


def state(view: View) -> Finding:
    """Synced, or an episode of state 2, which `donor` and `desync` judge."""
    passed = view.galera.local_state == LocalState.SYNCED or view.trail.desync is not None
    return local_state(view, passed)


def synced(view: View) -> Finding:
    """`state` for a role that asks for wsrep_local_state 4 at this instant."""
    return local_state(view, view.galera.local_state == LocalState.SYNCED)


def not_galera(view: View) -> Finding:
    return at_once(Gate.STATE, False, Reason.NOT_GALERA, value=None, limit=LocalState.SYNCED)


def local_state(view: View, passed: bool) -> Finding:
    state = node_state(view.snapshot, view.trail, view.policy)
    reason = Reason.NOT_READY if state is State.SYNCED else reason_of(state)
    return at_once(Gate.STATE, passed, reason, value=view.galera.local_state, limit=LocalState.SYNCED)


def donor(view: View) -> Finding:
    """A copy that is sent from here, until the node is synced again.

    One that blocks is never allowed: its writes hang for the whole copy.
    """
    state = _episode_state(view)
    if state is State.DESYNCED:
        return Finding(gate=Gate.DONOR)
    queue = view.galera.recv_queue
    allowed = view.role.donor and state is State.DONOR and queue is not None and queue <= SHORT_QUEUE
    copies = view.trail.desync.copies if view.trail.desync is not None else ()
    method = ",".join(sorted({transfer.method for transfer in copies})) or "catching up"
    return at_once(Gate.DONOR, allowed, reason_of(state), value=method, limit=SHORT_QUEUE if view.role.donor else None)


def desync(view: View) -> Finding:
    """State 2 without a copy from here: how long it may last depends on what it is and on who asks."""
    episode, galera = view.trail.desync, view.galera
    if episode is None or _episode_state(view) is not State.DESYNCED:
        return Finding(gate=Gate.DESYNC, value=galera.local_state, limit=LocalState.SYNCED)
    limit = SHORT_QUEUE // 2 if Gate.DESYNC in view.fallen else SHORT_QUEUE
    allowed = view.role.desync and galera.recv_queue is not None and galera.recv_queue <= limit
    hold = HOLD_READS if view.role.base is Base.READER else HOLD_WRITES
    return Finding(
        gate=Gate.DESYNC,
        outcome=Outcome.PASS if allowed else Outcome.FAIL,
        reason=Reason.DESYNCED,
        # neither wsrep_desync nor an IST blocks anything
        hold_seconds=HOLD_DESYNC if desync_explains(galera) or episode.transfers else hold,
        hold_samples=2,
        value="wsrep_desync" if galera.desync else "ist" if episode.transfers else galera.local_state,
        limit=f"recv_queue {limit}" if view.role.desync else LocalState.SYNCED,
    )


def _episode_state(view: View) -> State:
    episode = view.trail.desync
    return State.DESYNCED if episode is None else episode_state(episode, view.galera, view.snapshot.ended_at)
