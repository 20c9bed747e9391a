"""Linux's calls about network namespaces that Python's `os` lacks, through `ctypes` and `ioctl`.

Sources: unshare(2), setns(2), user_namespaces(7), netdevice(7), the kernel's Documentation/networking/tuntap.rst.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCSIFMTU = 0x8914, 0x8916, 0x891C, 0x8922
_SIOCADDRT = 0x890B
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
_RTF_UP = 0x1
_RTM_NEWLINK, _IFLA_TXQLEN, _NLM_F_REQUEST, _NLM_F_ACK = 16, 13, 1, 4
_PR_SET_TIMERSLACK = 29

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Give this process new namespaces of its own. Raises OSError."""
    if _libc.unshare(flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"unshare: {os.strerror(number)}")


def setns(fd: int, kind: int) -> None:
    """Enter the namespace that `fd` refers to. Raises OSError."""
    if _libc.setns(fd, kind) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def exact_timers() -> None:
    """Let this process's sleeps end on time: the kernel otherwise adds up to 50 µs to save energy."""
    _libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)


def before_others() -> None:
    """Let this process run as soon as it wants to, whatever else the machine does; without root it has to do without.

    It must sleep most of the time: the kernel leaves only a twentieth of the time to the rest of the machine.
    """
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))


def become_own_user_namespace() -> None:
    """A user namespace in which this process may make network namespaces; it keeps its user and group ids."""
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def open_tun(name: str) -> int:
    """A TUN device of this name in this process's network namespace: one IP packet a read or write, no waiting."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError:
        os.close(fd)
        raise
    return fd


def bring_up(name: str, *, mtu: int | None = None) -> None:
    """Set the interface's greatest packet, let it hold 10,000 of them for whoever reads it, and turn it on."""
    if mtu is not None:
        _interface(_SIOCSIFMTU, name, struct.pack("i", mtu))
        _hold_packets(name, 10_000)
    _interface(_SIOCSIFFLAGS, name, struct.pack("H", _IFF_UP | _IFF_RUNNING))


def _hold_packets(name: str, packets: int) -> None:
    """Set how many packets wait for a reader: by rtnetlink(7), since the ioctl wants the host's own root."""
    change = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, socket.if_nametoindex(name), 0, 0)
    change += struct.pack("=HHI", 8, _IFLA_TXQLEN, packets)
    head = struct.pack("=IHHII", 16 + len(change), _RTM_NEWLINK, _NLM_F_REQUEST | _NLM_F_ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as channel:
        channel.sendall(head + change)
        (error,) = struct.unpack_from("=i", channel.recv(4096), 16)
    if error:
        raise OSError(-error, f"rtnetlink: {os.strerror(-error)}")


def set_address(name: str, address: str) -> None:
    """Give the interface this IPv4 address of a /24 instead of the one it had, and a default route."""
    _interface(_SIOCSIFADDR, name, _address(address))
    _interface(_SIOCSIFNETMASK, name, _address("255.255.255.0"))
    nowhere = _address("0.0.0.0")  # noqa: S104  # the default route's destination, nothing is bound
    device = ctypes.create_string_buffer(name.encode())
    # struct rtentry of 64 bit: destination at 8, flags at 56, the device's name at 88, 120 bytes in all.
    route = struct.pack("=8x16s16s16sH30xQ24x", nowhere, nowhere, nowhere, _RTF_UP, ctypes.addressof(device))
    with _socket() as channel:
        fcntl.ioctl(channel, _SIOCADDRT, route)


def _address(address: str) -> bytes:
    return struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))


def _interface(request: int, name: str, value: bytes) -> None:
    with _socket() as channel:
        fcntl.ioctl(channel, request, struct.pack("16s24s", name.encode(), value))


def _socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
