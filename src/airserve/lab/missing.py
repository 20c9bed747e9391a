"""What this machine lacks to emulate links, in sentences that tell what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

_TUN = Path("/dev/net/tun")
_CAP_SYS_ADMIN = 21
# Each is a switch of some distribution that keeps users without rights from making user namespaces.
_SWITCHES = (
    ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
    ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
)


def missing(*, rootless: bool | None = None, may_try: bool = True) -> list[str]:
    """Nothing where links can be emulated; `rootless` asks for the way without root, which root may take as well.

    With `may_try` namespaces are made and given back, to find what no look at the machine shows.
    """
    if sys.platform != "linux":
        return [f"links are emulated on Linux only, and this is {sys.platform}; use a virtual machine or a container"]
    without_root = not is_administrator() if rootless is None else rootless
    found = _tun() + (_user_namespaces() if without_root else _rights())
    if found or not may_try:
        return found
    keeper = [sys.executable, "-m", "airserve.lab.keeper", "-1", str(os.getpid())]
    trial = subprocess.run(
        [*keeper, "rootless" if without_root else "root", "1", "1400"], capture_output=True, text=True, check=False
    )
    if trial.returncode == 0:
        return []
    lines = (trial.stdout + trial.stderr).strip().splitlines() or ["no reason was given"]
    reason = json.loads(lines[-1])["error"] if lines[-1].startswith("{") else lines[-1]
    return [f"the kernel refuses network namespaces with TUN devices here: {reason}; ask whoever runs this machine"]


def _tun() -> list[str]:
    if not _TUN.exists():
        return [
            "there is no /dev/net/tun; load the module with `modprobe tun`, or start the container with "
            "`--device /dev/net/tun`"
        ]
    if not os.access(_TUN, os.R_OK | os.W_OK):
        return ["/dev/net/tun cannot be opened by this user; let root run `chmod 0666 /dev/net/tun`"]
    return []


def is_administrator() -> bool:
    """Whether this process may make network namespaces without a user namespace, as root outside of containers may."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:"))
    return bool(int(line.split()[1], 16) >> _CAP_SYS_ADMIN & 1)


def _rights() -> list[str]:
    if is_administrator():
        return []
    return [
        "this process has no CAP_SYS_ADMIN; run it as root, start the container with `--cap-add SYS_ADMIN`, "
        "or take the way without root (`--rootless`)"
    ]


def _user_namespaces() -> list[str]:
    if not Path("/proc/self/ns/user").exists():
        return ["this kernel has no user namespaces; run it as root"]
    return [
        f"users may not make user namespaces here; let root run `sysctl -w {remedy}`, or run it as root"
        for path, refusing, remedy in _SWITCHES
        if Path(path).exists() and Path(path).read_text().strip() == refusing
    ]
