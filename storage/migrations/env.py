"""Alembic's entry. It runs inside the transaction that `openhearth.storage.schema` opened, and never alone."""

from __future__ import annotations

from alembic import context

from openhearth.storage.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    render_as_batch=True,
)
context.run_migrations()
