"""The gates of a Galera node. docs/gates.md has them as a table, and what state 2 can be."""

from healthagent.assess import PROGRESS_SECONDS, desync_explains, episode_state, is_in_view, reason_of, rejecting
from healthagent.facts import LocalState
from healthagent.model import DAMPED, PASSED, Damping, Finding, Outcome
from healthagent.policy import FlowControl
from healthagent.reasons import Reason, State
from healthagent.trail import provider_loaded, thaw_seconds
from healthagent.view import View, judged

# a receive queue that a node out of flow control may have and still serve; a desynced one comes back at half of it
SHORT_QUEUE = 100
# how long state 2 may last: wsrep_desync and IST; what hangs writes (FTWRL, RSU, a backup's end); the same for reads
HOLD_DESYNC, HOLD_WRITES, HOLD_READS = Damping(5.0, 2), Damping(2.0, 2), Damping(5.0, 2)
# the part of the time that a node may pause the cluster before a role that minds falls
FLOW_STOP = 0.8
CLUSTER_PAUSES = 0.2


def wsrep_on(view: View) -> Finding:
    loaded, on = provider_loaded(view.snapshot.galera), view.galera.on
    reason = Reason.WSREP_OFF if not loaded or on is False else Reason.UNKNOWN
    return judged(loaded and on is True, reason, on if loaded else view.galera.provider, True)


def primary_component(view: View) -> Finding:
    status = view.galera.cluster_status
    if status == "Primary":
        return judged(is_in_view(view.galera), Reason.UNKNOWN, status, "Primary")
    disconnected = status == "Disconnected" or view.galera.connected is False
    reason = Reason.DISCONNECTED if disconnected else Reason.UNKNOWN if status is None else Reason.NON_PRIMARY
    return Finding(Outcome.FAIL, reason, status, "Primary")


def ready(view: View) -> Finding:
    ready, connected = view.galera.ready, view.galera.connected
    reason = Reason.DISCONNECTED if connected is False else Reason.NOT_READY if ready is False else Reason.UNKNOWN
    value = ready if connected else "wsrep_connected OFF" if connected is False else "wsrep_connected unknown"
    return judged(ready is True and connected is True, reason, value, True)


def same_cluster(view: View) -> Finding:
    """The cluster whose data this node had when it was synced first, or the one that the configuration names."""
    pinned = view.policy.cluster_uuid or view.trail.pins.cluster_uuid
    uuid = view.galera.cluster_state_uuid
    if pinned is None or (uuid is None and view.galera.cluster_status != "Primary"):
        return Finding(Outcome.PASS, None, uuid, pinned)
    return judged(uuid == pinned, Reason.UNKNOWN if uuid is None else Reason.OTHER_CLUSTER, uuid, pinned)


def min_size(view: View, least: int) -> Finding:
    size = view.galera.cluster_size
    reason = Reason.UNKNOWN if size is None else Reason.CLUSTER_TOO_SMALL
    return judged(size is not None and size >= least, reason, size, least, DAMPED)


def accepting(view: View) -> Finding:
    galera = view.galera
    if galera.reject_queries == "NONE" and rejecting(galera):
        return Finding(Outcome.FAIL, Reason.REJECTING, f"pxc_maint_mode {galera.maintenance_mode}", "DISABLED")
    reason = Reason.UNKNOWN if galera.reject_queries is None else Reason.REJECTING
    return judged(galera.reject_queries == "NONE", reason, galera.reject_queries, "NONE")


def thaw(view: View) -> Finding:
    """A node that was frozen says Synced and serves old rows until it has noticed."""
    frozen = view.trail.pins.thaw
    if frozen is None:
        return PASSED
    return Finding(Outcome.FAIL, Reason.THAWED, round(view.now - frozen.at, 3), thaw_seconds(view.galera))


def state(view: View) -> Finding:
    """Synced, or an episode of state 2, which `donor` and `desync` judge."""
    return local_state(view, view.galera.local_state == LocalState.SYNCED or view.trail.desync is not None)


def synced(view: View) -> Finding:
    """`state` for a role that asks for wsrep_local_state 4 at this instant."""
    return local_state(view, view.galera.local_state == LocalState.SYNCED)


def not_galera(view: View) -> Finding:
    return Finding(Outcome.FAIL, Reason.NOT_GALERA, None, LocalState.SYNCED)


def answers_at_all(view: View) -> Finding:
    """For those who would rather have old rows than none: a node that has all of them, and whose tables can be read.

    Without a quorum every read of a table fails with 1047, unless wsrep_dirty_reads is ON.
    """
    galera = view.galera
    if view.trail.pins.inconsistent:
        return Finding(Outcome.FAIL, Reason.INCONSISTENT, galera.local_state)
    if galera.local_state == LocalState.JOINING:
        return Finding(Outcome.FAIL, Reason.JOINING, galera.local_state)
    reads = galera.ready is True or galera.dirty_reads is True or not provider_loaded(view.snapshot.galera)
    return judged(reads, reason_of(view.state), galera.local_state)


