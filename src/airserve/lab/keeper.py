"""The process that makes an emulation's network namespaces, looks after them, and ends all in them with its owner.

python -m airserve.lab.keeper SOCKET_FD OWNER_PID ROOTLESS DEVICES MTU

Over the socket it answers first with the file descriptors: the user namespace's (rootless only), then the network
namespace and the TUN device of `cloud` and of each device. Then it obeys lines of JSON: `{"device": 0, "address":
"10.77.0.9"}` moves a device to another address, `{"listen": 8443}` asks for a TCP and a UDP socket of `cloud` at that
port. When the owner dies or closes the socket, whatever still runs in the namespaces is killed, and with it the
anonymous namespaces are gone.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from airserve.lab import syscalls

INTERFACE = "air0"


def main() -> None:
    """Make the namespaces, hand over their file descriptors, obey, and clean up; with -1 as the socket only try."""
    owner, rootless, devices, mtu = int(sys.argv[2]), sys.argv[3] == "rootless", int(sys.argv[4]), int(sys.argv[5])
    # Ctrl-C is the owner's business: the keeper must outlive it for a moment.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    owner_fd = os.pidfd_open(owner)
    channel = None if sys.argv[1] == "-1" else socket.socket(fileno=int(sys.argv[1]))
    try:
        fds, networks = _make(devices, mtu, rootless=rootless)
    except OSError as error:
        refusal = json.dumps({"error": str(error)}) + "\n"
        if channel is None:
            sys.exit(refusal)
        channel.sendall(refusal.encode())
        return
    if channel is None:
        return
    socket.send_fds(channel, [b"{}\n"], fds)
    try:
        _obey(channel, owner_fd, networks)
    finally:
        _kill_all_in({os.fstat(fd).st_ino for fd in networks})


def _make(devices: int, mtu: int, *, rootless: bool) -> tuple[list[int], list[int]]:
    """All file descriptors, in the order in which they are handed over, and those of the network namespaces."""
    fds: list[int] = []
    if rootless:
        syscalls.become_own_user_namespace()
        fds.append(os.open("/proc/self/ns/user", os.O_RDONLY))
    networks = []
    for number in range(1 + devices):
        network, tun = _namespace(f"10.77.0.{1 + number}", mtu)
        networks.append(network)
        fds += [network, tun]
    return fds, networks


def _namespace(address: str, mtu: int) -> tuple[int, int]:
    """A new network namespace with loopback and a TUN device at this address: the file descriptors of both."""
    syscalls.unshare(syscalls.CLONE_NEWNET)
    tun = syscalls.open_tun(INTERFACE)
    # Without this the kernel greets its neighbours over IPv6, which would wake an idle radio.
    no_ipv6 = Path(f"/proc/sys/net/ipv6/conf/{INTERFACE}/disable_ipv6")
    if no_ipv6.exists():
        no_ipv6.write_text("1")
    syscalls.bring_up("lo")
    syscalls.bring_up(INTERFACE, mtu=mtu)
    syscalls.set_address(INTERFACE, address)
    return os.open("/proc/self/ns/net", os.O_RDONLY), tun


def _obey(channel: socket.socket, owner_fd: int, networks: list[int]) -> None:
    while True:
        readable, _, _ = select.select([channel.fileno(), owner_fd], [], [])
        message = channel.recv(65536) if channel.fileno() in readable else b""
        if not message:
            return
        try:
            _do(channel, json.loads(message), networks)
        except OSError as error:
            channel.sendall(json.dumps({"error": str(error)}).encode() + b"\n")


def _do(channel: socket.socket, asked: dict[str, Any], networks: list[int]) -> None:
    if "address" in asked:
        syscalls.setns(networks[1 + asked["device"]], syscalls.CLONE_NEWNET)
        syscalls.set_address(INTERFACE, asked["address"])
        channel.sendall(b"{}\n")
    elif "listen" in asked:
        syscalls.setns(networks[0], syscalls.CLONE_NEWNET)
        stream, datagrams = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with stream, datagrams:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            stream.bind(("10.77.0.1", asked["listen"]))
            stream.listen(512)
            datagrams.bind(("10.77.0.1", asked["listen"]))
            socket.send_fds(channel, [b"{}\n"], [stream.fileno(), datagrams.fileno()])


def _kill_all_in(namespaces: set[int]) -> None:
    """End every process of these network namespaces: nobody else can be in them, since they have no name."""
    for _ in range(3):
        found = [pid for pid in _processes() if _network_of(pid) in namespaces and pid != os.getpid()]
        if not found:
            return
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _network_of(pid: int) -> int:
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError:
        return -1


if __name__ == "__main__":
    main()
