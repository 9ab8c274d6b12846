"""What earlier samples said, as far as a rule needs it. A reducer: `follow(trail, snapshot, policy) -> Trail`."""

from dataclasses import dataclass, replace

from healthagent.model import Galera, LocalState, Policy, Replication, Snapshot, Topology, Transfer

__all__ = ["Episode", "Trail", "follow", "provider_loaded"]


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

    `lags`: connection -> (seconds, when read); `link_lost_at`: connection -> when its IO thread left "Yes".
    """

    sampled_at: float | None = None
    overslept: bool = False
    facts_at: float | None = None
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
        return trail
    return replace(
        trail,
        facts_at=snapshot.started_at,
        galera=_is_galera(snapshot, policy),
        desync=_episode(trail.desync, snapshot),
        lags=_lags(trail, snapshot),
        link_lost_at=_link_lost_at(trail, snapshot),
    )


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
