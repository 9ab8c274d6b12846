"""How much of the work a role should get: factors -> steps -> the pace of "down at once, up slowly"."""

from itertools import pairwise
from typing import NamedTuple

from healthagent.assess import episode_state
from healthagent.gates_replication import worst_lag
from healthagent.model import Factors
from healthagent.policy import FlowControl, Role, Weights
from healthagent.reasons import State
from healthagent.view import View

__all__ = ["LEAST", "Pace", "factors", "follow_pace", "weight"]

FULL, LEAST = 100, 1
LAG_LEAST, QUEUE_LEAST, CONNECTIONS_LEAST, WARM_UP_LEAST = 0.1, 0.3, 0.1, 0.1
CONNECTIONS_FROM, CONNECTIONS_TO = 0.70, 0.95
# part of the time that this node pauses the cluster -> factor
FLOW_POINTS = ((0.0, 1.0), (0.2, 0.5), (0.8, 0.1))


class Pace(NamedTuple):
    """The weight that is told, and since when."""

    weight: int
    changed_at: float


def factors(view: View, role: Role) -> Factors:
    """Each from 0 to 1; one that is switched off is 1, and one about which nothing is known: gates judge the unknown.

    The rows of a Galera node are only reported, unless the role asks for them.
    """
    on = role.weights
    replicates = bool(view.trail.lags) and (not view.trail.galera or role.replication_required)
    return Factors(
        lag=_lag(view, role) if on.lag and replicates else 1.0,
        queue=_queue(view) if on.queue else 1.0,
        flow=_flow(view) if on.flow and role.flow is not FlowControl.OFF else 1.0,
        connections=_connections(view) if on.connections else 1.0,
        donor=_donor(view, on),
        warm_up=_warm_up(view, on.warm_up_seconds) if on.warm_up_seconds else 1.0,
    )


def weight(factors: Factors) -> float:
    """The product, from 0 to 100."""
    product = float(FULL)
    for factor in factors:
        product *= factor
    return product


def follow_pace(before: Pace | None, wanted: float, now: float, weights: Weights) -> Pace:
    """The weight after one more sample: down at once, up at most every `raise_seconds`, and never for less than a step.

    `before` None: the role was not up, so there is nothing to go on from.
    """
    target = _rounded(wanted, weights.step)
    if before is None:
        return Pace(target, now)
    whole_step = abs(wanted - before.weight) >= weights.step or target in (LEAST, FULL)
    if target == before.weight or not whole_step:
        return before
    if target > before.weight and now - before.changed_at < weights.raise_seconds:
        return before
    return Pace(target, now)


def _rounded(wanted: float, step: int) -> int:
    return FULL if wanted >= FULL else min(FULL, max(LEAST, round(wanted / step) * step))


def _lag(view: View, role: Role) -> float:
    worst, _ = worst_lag(view, role.connections, role.subtract_delay)
    if any(
        lag.seconds is None for lag in view.trail.lags if role.connections is None or lag.connection in role.connections
    ):
        return LAG_LEAST  # a thread that stops must not make a role that serves all the same look well
    hard = role.max_lag_seconds
    soft = role.soft_lag_seconds if role.soft_lag_seconds is not None else hard / 2
    return 1.0 if worst is None else _slope(worst, soft, hard, LAG_LEAST)


def _queue(view: View) -> float:
    galera = view.galera
    if galera.recv_queue is None or galera.recv_queue_lower is None or galera.recv_queue_upper is None:
        return 1.0
    return _slope(galera.recv_queue, galera.recv_queue_lower, galera.recv_queue_upper, QUEUE_LEAST)


def _flow(view: View) -> float:
    flow = view.trail.flow
    if not flow.own or not flow.paused:
        return 1.0
    for (low, high_factor), (high, low_factor) in pairwise(FLOW_POINTS):
        if flow.paused <= high:
            return high_factor - (high_factor - low_factor) * (flow.paused - low) / (high - low)
    return FLOW_POINTS[-1][1]


def _donor(view: View, weights: Weights) -> float:
    """By the episode and not by the node's state, which tells only the worst of what is wrong."""
    episode = view.trail.desync
    if episode is None:
        return 1.0
    return weights.desynced if episode_state(episode, view.galera, view.now) is State.DESYNCED else weights.donor


def _connections(view: View) -> float:
    used, limit = view.server.threads_connected, view.server.max_connections
    if used is None or not limit:
        return 1.0
    return _slope(used / limit, CONNECTIONS_FROM, CONNECTIONS_TO, CONNECTIONS_LEAST)


def _warm_up(view: View, seconds: float) -> float:
    since = view.trail.warm_since
    age = seconds if since is None else view.now - since
    return 1.0 if age >= seconds else max(WARM_UP_LEAST, WARM_UP_LEAST + (1 - WARM_UP_LEAST) * age / seconds)


def _slope(value: float, low: float, high: float, least: float) -> float:
    """1 up to `low`, `least` beyond `high`, a straight line between them."""
    if value <= low:
        return 1.0
    if value >= high:
        return least
    return 1.0 - (1.0 - least) * (value - low) / (high - low)
