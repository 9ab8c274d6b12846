"""The Debian package: what is in it, and its life on Debian 12 and 13 where no systemd runs."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from healthagent import __version__
from healthagent.schema import ROLE_SETTINGS, SECTIONS, TOP_LEVEL
from tests.binaries import need
from tests.packaging.building import ROOT, build, run
from tools.manual import commands

NEWER = "99.0"
CONFIG = "/etc/healthagent/healthagent.yaml"
RELEASES = ["bookworm", "trixie"]
# what a package must not leave to chance: where everything is
FILES = {
    CONFIG: "-rw-r-----",
    "/usr/bin/healthagent": "-rwxr-xr-x",
    "/usr/lib/python3/dist-packages/healthagent/service.py": "-rw-r--r--",
    "/usr/lib/systemd/system/healthagent.service": "-rw-r--r--",
    "/usr/lib/systemd/system/healthagent@.service": "-rw-r--r--",
    "/usr/lib/sysusers.d/healthagent.conf": "-rw-r--r--",
    "/usr/lib/tmpfiles.d/healthagent.conf": "-rw-r--r--",
    "/usr/lib/systemd/catalog/healthagent.catalog": "-rw-r--r--",
    "/usr/share/bash-completion/completions/healthagent": "-rw-r--r--",
    "/usr/share/man/man1/healthagent.1.gz": "-rw-r--r--",
    "/usr/share/man/man5/healthagent.yaml.5.gz": "-rw-r--r--",
    "/usr/share/doc/healthagent/copyright": "-rw-r--r--",
    "/usr/share/doc/healthagent/changelog.gz": "-rw-r--r--",
    "/usr/share/doc/healthagent/changelog.Debian.gz": "-rw-r--r--",
    "/usr/share/doc/healthagent/docs/install.md": "-rw-r--r--",
}


@pytest.fixture(scope="module")
def debs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the package of this version and the same as a newer one."""
    need("dpkg-buildpackage", "dh", "dh_python3", "lintian")
    directory = tmp_path_factory.mktemp("debs")
    for version in (__version__, NEWER):
        build("deb", directory, version=version)
    return directory


@pytest.fixture(scope="module")
def deb(debs: Path) -> Path:
    return debs / f"healthagent_{__version__}-1_all.deb"


def test_lintian_has_nothing_to_say(deb: Path) -> None:
    said = run("lintian", "--fail-on", "error,warning", "--allow-root", deb)
    assert said == ""


def test_what_is_in_it(deb: Path) -> None:
    listed = dict[str, str]()
    for line in run("dpkg-deb", "--contents", deb).splitlines():
        mode, owner, _, _, _, name = line.split(maxsplit=5)
        assert owner == "root/root"
        listed[name.partition(" -> ")[0].removeprefix(".")] = mode
    assert {name: listed.get(name) for name in FILES} == FILES
    rooms = {path.name for path in (ROOT / "healthagent").glob("*.py")}
    assert {Path(name).name for name in listed if re.search("/dist-packages/healthagent/[^/]+.py$", name)} == rooms
    examples = {str(path.relative_to(ROOT)) for path in ROOT.glob("*-examples/*")}
    examples |= {str(path.relative_to(ROOT / "systemd")) for path in ROOT.glob("systemd/mariadb.service.d/*")}
    assert {name.partition("/examples/")[2] for name in listed if re.search("/examples/.+/.", name)} == examples
    assert [name for name in listed if "__pycache__" in name or "/tests" in name] == []


def test_its_units_are_where_both_releases_look(tmp_path: Path) -> None:
    """debhelper of Debian 12 puts them below lib, that of Debian 13 below usr/lib."""
    for place in ("lib", "usr/lib"):
        tree = tmp_path / place.replace("/", "_")
        (tree / "debian/healthagent/usr/lib/systemd/catalog").mkdir(parents=True)
        (tree / "dh_installsystemd").write_text(
            f"#!/bin/sh\nd=debian/healthagent/{place}/systemd/system\nmkdir -p $d\ntouch $d/${{1#--name=}}.service\n"
        )
        (tree / "dh_installsystemd").chmod(0o755)
        rules = ROOT / "packaging/debian/rules"
        run(rules, "override_dh_installsystemd", cwd=tree, env={"PATH": f"{tree}:{os.environ['PATH']}"})
        installed = tree / "debian/healthagent"
        assert {str(path.relative_to(installed)) for path in installed.rglob("*.service")} == {
            "usr/lib/systemd/system/healthagent.service",
            "usr/lib/systemd/system/healthagent@.service",
        }
        assert not (installed / "lib").exists()


# What is of use to those alone who have the sources.
NOT_INSTALLED = ("../benchmarks/", "../packaging/", "benchmarks/", "LICENSE", "../LICENSE")


