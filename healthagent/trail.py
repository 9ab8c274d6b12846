"""What earlier samples said, as far as a rule needs it. A reducer: `follow(trail, snapshot, policy) -> Trail`."""

from dataclasses import dataclass, replace

from healthagent.facts import FailureKind, Galera, LocalState, ProcessState, Replication, Snapshot, Transfer
from healthagent.links import Lag, Link, follow_lags, follow_links
from healthagent.pace import MOVING, NO_FLOW, Flow, Standstill, follow_flow, follow_standstill
from healthagent.policy import Policy, Topology

__all__ = ["Episode", "Pins", "Thaw", "Trail", "follow", "is_synced", "provider_loaded", "thaw_seconds"]

# A freeze counts from 0.8 x evs.suspect_timeout on: a busy machine is not taken for a frozen one.
FREEZE_OF_SUSPECT_TIMEOUT = 0.8
FREEZE_UNKNOWN_SECONDS = 2.0
SUSPECT_TIMEOUT_DEFAULT_SECONDS = 5.0  # Galera's own, where the provider's options cannot be read
THAW_MARGIN_SECONDS = 3.0
# timeouts at the start of this program that make a freeze: one may be a server that is slow to log us in
ENOUGH_SILENCES = 2
STARTS_WINDOW_SECONDS = 600.0
STARTS_KEPT = 100
# Uptime counts whole seconds, by the wall clock
UPTIME_SLACK_SECONDS = 2.0
HAS_STATE = (LocalState.DONOR_DESYNCED, LocalState.JOINED, LocalState.SYNCED)
# errors that only a running server can cause
SIGNS_OF_LIFE = (FailureKind.LOST, FailureKind.LOGIN, FailureKind.LIMIT, FailureKind.QUERY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thaw:
    """A node that answers again after it was frozen. `conf_id`: the view it had before, None: it was no member."""

    at: float
    conf_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """What must outlive this process.

    `galera`: this was once a Galera node; `cluster_uuid`: the cluster that it was a synced member of; `inconsistent`:
    it was voted out, and no whole copy has come since; `copying`: a state transfer to it has been seen since then;
    `plain`: it is no Galera node now, as somebody acknowledged; `thaw`: it was frozen, and may not know it yet.
    """

    galera: bool = False
    cluster_uuid: str | None = None
    inconsistent: bool = False
    copying: bool = False
    plain: bool = False
    thaw: Thaw | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """A time in state 2, and in the state 3 that ends it.

    `transfers`: what this node sends, as seen last; `blind_since`: since when that cannot be seen; `copied`: it has
    sent a whole copy in this episode, so that it is behind until it is synced again.
    """

    since: float
    transfers: tuple[Transfer, ...] = ()
    blind_since: float | None = None
    copied: bool = False

    @property
    def copies(self) -> tuple[Transfer, ...]:
        """The transfers but for those that only send what is missing (IST)."""
        return tuple(transfer for transfer in self.transfers if not transfer.bypass)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """`overslept`: no probe had ended for max_age before this sample, so much may have happened unseen.

    `heard_at`: the last sign of a server that is not frozen; `conf_id`, `member` and `uptime_seconds`: of the last
    facts; `lost`: nobody has listened since then; `started_at`: the last start of the server that we know of; `starts`:
    when the server was started, within ten minutes; `warm_since`: when it was started or became a member again;
    `silences`: the timeouts ever since this program began to ask; `silence_seconds`: the longest time without a word
    since the last facts, where an error ended it.
    """

    sampled_at: float | None = None
    overslept: bool = False
    facts_at: float | None = None
    heard_at: float | None = None
    silences: int = 0
    silence_seconds: float = 0.0
    conf_id: int | None = None
    member: bool | None = None
    lost: bool = False
    started_at: float | None = None
    uptime_seconds: int | None = None
    galera: bool | None = None
    desync: Episode | None = None
    starts: tuple[float, ...] = ()
    warm_since: float | None = None
    pins: Pins = Pins()
    lags: tuple[Lag, ...] = ()
    links: tuple[Link, ...] = ()
    flow: Flow = NO_FLOW
    standstill: Standstill = MOVING

    def lag(self, connection: str) -> Lag:
        return next((lag for lag in self.lags if lag.connection == connection), Lag(connection=connection))

    def link(self, connection: str) -> Link:
        return next((link for link in self.links if link.connection == connection), Link(connection=connection))

    def link_lost_seconds(self, replication: Replication, now: float) -> float:
        """How long the IO thread has not been "Yes"; 0 while it is."""
        lost_at = self.link(replication.connection).lost_at
        return 0.0 if lost_at is None else now - lost_at


def follow(trail: Trail, snapshot: Snapshot, policy: Policy) -> Trail:
    """The trail after this snapshot; of a failed probe only that it was."""
    trail = _heard(trail, snapshot.glanced_at)
    overslept = trail.sampled_at is not None and snapshot.started_at - trail.sampled_at > policy.max_age_seconds
    if snapshot.server is None:
        return _without_facts(replace(trail, sampled_at=snapshot.ended_at, overslept=overslept), snapshot)
    galera, now, uptime = snapshot.galera, snapshot.ended_at, snapshot.server.uptime_seconds
    member, started = is_member(galera), _started_at(trail, uptime, now)
    links = follow_links(trail.links, snapshot.replications, now)
    pins = _pins(trail, snapshot, policy)
    return Trail(
        sampled_at=now,
        overslept=overslept,
        facts_at=snapshot.started_at,
        heard_at=now,
        conf_id=galera.cluster_conf_id if galera else None,
        member=member,
        started_at=started if started is not None else trail.started_at,
        uptime_seconds=uptime,
        galera=_is_galera(galera, pins, policy),
        desync=_episode(trail.desync, snapshot),
        starts=_starts(trail.starts, started, now),
        warm_since=now if member and trail.member is False else started if started is not None else trail.warm_since,
        pins=pins,
        lags=follow_lags(trail.lags, snapshot, heartbeats=policy.heartbeats),
        links=links,
        flow=follow_flow(trail.flow, galera, now),
        standstill=follow_standstill(trail.standstill, snapshot),
    )


def _heard(trail: Trail, glanced_at: float | None) -> Trail:
    """A server that answers glances is not frozen between two probes, however far apart they are."""
    if glanced_at is None or trail.heard_at is None or glanced_at <= trail.heard_at:
        return trail
    return replace(trail, heard_at=glanced_at)


def _without_facts(trail: Trail, snapshot: Snapshot) -> Trail:
    kind = snapshot.failure.kind if snapshot.failure is not None else None
    if kind in (FailureKind.REFUSED, FailureKind.LOST):
        # another process will answer: what it says of state 3 is not the end of an episode of this one
        joins = any(transfer.joiner for transfer in snapshot.evidence.transfers or ())
        pins = trail.pins
        if pins.inconsistent and joins and not pins.copying:
            pins = replace(pins, copying=True)
        trail = replace(trail, desync=None, member=False, lost=True, pins=pins)
    if kind is FailureKind.REFUSED:  # another process will answer, and that one was not frozen
        pins = replace(trail.pins, thaw=None) if trail.pins.thaw is not None else trail.pins
        return replace(trail, heard_at=snapshot.ended_at, silences=0, silence_seconds=0.0, pins=pins)
    if kind in SIGNS_OF_LIFE:
        silence = 0.0 if trail.heard_at is None else snapshot.ended_at - trail.heard_at
        longest = max(trail.silence_seconds, silence)
        return replace(trail, heard_at=snapshot.ended_at, silence_seconds=longest)
    if kind is FailureKind.TIMEOUT and trail.facts_at is None and trail.heard_at is None:
        stopped = snapshot.evidence.process is ProcessState.STOPPED
        return replace(trail, silences=trail.silences + (ENOUGH_SILENCES if stopped else 1))
    return trail


def provider_loaded(galera: Galera | None) -> bool:
    """Whether a wsrep provider is there. wsrep_on alone proves nothing: it stays ON with provider "none"."""
    if galera is None:
        return False
    if galera.provider is None:  # the variable could not be read; a member still shows its state
        return galera.local_state is not None
    return galera.provider.lower() != "none"


def is_member(galera: Galera | None) -> bool:
    """Whether the node has its state and a quorum, whoever it serves."""
    return galera is not None and galera.local_state in HAS_STATE and galera.cluster_status == "Primary"


def is_synced(galera: Galera) -> bool:
    """A synced member that takes part in replication."""
    here = galera.local_state == LocalState.SYNCED and is_member(galera)
    return here and galera.ready is True and galera.on is True


def _is_galera(galera: Galera | None, pins: Pins, policy: Policy) -> bool:
    if policy.topology is not Topology.AUTO:
        return policy.topology is Topology.GALERA
    return not pins.plain and (pins.galera or provider_loaded(galera))


def _pins(trail: Trail, snapshot: Snapshot, policy: Policy) -> Pins:
    """A whole copy is what a node that was voted out needs: Galera has emptied its grastate.dat, so that no IST can
    bring it back. So the first time it is synced behind a state transfer ends the latch.
    """
    before, galera = trail.pins, snapshot.galera
    if galera is None or not provider_loaded(galera):
        return before if before.thaw is None else replace(before, thaw=None)
    synced = is_synced(galera)
    uuid = galera.cluster_state_uuid if synced and policy.cluster_uuid is None else None
    whole = synced and before.copying
    inconsistent = galera.local_state == LocalState.INCONSISTENT or (before.inconsistent and not whole)
    pins = Pins(
        galera=True,
        cluster_uuid=before.cluster_uuid or uuid,
        inconsistent=inconsistent,
        copying=before.copying and inconsistent,
        plain=before.plain and galera.on is not True,
        thaw=_thaw(trail, galera, snapshot.ended_at),
    )
    return before if pins == before else pins


def _thaw(trail: Trail, galera: Galera, now: float) -> Thaw | None:
    """Measured on a node frozen for longer than evs.suspect_timeout: after it goes on it says Synced, Primary and ready
    for 6 s, with the view and the rows of before, and is a member again after 8 s. A shorter freeze is noticed by
    nobody; whether it was one, only time tells. How long one lasted that had begun before this program did, nobody
    knows: it counts.
    """
    suspect, thaw = galera.suspect_timeout_seconds, trail.pins.thaw
    threshold = FREEZE_OF_SUSPECT_TIMEOUT * suspect if suspect is not None else FREEZE_UNKNOWN_SECONDS
    silence = max(trail.silence_seconds, 0.0 if trail.heard_at is None else now - trail.heard_at)
    if trail.silences >= ENOUGH_SILENCES:
        thaw = Thaw(at=now, conf_id=galera.cluster_conf_id)
    elif silence >= threshold:
        thaw = Thaw(at=now, conf_id=thaw.conf_id if thaw is not None else trail.conf_id)
    if thaw is None:
        return None
    synced = galera.local_state == LocalState.SYNCED and galera.cluster_status == "Primary"
    rejoined = synced and galera.cluster_conf_id is not None and galera.cluster_conf_id != thaw.conf_id
    operational = galera.evs_state in (None, "OPERATIONAL")  # a provider that does not tell must not wait for ever
    waited = operational and now - thaw.at >= thaw_seconds(galera)
    return None if rejoined or waited else thaw


def thaw_seconds(galera: Galera) -> float:
    """How long after a freeze a node that was not thrown out may take to notice that it was."""
    suspect = galera.suspect_timeout_seconds
    return THAW_MARGIN_SECONDS + (suspect if suspect is not None else SUSPECT_TIMEOUT_DEFAULT_SECONDS)


def _episode(before: Episode | None, snapshot: Snapshot) -> Episode | None:
    local_state = snapshot.galera.local_state if snapshot.galera else None
    # 3 (Joined) right behind 2 is the end of the same episode: 2-6 ms on an idle node
    if local_state != LocalState.DONOR_DESYNCED and not (before and local_state == LocalState.JOINED):
        return None
    now, transfers = snapshot.ended_at, snapshot.evidence.transfers
    episode = before or Episode(since=now)
    if transfers is None:
        return replace(episode, blind_since=now if episode.blind_since is None else episode.blind_since)
    sent = tuple(transfer for transfer in transfers if not transfer.joiner)
    copied = episode.copied or any(not transfer.bypass for transfer in sent)
    return replace(episode, transfers=sent, blind_since=None, copied=copied)


def _started_at(trail: Trail, uptime: int | None, now: float) -> float | None:
    """When the server was started, if this sample is the first to show it.

    Uptime follows the wall clock, which may be set. So it is a new start where nobody has listened meanwhile and the
    server is younger than it should be; or where it has fallen to less than the time since the last facts.
    """
    if uptime is None:
        return None
    started = now - uptime
    if trail.started_at is None or trail.uptime_seconds is None or trail.facts_at is None:
        return started
    younger = trail.lost and started - trail.started_at > UPTIME_SLACK_SECONDS
    fell = uptime < trail.uptime_seconds and uptime <= now - trail.facts_at + UPTIME_SLACK_SECONDS
    return started if younger or fell else None


def _starts(before: tuple[float, ...], started: float | None, now: float) -> tuple[float, ...]:
    starts = before if started is None else (*before, started)
    return tuple(at for at in starts if now - at < STARTS_WINDOW_SECONDS)[-STARTS_KEPT:] if starts else starts
