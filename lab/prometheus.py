"""A real Prometheus with a configuration under test: what it has scraped, and what fires."""

import json
import signal
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from lab.process import Process, lab_dir

PORT = 9090
LOADED = "Completed loading of configuration file"

Labels = dict[str, str]


class Prometheus(Process):
    """One prometheus on 127.0.0.1; its data are in LAB_DIR/NAME. `config` is the text of prometheus.yml."""

    def __init__(self, config: str, *, name: str = "prometheus", port: int = PORT) -> None:
        self.directory = lab_dir() / name
        self.directory.mkdir(exist_ok=True)
        self._config: Path = self.directory / "prometheus.yml"
        self._config.write_text(config)
        self._address = f"127.0.0.1:{port}"
        own = {"config.file": self._config, "storage.tsdb.path": self.directory / "data"}
        more = {"web.listen-address": self._address, "web.external-url": f"http://{self._address}"}
        arguments = [f"--{key}={value}" for key, value in {**own, **more}.items()]
        super().__init__(["prometheus", *arguments], log=self.directory / "log", cwd=self.directory)

    def start(self, *arguments: str) -> Self:
        """Returns when it is ready to be asked; nothing has been scraped then."""
        super().start(*arguments)
        self.wait_until(self._ready, 30, "is ready")
        return self

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self._address}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def reload(self, config: str) -> None:
        """Another configuration, in use when this returns."""

        def loaded() -> int:
            return sum(LOADED in line for line in self.log_lines())

        before = loaded()
        self._config.write_text(config)
        self.signal(signal.SIGHUP)
        self.wait_until(lambda: loaded() > before, 10, "has loaded its new configuration")

    def ask(self, path: str, **parameters: object) -> Any:
        """`data` of what the API answers to /api/v1/PATH; ValueError with its own words where it refuses."""
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as refused:
            raise ValueError(json.load(refused)["error"]) from None

    def query(self, expression: str) -> list[tuple[Labels, float]]:
        """The instant vector of now: labels and value of each series."""
        found = self.ask("query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def alerts(self, **labels: str) -> list[tuple[Labels, str]]:
        """The labels and the state, `pending` or `firing`, of all alerts with these labels."""
        found = self.ask("alerts")["alerts"]
        return [(alert["labels"], alert["state"]) for alert in found if labels.items() <= alert["labels"].items()]

    def firing(self, **labels: str) -> list[Labels]:
        return [found for found, state in self.alerts(**labels) if state == "firing"]

    def wait_firing(self, alert: str, timeout: float = 45, **labels: str) -> Labels:
        """Waits until an alert of that name and with these labels fires; its labels."""
        what = f"{alert} fires for {_spoken(labels)}"
        return self.wait_until(lambda: self.firing(alertname=alert, **labels), timeout, what)[0]

    def wait_clear(self, alert: str, timeout: float = 45, **labels: str) -> None:
        """Waits until no alert of that name and with these labels fires."""
        what = f"{alert} ends for {_spoken(labels)}"
        self.wait_until(lambda: not self.firing(alertname=alert, **labels), timeout, what)


def _spoken(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in labels.items()) or "all"
