"""How long it takes, at most, from a fault to a balancer's decision; and the intervals that keep to a given time.

Three classes of events count. The server says itself that it may not serve any more, or it is gone. The server hangs:
it accepts connections and is silent. The agent, or the whole host, is silent. What has to last before it counts at all
(lag, a queue, a desync) is no detection: how long is a rule, and the same for every balancer.
"""

import math
from dataclasses import dataclass

from healthagent.errors import AskedWrongError
from healthagent.kinds import spoken

__all__ = [
    "Agent",
    "HAProxyPlan",
    "HetznerPlan",
    "KeepalivedPlan",
    "Part",
    "PrometheusPlan",
    "haproxy",
    "hetzner",
    "keepalived",
    "prometheus",
    "reached",
    "table",
]

# A tenth of a second for what no setting bounds: the network, a busy machine, the look at /proc after a timeout.
ALLOWANCE_SECONDS = 0.1
# The second probe after a silent one comes at once, but not sooner than this after the start of the first.
PENDING_SECONDS = 0.15
EPSILON = 1e-6

Part = tuple[str, float | None, float]
"""What happened; seconds until the agent says so (None: it says nothing); seconds that the balancer takes then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """The settings of the section `probe` that decide how fast an agent is."""

    interval_seconds: float
    timeout_seconds: float

    @property
    def told(self) -> float:
        """The change comes right after a probe; the next one may be as slow as a probe may: facts, replication rows."""
        return self.interval_seconds + 2 * self.timeout_seconds + ALLOWANCE_SECONDS

    @property
    def prompt(self) -> float:
        """The same, of a server that answers at once."""
        return self.interval_seconds + ALLOWANCE_SECONDS

    @property
    def hung(self) -> float:
        """Two timeouts in a row, after a last good probe, or within one behind its facts. Less where /proc tells."""
        twice = 2 * max(self.timeout_seconds, PENDING_SECONDS)
        return max(self.interval_seconds, self.timeout_seconds) + twice + ALLOWANCE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class HAProxyPlan:
    """Milliseconds for `inter`, `fastinter` and `timeout check`, with `fall 2` and `rise 2`."""

    inter: int
    fastinter: int
    check: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepalivedPlan:
    """`advert` in seconds, tenths; `fall` of the script, which runs every second."""

    advert: float
    fall: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HetznerPlan:
    """Whole seconds, and how many failed retries make a target unhealthy."""

    interval: int
    timeout: int
    retries: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusPlan:
    """Whole seconds: of `scrape_interval` and `evaluation_interval`, and of `scrape_timeout`."""

    interval: int
    timeout: int
    parts: tuple[Part, ...]


HAPROXY_STEP, HAPROXY_LONGEST, HAPROXY_CHECK = 100, 2000, 500  # ms


def haproxy(agent: Agent, within: float) -> HAProxyPlan:
    """Two failed checks: `inter` until the first, `fastinter` until the second.

    A check that gets no answer takes `timeout check` more, and one that gets no connection as long as `inter`.
    """
    share = _ms(within - agent.hung)
    if share < 2 * HAPROXY_STEP:
        takes = 2 * HAPROXY_STEP / 1000
        alone = 2 * takes + ALLOWANCE_SECONDS
        raise _refusal(agent, within, takes, alone, "HAProxy (inter 100ms, fastinter 100ms)")
    room = _ms(within - ALLOWANCE_SECONDS)
    fastinter = _step(min(share * 2 // 5, 1000))
    inter = _step(min(share - fastinter, (room - fastinter) // 3, HAPROXY_LONGEST))
    check = _step(min((room - inter - fastinter) // 2, HAPROXY_CHECK))
    says = (inter + fastinter) / 1000
    silent = says + 2 * max(inter, check) / 1000 + ALLOWANCE_SECONDS
    return HAProxyPlan(inter=inter, fastinter=fastinter, check=check, parts=_parts(agent, says, silent))


SHORTEST_ADVERT, LONGEST_ADVERT = 0.1, 1.0
# keepalived 2.2 knows whole seconds only between two runs of a script; a run of `check` has its own deadline.
SCRIPT_SECONDS, CHECK_SECONDS = 1.0, 0.5
# Never 1: a clean restart of the agent takes half a second, and the address would go away and come to the peer for it.
FALLS = (3, 2)


def keepalived(agent: Agent, within: float) -> KeepalivedPlan:
    """A track file is seen at once, and the peer takes over within one advertisement; a silent peer is missed after
    less than four. The script finds an agent that is silent, and it may miss a run.
    """
    alone = _script(min(FALLS), SHORTEST_ADVERT)
    if within < max(agent.hung + SHORTEST_ADVERT, alone) - EPSILON:
        raise _refusal(agent, within, SHORTEST_ADVERT, alone, "keepalived (advert_int 0.1, script interval 1, fall 2)")
    fall = next(fall for fall in FALLS if _script(fall, SHORTEST_ADVERT) <= within + EPSILON)
    advert = _tenths(min(within - agent.hung, within / 4, within - _script(fall, 0.0), LONGEST_ADVERT))
    parts = _parts(agent, advert, _script(fall, advert), "the agent is silent")
    host = ("the host, or its keepalived, is silent", None, 4 * advert)
    return KeepalivedPlan(advert=advert, fall=fall, parts=(*parts, host))


def _script(fall: int, advert: float) -> float:
    """Until the first run begins, `fall` runs of which the last takes its deadline, and the peer's turn."""
    return fall * SCRIPT_SECONDS + CHECK_SECONDS + advert + ALLOWANCE_SECONDS


