"""The RPM, as far as Debian's rpm can tell: what is in it, what it asks for, and its scripts."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from healthagent import __version__
from tests.binaries import need
from tests.packaging.building import ROOT, build, run

FILES = (
    "/etc/healthagent/healthagent.yaml",
    "/usr/bin/healthagent",
    "/usr/lib/systemd/system/healthagent.service",
    "/usr/lib/systemd/system/healthagent@.service",
    "/usr/lib/sysusers.d/healthagent.conf",
    "/usr/lib/tmpfiles.d/healthagent.conf",
    "/usr/lib/systemd/catalog/healthagent.catalog",
    "/usr/share/bash-completion/completions/healthagent",
    "/usr/share/man/man1/healthagent.1",
    "/usr/share/man/man5/healthagent.yaml.5",
)


@pytest.fixture(scope="module")
def rpm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("rpmbuild", "rpm")
    (made,) = build("rpm", tmp_path_factory.mktemp("rpm"))
    assert made.name == f"healthagent-{__version__}-1.noarch.rpm"
    return made


def test_what_is_in_it(rpm: Path) -> None:
    listed = run("rpm", "--query", "--package", "--list", rpm).splitlines()
    assert set(FILES) <= {name.removesuffix(".gz") for name in listed}
    rooms = {path.name for path in (ROOT / "healthagent").glob("*.py")}
    assert {Path(name).name for name in listed if re.search("/site-packages/healthagent/[^/]+.py$", name)} == rooms


def test_the_configuration_is_kept_and_not_for_everybody(rpm: Path) -> None:
    asked = "[%{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILEFLAGS:fflags}\n]"
    (line,) = [
        line
        for line in run("rpm", "--query", "--package", "--queryformat", asked, rpm).splitlines()
        if line.startswith("/etc/healthagent/healthagent.yaml ")
    ]
    assert line.split()[1:] == ["-rw-r-----", "root:healthagent", "cn"]  # c: configuration, n: noreplace


def test_what_it_asks_for(rpm: Path) -> None:
    needs = set(run("rpm", "--query", "--package", "--requires", rpm).splitlines())
    assert {"python3 >= 3.11", "python3-aiohttp >= 3.8", "python3-aiomysql >= 0.1", "systemd"} <= needs
    assert [name for name in needs if "uvloop" in name] == []
    recommends = set(run("rpm", "--query", "--package", "--recommends", rpm).splitlines())
    assert "python3-uvloop" in recommends


def test_its_scripts_are_well_formed(rpm: Path) -> None:
    said = run("rpm", "--query", "--package", "--scripts", rpm)
    parts = re.split(r"^(\w+) scriptlet \(using /bin/sh\):$", said, flags=re.MULTILINE)
    scripts = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert set(scripts) == {"preinstall", "postinstall", "preuninstall", "posttrans"}
    for script in scripts.values():
        run("sh", "-n", "-c", script)
        # a machine on which nothing of systemd is to be found: no script may fail
        assert (
            subprocess.run(["/bin/sh", "-c", script, "sh", "1"], env={"PATH": "/nowhere"}, check=False).returncode == 0
        )


def test_what_is_installed_runs(rpm: Path, tmp_path: Path) -> None:
    """Unpacked without its scripts, as there is no system of its kind here; with the Python that it was built for."""
    run("rpm", "--install", "--nodeps", "--noscripts", "--root", tmp_path, "--ignorearch", rpm)
    (site,) = tmp_path.glob("usr/lib/python3*/site-packages")
    python = f"/usr/bin/{site.parent.name}"
    said = run(python, tmp_path / "usr/bin/healthagent", "--version", env={"PYTHONPATH": str(site)})
    assert said == f"healthagent {__version__}\n"
    assert os.access(tmp_path / "usr/bin/healthagent", os.X_OK)
    run("rpm", "--erase", "--nodeps", "--noscripts", "--root", tmp_path, "healthagent")
    assert [path for path in tmp_path.rglob("*healthagent*") if "rpm" not in path.parts] == []