def test_its_pages_link_to_what_is_there(deb: Path, tmp_path: Path) -> None:
    run("dpkg-deb", "--extract", deb, tmp_path)
    doc = tmp_path / "usr/share/doc/healthagent"
    pages = [doc / "README.md", *doc.glob("docs/*.md")]
    assert len(pages) >= 10
    dead = [
        (page.name, link)
        for page in pages
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8"))
        if "://" not in link and not link.startswith(NOT_INSTALLED) and not (page.parent / link).exists()
    ]
    assert dead == []


def test_what_it_says_of_itself(deb: Path) -> None:
    fields = dict(line.split(": ", 1) for line in run("dpkg-deb", "--field", deb).splitlines() if ": " in line[:20])
    assert (fields["Package"], fields["Version"], fields["Architecture"]) == ("healthagent", f"{__version__}-1", "all")
    depends = re.split(r"(?: \([^)]*\))?, ", fields["Depends"])
    assert {"python3-aiohttp", "python3-aiomysql", "python3-pymysql", "python3-yaml"} <= set(depends)
    assert fields["Recommends"] == "python3-uvloop"
    assert "python3 (>= 3.11)" in fields["Depends"]
    assert run("dpkg-deb", "--info", deb, "conffiles") == f"{CONFIG}\n"


def test_the_same_source_makes_the_same_bytes(deb: Path, tmp_path: Path) -> None:
    (again,) = build("deb", tmp_path)
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(deb.read_bytes()).digest()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("made")
    run(sys.executable, "-m", "tools.manual", directory)
    return directory


def plain(page: Path) -> str:
    """The page as it is read, on one line."""
    need("man")
    return " ".join(run("man", "--encoding=ascii", "--no-hyphenation", page, env={"MANWIDTH": "200"}).split())


def test_the_manual_has_every_command_and_option(made: Path) -> None:
    text = plain(made / "healthagent.1")
    assert len(commands()) >= 10
    for command in commands():
        assert f" {command.name} " in text
        for option, meaning in (*command.options, *command.arguments):
            assert option in text
            assert meaning.replace("`", "").split(";")[0].replace("'", "'") in text


def test_the_manual_has_every_setting(made: Path) -> None:
    text = plain(made / "healthagent.yaml.5")
    for keys in (*SECTIONS.values(), TOP_LEVEL, ROLE_SETTINGS):
        for key, setting in keys.items():
            assert f" {key} " in text
            assert setting.meaning.replace("`", "") in text


def test_the_manual_is_well_formed(made: Path) -> None:
    """Warnings of the formatter: an unknown macro, a line that cannot be broken."""
    need("man")
    for page in ("healthagent.1", "healthagent.yaml.5"):
        done = subprocess.run(
            ["man", "--warnings", "-Tutf8", "--encoding=UTF-8", "--local-file", made / page],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "MANWIDTH": "80", "MAN_KEEP_STDERR": "1", "LC_ALL": "C.UTF-8"},
        )
        assert done.stderr == ""


