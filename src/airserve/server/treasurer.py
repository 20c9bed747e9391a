"""The treasurer: one thread that brings credit and shared limits from the database to the calls, and back.

It goes round when a call waits, and else every tenth of a second where anything has changed. It says that this node
is alive, takes leases where purses run low, gives back what is not needed, and drops what is over. What may be leased
and what is left is decided in `metering/leases.py` and `serving/purse.py`; no call ever waits for a lock that is held
over a query.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import sqlalchemy as sa
import structlog

from airserve.core.crash_points import crash_point
from airserve.core.errors import AirserveError
from airserve.metering import leases, nodes
from airserve.metering.leases import Looked
from airserve.serving import gcra, shared_rates
from airserve.serving.admission import Admissions
from airserve.serving.bucket import Bucket
from airserve.serving.purse import FRESH_NS, Purse
from airserve.storage import Database

log = structlog.get_logger("airserve.server")

_ROUND_S = 0.1
_BEAT_NS = 1_000_000_000
_RECENT_NS = 2_000_000_000
_IDLE_NS = 1_000_000_000
_FOLDED_NS = 1_000_000_000
"""How often the journal is folded."""
_TIDY_NS = 60_000_000_000
_SHORTEST_PAUSE_S = 0.005
"""Between two rounds, so that calls which come one after another share one."""


class Treasurer:
    """Works for one start of one node. `tidy` is called once a minute, for what else expires."""

    def __init__(
        self,
        database: Database,
        admissions: Admissions,
        node_id: str,
        epoch: int,
        tidy: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._admissions = admissions
        self._node_id = node_id
        self._epoch = epoch
        self._tidy = tidy
        self._started_ns = time.time_ns()
        self._beaten_ns = self._tidied_ns = 0
        self._wanted = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="treasurer", daemon=True)
        admissions.wake = self._wanted.set

    def start(self) -> None:
        """Begin to go round."""
        self._thread.start()

    def free(self, before_epoch: int) -> None:
        """Say that this node is here, and free what its starts before that epoch held: their journals are folded."""
        with self._database.write(announce=False) as connection:
            freed = leases.free(connection, self._node_id, before_epoch)
            self._beat(connection)
            crash_point("treasurer.before_freed")
        if freed:
            log.info("credit of an earlier start is free again", nano=freed)

    def beat(self) -> None:
        """Say that this node is alive, and hear how many are."""
        with self._database.write(announce=False) as connection:
            self._beat(connection)

    def stop(self) -> None:
        """Give back all that is not needed to pay for what was done. Call it when no call runs any more."""
        self.halt()
        try:
            with self._database.write(announce=False) as connection:
                for purse in self._sorted_purses():
                    self._settle_up(connection, purse, lambda purse: -max(0, purse.available_nano))
                for bucket in self._shared_buckets():
                    shared_rates.give_back(connection, _key(bucket), bucket.rate, max(0, bucket.allowance))
                nodes.leave(connection, self._node_id)
        except (AirserveError, sa.exc.SQLAlchemyError) as error:
            log.warning("credit could not be given back; the next start frees it", reason=str(error))

    def halt(self) -> None:
        """Go round no more; leases stay as they are."""
        self._stopping = True
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            self._wanted.wait(_ROUND_S)
            self._wanted.clear()
            try:
                self.round()
            except Exception as error:
                # Calls that wait are refused in time; nothing is spent that was not leased.
                log.warning("credit could not be brought, trying again", reason=str(error))
                time.sleep(_ROUND_S)
            self._admissions.supplied()
            time.sleep(_SHORTEST_PAUSE_S)

    def round(self) -> None:
        """Go round once."""
        now_ns = time.monotonic_ns()
        with self._admissions.lock:
            self._admissions.let_go()
        if now_ns - self._beaten_ns > _BEAT_NS:
            self.beat()
        self._purses(now_ns)
        if self._admissions.nodes > 1 or self._shared_buckets():
            self._buckets(now_ns)
        if now_ns - self._tidied_ns > _TIDY_NS:
            self._tidied_ns = now_ns
            self._tidy()

    def _beat(self, connection: sa.Connection) -> None:
        alive = nodes.beat(connection, self._node_id, self._epoch, self._started_ns, time.time_ns())
        self._beaten_ns = time.monotonic_ns()
        self._admissions.nodes = max(1, alive)

    # Budgets

    def _purses(self, now_ns: int) -> None:
        with self._admissions.lock:
            due = [purse for purse in self._sorted_purses() if self._is_due(purse, now_ns)]
        if not due:
            return
        with self._database.read() as connection:
            seen = leases.peek(connection, [purse.window for purse in due], self._node_id, self._epoch)
            folded = leases.positions(connection, self._node_id, self._epoch)
        changing = []
        with self._admissions.lock:
            self._admissions.let_go()
            for purse in due:
                self._take_over(purse, seen.get(purse.window, Looked(0, 0, 0, 0)), folded)
                if purse.change(self._admissions.nodes) or purse.wanted:
                    changing.append(purse)
                elif self._is_over(purse):
                    purse.closed = True
                    del self._admissions.purses[purse.window]
        if changing:
            with self._database.write(announce=False) as connection:
                granted = [self._settle_up(connection, purse, self._change) for purse in changing]
                crash_point("treasurer.before_commit")
            crash_point("treasurer.after_commit")
            with self._admissions.lock:
                for purse, nano in zip(changing, granted, strict=True):
                    purse.left_nano += nano
                    purse.leased_nano += nano

    def _is_due(self, purse: Purse, now_ns: int) -> bool:
        """Whether to look at the database for it. The lock is held."""
        if purse.wanted or (purse.limit_nano is not None and purse.available_nano < purse.left_nano // 4):
            return True
        # Alone, nothing of it changes but by a fold, once a second. Warnings are to come soon, and what others want.
        often = self._admissions.nodes > 1 or purse.soft_nano is not None
        stale = now_ns - purse.looked_ns > (FRESH_NS if often else _FOLDED_NS)
        in_use = purse.holds or purse.settled or purse.left_nano or purse.soft_nano is not None
        return stale and (bool(in_use) or self._is_over(purse))

    def _is_over(self, purse: Purse) -> bool:
        return time.time_ns() > purse.ends_ns and not purse.holds and not purse.settled and not purse.left_nano

    def _change(self, purse: Purse) -> int:
        if time.time_ns() > purse.ends_ns:
            return -max(0, purse.available_nano)
        return purse.change(self._admissions.nodes)

    def _settle_up(self, connection: sa.Connection, purse: Purse, change: Callable[[Purse], int]) -> int:
        """Look at one window, and lease or give back; what was leased, for the purse to have after the commit."""
        window = purse.window
        seen = leases.look(connection, window, self._node_id, self._epoch)
        folded = leases.positions(connection, self._node_id, self._epoch)
        with self._admissions.lock:
            self._admissions.let_go()
            self._take_over(purse, seen, folded)
            nano, limit = change(purse), purse.limit_nano
            short = sum(purse.wanted.values()) - purse.available_nano
            if nano < 0:
                # Out of the purse before it is in the database; a commit that fails is made good by the next look.
                purse.left_nano += nano
                purse.leased_nano += nano
        if nano < 0:
            leases.give_back(connection, window, self._node_id, self._epoch, -nano)
        granted = 0
        if nano > 0 and limit is not None:
            granted = nano if leases.grant(connection, window, self._node_id, self._epoch, nano, limit) else 0
        if short > granted and seen.leased_nano > seen.left_nano:
            leases.want(connection, window, time.time_ns())
        return granted

    def _take_over(self, purse: Purse, seen: Looked, folded: dict[int, int]) -> None:
        purse.look(seen, folded, time.monotonic_ns())
        purse.wanted_by_others = time.time_ns() - seen.wanted_ns < _RECENT_NS

    def _sorted_purses(self) -> list[Purse]:
        purses = self._admissions.purses
        return [purses[window] for window in sorted(purses)]

    # Limits that several nodes share

    def _shared_buckets(self) -> list[Bucket]:
        return [bucket for _, bucket in sorted(self._admissions.buckets.items()) if bucket.shared]

    def _buckets(self, now_ns: int) -> None:
        alone = self._admissions.nodes == 1
        with self._admissions.lock:
            buckets = [bucket for _, bucket in sorted(self._admissions.buckets.items())]
            due = [bucket for bucket in buckets if bucket.shared == alone or self._is_low(bucket, now_ns)]
        if not due:
            return
        with self._database.write(announce=False) as connection:
            supplied = [self._supply(connection, bucket, now_ns, alone=alone) for bucket in due]
        with self._admissions.lock:
            for bucket, units in zip(due, supplied, strict=True):
                bucket.allowance += units

    @staticmethod
    def _is_low(bucket: Bucket, now_ns: int) -> bool:
        if not bucket.shared:
            return False
        idle = now_ns - bucket.used_ns > _IDLE_NS
        return bool(bucket.wanted) or bucket.room(now_ns) < bucket.used // 2 or (idle and bucket.allowance > 0)

    def _supply(self, connection: sa.Connection, bucket: Bucket, now_ns: int, *, alone: bool) -> int:
        """Bring one limit up to date; the units that were leased, for the bucket to have after the commit."""
        key, utc_ns = _key(bucket), time.time_ns()
        if alone:
            tat_ns = shared_rates.read(connection, key)
            with self._admissions.lock:
                bucket.keep(now_ns + gcra.level_ns(tat_ns, utc_ns))
            return 0
        with self._admissions.lock:
            if not bucket.shared:
                level_ns = gcra.level_ns(bucket.tat_ns, now_ns)
                bucket.share()
            else:
                level_ns = 0
            room, needed, used = bucket.room(now_ns), sum(bucket.wanted.values()), bucket.used
            bucket.used = 0
            debt = max(0, -bucket.allowance)
            bucket.allowance += debt
            idle = bucket.allowance if not needed and now_ns - bucket.used_ns > _IDLE_NS else 0
            idle = max(0, min(idle, room))
            bucket.allowance -= idle
        if level_ns:
            shared_rates.publish(connection, key, level_ns, utc_ns)
        if idle:
            shared_rates.give_back(connection, key, bucket.rate, idle)
            return 0
        leased = shared_rates.lease(
            connection,
            key,
            bucket.rate,
            utc_ns,
            least=max(0, needed - room),
            wanted=used,
            nodes=2 * self._admissions.nodes,
            debt=debt,
        )
        bucket.shared_room = leased.room
        bucket.next_ns = 0 if leased.room else now_ns + leased.wait_ns
        return leased.units


def _key(bucket: Bucket) -> shared_rates.Key:
    return bucket.scope, bucket.scope_id, bucket.name
