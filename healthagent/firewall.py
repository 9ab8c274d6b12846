"""Which ports who needs, as rules for the usual firewalls. They are printed, never applied."""

from collections.abc import Iterable
from ipaddress import ip_address

from healthagent.config import Config

__all__ = ["rules"]


def rules(settings: Config) -> Iterable[str]:
    """One line each; none where all listeners are on loopback addresses."""
    http = sorted({port for host, port in settings.listen if _open(host)})
    agent = sorted({entry.port for entry in settings.agent_ports if _open(entry.host)})
    ports = sorted({*http, *agent})
    if not ports:
        return
    listed = ", ".join(map(str, ports))
    if http:
        yield f"{_ports(http)} (HTTP) is for load balancers, Prometheus and the agents of the other nodes"
    if agent:
        yield f"{_ports(agent)} (agent-check) is for HAProxy alone"
    yield f"nft add rule inet filter input ip saddr BALANCER tcp dport {{ {listed} }} accept"
    yield f"ufw allow from BALANCER to any port {listed.replace(' ', '')} proto tcp"
    for span in _spans(ports):
        to = f"--port {span} --source-ips BALANCER/32"
        yield f"hcloud firewall add-rule FIREWALL --direction in --protocol tcp {to} --description healthagent"
    yield "Hetzner's firewalls filter public addresses alone: within a private network no rule is needed"


def _open(host: str) -> bool:
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def _ports(ports: list[int]) -> str:
    return ", ".join(f"tcp {port}" for port in ports)


def _spans(ports: list[int]) -> list[str]:
    """[9200, 9201, 9202, 9300] -> 9200-9202 and 9300"""
    spans: list[list[int]] = []
    for port in ports:
        if spans and port == spans[-1][-1] + 1:
            spans[-1].append(port)
        else:
            spans.append([port])
    return [f"{span[0]}-{span[-1]}" if len(span) > 1 else f"{span[0]}" for span in spans]
