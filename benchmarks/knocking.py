"""The asking side: benchmarks/knock.c, and wrk, on the client's processor."""

import re
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import CLIENT_CPU, pinned
from lab import LabError, lab_dir

__all__ = ["REQUEST", "Asked", "answer_bytes", "knock", "wrk"]

SOURCE = Path(__file__).with_name("knock.c")
AT_ONCE = 16
REQUEST = "GET {} HTTP/1.1\r\nHost: healthagent\r\nConnection: {}\r\n\r\n"
UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What one run of a client has seen."""

    checks: int
    errors: int
    seconds: float
    p50_us: float
    p99_us: float

    @property
    def rate(self) -> float:
        return self.checks / self.seconds


def knock(
    port: int,
    *,
    seconds: float,
    speaks_first: bool = False,
    keep: bool = False,
    rate: float = 0,
    path: str = "/writer",
    address: str = "127.0.0.1",
) -> Asked:
    """HTTP, or an agent-check port that speaks first; a new connection for each check unless `keep`.

    `rate`: so many checks a second, else as fast as they are answered. LabError if any is not answered with 200 or up.
    """
    argv: list[str | Path] = [_built(), "-c", str(AT_ONCE), "-d", str(seconds), "-r", str(rate)]
    if not speaks_first:
        argv += ["-s", REQUEST.format(path, "keep-alive" if keep else "close"), *(["-k"] if keep else [])]
    argv += [address, str(port), "up " if speaks_first else "HTTP/1.1 200 "]
    done = subprocess.run(pinned(*argv, cpu=CLIENT_CPU), capture_output=True, text=True, check=False)
    found = dict(re.findall(r"(\w+)=([0-9.]+)", done.stdout))
    if done.returncode or not found:
        raise LabError(f"knock ended with {done.returncode}: {done.stderr}")
    asked = Asked(
        checks=int(found["checks"]),
        errors=int(found["errors"]),
        seconds=float(found["seconds"]),
        p50_us=float(found["p50_us"]),
        p99_us=float(found["p99_us"]),
    )
    if asked.errors:
        raise LabError(f"port {port}: {asked.errors} of {asked.checks + asked.errors} checks failed: {done.stderr}")
    return asked


def wrk(port: int, *, seconds: int) -> Asked:
    """A new connection for each check."""
    argv = ["wrk", "-t1", f"-c{AT_ONCE}", f"-d{seconds}s", "--latency", "-H", "Connection: close"]
    done = subprocess.run(
        pinned(*argv, f"http://127.0.0.1:{port}/writer", cpu=CLIENT_CPU), capture_output=True, text=True, check=True
    )
    total = re.search(r"(\d+) requests in ([0-9.]+)(m?s)", done.stdout)
    latency = {name: _us(value) for name, value in re.findall(r"^ +(\d+)% +(\S+)$", done.stdout, re.MULTILINE)}
    wrong = re.search(r"(Non-2xx|Socket errors).*", done.stdout)
    if total is None or wrong is not None:
        raise LabError(f"port {port}: {wrong[0] if wrong else done.stdout}")
    took = float(total[2]) * UNITS[total[3]] / UNITS["s"]
    return Asked(checks=int(total[1]), errors=0, seconds=took, p50_us=latency["50"], p99_us=latency["99"])


def answer_bytes(address: str, port: int) -> bytes:
    """The whole answer to the check that is measured; empty where nobody answers."""
    try:
        with socket.create_connection((address, port), timeout=5) as connection:
            connection.sendall(REQUEST.format("/writer", "close").encode())
            return b"".join(iter(lambda: connection.recv(65536), b""))
    except OSError:
        return b""


def _us(value: str) -> float:
    found = re.fullmatch(r"([0-9.]+)(us|ms|s)", value)
    if found is None:
        raise LabError(f"wrk says {value!r}")
    return float(found[1]) * UNITS[found[2]]


def _built() -> Path:
    """The program, built once for each lab."""
    program = lab_dir() / "knock"
    if not program.exists():
        subprocess.run(["gcc", "-O2", "-Wall", "-o", program, SOURCE], check=True)
    return program
