from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from airserve.lab.missing import missing

# A root without rights, as in most containers: drops all for this process and what it starts, but the one (31,
# CAP_SETFCAP) without which the kernel lets no root into a user namespace of its own.
WITHOUT_RIGHTS = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
for number in range(64):
    number == 31 or libc.prctl(24, number, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""


def without_rights(code: str) -> str:
    command = [sys.executable, "-c", WITHOUT_RIGHTS, code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop rights")


@needs_root
def test_a_root_without_rights_is_told_what_to_do() -> None:
    said = without_rights("from airserve.lab.missing import missing; print(missing(rootless=False))")
    assert "CAP_SYS_ADMIN" in said
    assert "--rootless" in said


@needs_root
def test_without_rights_an_emulation_takes_a_user_namespace_by_itself() -> None:
    if reasons := missing(rootless=True):
        pytest.skip("; ".join(reasons))
    code = (
        "from airserve.lab.emulation import Emulation; from airserve.lab.constant_link import constant_link\n"
        "with Emulation(constant_link('rate=10,rtt=20')) as emulation:\n"
        "    from airserve.lab.measure import ping; print(len(ping(emulation, count=3).rtt_s))"
    )
    assert without_rights(code).splitlines()[-1] == "3"


@needs_root
@pytest.mark.skipif(not Path("/dev/net/tun").exists(), reason="there is no TUN device to hide")
def test_a_machine_without_tun_is_told_so() -> None:
    # In a mount namespace of this test alone an empty folder hides the device.
    code = (
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True)\n"
        "assert libc.unshare(0x20000) == 0 and libc.mount(b'none', b'/', None, 0x44000, None) == 0\n"
        "assert libc.mount(b'none', b'/dev/net', b'tmpfs', 0, None) == 0\n"
        "from airserve.lab.missing import missing; print(missing())"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "modprobe tun" in said