SHOWN = """\
probe: {interval: 500ms}
roles:
  any: {donor: false}
  analytics: {base: reader, max_lag: 10m}
weights:
  lag: true
"""


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("", {"serve", "probe", "check", "why", "ack", "config", "sql", "setup", "--config", "--version"}),
        ("conf", {"config"}),
        ("check ", {"writer", "reader", "synced", "replica", "--max-lag", "--weight"}),
        ("check wr", {"writer"}),
        ("check --socket /x wr", {"writer"}),
        ("--config /etc/hosts why r", {"reader", "replica"}),
        ("config ", {"check", "show", "haproxy", "keepalived", "hetzner"}),
        ("config keepalived --v", {"--vip"}),
        ("setup --a", {"--apply"}),
        ("sql ", {"grants"}),
        ("config check /etc/hostn", {"/etc/hostname"}),
        ("check --socket /etc/hostn", {"/etc/hostname"}),
        ("check writer ", {"--max-lag", "--weight", "--socket", "--config", "--help"}),
        ("why --json an", {"any", "analytics"}),
        ("nonsense ", set()),
        ("ack --cluster ", {"--socket", "--config"}),
        ("config prometheus --cluster x --", {"--node"}),
        ("config prometheus --cluster ", set()),
    ],
)
def test_bash_completes(made: Path, typed: str, offered: set[str], tmp_path: Path) -> None:
    """In a real bash; `healthagent config show` gives the operator's own roles."""
    fake = tmp_path / "healthagent"
    fake.write_text(
        "#!/bin/sh\nprintf 'probe: {}\\nroles:\\n  any: {}\\n  analytics: {base: reader}\\nweights:\\n  lag: 1\\n'"
    )
    fake.chmod(0o755)
    script = f"""
        source {made}/healthagent
        COMP_WORDS=(healthagent {typed} {"''" if typed.endswith(" ") or not typed else ""})
        COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
        _healthagent
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    found = set(run("bash", "-euc", script, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}).split())
    assert offered <= found
    assert (found == set()) if not offered else True
    words = typed.split(" ")
    assert all(word.startswith(words[-1]) for word in found)
    assert "lag:" not in found and "weights" not in found


LIFE = r"""
set -eu
say() { printf '== %s\n' "$*"; }
facts() {
    healthagent --version
    stat -c '%A %U:%G %n' /etc/healthagent/healthagent.yaml /var/lib/healthagent
    getent passwd healthagent | cut -d: -f1,6,7
}
cd /mnt
say install;   dpkg --install healthagent_OLD-1_all.deb >/tmp/log 2>&1; facts
say check;     su -s /bin/sh healthagent -c 'healthagent config check'
echo '# mine' >> /etc/healthagent/healthagent.yaml
chgrp adm /etc/healthagent/healthagent.yaml
touch /var/lib/healthagent/pin.json /etc/healthagent/password
say upgrade;   dpkg --install healthagent_NEW-1_all.deb >>/tmp/log 2>&1; facts
chown root:root /etc/healthagent/healthagent.yaml; chmod 0644 /etc/healthagent/healthagent.yaml
say downgrade; dpkg --install healthagent_OLD-1_all.deb >>/tmp/log 2>&1; facts
say reinstall; dpkg --install healthagent_OLD-1_all.deb >>/tmp/log 2>&1; facts
tail -n 1 /etc/healthagent/healthagent.yaml
say remove;    dpkg --remove healthagent >>/tmp/log 2>&1
ls -d /etc/healthagent/* /var/lib/healthagent/*; ls -d /usr/lib/python3/dist-packages/healthagent* || echo no program
say purge;     dpkg --purge healthagent >>/tmp/log 2>&1
find / -xdev \( -path /proc -o -path /src -o -path /mnt -o -path /tmp \) -prune -o -name '*healthagent*' -print
getent passwd healthagent | cut -d: -f1
say again;     dpkg --install healthagent_NEW-1_all.deb >>/tmp/log 2>&1; facts
dpkg --purge healthagent >>/tmp/log 2>&1
say said;      grep -v -e '^Selecting' -e '^(Reading' -e '^Preparing' -e '^Unpacking' -e '^Setting up' -e '^Removing' \
    -e '^Purging' -e '^Processing' -e 'downgrading healthagent' -e '^Creating ' -e '^$' /tmp/log || true
"""


@pytest.mark.parametrize("release", RELEASES)
def test_its_life_without_systemd(debs: Path, release: str) -> None:
    """Installed, upgraded, downgraded, removed, purged, and installed again, in a chroot in which nothing runs."""
    need("unshare", "mmdebstrap")
    if os.geteuid() != 0:
        pytest.skip("needs root for a chroot")
    script = LIFE.replace("OLD", __version__).replace("NEW", NEWER)
    said = run("tools/on_debian", "--with", debs, release, "sh", "-c", script)
    told = (part.split("\n", 1) for part in said.split("== ")[1:])
    parts = {name.strip(): text.splitlines() for name, text in told}
    state = "drwx------ healthagent:healthagent /var/lib/healthagent"
    user = "healthagent:/var/lib/healthagent:/usr/sbin/nologin"
    old, new = f"healthagent {__version__}", f"healthagent {NEWER}"
    first, mine = f"-rw-r----- root:healthagent {CONFIG}", f"-rw-r----- root:adm {CONFIG}"
    assert parts["install"] == [old, first, state, user]
    assert parts["check"] == [f"{CONFIG}: ok"]
    assert parts["upgrade"] == [new, mine, state, user]
    theirs = f"-rw-r--r-- root:root {CONFIG}"
    assert parts["downgrade"] == [old, theirs, state, user]
    assert parts["reinstall"] == [old, theirs, state, user, "# mine"]
    left = ["/etc/healthagent/healthagent.yaml", "/etc/healthagent/password", "/var/lib/healthagent/pin.json"]
    assert [line for line in parts["remove"] if not line.startswith("ls: ")] == [*left, "no program"]
    assert parts["purge"] == ["healthagent"]
    assert parts["again"] == [new, first, state, user]
    assert parts["said"] == []


@pytest.mark.parametrize("release", RELEASES)
def test_every_dependency_is_in_that_release(deb: Path, release: str) -> None:
    """dpkg installs it in a tree that has no other packages of Python than Debian's: all that is imported is there."""
    need("unshare", "mmdebstrap")
    if os.geteuid() != 0:
        pytest.skip("needs root for a chroot")
    script = (
        f"dpkg --install /mnt/{deb.name} >/dev/null 2>&1 && cd / && healthagent probe; echo status $?;"
        " python3 -c 'import healthagent.service, healthagent.cli, healthagent.setup; print(healthagent.__file__)'"
    )
    said = run("tools/on_debian", "--with", deb.parent, release, "sh", "-c", script).splitlines()
    assert said[0] == "state down"
    assert said[-2:] == ["status 1", "/usr/lib/python3/dist-packages/healthagent/__init__.py"]
