"""Whose database it is; a way back that only stops; a second waiver of the same verdict.

Self-contained on purpose: a released migration never changes when the models do.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import SchemaItem

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_DIGEST = sa.String(64)
_INSTANT = sa.DateTime(timezone=True)
_MODEL = "model_registry.model_id"


def upgrade() -> None:
    """Add the identity of the registry, and let go of two constraints."""
    op.create_table(
        "registry_identity",
        sa.Column("one", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("registry_id", sa.Text, nullable=False),
        sa.Column("bound_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("one", name="pk_registry_identity"),
    )
    if op.get_bind().dialect.name == "sqlite":
        # SQLite makes a table anew to change it; written out, their constraints stand in one order always
        _make_anew("rollbacks", *_rollbacks())
        _make_anew("waivers", *_waivers())
    else:
        op.alter_column("rollbacks", "target_model", existing_type=_DIGEST, nullable=True)
        op.drop_constraint("uq_waivers_model_id_verdict", "waivers", type_="unique")


def _make_anew(name: str, *items: SchemaItem) -> None:
    new = f"{name}_0003"
    op.create_table(new, *items)
    op.execute(sa.text(f"INSERT INTO {new} SELECT * FROM {name}"))  # noqa: S608 - names of our own
    op.drop_table(name)
    op.rename_table(new, name)


def _rollbacks() -> tuple[SchemaItem, ...]:
    return (
        sa.Column("operation_id", sa.Text, nullable=False),
        sa.Column("trigger", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("failed_model", _DIGEST, nullable=False),
        sa.Column("target_model", _DIGEST),
        sa.Column("detected_at", _INSTANT, nullable=False),
        sa.Column("swapped_at", _INSTANT),
        sa.Column("ordered_by", sa.Text, nullable=False),
        sa.Column("steps", sa.JSON, nullable=False),
        sa.Column("seconds_to_swap", sa.Double),
        sa.Column("seconds_to_serving", sa.Double),
        sa.Column("is_drill", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("resumed_at", _INSTANT),
        sa.Column("resumed_by", sa.Text),
        sa.Column("resume_reason", sa.Text),
        sa.PrimaryKeyConstraint("operation_id", name="pk_rollbacks"),
        sa.ForeignKeyConstraint(["failed_model"], [_MODEL], name="fk_rollbacks_model_registry"),
        sa.ForeignKeyConstraint(["target_model"], [_MODEL], name="fk_rollbacks_model_registry_target"),
    )


def _waivers() -> tuple[SchemaItem, ...]:
    return (
        sa.Column("waiver_id", sa.Text, nullable=False),
        sa.Column("model_id", _DIGEST, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("signature", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("waiver_id", name="pk_waivers"),
        sa.ForeignKeyConstraint(["model_id"], [_MODEL], name="fk_waivers_model_registry"),
    )
