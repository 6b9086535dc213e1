"""`python -m local up | down | demo` as a person runs them. However they end, nothing of them lives on."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from local.ports import HOST
from local.processes import ROOT
from local.record import StackRecord, StateFolder
from tests.leftovers import wait_until_gone

SECONDS = 240
STEADY = {"logs", "lock", "postgres", "redis", "store", "supervisor.log"}


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here computes; see the acceptance tests."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A folder for a stack; whatever the test left running there is ended."""
    folder = tmp_path / "state"
    yield folder
    local("down", "--state", str(folder))


def local(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "local", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)


def read(state: Path) -> StackRecord:
    record = StateFolder(state).read()
    assert record is not None
    return record


def wait_for_record(state: Path) -> None:
    """Wait until the processes of a stack are started, long before they are ready."""
    deadline = time.monotonic() + SECONDS
    while not (state / "stack.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def assert_free(ports: dict[str, int]) -> None:
    for port in ports.values():
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, port))


def test_up_and_down(state: Path) -> None:
    up = local("up", "--state", str(state))
    assert up.returncode == 0, up.stderr
    exports = dict(re.findall(r"^export (\w+)=(\S+)$", up.stdout, re.MULTILINE))
    jobs = f"{exports['ROLEKEEPER_URL']}/v1/jobs"
    answer = httpx.get(jobs, headers={"authorization": f"Bearer {exports['ROLEKEEPER_API_KEY']}"})
    assert answer.json() == {"object": "list", "data": [], "has_more": False}
    assert httpx.get(jobs).status_code == 401

    again = local("up", "--state", str(state))
    assert again.returncode == 0
    assert again.stdout == f"already running\n{up.stdout}"

    record = read(state)
    assert set(record.processes) == {"postgres", "redis", "gateway", "conductor", "scorer", "trainer", "evaluator"}
    down = local("down", "--state", str(state))
    assert (down.returncode, down.stdout) == (0, "stopped\n")
    assert wait_until_gone(state, seconds=0) == []
    assert_free(record.ports)
    assert {path.name for path in state.iterdir()} == STEADY


def test_a_killed_supervisor_takes_everything_with_it(state: Path) -> None:
    assert local("up", "--state", str(state)).returncode == 0
    record = read(state)
    psutil.Process(record.supervisor.pid).kill()
    assert wait_until_gone(state, seconds=15) == []
    assert_free(record.ports)
    down = local("down", "--state", str(state))
    assert "no stack runs" in down.stdout
    assert {path.name for path in state.iterdir()} == STEADY


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_starts_stops_it(state: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "local", "demo", "--state", str(state)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as demo:
        wait_for_record(state / "demo")
        record = read(state / "demo")
        demo.send_signal(number)
        demo.send_signal(number)
        assert demo.wait(SECONDS) == 130
    assert wait_until_gone(state, seconds=0) == []
    assert_free(record.ports)
    assert list(state.iterdir()) == []


def test_a_part_that_does_not_start_is_named_and_the_others_are_stopped(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLEKEEPER_LEASE_SECONDS", "-1")
    up = local("up", "--state", str(state))
    assert up.returncode == 1
    assert re.search(r"error: (conductor|trainer) ended with status 1", up.stderr), up.stderr
    assert "lease_seconds" in up.stderr
    assert wait_until_gone(state, seconds=0) == []


def test_bad_input_is_refused_before_anything_starts(state: Path, tmp_path: Path) -> None:
    character = tmp_path / "character.json"
    character.write_text('{"name": "Nobody"}')
    demo = local("demo", "--character", str(character), "--state", str(state))
    assert demo.returncode == 1
    assert "character.json" in demo.stderr
    assert "profile" in demo.stderr
    assert not state.exists()


def test_a_process_that_dies_is_started_again(state: Path) -> None:
    assert local("up", "--state", str(state)).returncode == 0
    before = read(state).processes["scorer"].pid
    os.kill(before, signal.SIGKILL)
    deadline = time.monotonic() + SECONDS
    while (after := read(state).processes.get("scorer")) is None or after.pid == before:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert psutil.Process(after.pid).is_running()


def test_down_without_a_stack_says_so(state: Path) -> None:
    down = local("down", "--state", str(state))
    assert down.returncode == 0
    assert "no stack runs" in down.stdout
