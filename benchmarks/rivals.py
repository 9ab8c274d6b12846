"""Who is measured: the agent as it is installed, and beside it nginx and a shell check under xinetd."""

import http.client
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.knocking import answer_bytes
from benchmarks.machine import children_cpu_seconds, cpu_seconds, pinned, tree
from lab import Agent, LabError, MariaDB, Process, lab_dir, sql, wait_until
from lab.agent import Answer

__all__ = [
    "STOCK",
    "UVLOOP",
    "Build",
    "Clustercheck",
    "Nginx",
    "agent_beside",
    "builds",
    "busy_seconds",
    "first_verdict_seconds",
    "loop_of",
    "wait_up",
]

ROOT = Path(__file__).parents[1]
NGINX_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

NGINX_CONFIG = """\
{load_module}daemon off;
user root;
worker_processes 1;
pid {directory}/pid;
error_log {directory}/errors;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    server_tokens off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    default_type text/plain;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{http} deferred backlog=4096;
        location / {{
{headers}
            return 200 "{body}";
        }}
    }}
}}
stream {{ server {{ listen 127.0.0.1:{stream} backlog=4096; return "up 100%\\n"; }} }}
"""

# What percona-clustercheck and its descendants do, with the second question that most of them forget; without their
# `sleep 0.1`, and with the request read first, so that the connection does not end in RST.
CLUSTERCHECK = """\
#!/bin/sh
while read -r line && [ "${{#line}}" -gt 1 ]; do :; done
ask() {{ {mysql} --no-defaults --socket={socket} --user=root --connect-timeout=2 -Nse "$1" | cut -f2; }}
state=$(ask "SHOW GLOBAL STATUS LIKE 'wsrep_local_state'")
read_only=$(ask "SHOW GLOBAL VARIABLES LIKE 'read_only'")
code='503 Unavailable' says='not synced'
if [ "$state" = 4 ] && [ "$read_only" = OFF ]; then code='200 OK' says=synced; fi
printf 'HTTP/1.1 %s\\r\\nContent-Type: text/plain\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n%s\\r\\n' \\
    "$code" $((${{#says}} + 2)) "$says"
"""

XINETD_CONFIG = """\
service clustercheck
{{
    type = UNLISTED
    bind = 127.0.0.1
    port = {port}
    socket_type = stream
    protocol = tcp
    wait = no
    user = root
    server = {script}
    instances = UNLIMITED
    per_source = UNLIMITED
    cps = 1000000 1
}}
"""


@dataclass(frozen=True, slots=True)
class Build:
    """The project as pip installs it (not editable), in a venv of its own."""

    name: str

    @property
    def directory(self) -> Path:
        return ROOT / ".venv-bench" / self.name

    @property
    def python(self) -> Path:
        return self.directory / "bin" / "python"

    @property
    def program(self) -> Path:
        return self.directory / "bin" / "healthagent"

    @property
    def packages(self) -> Path:
        return next(self.directory.glob("lib/python*/site-packages"))


UVLOOP, STOCK = Build("uvloop"), Build("stock")


def builds() -> tuple[Build, ...]:
    """Both; LabError where one is missing. What is started from now on imports what they hold, not this tree."""
    os.environ.pop("PYTHONPATH", None)
    os.environ["PYTHONSAFEPATH"] = "1"
    for build in (UVLOOP, STOCK):
        if not build.program.exists():
            raise LabError(f"{build.program} is missing: `tools/install bench` makes it")
    return UVLOOP, STOCK


def agent_beside(node: MariaDB, build: Build, *, port: int = 9200, cpu: bool = True, **overrides: Any) -> Agent:
    """An agent of that build, alone on the server's processor (`cpu`)."""
    command = [str(build.program), "serve", "--config"]
    argv = pinned(*command) if cpu else command
    return Agent.for_node(node, name=f"agent-{build.name}-{node.name}", port=port, argv=argv, **overrides)


