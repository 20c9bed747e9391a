"""The emulator itself: two namespaces, real packets, as root and without."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from airserve.core.errors import CannotEmulateError
from airserve.lab.check import check_loss
from airserve.lab.constant_link import constant_link
from airserve.lab.emulation import Emulation, missing
from airserve.lab.measure import ping, tcp_bps, udp
from airserve.lab.missing import is_administrator

pytestmark = pytest.mark.filterwarnings("ignore::airserve.lab.emulation.EmulationWarning")

LINK = constant_link("rate=10,rtt=40,queue=100")


def or_skip(*, rootless: bool) -> None:
    if rootless is False and not is_administrator():
        pytest.skip("this user is not root")
    if reasons := missing(rootless=rootless):
        pytest.skip("; ".join(reasons))


@pytest.fixture(scope="module", params=[False, True], ids=["root", "rootless"])
def emulation(request: pytest.FixtureRequest) -> Iterator[Emulation]:
    or_skip(rootless=request.param)
    with Emulation(LINK, seed=1, rootless=request.param) as running:
        yield running


@pytest.fixture
def any_way() -> bool | None:
    if reasons := missing():
        pytest.skip("; ".join(reasons))
    return None


def test_a_round_trip_takes_what_was_set(emulation: Emulation) -> None:
    seen = ping(emulation, count=40, interval_s=0.01)
    assert len(seen.rtt_s) == 40
    # No packet is ever early. How late it is says more of the machine; `airserve lab check` bounds that.
    assert 0.040 <= seen.rtt_s[0] < 0.043


def test_a_tcp_flow_gets_the_rate_that_was_set(emulation: Emulation) -> None:
    assert tcp_bps(emulation, up=False, seconds=1.5, warm_s=0.5) == pytest.approx(10e6, rel=0.05)


def test_a_udp_flow_gets_the_rate_that_was_set_and_the_rest_is_dropped(emulation: Emulation) -> None:
    before = emulation.log().up
    seen = udp(emulation, up=True, packets_a_second=1800, count=1800, packet_bytes=1400, quiet_s=0.5)
    after = emulation.log().up
    assert seen.received_bps == pytest.approx(10e6, rel=0.05)
    assert seen.received + after.drops["full"] - before.drops["full"] == seen.sent
    assert after.drops["full"] > before.drops["full"]


def test_the_log_shows_the_rate_of_the_link_and_what_was_delivered(emulation: Emulation) -> None:
    began = emulation.elapsed_s()
    udp(emulation, up=True, packets_a_second=1200, count=600, packet_bytes=1400, quiet_s=0.5)
    log = emulation.log()
    since = int(began * 10) + 1
    assert log.available_bps("up")[since:] == pytest.approx([10e6] * len(log.available_bps("up")[since:]))
    # More was sent than the link carries in half a second: in that time it was full.
    assert sorted(log.delivered_bps("up")[since:])[-4:] == pytest.approx([10e6] * 4, rel=0.2)


def test_a_cut_loses_everything_and_the_device_comes_back_at_another_address(emulation: Emulation) -> None:
    emulation.cut()
    assert ping(emulation, count=3, interval_s=0.01, wait_s=0.3).rtt_s == ()
    emulation.restore("10.77.0.99")
    assert emulation.device_address == "10.77.0.99"
    assert len(ping(emulation, count=3, interval_s=0.01).rtt_s) == 3
    said = emulation.device.run(
        [sys.executable, "-c", "import socket; socket.socket().bind(('10.77.0.2', 0))"], check=False
    )
    assert "Cannot assign requested address" in said.stderr
    emulation.restore("10.77.0.2")


def test_the_link_changes_under_a_running_emulation(emulation: Emulation) -> None:
    emulation.set_link(constant_link("rate=10,rtt=100"))
    assert ping(emulation, count=5, interval_s=0.01).rtt_s[0] >= 0.1
    emulation.set_link(LINK)
    assert ping(emulation, count=5, interval_s=0.01).rtt_s[0] < 0.09


def test_commands_see_the_files_and_the_user_as_usual_and_no_other_network(
    emulation: Emulation, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    there.write_text("as usual")
    command = f"import os, socket; print(os.getuid(), open({str(there)!r}).read(), socket.if_nameindex())"
    said = emulation.device.run([sys.executable, "-c", command]).stdout
    assert said == f"{os.getuid()} as usual [(1, 'lo'), (2, 'air0')]\n"
    with pytest.raises(FileNotFoundError, match="no-such-command"):
        emulation.device.run(["no-such-command"])
    with pytest.raises(subprocess.CalledProcessError):
        emulation.device.run([sys.executable, "-c", "raise SystemExit(3)"])


def test_the_loss_that_was_set_is_seen(any_way: bool | None) -> None:
    found = check_loss(0.02, packets=15_000, a_second=8000)
    # The seed is fixed, so these are the same packets each time.
    assert found.holds, found


def test_several_devices_share_the_link(any_way: bool | None) -> None:
    with Emulation(constant_link("rate=8,rtt=10"), devices=3) as emulation:
        assert [device.name for device in emulation.devices] == ["device1", "device2", "device3"]
        receive = "import socket,sys; s=socket.socket(2,2); s.bind((sys.argv[1],9)); print(flush=True); n=0\n"
        receive += "s.settimeout(1)\ntry:\n while 1: n+=len(s.recv(2000))\nexcept TimeoutError: print(n)"
        readers = [
            device.popen([sys.executable, "-c", receive, address], stdout=subprocess.PIPE, text=True)
            for device, address in zip(emulation.devices[:2], emulation.device_addresses, strict=False)
        ]
        for reader in readers:
            assert reader.stdout is not None
            reader.stdout.readline()
        # Twice what the cell carries, to each of two devices, for half a second.
        send = "import socket,time; s=socket.socket(2,2); t=time.monotonic(); n=0\n"
        send += (
            "while n<700:\n [s.sendto(bytes(1372),(a,9)) for a in ('10.77.0.2','10.77.0.3')]; n+=1; time.sleep(.0007)"
        )
        emulation.cloud.run([sys.executable, "-c", send])
        got = [int(reader.communicate()[0]) for reader in readers]
    assert got[0] == pytest.approx(got[1], rel=0.05)


def test_nothing_is_left_when_the_owner_dies(any_way: bool | None) -> None:
    owner = (
        "import sys, time\nfrom airserve.lab.emulation import Emulation\n"
        "from airserve.lab.constant_link import constant_link\n"
        "emulation = Emulation(constant_link('rate=1')).__enter__()\n"
        "process = emulation.device.popen(['sleep', '300'])\n"
        "print(process.pid, *(helper.process.pid for helper in emulation._helpers), flush=True)\ntime.sleep(300)"
    )
    with subprocess.Popen([sys.executable, "-c", owner], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        process.send_signal(signal.SIGKILL)
    assert len(pids) == 4
    give_up = time.monotonic() + 10
    while left := [pid for pid in pids if is_running(pid)]:
        assert time.monotonic() < give_up, left
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_an_address_that_no_device_can_have_is_refused(any_way: bool | None) -> None:
    with Emulation(LINK) as emulation, pytest.raises(CannotEmulateError, match=r"10\.77\.0\.300"):
        emulation.restore("10.77.0.300")