def whole(view: View) -> Finding:
    """A node that was voted out has rows that no other has, also when it is no Galera node any more."""
    latched = view.trail.pins.inconsistent
    return judged(not latched, Reason.INCONSISTENT, latched, False)


def local_state(view: View, passed: bool) -> Finding:
    latched = view.trail.pins.inconsistent
    if passed and not latched:
        return Finding(Outcome.PASS, None, view.galera.local_state, LocalState.SYNCED)
    reason = Reason.NOT_READY if view.state in (State.SYNCED, State.STALLED) else reason_of(view.state)
    return Finding(Outcome.FAIL, Reason.INCONSISTENT if latched else reason, view.galera.local_state, LocalState.SYNCED)


def donor(view: View, allowed: bool) -> Finding:
    """A copy that is sent from here, until the node is synced again.

    One that blocks is never allowed: its writes hang for the whole copy.
    """
    episode, state = view.trail.desync, _episode_state(view)
    if episode is None or state is State.DESYNCED:
        return PASSED
    queue = view.galera.recv_queue
    passed = allowed and state is State.DONOR and queue is not None and queue <= SHORT_QUEUE
    method = ",".join(sorted({transfer.method for transfer in episode.copies})) or "catching up"
    return judged(passed, reason_of(state), method, SHORT_QUEUE if allowed else None)


def desync(view: View, allowed: bool, reads_only: bool) -> Finding:
    """State 2 without a copy from here: how long it may last depends on what it is and on who asks."""
    episode, galera = view.trail.desync, view.galera
    if episode is None or _episode_state(view) is not State.DESYNCED:
        return PASSED
    # neither wsrep_desync nor an IST blocks anything; whoever counts beside them may
    harmless = desync_explains(galera) or (bool(episode.transfers) and galera.desync_count == 1)
    hold = HOLD_DESYNC if harmless else HOLD_READS if reads_only else HOLD_WRITES
    value = "wsrep_desync" if galera.desync else "ist" if episode.transfers else galera.local_state
    if not allowed:
        return Finding(Outcome.FAIL, Reason.DESYNCED, value, LocalState.SYNCED, hold)
    short = _within(galera.recv_queue, SHORT_QUEUE)
    return Finding(short, Reason.DESYNCED, value, f"recv_queue {SHORT_QUEUE}", hold)


def queue(view: View, limit: int | None, asked: int | None) -> Finding:
    """What stands in the receive queue has been committed elsewhere and cannot be read here yet.

    Beyond the upper flow-control limit the node pauses the cluster; twice as much is only seen where it may not (a
    desynced node), or cannot. What a request asks for only tightens it.
    """
    upper = view.galera.recv_queue_upper
    most = limit if limit is not None else None if upper is None else 2 * upper
    if most is not None and asked is not None:
        most = min(most, asked)
    waiting = view.galera.recv_queue
    if waiting is None or most is None:
        return Finding(Outcome.FAIL, Reason.UNKNOWN, waiting, most, DAMPED)
    return Finding(_within(waiting, most), Reason.RECV_QUEUE, waiting, most, DAMPED)


def flow(view: View, mode: FlowControl) -> Finding:
    """Who pauses the cluster gets less work; who merely waits for it keeps its verdict and says why it is slow."""
    paused, own = view.trail.flow.paused, view.trail.flow.own
    if paused is None or paused < CLUSTER_PAUSES:
        return Finding(Outcome.PASS, None, paused, FLOW_STOP, DAMPED)
    stops = own and mode is FlowControl.STOP and paused >= FLOW_STOP
    return Finding(Outcome.FAIL if stops else Outcome.NOTE, Reason.FLOW_CONTROL, paused, FLOW_STOP, DAMPED)


def progress(view: View) -> Finding:
    """Transactions wait and nothing is committed. It may be the whole cluster: so it is only reported."""
    since, excused = view.trail.standstill.since, view.trail.standstill.ddl(view.now)
    still = 0.0 if since is None or excused else round(view.now - since, 3)
    passed = still < PROGRESS_SECONDS
    return Finding(Outcome.PASS if passed else Outcome.NOTE, Reason.STALLED, still, PROGRESS_SECONDS)


def membership(view: View, paranoid: bool) -> Finding:
    """About a second before a cut node knows that it is cut, and for 1-2 s whenever any member joins or leaves."""
    evs = view.galera.evs_state
    if evs == "OPERATIONAL":
        return PASSED
    outcome = Outcome.FAIL if paranoid else Outcome.NOTE if evs is not None else Outcome.PASS
    return Finding(outcome, Reason.UNKNOWN if evs is None else Reason.MEMBERSHIP, evs, "OPERATIONAL")


def _within(value: int | None, limit: int) -> Outcome:
    """Beyond the limit, or good again at half of it."""
    if value is None or value > limit:
        return Outcome.FAIL
    return Outcome.PASS if value <= limit // 2 else Outcome.BETWEEN


def _episode_state(view: View) -> State:
    episode = view.trail.desync
    return State.DESYNCED if episode is None else episode_state(episode, view.galera, view.now)
