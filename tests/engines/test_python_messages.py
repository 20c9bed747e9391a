from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from airserve.engines.python_messages import Answer, Channel, Done, Failed, Load, Ready, Request, Run
from airserve.engines.shared_tensors import Placed

Ends = tuple[Channel, socket.socket]
PLACED = [Placed("x", "FP32", (2, 3), 64, 24)]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A channel, and the bare socket at its other end."""
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    yield channel, theirs
    channel.close()
    theirs.close()


@pytest.mark.parametrize(
    "message", [Load("/folder", "model.py", "Model", None), Run(PLACED), Ready(), Done(PLACED), Failed("raised", "E")]
)
def test_a_message_arrives_as_it_was_sent_also_in_single_bytes(ends: Ends, message: Request | Answer) -> None:
    channel, other = ends
    Channel(other).send(message)
    assert channel.receive(type(message)) == message
    channel.send(message)
    sent = other.recv(10_000)

    def trickle() -> None:
        for byte in sent:
            other.send(bytes([byte]))

    thread = threading.Thread(target=trickle)
    thread.start()
    assert channel.receive(type(message), timeout_s=20) == message
    thread.join()


@pytest.mark.parametrize(
    "sent", [struct.pack("<I", 1 << 31), struct.pack("<I", 3) + b"\xc1\xc1\xc1", struct.pack("<I", 1) + b"\x01"]
)
def test_what_is_no_message_is_a_value_error(ends: Ends, sent: bytes) -> None:
    channel, other = ends
    other.send(sent)
    with pytest.raises(ValueError):
        channel.receive(Done)


def test_an_end_amid_a_message_is_the_end_of_the_conversation(ends: Ends) -> None:
    channel, other = ends
    other.send(struct.pack("<I", 100) + b"only the beginning")
    other.shutdown(socket.SHUT_RDWR)
    with pytest.raises(EOFError):
        channel.receive(Done)


def test_half_a_message_and_then_silence_is_a_timeout(ends: Ends) -> None:
    channel, other = ends
    other.send(struct.pack("<I", 100) + b"only the beginning")
    with pytest.raises(TimeoutError):
        channel.receive(Done, timeout_s=0.05)
