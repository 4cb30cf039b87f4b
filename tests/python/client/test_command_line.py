"""The node's command line, as the package carries it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import cascade_kv
from cascade_kv import __version__
from cascade_kv.__main__ import OVERRIDE
from content import content, key
from node_process import Node, program

BUNDLE = Path(cascade_kv.__file__).parent / "_bundle"


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`python -m cascade_kv ARGUMENTS`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CASCADE_")}
    command = [sys.executable, "-m", "cascade_kv", *arguments]
    return subprocess.run(command, env={**environment, **variables}, capture_output=True, text=True)


def test_the_command_line_is_that_of_the_node() -> None:
    answered = run("--version", **{OVERRIDE: str(program())})
    assert answered.returncode == 0, answered.stderr
    assert __version__ in answered.stdout


def test_its_exit_status_is_the_nodes() -> None:
    refused = run("no-such-verb", **{OVERRIDE: str(program())})
    assert (
        refused.returncode == subprocess.run([program(), "no-such-verb"], capture_output=True).returncode != 0
    )
    assert "no-such-verb" in refused.stderr


def test_what_the_client_put_the_command_line_gets(node: Node, tmp_path: Path) -> None:
    with node.connect() as client:
        client.put(key(1), content(1, 1000), wait=True)
    environment = {OVERRIDE: str(program()), "CASCADE_SOCKET": node.socket}
    target = tmp_path / "piece"
    answered = run("get", key(1).hex(), "--out", str(target), **environment)
    assert answered.returncode == 0, answered.stderr
    assert target.read_bytes() == content(1, 1000)


@pytest.mark.parametrize("named", ["/no/such/program", "/etc/passwd", "/tmp"])
def test_a_named_program_that_cannot_be_run_is_said(named: str) -> None:
    refused = run("status", **{OVERRIDE: named})
    assert refused.returncode == 1
    assert named in refused.stderr and OVERRIDE in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.skipif(not BUNDLE.exists(), reason="this installation carries no node: it is no wheel")
def test_the_wheel_carries_a_node_that_finds_its_tiers() -> None:
    script = Path(sys.executable).with_name("cascade-node")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CASCADE_")}
    listed = subprocess.run([script, "plugins", "--json"], env=environment, capture_output=True, text=True)
    assert listed.returncode == 0, listed.stderr
    for tier in ("shm", "lustre"):
        assert str(BUNDLE / "lib" / f"libcascade_tier_{tier}.so") in listed.stdout


@pytest.mark.skipif(BUNDLE.exists(), reason="this installation carries a node")
def test_an_installation_without_a_node_says_what_to_do() -> None:
    refused = run("run")
    assert refused.returncode == 1
    assert "install the wheel" in refused.stderr and OVERRIDE in refused.stderr
