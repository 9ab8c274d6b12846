"""The files for systemd, as far as one can tell without it; tests/packaging has the rest."""

import re

from healthagent import monitor
from healthagent.document import DEFAULT_PATH
from healthagent.places import CONTROL_SOCKET
from healthagent.schema import TOP_LEVEL
from healthagent.wire import FILE_LIMIT
from tools.docs import DOCS

ROOT = DOCS.parent
UNITS = ROOT / "systemd"


def settings(name: str) -> list[str]:
    lines = (UNITS / name).read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_an_instance_is_as_the_service_but_for_its_names() -> None:
    """Who changes one of them changes the other."""
    one, instance = settings("healthagent.service"), settings("healthagent@.service")
    own = ((" (%i)", ""), (" mariadb@%i.service", ""), ("healthagent/%i.yaml", ""), ("healthagent/%i", "healthagent"))
    told = "\n".join(instance).replace(" --config /etc/", " /etc/")
    for name, plain in own:
        told = told.replace(name, plain)

    assert told.replace(" /etc/\n", "\n") == "\n".join(one)


def test_the_directories_are_those_of_the_defaults() -> None:
    made = {line.split()[1] for line in settings("healthagent.tmpfiles")}

    assert CONTROL_SOCKET.rpartition("/")[0] in made
    assert f"StateDirectory={TOP_LEVEL['state_dir'].default.removeprefix('/var/lib/')}" in settings(
        "healthagent.service"
    )
    assert str(DEFAULT_PATH.parent) == "/etc/healthagent"


def test_the_track_files_are_those_of_the_examples() -> None:
    examples = (ROOT / "keepalived-examples/healthagent-track.tmpfiles").read_text("utf-8").splitlines()
    made = {tuple(line.split()) for line in settings("healthagent.tmpfiles")}

    assert {tuple(line.split()) for line in examples if not line.startswith("#")} <= made


def test_its_files_are_enough_for_the_clients_that_it_may_have() -> None:
    (limit,) = [line.removeprefix("LimitNOFILE=") for line in settings("healthagent.service") if "NOFILE" in line]
    assert int(limit) >= FILE_LIMIT


def test_the_times_that_are_told_are_the_true_ones() -> None:
    text = " ".join((DOCS / "systemd.md").read_text("utf-8").split())
    for line in settings("healthagent.service"):
        if line.startswith("WatchdogSec="):
            assert f"`{line}`" in text
    assert monitor.LOOK_TIMEOUTS == 3
    assert f"three times `probe.timeout` and {monitor.STUCK_SECONDS:g} s" in text


def test_links_of_the_page_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (DOCS / "systemd.md").read_text("utf-8")):
        assert (DOCS / target).exists(), target


def test_a_build_installs_all_that_the_package_is_built_with() -> None:
    """`make deb` on a clean machine; build-essential is what Debian's policy takes for granted."""
    control = (ROOT / "packaging/debian/control").read_text("utf-8").split("\nBuild-Depends:\n")[1]
    wanted = {line.strip(" ,").partition(" ")[0] for line in control.split("\nStandards")[0].splitlines()}
    provided = {"debhelper-compat": "debhelper", "dh-sequence-python3": "dh-python"}
    install = (ROOT / "tools/install").read_text("utf-8").split("BUILD_WANTED=(")[1].split(")")[0]

    assert len(wanted) >= 6
    assert {provided.get(name, name) for name in wanted} | {"build-essential"} <= {
        entry.partition("=")[0] for entry in install.split()
    }
