"""Health checks as load balancers send them, and judged as they judge. A blocking socket each, as they have.

How they judge is documented:

- Hetzner: docs.hetzner.cloud, `health_check`: path, an optional domain as Host, a text that the body must hold, and
  status codes with `?` and `*`. Its version of HTTP is not documented: both are sent.
- AWS: "Health checks for ... target groups", Elastic Load Balancing: the matcher is 200 (ALB) or 200-399 (NLB). With
  PROXY protocol v2 an NLB sends that header in its checks, too, without a client's address.
- Azure: "Azure Load Balancer health probes": any code but 200 and a TCP reset are down, whatever the threshold.
- GCP: "Health checks overview", and the API's `response`: exactly 200, an expected text within the first 1,024 bytes;
  X-Load-Balancing-Endpoint-Weight where weights are on.
- Kubernetes: pkg/probe/http: kube-probe/1.NN, Accept: */*, no kept connection, 200 to 399, redirects on the same host
  followed, at most 10 KiB of the body.

Which header lines AWS, Azure and GCP send (User-Agent, Host, Connection) and in which version of HTTP, they do not
document, and none of them was asked: that is as administrators meet them in their logs, and may be another one
tomorrow. No answer depends on it.
"""

import re
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["PREFACE", "PROBERS", "Prober", "Seen", "Target"]

STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3}) [\x20-\x7e]*")
HEADER = re.compile(rb"([A-Za-z0-9-]+): ([\x20-\x7e]*)")
# PROXY v2 of a check: the command LOCAL, no address
PREFACE = bytes.fromhex("0d0a0d0a000d0a515549540a 20 00 0000")


@dataclass(frozen=True, slots=True)
class Seen:
    """One check: healthy, or why not; and what came back."""

    healthy: bool
    why: str
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prober:
    """`head` is the request with {path}, {address} and {port}; `good` what codes are healthy.

    `keeps`: it leaves the connection open after the answer, so the length must be told. `expects`: a text in the body,
    looked for in its first `body_limit` bytes. `rises`, `falls`: checks in a row until a target changes.
    """

    name: str
    head: str
    good: Callable[[int], bool]
    rises: int
    falls: int
    timeout: float
    keeps: bool = False
    expects: str = ""
    body_limit: int = 1024
    preface: bytes = b""

    def check(self, address: str, port: int, path: str) -> Seen:
        """A new connection, one request, one answer."""
        try:
            with socket.create_connection((address, port), timeout=self.timeout) as connection:
                request = self.head.format(path=path, address=address, port=port)
                connection.sendall(self.preface + request.encode("ascii"))
                return self._judged(*self._answer(connection))
        except TimeoutError:
            return Seen(False, "timeout")
        except ConnectionError as error:  # refused; or a reset, also one that comes behind the answer
            return Seen(False, type(error).__name__)
        except ValueError as error:
            return Seen(False, str(error))

    def _answer(self, connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
        got = b""
        while b"\r\n\r\n" not in got:
            got += _more(connection, got)
        head, _, body = got.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        code, headers = STATUS.fullmatch(status), [HEADER.fullmatch(line) for line in lines]
        if code is None or not all(headers):
            raise ValueError(f"no HTTP: {head!r}")
        found = {line[1].decode().lower(): line[2].decode() for line in headers if line is not None}
        length = int(found["content-length"])
        while len(body) < length:
            body += _more(connection, got)
        if len(body) > length:
            raise ValueError("more than was announced")
        if not self.keeps and connection.recv(1):
            raise ValueError("something comes behind the answer")
        return int(code[1]), found, body

    def _judged(self, code: int, headers: dict[str, str], body: bytes) -> Seen:
        text = body.decode("ascii")
        if not self.good(code):
            return Seen(False, f"{code}", headers, text)
        if self.expects not in text[: self.body_limit]:
            return Seen(False, "not what is expected in the body", headers, text)
        return Seen(True, "", headers, text)


def _more(connection: socket.socket, got: bytes) -> bytes:
    chunk = connection.recv(65536)
    if not chunk:
        raise ValueError(f"closed after {got!r}")
    return chunk


class Target:
    """What a load balancer makes of its checks: a target that changes after so many in a row."""

    def __init__(self, prober: Prober, *, healthy: bool) -> None:
        self._prober, self.healthy, self._against = prober, healthy, 0

    def take(self, seen: Seen) -> bool:
        self._against = self._against + 1 if seen.healthy is not self.healthy else 0
        if self._against >= (self._prober.falls if self.healthy else self._prober.rises):
            self.healthy, self._against = not self.healthy, 0
        return self.healthy


def _exactly_200(code: int) -> bool:
    return code == 200


def _200_to_399(code: int) -> bool:
    return 200 <= code <= 399


def _request(version: str, *headers: str) -> str:
    return "\r\n".join([f"GET {{path}} HTTP/{version}", *headers, "", ""])


ELB = ("Host: {address}:{port}", "Connection: close", "User-Agent: ELB-HealthChecker/2.0")
PROBERS: tuple[Prober, ...] = (
    Prober(name="Hetzner", head=_request("1.0"), good=_exactly_200, rises=2, falls=2, timeout=1, expects="OK "),
    Prober(
        name="Hetzner with a domain, over HTTP/1.1",
        head=_request("1.1", "Host: db.example.com", "Connection: close"),
        good=_exactly_200,
        rises=3,
        falls=3,
        timeout=10,
        expects="OK ",
    ),
    Prober(
        name="AWS ALB",
        head=_request("1.1", *ELB, "Accept-Encoding: gzip, compressed"),
        good=_exactly_200,
        rises=5,
        falls=2,
        timeout=5,
    ),
    Prober(name="AWS NLB", head=_request("1.1", *ELB), good=_200_to_399, rises=3, falls=3, timeout=6),
    Prober(
        name="Azure",
        head=_request("1.1", "Host: {address}", "User-Agent: Load Balancer Agent", "Connection: Keep-Alive"),
        good=_exactly_200,
        rises=1,
        falls=1,
        timeout=5,
        keeps=True,
    ),
    Prober(
        name="GCP",
        head=_request("1.1", "Host: {address}", "User-Agent: GoogleHC/1.0", "Connection: Keep-alive"),
        good=_exactly_200,
        rises=2,
        falls=2,
        timeout=5,
        keeps=True,
        expects="OK ",
    ),
    Prober(
        name="Kubernetes",
        head=_request(
            "1.1", "Host: {address}:{port}", "User-Agent: kube-probe/1.31", "Accept: */*", "Connection: close"
        ),
        good=_200_to_399,
        rises=1,
        falls=3,
        timeout=1,
        body_limit=10 << 10,
    ),
)
