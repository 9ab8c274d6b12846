"""A booted machine that is a database node: MariaDB and the agent, as their packages set them up."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from lab import LabError, wait_until
from lab.booted import Machine

UNIT = "healthagent.service"
CONFIG = "/etc/healthagent/healthagent.yaml"
TRACK = "/run/healthagent-track"
DROP_IN = f"/run/systemd/system/{UNIT}.d/test.conf"


class Node(Machine):
    """Asked over HTTP from inside: nothing else is on its network."""

    config = "{}\n"

    def start(self, *arguments: str) -> Self:
        super().start(*arguments)
        # Debian 12 enables it: then whoever connects, a check too, starts a server that was stopped (docs/systemd.md).
        self.systemctl("disable", "--now", "mariadb.socket")
        self.systemctl("restart", "mariadb")
        wait_until(lambda: self.sql("SELECT 1") == "1", 30, "MariaDB answers", logs=[self.log])
        return self

    def install(self, deb: Path) -> str:
        """What dpkg says."""
        said = self.run("dpkg", "--install", "--force-confdef", self.bring(deb))
        return said.stdout + said.stderr

    def grant(self) -> None:
        """The account, by the statements that the program prints for it."""
        self.sql(self.run("runuser", "-u", "healthagent", "--", "healthagent", "sql", "grants").stdout)
        self.wait_says("writer", "200")

    def sql(self, statements: str) -> str:
        return self.run("mariadb", "--batch", "--skip-column-names", check=False, stdin=statements).stdout.strip()

    def heal(self) -> None:
        """Both services run, the configuration is the package's own, and the agent says yes."""
        for path in self.path("/run/systemd/system").glob("*.service.d/*.conf"):
            path.unlink()
        self.put(CONFIG, self.config)
        self.systemctl("daemon-reload")
        self.systemctl("kill", "--signal=CONT", "mariadb", check=False)
        self.systemctl("start", "mariadb")
        self.systemctl("restart", UNIT)
        self.wait_says("writer", "200")

    def configure(self, text: str) -> None:
        """For the next start or reload."""
        self.put(CONFIG, text)

    def drop_in(self, text: str) -> None:
        """What `systemctl edit` would make, until the test ends."""
        self.put(DROP_IN, text)
        self.systemctl("daemon-reload")

    def says(self, role: str, port: int = 9200) -> str:
        """`200`, or `503 reason`; `refused`, or what else curl has to tell."""
        answer = self.run("curl", "-si", "--max-time", "2", f"http://127.0.0.1:{port}/{role}", check=False)
        if answer.returncode:
            return {7: "refused", 28: "silent", 52: "silent", 56: "reset"}.get(answer.returncode, answer.stderr)
        status, _, reason = answer.stdout.partition("\n")[0].removeprefix("HTTP/1.1 ").partition(" ")
        return status if status == "200" else f"{status} {reason}"

    def wait_says(self, role: str, wanted: str, within: float = 15, port: int = 9200) -> None:
        heard: list[str] = []

        def said() -> bool:
            heard.append(self.says(role, port))
            return heard[-1] == wanted

        try:
            wait_until(said, within, f"{self.suite}: /{role} says {wanted}")
        except LabError as error:
            raise AssertionError(f"{error}: {heard[-1]}\n{self.status()}") from None

    def state(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.run("curl", "-s", "http://127.0.0.1:9200/state").stdout)
        return document

    def status(self) -> str:
        """As a person sees it."""
        return self.systemctl("status", "--no-pager", "--full", "--lines=20", UNIT, check=False).stdout

    @property
    def agent_pid(self) -> int:
        """Of the agent, as the machine numbers it; 0: it does not run."""
        return int(self.unit(UNIT)["MainPID"])

    def wait_status(self, wanted: str, within: float = 10) -> None:
        """The STATUS= that the agent tells systemd contains this."""
        seen = [""]

        def told() -> bool:
            seen[0] = self.unit(UNIT).get("StatusText", "")
            return wanted in seen[0]

        try:
            wait_until(told, within, f"{self.suite}: the status contains {wanted!r}")
        except LabError as error:
            raise AssertionError(f"{error}; it is {seen[0]!r}") from None

    def messages(self, unit: str = UNIT) -> list[str]:
        return [str(entry["MESSAGE"]) for entry in self.journal(unit)]

    @contextmanager
    def watched(self, name: str) -> Iterator[list[str]]:
        """All that a track file holds meanwhile, looked at every millisecond; what follows itself once."""
        path, seen, over = self.path(f"{TRACK}/{name}"), [""], threading.Event()

        def look() -> None:
            while not over.is_set():
                try:
                    value = path.read_text().strip()
                except OSError as error:
                    value = str(error.strerror)
                if value != seen[-1]:
                    seen.append(value)
                time.sleep(0.001)

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield seen
        finally:
            over.set()
            thread.join()
            del seen[0]
