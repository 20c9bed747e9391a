"""When each key was last used, to the minute: noted in memory by the calls, written by the keeper."""

from __future__ import annotations

import sqlalchemy as sa

from airserve.storage import Database, tables

_MINUTE_NS = 60 * 10**9


class LastUsed:
    """What was used since the last flush. `note` may be called from any thread and costs one assignment."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def note(self, key_id: str, now_ns: int) -> None:
        """The key was used now."""
        self._seen[key_id] = now_ns

    def flush(self, database: Database) -> int:
        """Write what was noted; returns for how many keys. What a failed flush has not written is noted again."""
        # A thread amid `note` may still write to the old mapping: what comes that late is told by its next call.
        seen, self._seen = self._seen, {}
        if not seen:
            return 0
        keys = tables.api_keys
        moments = [{"key": key, "moment": ns - ns % _MINUTE_NS} for key, ns in list(seen.items())]
        statement = (
            keys.update()
            .where(keys.c.id == sa.bindparam("key"))
            .where(sa.or_(keys.c.last_used_ns.is_(None), keys.c.last_used_ns < sa.bindparam("moment")))
            .values(last_used_ns=sa.bindparam("moment"))
        )
        try:
            with database.write(announce=False) as connection:
                connection.execute(statement, moments)
        except BaseException:
            self._seen = {**seen, **self._seen}
            raise
        return len(moments)