class Nginx(Process):
    """`return 200` with one worker, with the body and header bytes of `answer`; beside it a stream server."""

    HTTP, STREAM = 8080, 8081

    def __init__(self, answer: Answer) -> None:
        self.directory = lab_dir() / "nginx"
        self.directory.mkdir(exist_ok=True)
        self._config = self.directory / "nginx.conf"
        self._headers = {name: value for name, value in answer.headers.items() if name.startswith("x-")}
        self._headers["cache-control"] = answer.headers["cache-control"]
        self._body = answer.body
        super().__init__(pinned(_program("nginx"), "-c", self._config), log=self.directory / "log")

    def start(self, *arguments: str) -> Self:
        self._write()
        super().start(*arguments)
        self.wait_until(lambda: _size(self.HTTP), 10, "nginx answers")
        return self

    def as_large_as(self, port: int) -> tuple[int, int]:
        """Pads its answer to the size of the one on `port`; the sizes of both in bytes, its own first."""
        size, own = _size(port), _size(self.HTTP)
        short = size - own - len("X-Pad: \r\n")
        if short > 0:
            self.stop()
            self._headers["x-pad"] = "x" * short
            self.start()
        return _size(self.HTTP), size

    def _write(self) -> None:
        headers = "\n".join(f'            add_header {name} "{value}";' for name, value in self._headers.items())
        self._config.write_text(
            NGINX_CONFIG.format(
                load_module=f"load_module {NGINX_MODULE};\n" if NGINX_MODULE.exists() else "",
                directory=self.directory,
                headers=headers,
                body=self._body.replace("\n", "\\n"),
                http=self.HTTP,
                stream=self.STREAM,
            )
        )


class Clustercheck(Process):
    """A shell check under xinetd: two clients and two queries for each check."""

    PORT = 9300

    def __init__(self, node: MariaDB) -> None:
        directory = lab_dir() / "xinetd"
        directory.mkdir(exist_ok=True)
        script, config = directory / "clustercheck", directory / "xinetd.conf"
        script.write_text(CLUSTERCHECK.format(mysql=_program("mariadb"), socket=node.socket))
        script.chmod(0o755)
        config.write_text(XINETD_CONFIG.format(port=self.PORT, script=script))
        program = pinned(_program("xinetd"), "-dontfork", "-f", config, "-pidfile", directory / "pid")
        super().__init__(program, log=directory / "log")

    def start(self, *arguments: str) -> Self:
        super().start(*arguments)
        self.wait_until(lambda: _size(self.PORT), 10, "xinetd answers")
        return self


def busy_seconds(process: Process) -> float:
    """CPU time of a server so far, its children and those that have ended included."""
    return sum(cpu_seconds(pid) for pid in tree(process.pid)) + children_cpu_seconds(process.pid)


def questions(client: sql.Connection) -> int:
    """All statements that the server was sent so far, this one included."""
    return int(sql.rows(client, "SHOW GLOBAL STATUS LIKE 'Questions'")[0]["Value"])


def loop_of(process: Process) -> str:
    """The event loop that an agent runs on, by what it has loaded."""
    return "uvloop" if "/uvloop/loop." in Path(f"/proc/{process.pid}/maps").read_text() else "asyncio's own loop"


def first_verdict_seconds(agent: Agent, status: int = 200) -> float:
    """From the start of the process until it answers so over HTTP; asked every 2 ms."""
    began = time.monotonic()
    agent.configure()
    Process.start(agent)
    while _status(agent) != status:
        if time.monotonic() - began > 15 or not agent.alive:
            raise LabError(f"{agent!r} has no verdict\n{agent.log.read_text()}")
        time.sleep(0.002)
    return time.monotonic() - began


def _status(agent: Agent, path: str = "/writer") -> int:
    try:
        return agent.get(path).status
    except (OSError, http.client.HTTPException):
        return 0


def _size(port: int) -> int:
    """Bytes of a whole answer to the check that is measured; 0 where nobody answers."""
    return len(answer_bytes("127.0.0.1", port))


def _program(name: str) -> str:
    found = shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        raise LabError(f"{name} is not installed: `tools/install bench` installs it")
    return found


def wait_up(agents: Sequence[Agent], path: str = "/writer") -> None:
    """Every one answers 200."""
    for agent in agents:
        wait_until(lambda: _status(agent, path) == 200, 30, f"{agent!r} is up", logs=[agent.log])  # noqa: B023
