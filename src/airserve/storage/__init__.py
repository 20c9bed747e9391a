"""Tables, migrations and the connection."""

from airserve.storage.database import Database

__all__ = ["Database"]
