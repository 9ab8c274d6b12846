"""A real `healthagent serve`, asked over TCP and over its Unix control socket."""

import http.client
import json
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lab.mariadb import MariaDB
from lab.process import LabError, Process, lab_dir

HTTP_PORT = 9200
TIMEOUT_SECONDS = 5.0

Config = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One HTTP response; header names in lower case."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: str

    def json(self) -> Any:
        return json.loads(self.body)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def merge(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> Config:
    """Mappings are merged at every depth, anything else is replaced."""
    merged = dict(base)
    for key, value in overrides.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


class Agent(Process):
    """One agent; its directory is LAB_DIR/NAME. `argv` replaces the command, up to and without the configuration."""

    def __init__(self, name: str, config: Mapping[str, Any], *, argv: Sequence[str] | None = None) -> None:
        self.config = config
        self.directory = lab_dir() / name
        self.directory.mkdir(exist_ok=True)
        self.config_file = self.directory / "healthagent.yaml"
        command = argv or [sys.executable, "-m", "healthagent", "serve", "--config"]
        super().__init__([*command, self.config_file], log=self.directory / "log")

    @classmethod
    def for_node(
        cls,
        node: MariaDB,
        *,
        name: str | None = None,
        port: int = HTTP_PORT,
        argv: Sequence[str] | None = None,
        **overrides: Any,
    ) -> Self:
        """The agent beside that server, on the server's address; `overrides` are merged into its configuration."""
        name = name or f"agent-{node.name}"
        directory = lab_dir() / name
        config = {
            "mysql": {"socket": str(node.socket), "datadir": str(node.datadir)},
            "http": {"listen": [f"{node.address}:{port}"]},
            # off, since several agents stand beside one node; a test that wants it names its address and port
            "agent_check": {"listen": {}},
            "control": {"socket": str(directory / "control")},
            "state_dir": str(directory / "state"),
            # servers are started and killed here all the time: no reason to doubt them, nor to wait until they are warm
            "roles": {"writer": {"max_restarts": 0}},
            "weights": {"warm_up": "0s"},
        }
        return cls(name, merge(config, overrides), argv=argv)

    def configure(self, **overrides: Any) -> None:
        """Merges into the configuration and writes the file: for the next start, or for SIGHUP."""
        self.config = merge(self.config, overrides)
        self.config_file.write_text(json.dumps(self.config, indent=2))  # JSON is YAML

    def start(self, *arguments: str) -> Self:
        """Returns when the HTTP port answers, whatever it says."""
        self.configure()
        if "state_dir" in self.config:
            Path(self.config["state_dir"]).mkdir(exist_ok=True)
        super().start(*arguments)
        self.wait_until(self._answers, 15, "answers over HTTP")
        return self

    def _answers(self) -> bool:
        try:
            return self.get("/liveness").status > 0
        except (OSError, http.client.HTTPException):
            return False

    @property
    def address(self) -> tuple[str, int]:
        """Where the first listener of the configuration is; an entry may be text or a mapping."""
        listener = self.config["http"]["listen"][0]
        host, _, port = str(listener["address"] if isinstance(listener, Mapping) else listener).rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def control_socket(self) -> Path:
        return Path(self.config["control"]["socket"])

    def get(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
        *,
        timeout: float = TIMEOUT_SECONDS,
    ) -> Answer:
        """One request over TCP, on a connection of its own as balancers do it."""
        host, port = self.address
        return _ask(http.client.HTTPConnection(host, port, timeout=timeout), method, path, headers)

    def control(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
        *,
        body: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> Answer:
        """One request over the control socket: where changes are accepted (method="POST")."""
        return _ask(UnixConnection(self.control_socket, timeout), method, path, headers, body)

    def wait_answer(self, path: str, status: int, timeout: float = 10) -> Answer:
        """Asks until the answer has that status."""

        def reached() -> Answer | None:
            answer = self.get(path)
            return answer if answer.status == status else None

        try:
            return self.wait_until(reached, timeout, f"{path} answers {status}")
        except LabError as error:
            raise LabError(f"{error}\n--- {path} answers {self.get(path)}") from None


def _ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    headers: Mapping[str, str] | None,
    body: str | None = None,
) -> Answer:
    try:
        connection.request(method, path, body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        return Answer(
            status=response.status,
            reason=response.reason,
            headers={name.lower(): value for name, value in response.getheaders()},
            body=response.read().decode(),
        )
    finally:
        connection.close()
