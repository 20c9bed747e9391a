"""Run a command in a network namespace: python -I -S enter.py OWNER_PID USER_FD NETWORK_FD COMMAND…

A file on its own that imports little, since it runs before every command of the lab. The command takes the place of
this process, so its id, its standard streams and its exit code are the command's. USER_FD and NETWORK_FD refer to the
namespaces; the first is -1 for root.
"""

import ctypes
import os
import sys

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000


def main() -> None:
    """Enter both namespaces, close what refers to them, and become the command."""
    libc = ctypes.CDLL(None, use_errno=True)
    for fd, kind in ((int(sys.argv[2]), _CLONE_NEWUSER), (int(sys.argv[3]), _CLONE_NEWNET)):
        if fd >= 0:
            if libc.setns(fd, kind) != 0:
                sys.exit(f"airserve lab: cannot enter the namespace: {os.strerror(ctypes.get_errno())}")
            os.close(fd)
    # The keeper ends what it finds in the namespaces when the owner dies: who comes later would live on.
    if os.getppid() != int(sys.argv[1]):
        sys.exit("airserve lab: the emulation has ended")
    command = sys.argv[4:]
    try:
        os.execvp(command[0], command)  # noqa: S606  # whoever calls the lab says what runs
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)


if __name__ == "__main__":
    main()
