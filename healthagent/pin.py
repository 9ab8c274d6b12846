"""Remembers in state_dir that this was once a Galera node.

A node that was one and shows no wsrep any more would take writes that nobody replicates: it must not look like a
healthy standalone server after a restart of the agent.
"""

import contextlib
import json
import logging
from dataclasses import replace
from pathlib import Path

from healthagent.model import Policy, Snapshot, Topology
from healthagent.trail import provider_loaded

__all__ = ["Pin"]

log = logging.getLogger("healthagent.pin")


class Pin:
    """One small file; without a writable state_dir the memory lasts as long as the process."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "topology.json"
        self._galera = self._read()

    def apply(self, policy: Policy) -> Policy:
        """`policy` with what is remembered; an explicit `mysql.topology` overrides it."""
        return replace(policy, galera_pinned=self._galera and policy.topology is Topology.AUTO)

    def remember(self, snapshot: Snapshot) -> bool:
        """Pins a node that has a wsrep provider, whatever state it is in; true if it is pinned afterwards."""
        if not self._galera and provider_loaded(snapshot.galera):
            self._galera = True
            self._write()
        return self._galera

    def _read(self) -> bool:
        try:
            document = json.loads(self._path.read_text("utf-8"))
        except FileNotFoundError:
            return False
        except (OSError, ValueError) as error:
            # Fail closed: somebody pinned something here, and what cannot be read must not turn into "never".
            log.warning("%s cannot be read (%s): taking this for a Galera node", self._path, error)
            return True
        if not isinstance(document, dict):
            log.warning("%s is not ours: taking this for a Galera node", self._path)
            return True
        return document.get("topology") == Topology.GALERA.value

    def _write(self) -> None:
        temporary = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps({"topology": Topology.GALERA.value}) + "\n", "utf-8")
            temporary.replace(self._path)
        except OSError as error:
            log.warning("cannot remember in %s that this is a Galera node: %s", self._path, error)
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
