"""Becomes another program that can't outlive its parent: `python child.py PARENT_PID SIGNAL USER COMMAND...`.

Runs between fork and exec, in a fresh interpreter without site-packages, because code in a forked child of a threaded
process is not safe. USER is `-`, or the account that root becomes for a program that refuses to run as root.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import sys

PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 4
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAPABILITY_VERSION = 0x20080522
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2


def main() -> None:
    """Take the user, tie this process to its parent, and become the command."""
    parent, sign, user, *command = sys.argv[1:]
    libc = ctypes.CDLL(None)
    if user != "-":
        become(libc, user)
    # After the change of user, which would undo it.
    libc.prctl(PR_SET_PDEATHSIG, int(sign), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("the parent is gone already")
    os.execv(command[0], command)  # noqa: S606 - the command is ours


def become(libc: ctypes.CDLL, user: str) -> None:
    """Give up root for `user`, but keep the right to read in folders that are closed to others, such as /root.

    Without it a checkout in root's home could not be used, or would have to be opened to everybody.
    """
    entry = pwd.getpwnam(user)
    # The change of user drops no capability then, and access(2), which PostgreSQL asks, counts the one that is kept.
    libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    # The first that this machine allows; without one, folders that are open to all still work.
    kept = any(keep_only(libc, 1 << capability) for capability in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE))
    if not kept and not keep_only(libc, 0):
        sys.exit("root's capabilities can't be dropped")


def keep_only(libc: ctypes.CDLL, bits: int) -> bool:
    """Drop all capabilities but these, and pass them on through exec; whether it was done."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)(bits, bits, bits, 0, 0, 0)
    if libc.capset(header, sets) != 0:
        return False
    return bits == 0 or libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, bits.bit_length() - 1, 0, 0) == 0


if __name__ == "__main__":
    main()
