"""Tenures, promotions, rollbacks, waivers, drills and the audit log.

Self-contained on purpose: a released migration never changes when the models do.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_DIGEST = sa.String(64)
_INSTANT = sa.DateTime(timezone=True)
_MODEL = "model_registry.model_id"


def upgrade() -> None:
    """Create the tables."""
    _create_tenures()
    _create_promotions()
    _create_rollbacks()
    _create_waivers()
    _create_drills()
    _create_audit_log()


def _create_tenures() -> None:
    op.create_table(
        "tenures",
        sa.Column("tenure_id", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("model_id", _DIGEST, nullable=False),
        sa.Column("began_at", _INSTANT, nullable=False),
        sa.Column("ended_at", _INSTANT),
        sa.Column("is_open", sa.Boolean, nullable=False),
        sa.Column("put_by", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("operation_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("tenure_id", name="pk_tenures"),
        sa.ForeignKeyConstraint(["model_id"], [_MODEL], name="fk_tenures_model_registry"),
        sa.UniqueConstraint("operation_id", name="uq_tenures_operation_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tenures_model_id", "tenures", ["model_id"])
    op.create_index(
        "ix_tenures_one_open",
        "tenures",
        ["is_open"],
        unique=True,
        sqlite_where=sa.text("is_open"),
        postgresql_where=sa.text("is_open"),
    )


def _create_promotions() -> None:
    op.create_table(
        "promotions",
        sa.Column("operation_id", sa.Text, nullable=False),
        sa.Column("model_id", _DIGEST, nullable=False),
        sa.Column("stage_from", sa.Text, nullable=False),
        sa.Column("stage_to", sa.Text, nullable=False),
        sa.Column("previous_champion", _DIGEST),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("authorized_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("signer", sa.Text, nullable=False),
        sa.Column("verdicts", sa.JSON, nullable=False),
        sa.Column("waivers", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("operation_id", name="pk_promotions"),
        sa.ForeignKeyConstraint(["model_id"], [_MODEL], name="fk_promotions_model_registry"),
    )
    op.create_index("ix_promotions_model_id", "promotions", ["model_id"])
    op.create_table(
        "parameter_changes",
        sa.Column("operation_id", sa.Text, nullable=False),
        sa.Column("reference_id", _DIGEST, nullable=False),
        sa.Column("layer", sa.Text, nullable=False),
        sa.Column("n_parameters", sa.BigInteger, nullable=False),
        sa.Column("n_changed", sa.BigInteger, nullable=False),
        sa.Column("l2_norm", sa.Double, nullable=False),
        sa.Column("relative", sa.Double),
        sa.Column("largest", sa.Double, nullable=False),
        sa.Column("authorized_by", sa.Text, nullable=False),
        sa.Column("validation_passed", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("operation_id", "reference_id", "layer", name="pk_parameter_changes"),
        sa.ForeignKeyConstraint(
            ["operation_id"], ["promotions.operation_id"], name="fk_parameter_changes_promotions"
        ),
    )


def _create_rollbacks() -> None:
    op.create_table(
        "rollbacks",
        sa.Column("operation_id", sa.Text, nullable=False),
        sa.Column("trigger", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("failed_model", _DIGEST, nullable=False),
        sa.Column("target_model", _DIGEST, nullable=False),
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


def _create_waivers() -> None:
    op.create_table(
        "waivers",
        sa.Column("waiver_id", sa.Text, nullable=False),
        sa.Column("model_id", _DIGEST, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("signature", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("waiver_id", name="pk_waivers"),
        sa.UniqueConstraint("model_id", "verdict", name="uq_waivers_model_id_verdict"),
        sa.ForeignKeyConstraint(["model_id"], [_MODEL], name="fk_waivers_model_registry"),
    )


def _create_drills() -> None:
    op.create_table(
        "drills",
        sa.Column("drill_id", sa.Text, nullable=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("ordered_by", sa.Text, nullable=False),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column("median_seconds_to_serving", sa.Double),
        sa.Column("passed", sa.Boolean, nullable=False),
        sa.Column("on_sample", sa.Boolean, nullable=False),
        sa.Column("details", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("drill_id", name="pk_drills"),
    )


def _create_audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("seq", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("details", sa.JSON, nullable=False),
        sa.Column("previous_hash", _DIGEST, nullable=False),
        sa.Column("hash", _DIGEST, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit_log"),
    )
    head = op.create_table(
        "audit_head",
        sa.Column("one", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("hash", _DIGEST, nullable=False),
        sa.Column("at", _INSTANT),
        sa.PrimaryKeyConstraint("one", name="pk_audit_head"),
    )
    op.bulk_insert(head, [{"one": 1, "seq": 0, "hash": "0" * 64, "at": None}])
