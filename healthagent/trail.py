"""What earlier samples said, as far as a rule needs it. A reducer: `follow(trail, snapshot, policy) -> Trail`."""

from dataclasses import dataclass, replace

from healthagent.model import FailureKind, Galera, LocalState, Policy, Replication, Snapshot, Topology, Transfer

__all__ = ["Episode", "Thaw", "Trail", "follow", "provider_loaded", "thaw_seconds"]

# A freeze counts from 0.8 x evs.suspect_timeout on: a busy machine is not taken for a frozen one.
FREEZE_OF_SUSPECT_TIMEOUT = 0.8
FREEZE_UNKNOWN_SECONDS = 2.0
SUSPECT_TIMEOUT_DEFAULT_SECONDS = 5.0  # Galera's own, where the provider's options cannot be read
THAW_MARGIN_SECONDS = 3.0
# errors that only a running server, or a dead one, can cause
SIGNS_OF_LIFE = (FailureKind.REFUSED, FailureKind.LOGIN, FailureKind.LIMIT)


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
class Thaw:
    """A node that answers again after it was frozen. `conf_id`: the view it had before, None: it was no member."""

    at: float
    conf_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """`overslept`: no probe had ended for max_age before this sample, so much may have happened unseen.

    `heard_at`: the last sign of a server that is not frozen; `conf_id`: the view of the last facts.

    `lags`: connection -> (seconds, when read); `link_lost_at`: connection -> when its IO thread left "Yes".
    """

    sampled_at: float | None = None
    overslept: bool = False
    facts_at: float | None = None
    heard_at: float | None = None
    conf_id: int | None = None
    thaw: Thaw | None = None
    galera: bool | None = None
    desync: Episode | None = None
    lags: tuple[tuple[str, int, float], ...] = ()
    link_lost_at: tuple[tuple[str, float], ...] = ()

    def lag_seconds(self, replication: Replication, now: float) -> float | None:
        """The lag as reported; while the IO thread reconnects, the last known one plus the time since."""
        if replication.lag_seconds is not None:
            return float(replication.lag_seconds)
        if replication.io_running == "Yes":
            return None
        return next((lag + now - at for name, lag, at in self.lags if name == replication.connection), None)

    def link_lost_seconds(self, replication: Replication, now: float) -> float:
        """How long the IO thread has not been "Yes"; 0 while it is."""
        return next((now - at for name, at in self.link_lost_at if name == replication.connection), 0.0)


def follow(trail: Trail, snapshot: Snapshot, policy: Policy) -> Trail:
    """The trail after this snapshot; of a failed probe only that it was."""
    overslept = trail.sampled_at is not None and snapshot.started_at - trail.sampled_at > policy.max_age_seconds
    trail = replace(trail, sampled_at=snapshot.ended_at, overslept=overslept)
    if snapshot.server is None:
        return _without_facts(trail, snapshot)
    return replace(
        trail,
        facts_at=snapshot.started_at,
        heard_at=snapshot.ended_at,
        conf_id=snapshot.galera.cluster_conf_id if snapshot.galera else None,
        thaw=_thaw(trail, snapshot),
        galera=_is_galera(snapshot, policy),
        desync=_episode(trail.desync, snapshot),
        lags=_lags(trail, snapshot),
        link_lost_at=_link_lost_at(trail, snapshot),
    )


def _without_facts(trail: Trail, snapshot: Snapshot) -> Trail:
    kind = snapshot.failure.kind if snapshot.failure is not None else None
    if kind in (FailureKind.REFUSED, FailureKind.LOST):
        # another process will answer: what it says of state 3 is not the end of an episode of this one
        trail = replace(trail, desync=None)
    if kind is FailureKind.REFUSED:
        trail = replace(trail, thaw=None)
    return replace(trail, heard_at=snapshot.ended_at) if kind in SIGNS_OF_LIFE else trail


def provider_loaded(galera: Galera | None) -> bool:
    """Whether a wsrep provider is there. wsrep_on alone proves nothing: it stays ON with provider "none"."""
    if galera is None:
        return False
    if galera.provider is None:  # the variable could not be read; a member still shows its state
        return galera.local_state is not None
    return galera.provider.lower() != "none"


def _is_galera(snapshot: Snapshot, policy: Policy) -> bool:
    if policy.topology is not Topology.AUTO:
        return policy.topology is Topology.GALERA
    return policy.galera_pinned or provider_loaded(snapshot.galera)


def _thaw(trail: Trail, snapshot: Snapshot) -> Thaw | None:
    """Measured on a node frozen for longer than evs.suspect_timeout: after it goes on it says Synced, Primary and ready
    for 6 s, with the view and the rows of before, and is a member again after 8 s. A shorter freeze is noticed by
    nobody; whether it was one, only time tells.
    """
    galera, now = snapshot.galera, snapshot.ended_at
    if galera is None:
        return None
    suspect = galera.suspect_timeout_seconds
    threshold = FREEZE_OF_SUSPECT_TIMEOUT * suspect if suspect is not None else FREEZE_UNKNOWN_SECONDS
    thaw = trail.thaw
    if trail.heard_at is not None and now - trail.heard_at >= threshold:
        thaw = Thaw(at=now, conf_id=thaw.conf_id if thaw is not None else trail.conf_id)
    if thaw is None:
        return None
    synced = galera.local_state == LocalState.SYNCED and galera.cluster_status == "Primary"
    rejoined = synced and galera.cluster_conf_id is not None and galera.cluster_conf_id != thaw.conf_id
    waited = now - thaw.at >= thaw_seconds(galera) and galera.evs_state == "OPERATIONAL"
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


def _lags(trail: Trail, snapshot: Snapshot) -> tuple[tuple[str, int, float], ...]:
    if snapshot.replications is None:
        return trail.lags
    known = {name: (lag, at) for name, lag, at in trail.lags}
    for row in snapshot.replications:
        if row.lag_seconds is not None:
            known[row.connection] = (row.lag_seconds, snapshot.ended_at)
    names = {row.connection for row in snapshot.replications}
    return tuple((name, lag, at) for name, (lag, at) in known.items() if name in names)


def _link_lost_at(trail: Trail, snapshot: Snapshot) -> tuple[tuple[str, float], ...]:
    if snapshot.replications is None:
        return trail.link_lost_at
    known = dict(trail.link_lost_at)
    lost = [row.connection for row in snapshot.replications if row.io_running != "Yes"]
    return tuple((name, known.get(name, snapshot.ended_at)) for name in lost)