# Seconds. The API's documentation names no limits. Its errors do for retries ("between 1 and 5"), and the NixOps plugin
# for Hetzner for the rest: interval from 3 to 60, timeout from 1 to the interval. 15 is the default of the interval.
HETZNER_LEAST, HETZNER_MOST = 3, 15


def hetzner(agent: Agent, within: float) -> HetznerPlan:
    """Hetzner does not say whether the first failure counts as a retry, nor whether a timeout adds to the interval:
    so it is reckoned as if it did not, and as if it did.
    """
    for retries in (2, 1):
        for interval in range(HETZNER_MOST, HETZNER_LEAST - 1, -1):
            for timeout in range(min(interval, 5), 0, -1):
                says, silent = float((1 + retries) * interval), float((1 + retries) * (interval + timeout))
                if agent.hung + says <= within + EPSILON and silent <= within + EPSILON:
                    parts = _parts(agent, says, silent)
                    return HetznerPlan(interval=interval, timeout=timeout, retries=retries, parts=parts)
    takes, alone = 2.0 * HETZNER_LEAST, 2.0 * (HETZNER_LEAST + 1)
    raise _refusal(agent, within, takes, alone, "Hetzner (interval 3s, its shortest, timeout 1s, retries 1)")


SCRAPE_LONGEST, SCRAPE_TIMEOUT = 15, 5  # s


def prometheus(agent: Agent, within: float) -> PrometheusPlan:
    """Scraped right before the change, and evaluated right before the next scrape has ended. A target that is silent
    is down when the scrape's timeout has passed.
    """
    for interval in range(SCRAPE_LONGEST, 0, -1):
        timeout = min(interval, SCRAPE_TIMEOUT)
        says, silent = 2.0 * interval, 2.0 * interval + timeout
        if max(agent.hung + says, silent) <= within + EPSILON:
            return PrometheusPlan(interval=interval, timeout=timeout, parts=_parts(agent, says, silent))
    raise _refusal(agent, within, 2.0, 3.0, "Prometheus (scrape_interval 1s, evaluation_interval 1s)")


def reached(parts: tuple[Part, ...]) -> float:
    """The slowest of them all."""
    return max((agent or 0.0) + balancer for _, agent, balancer in parts)


def table(parts: tuple[Part, ...], balancer: str) -> list[str]:
    """A line for each class of events: the agent's part, the balancer's, and both together."""
    rows = [("at most, from the fault to the decision", "agent", balancer, "together")]
    for what, agent, takes in parts:
        rows.append((what, spoken(agent) if agent else "-", spoken(takes), spoken((agent or 0.0) + takes)))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _parts(
    agent: Agent, says: float, silent: float, silence: str = "the agent, or its host, is silent"
) -> tuple[Part, ...]:
    return (
        ("the server says so, or is gone", agent.told, says),
        ("the server hangs", agent.hung, says),
        (silence, None, silent),
    )


def _refusal(agent: Agent, within: float, takes: float, alone: float, balancer: str) -> AskedWrongError:
    """Why not, in numbers, and what would do. `takes`: what the balancer adds to the agent's time, at least; `alone`:
    what it takes where the agent is silent.
    """
    asked = f"--detect-within {spoken(within)} cannot be met"
    if within < alone - EPSILON:
        return AskedWrongError(f"{asked} by {balancer}, whatever the agent does: it takes {spoken(alone)} at least")
    probe = f"probe.interval {spoken(agent.interval_seconds)}, probe.timeout {spoken(agent.timeout_seconds)}"
    says = (
        f"{asked}: the least is {spoken(max(agent.hung + takes, alone))}, of which the agent takes "
        f"{spoken(agent.hung)} ({probe}: a server that hangs has two timeouts) and {balancer} {spoken(takes)}"
    )
    left = within - takes - ALLOWANCE_SECONDS
    interval = agent.interval_seconds
    same = _hundredths(left / 3)
    alone_shorter = same if same >= interval else _hundredths((left - interval) / 2)
    if alone_shorter >= PENDING_SECONDS:
        return AskedWrongError(f"{says}. A probe.timeout of {spoken(alone_shorter)} would do")
    if same >= PENDING_SECONDS:
        return AskedWrongError(f"{says}. A probe.interval and a probe.timeout of {spoken(same)} each would do")
    return AskedWrongError(f"{says}. No settings of the section probe would do")


def _hundredths(seconds: float) -> float:
    return math.floor(seconds * 100 + EPSILON) / 100


def _ms(seconds: float) -> int:
    return math.floor(seconds * 1000 + EPSILON)


def _step(milliseconds: int) -> int:
    """Rounded down to whole steps, never to none."""
    return max(milliseconds // HAPROXY_STEP, 1) * HAPROXY_STEP


def _tenths(seconds: float) -> float:
    return max(math.floor(seconds * 10 + EPSILON), 1) / 10
