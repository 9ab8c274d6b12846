"""The nodes and the intervals -> a configuration for Prometheus. Values in, text out. prometheus-examples tell more."""

from collections.abc import Iterable, Sequence

from healthagent.budget import PrometheusPlan
from healthagent.kinds import spoken_address
from healthagent.nodes import Node

__all__ = ["prometheus_text"]

FILE = """\
global:
  # As often as the agents are scraped: an alert's `for` counts evaluations.
  evaluation_interval: {interval}s

rule_files:
  - healthagent.rules.yml

scrape_configs:
  - job_name: healthagent
    scrape_interval: {interval}s
    scrape_timeout: {timeout}s
    static_configs:
      - targets:
{targets}
        labels:
          cluster: "{cluster}"
"""
CLUSTER = "mariadb"
ALIKE = """\
The label `cluster` is the default one. Two clusters of one name count as one, and one of them may be without a writer
unseen: --cluster NAME sets this one apart.
"""
NOTES = """\
What an alert's `for` waits comes on top of that, and Alertmanager's `group_wait`.
healthagent.rules.yml, which belongs beside this file, is in prometheus-examples; a dashboard for Grafana, too.
"""


SLOWER = """\
The rules are made for scrapes each 5s. With {interval}s, make each `for: 30s` and each look back over [20s] in them
longer by as much.
"""
RULES_INTERVAL = 5  # seconds


def prometheus_text(nodes: Sequence[Node], plan: PrometheusPlan, head: Iterable[str], *, cluster: str | None) -> str:
    """A complete file. `cluster`: the label that tells this cluster from others; None: a default that says so."""
    said = [*head, *NOTES.splitlines()]
    if plan.interval > RULES_INTERVAL:
        said += SLOWER.format(interval=plan.interval).splitlines()
    if cluster is None:
        said += ALIKE.splitlines()
    said += [""]
    targets = (f'          - "{spoken_address(node.address, node.agent_port)}"  # {node.name}' for node in nodes)
    return "".join(f"# {line}".rstrip() + "\n" for line in said) + FILE.format(
        interval=plan.interval, timeout=plan.timeout, targets="\n".join(targets), cluster=cluster or CLUSTER
    )
