"""A child of the stack ends with everything that it started, however its parent ends."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local.failures import StackFailed
from local.processes import ROOT, Command, Process
from local.record import ProcessRecord, StackRecord, StateFolder, describe
from local.settings import child_environment
from tests.leftovers import processes_of, wait_until_gone

UNPRIVILEGED_USER = "nobody" if os.geteuid() == 0 else None

# A process that starts another one in a session of its own; both would rather not stop.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", program, sys.argv[1]], start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
print("started", flush=True)
time.sleep(600)
"""
SUPERVISOR = """
import sys, time
from pathlib import Path
from local.processes import Command, Process
folder = Path(sys.argv[1])
process = Process(Command("sleeper", ("/bin/sleep", "600"), {"FOLDER": str(folder)}, folder / "sleeper.log"))
process.start()
print(process.pid, flush=True)
time.sleep(600)
"""


def command(folder: Path, *argv: str) -> Command:
    return Command("child", argv, child_environment({"state": str(folder)}), folder / "child.log")


@pytest.fixture
def stubborn(tmp_path: Path) -> Iterator[Process]:
    """A running process that has started another."""
    process = Process(command(tmp_path, sys.executable, "-c", STUBBORN, str(tmp_path)))
    process.start()
    process.wait_ready(lambda: "started" in (tmp_path / "child.log").read_text(), 20)
    yield process
    process.stop(grace_seconds=0)


def test_stop_ends_children_in_other_sessions_too(stubborn: Process, tmp_path: Path) -> None:
    assert len(processes_of(tmp_path)) == 2
    assert len(stubborn.family()) == 2
    stubborn.stop(grace_seconds=0.2)
    assert processes_of(tmp_path) == []
    assert not stubborn.is_alive


def test_a_crashed_stack_is_cleaned_up_by_pid(stubborn: Process, tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state")
    with folder.locked():
        record = StackRecord(supervisor=describe(stubborn.pid), processes={}, ports={}, url="")
        folder.write(record.model_copy(update={"processes": {"child": describe(stubborn.pid)}}))
        folder.clean_up_after_crash()
        assert folder.read() is None
    assert processes_of(tmp_path) == []


def test_a_pid_that_is_used_again_is_left_alone(stubborn: Process, tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state")
    earlier = ProcessRecord(pid=stubborn.pid, started=describe(stubborn.pid).started - 60)
    with folder.locked():
        folder.write(StackRecord(supervisor=earlier, processes={"child": earlier}, ports={}, url=""))
        folder.clean_up_after_crash()
    assert stubborn.is_alive


def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with supervisor:
        assert supervisor.stdout is not None
        child = psutil.Process(int(supervisor.stdout.readline()))
        assert child.is_running()
        supervisor.kill()
    assert wait_until_gone(tmp_path, seconds=5) == []


def test_a_process_that_ends_early_says_why(tmp_path: Path) -> None:
    process = Process(command(tmp_path, "/bin/sh", "-c", "echo the port is taken >&2; exit 3"))
    process.start()
    with pytest.raises(StackFailed, match=r"child ended with status 3.*\n  the port is taken"):
        process.wait_ready(lambda: False, 20)


def test_a_process_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    process = Process(command(tmp_path, "/bin/sleep", "600"))
    process.start()
    with pytest.raises(StackFailed, match="child was not ready after 0 s"):
        process.wait_ready(lambda: False, 0.2)
    process.stop(grace_seconds=5)
    assert not processes_of(tmp_path)


def test_input_reaches_the_process_and_ends(tmp_path: Path) -> None:
    process = Process(Command("cat", ("/bin/cat",), {}, tmp_path / "cat.log", input=b"secret"))
    process.start()
    process.wait_ready(lambda: process.status() == 0, 20)
    assert (tmp_path / "cat.log").read_bytes() == b"secret"


def test_two_stacks_can_not_share_a_folder(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    assert not folder.is_running
    with folder.locked():
        assert StateFolder(tmp_path).is_running
        with pytest.raises(StackFailed, match=r"runs in .* already"), StateFolder(tmp_path).locked():
            pass
    assert not folder.is_running


def test_the_record_is_for_its_owner_only(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.write(StackRecord(supervisor=ProcessRecord(pid=1, started=0.0), processes={}, ports={}, url="", api_key="k"))
    assert (tmp_path / "stack.json").stat().st_mode & 0o077 == 0


def test_kill_is_a_crash(tmp_path: Path) -> None:
    process = Process(command(tmp_path, "/bin/sleep", "600"))
    process.start()
    pid = process.pid
    process.kill()
    assert process.status() == -signal.SIGKILL
    process.restart()
    assert process.pid != pid
    assert process.is_alive
    process.stop(grace_seconds=5)


def test_a_program_that_refuses_root_still_reads_in_closed_folders(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "file").write_text("readable\n")
    script = f"id -u; test -r {closed}/file && cat {closed}/file; echo spoilt >> {tmp_path}/child.log.2"
    unprivileged = dataclasses.replace(command(tmp_path, "/bin/sh", "-c", script), user=UNPRIVILEGED_USER)
    process = Process(unprivileged)
    process.start()
    process.wait_ready(lambda: process.status() is not None, 20)
    lines = unprivileged.log_path.read_text().splitlines()
    assert lines[0] != "0"
    assert lines[1] == "readable"
    assert (tmp_path / "child.log.2").exists() == (UNPRIVILEGED_USER is None), "it may read everywhere, but not write"
