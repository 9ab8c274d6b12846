"""The command line of `config haproxy` and the like. What makes the files is loaded when one is asked for."""

import argparse
import re
from collections.abc import Callable
from ipaddress import ip_interface
from typing import Any, TypeVar

from healthagent.kinds import duration
from healthagent.nodes import given

__all__ = ["add_recipes"]

T = TypeVar("T")
WITHIN = {"haproxy": 3.0, "keepalived": 3.0, "hetzner": 15.0, "prometheus": 15.0}
INTERFACE = r"[A-Za-z0-9._-]{1,15}"
CLUSTER = r"[A-Za-z0-9._-]{1,63}"


def add_recipes(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", parent: argparse.ArgumentParser
) -> None:
    """Adds the commands; `parent` has --config and --socket."""
    for name, meaning in (
        ("haproxy", "print a configuration for HAProxy: one writer with backups, and readers"),
        ("keepalived", "print a configuration for keepalived on this node: an address that follows the writer"),
        ("hetzner", "print hcloud commands for a Hetzner load balancer"),
        ("prometheus", "print a configuration for Prometheus: the agents as targets of one job"),
    ):
        command = commands.add_parser(name, parents=[parent], help=meaning)
        command.add_argument(
            "--detect-within",
            type=_kind(duration(0.1, 600)),
            default=WITHIN[name],
            metavar="TIME",
            help=f"from a fault to the decision, at most; default: {WITHIN[name]:g}s. What cannot be met is refused",
        )
        command.add_argument(
            "--node",
            type=_kind(given),
            action="append",
            default=[],
            metavar="NAME=ADDRESS[:PORT]",
            help="a node, for each one; default: `peers` and this node, else the members of the Galera cluster",
        )
        command.set_defaults(run=_run(name), asks=True)
        if name == "keepalived":
            _add_address(command)
        elif name == "prometheus":
            command.add_argument(
                "--cluster",
                type=_kind(_cluster),
                metavar="NAME",
                help="the label that tells this cluster from others; default: mariadb, which suits a single one",
            )


def _add_address(command: argparse.ArgumentParser) -> None:
    command.add_argument("--vip", type=_kind(_vip), required=True, metavar="ADDRESS/PREFIX", help="what moves")
    command.add_argument("--interface", type=_kind(_interface), required=True, metavar="NAME", help="where it is put")
    command.add_argument("--this", metavar="NAME", help="which of the nodes this is; default: by its address")
    command.add_argument(
        "--priority",
        type=_kind(_from_to(1, 150)),
        metavar="N",
        help="1 to 150; default: 100 for the first node, 99 ...",
    )
    command.add_argument(
        "--router-id",
        type=_kind(_from_to(1, 255)),
        default=51,
        metavar="N",
        help="virtual_router_id, the same on all nodes and nowhere else in this network; default: 51",
    )


def _run(name: str) -> Callable[[argparse.Namespace], int]:
    def run(arguments: argparse.Namespace) -> int:
        from healthagent import recipes

        commands = {
            "haproxy": recipes.haproxy,
            "keepalived": recipes.keepalived,
            "hetzner": recipes.hetzner,
            "prometheus": recipes.prometheus,
        }
        return commands[name](arguments)

    return run


def _kind(kind: Callable[[Any], T]) -> Callable[[str], T]:
    """For argparse, which says of a ValueError no more than that there was one."""

    def convert(text: str) -> T:
        try:
            return kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None

    return convert


def _vip(text: str) -> str:
    try:
        found = ip_interface(text if "/" in text and "%" not in text else "")
    except ValueError:
        raise ValueError("must be an address and its prefix, such as 10.0.0.100/24") from None
    if found.ip.is_unspecified or found.ip.is_multicast or found.ip.is_loopback:
        raise ValueError("must be an address that is one host's at a time")
    return str(found)


def _interface(text: str) -> str:
    if not re.fullmatch(INTERFACE, text):
        raise ValueError("must be the name of a network interface, such as eth0")
    return text


def _cluster(text: str) -> str:
    if not re.fullmatch(CLUSTER, text):
        raise ValueError("must be a name of letters, digits, dots, dashes and underscores, such as shop")
    return text


def _from_to(low: int, high: int) -> Callable[[str], int]:
    def kind(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return kind
