"""Cuts an address off from the others, as a broken switch does: nothing is refused, nothing arrives."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["cut_off"]

LOCAL_TABLE_PREFERENCE = 100


@contextmanager
def cut_off(address: str, *, peer: str | None = None) -> Iterator[None]:
    """No packet from or to it for as long as this lasts, or none between it and one peer; Unix sockets are not
    concerned.

    By routing rules, because they need no firewall and work on the loopback device, where all servers of the lab are.
    The kernel asks the table `local` before any rule, so that one is moved behind ours first.
    """
    if f"{LOCAL_TABLE_PREFERENCE}:\t" not in _ip("rule"):
        _ip("rule", "add", "pref", str(LOCAL_TABLE_PREFERENCE), "lookup", "local")
        _ip("rule", "del", "pref", "0")
    other = peer or "all"
    rules = [("from", address, "to", other, "blackhole"), ("from", other, "to", address, "blackhole")]
    for rule in rules:
        _ip("rule", "add", "pref", "10", *rule)
    try:
        yield
    finally:
        for rule in rules:
            _ip("rule", "del", "pref", "10", *rule)


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout
