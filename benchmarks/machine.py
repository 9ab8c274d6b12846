"""What the figures were measured on: processors, CPU times, versions."""

import os
import platform
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from lab.mariadb import SERVER

__all__ = [
    "CLIENT_CPU",
    "SERVER_CPU",
    "about",
    "children_cpu_seconds",
    "cpu_seconds",
    "moment",
    "on_client_cpu",
    "pinned",
    "tree",
]

# The asking side and the one that answers never share a processor; with one alone they must, and the report says so.
_CPUS = sorted(os.sched_getaffinity(0))
CLIENT_CPU, SERVER_CPU = _CPUS[0], _CPUS[-1]
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
CHILDREN_USER, CHILDREN_SYSTEM = 13, 14  # of /proc/PID/stat, counted behind the name: cutime, cstime
PARENT = 1
CPU_CLOCK_OF_PROCESS = 2  # linux/posix-timers.h: CPUCLOCK_SCHED


@contextmanager
def on_client_cpu() -> Iterator[None]:
    """This process, and what it starts without `pinned` meanwhile, on the client's processor."""
    os.sched_setaffinity(0, {CLIENT_CPU})
    try:
        yield
    finally:
        os.sched_setaffinity(0, _CPUS)


def pinned(*argv: str | Path, cpu: int = SERVER_CPU) -> list[str]:
    """The command line that runs `argv` on one processor; taskset becomes the command."""
    return ["taskset", "--cpu-list", str(cpu), *map(str, argv)]


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, ended threads included, to the nanosecond: clock_getcpuclockid(3)."""
    return time.clock_gettime((~pid << 3) | CPU_CLOCK_OF_PROCESS)


def children_cpu_seconds(pid: int) -> float:
    """The same of its children that have ended, and theirs, in the kernel's ticks (10 ms)."""
    fields = _stat(pid)
    return (int(fields[CHILDREN_USER]) + int(fields[CHILDREN_SYSTEM])) * TICK_SECONDS


def tree(pid: int) -> list[int]:
    """The process and its children, as they are now: nginx answers in a child."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(_stat(int(entry.name))[PARENT])
            except OSError:  # it ended meanwhile
                continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def moment() -> str:
    """Now, and the commit."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {_says('git', 'describe', '--always', '--dirty')}"


def about(pythons: Sequence[Path]) -> list[str]:
    """Lines of Markdown: machine, versions."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    where = f"{model[1] if model else platform.machine()}, {len(_CPUS)} processors, Linux {platform.release()}"
    if CLIENT_CPU == SERVER_CPU:
        where += "; **asking and answering side share the only processor: ratios mean little**"
    programs = ((SERVER, "--version"), ("nginx", "-v"), ("wrk", "-v"), ("xinetd", "-version"), ("curl", "--version"))
    versions = (f"{Path(program).name} {_version(_says(program, option))}" for program, option in programs)
    return [
        f"- {where}",
        f"- {', '.join(versions)}",
        *(f"- `{python.parents[1].name}`: {_libraries(python)}" for python in pythons),
    ]


def _says(*argv: str) -> str:
    """The first line that the program prints; empty where it is not there."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return (done.stdout or done.stderr).strip().partition("\n")[0]


def _version(text: str) -> str:
    found = re.search(r"\d+\.\d[^\s,;]*", text)
    return found[0] if found else "(not installed)"


def _libraries(python: Path) -> str:
    script = (
        "import sys, importlib.metadata as m\n"
        "have = {d.metadata['Name']: d.version for d in m.distributions()}\n"
        "names = ('aiohttp', 'aiomysql', 'PyMySQL', 'uvloop')\n"
        "print('Python', sys.version.split()[0], *(f'{n} {have[n]}' for n in names if n in have), sep=', ')"
    )
    return _says(str(python), "-P", "-c", script).replace("Python,", "Python")
