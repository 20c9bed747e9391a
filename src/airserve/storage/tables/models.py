"""What is published: models, versions, aliases."""

from __future__ import annotations

import sqlalchemy as sa

from airserve.storage.tables.metadata import metadata

models = sa.Table(
    "models",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("created_ns", sa.BigInteger, nullable=False),
)

versions = sa.Table(
    "versions",
    metadata,
    sa.Column("model", sa.Text, sa.ForeignKey("models.name"), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("engine", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("manifest", sa.Text, nullable=False),
    sa.Column("published_ns", sa.BigInteger, nullable=False),
    sa.Column("retired_ns", sa.BigInteger),
    sa.UniqueConstraint("model", "address", name="version_content"),
)

_version_reference = ("model", "version"), ("versions.model", "versions.version")

aliases = sa.Table(
    "aliases",
    metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("alias", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("changed_ns", sa.BigInteger, nullable=False),
    sa.ForeignKeyConstraint(*_version_reference),
)

alias_changes = sa.Table(
    "alias_changes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("alias", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("changed_ns", sa.BigInteger, nullable=False),
    sa.ForeignKeyConstraint(*_version_reference),
)
