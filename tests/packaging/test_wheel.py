"""sdist and wheel: what is in them, and that what pip makes of them runs."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

from healthagent import __version__
from tests.binaries import need
from tests.packaging.building import ROOT, build, run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """sdist, wheel"""
    if subprocess.run(["/usr/bin/python3", "-c", "import build, setuptools, wheel"], check=False).returncode:
        need("python3-build")  # its program; here is no network to install it from
    sdist, wheel = build("dist", tmp_path_factory.mktemp("dist"))
    return sdist, wheel


def test_the_wheel_holds_the_program_alone(made: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(made[1]) as archive:
        names = archive.namelist()
        metadata = message_from_string(archive.read(f"healthagent-{__version__}.dist-info/METADATA").decode())
    rooms = {f"healthagent/{path.name}" for path in (ROOT / "healthagent").glob("*.py")}
    assert {name for name in names if not name.startswith(f"healthagent-{__version__}.dist-info/")} == {
        *rooms,
        "healthagent/py.typed",
    }
    assert {"systemd", "uvloop"} <= set(metadata.get_all("Provides-Extra", []))
    wanted = metadata.get_all("Requires-Dist", [])
    assert any(re.match("uvloop ?; extra == ['\"]uvloop['\"]", it) for it in wanted)
    assert not any("systemd" in it for it in wanted), "nothing that pip would have to compile"


def test_the_wheel_runs_in_a_fresh_venv(made: tuple[Path, Path], tmp_path: Path) -> None:
    """With the libraries of the interpreter that runs this test, as there is no network here."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    (site,) = home.glob("lib/python3*/site-packages")
    pip = (sys.executable, "-m", "pip", "--python", home / "bin/python", "install", "--no-index", "--no-deps")
    run(*pip, "--ignore-installed", made[1])  # whatever else is on the path
    (site / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    alone = {"PYTHONPATH": ""}  # not the checkout
    asked = "import healthagent; print(healthagent.__file__)"
    assert run(home / "bin/python", "-c", asked, env=alone, cwd=tmp_path).startswith(str(site))
    assert run(home / "bin/healthagent", "--version", env=alone, cwd=tmp_path) == f"healthagent {__version__}\n"
    config = tmp_path / "healthagent.yaml"
    config.write_text(f"mysql: {{socket: {tmp_path}/none.sock, datadir: {tmp_path}}}\nstate_dir: {tmp_path}\n")
    done = subprocess.run(
        [home / "bin/healthagent", "--config", config, "probe"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **alone},
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("state down\n")


def test_the_sdist_is_a_tree_to_build_from(made: tuple[Path, Path], tmp_path: Path) -> None:
    """A package of Debian is made of it as of a checkout, and the tests are there."""
    need("dpkg-buildpackage", "dh", "dh_python3")
    with tarfile.open(made[0]) as archive:
        archive.extractall(tmp_path, filter="data")
    tree = tmp_path / f"healthagent-{__version__}"
    for part in ("tests/unit/test_docs.py", "lab/enter", "tools/install", "Makefile", "docs/configuration.md"):
        assert (tree / part).exists(), part
    (deb,) = build("deb", tmp_path / "out", source=tree)
    assert deb.name == f"healthagent_{__version__}-1_all.deb"
