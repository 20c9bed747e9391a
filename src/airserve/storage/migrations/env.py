"""Run by Alembic: migrates over the connection that `airserve.storage.migrate` hands over."""

from alembic import context

from airserve.storage.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
