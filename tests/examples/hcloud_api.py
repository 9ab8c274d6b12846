"""A recorder of Hetzner's API: speaks the few endpoints that load balancers and firewalls need, keeps what it was told.

See docs.hetzner.cloud: one object in `{"server": {...}}`, many in `{"servers": [...]}`; every change is an action.
"""

import json
import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

__all__ = ["TOKEN", "HcloudApi"]

TOKEN = "a" * 64
ONE = {
    "servers": "server",
    "networks": "network",
    "firewalls": "firewall",
    "load_balancers": "load_balancer",
    "load_balancer_types": "load_balancer_type",
}
ACTION = {"id": 1, "command": "x", "status": "success", "progress": 100, "started": "2026-01-01T00:00:00+00:00"}
# What the real one refuses: https://github.com/hetznercloud/terraform-provider-hcloud/issues/1162 shows the retries.
LIMITS = {"interval": (3, 60), "timeout": (1, 60), "retries": (1, 5)}


class HcloudApi:
    """`told`: method, path and body of every change, in order. Servers and networks are there from the start."""

    def __init__(self, servers: Iterable[str], networks: Iterable[str] = ("private",)) -> None:
        self.told: list[tuple[str, Any]] = []
        self.objects: dict[str, list[dict[str, Any]]] = {name: [] for name in ONE}
        for kind, names in (("servers", servers), ("networks", networks), ("load_balancer_types", ["lb11"])):
            for name in names:
                self.make(kind, {"name": name})
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(*api.get(self.path))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                if self.headers["Authorization"] != f"Bearer {TOKEN}":
                    return self._answer(401, _error("unauthorized", "no token"))
                return self._answer(*api.post(self.path, json.loads(body or b"{}")))

            def _answer(self, code: int, document: Any) -> None:
                body = json.dumps(document).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: the test tells what was wrong."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def make(self, kind: str, given: dict[str, Any]) -> dict[str, Any]:
        made = {"id": 1000 + sum(map(len, self.objects.values())), **given}
        self.objects[kind].append(made)
        return made

    def find(self, kind: str, key: str, value: Any) -> list[dict[str, Any]]:
        return [one for one in self.objects[kind] if str(one[key]) == str(value)]

    def get(self, target: str) -> tuple[int, Any]:
        path, query = urlsplit(target).path.strip("/").split("/"), parse_qs(urlsplit(target).query)
        if path[0] == "actions":
            return 200, {"action": ACTION} if len(path) > 1 else {"actions": [ACTION]}
        if path[0] not in ONE:
            return 404, _error("not_found", target)
        if len(path) == 1:
            found = self.find(path[0], "name", query["name"][0]) if "name" in query else self.objects[path[0]]
            return 200, {path[0]: found}
        found = self.find(path[0], "id", path[1])
        return (200, {ONE[path[0]]: found[0]}) if found else (404, _error("not_found", target))

    def post(self, target: str, body: Any) -> tuple[int, Any]:
        kind, *rest = target.strip("/").split("/")
        if kind not in ONE or (rest and not self.find(kind, "id", rest[0])):
            return 404, _error("not_found", target)
        wrong = _out_of_range(body.get("health_check") or {})
        if wrong:
            return 422, _error("invalid_input", wrong)
        self.told.append(("/".join([kind, *rest[2:]]), body))
        if not rest:
            made = self.make(kind, {"name": body["name"]})
            return 201, {ONE[kind]: made, "action": ACTION, "actions": [ACTION]}
        return 201, {"action": ACTION, "actions": [ACTION]}

    def changes(self, what: str) -> list[Any]:
        """The bodies of one kind of change, such as `load_balancers/add_service`."""
        return [body for path, body in self.told if path == what]

    def name_of(self, kind: str, number: int) -> str:
        found: str = self.find(kind, "id", number)[0]["name"]
        return found


def _out_of_range(check: dict[str, Any]) -> str:
    for key, (low, high) in LIMITS.items():
        if key in check and not low <= check[key] <= high:
            return f"{key} must be between {low} and {high}"
    if check.get("timeout", 0) > check.get("interval", 60):
        return "timeout must not be longer than interval"
    return ""


def _error(code: str, message: str) -> Any:
    return {"error": {"code": code, "message": message}}
