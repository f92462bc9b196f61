"""Runs, cycles, models, drift and looks.

Self-contained on purpose: a released migration never changes when the models do.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_DIGEST = sa.String(64)
_INSTANT = sa.DateTime(timezone=True)
_CYCLE_KEY = ["cycle_metrics.run_id", "cycle_metrics.cycle_id"]


def upgrade() -> None:
    """Create every table."""
    _create_runs()
    _create_cycle_metrics()
    _create_model_registry()
    _create_parameter_drift_log()
    _create_looks()


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("started_at", _INSTANT, nullable=False),
        sa.Column("ended_at", _INSTANT),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("config_digest", _DIGEST, nullable=False),
        sa.Column("config", sa.JSON, nullable=False),
        sa.Column("data_digest", _DIGEST, nullable=False),
        sa.Column("data_source", sa.Text, nullable=False),
        sa.Column("gold_digest", _DIGEST),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("steps", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="pk_runs"),
    )
    op.create_index("ix_runs_data_digest", "runs", ["data_digest"])


def _create_cycle_metrics() -> None:
    op.create_table(
        "cycle_metrics",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("cycle_id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("start_ts", _INSTANT, nullable=False),
        sa.Column("end_ts", _INSTANT, nullable=False),
        sa.Column("sharpe", sa.Double),
        sa.Column("max_dd", sa.Double, nullable=False),
        sa.Column("trades_per_day", sa.Double, nullable=False),
        sa.Column("shadow_pass", sa.Boolean, nullable=False),
        sa.Column("rel_param_drift", sa.Double, nullable=False),
        sa.Column("improvement_pct", sa.Double),
        sa.Column("gate_passed", sa.Boolean, nullable=False),
        sa.Column("note", sa.Text),
        sa.Column("model_hash", _DIGEST),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("hold_rate", sa.Double, nullable=False),
        sa.Column("sharpe_standard_error", sa.Double),
        sa.Column("rolling_100_episode_sharpe", sa.Double),
        sa.Column("rolling_share_of_cycle", sa.Double),
        sa.Column("learning_rate", sa.Double, nullable=False),
        sa.Column("steps", sa.Integer, nullable=False),
        sa.Column("verdicts", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "cycle_id", name="pk_cycle_metrics"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_cycle_metrics_runs"),
    )
    op.create_index("ix_cycle_metrics_model_hash", "cycle_metrics", ["model_hash"])


def _create_model_registry() -> None:
    op.create_table(
        "model_registry",
        sa.Column("model_id", _DIGEST, nullable=False),
        sa.Column("run_id", sa.Text),
        sa.Column("cycle_id", sa.Integer),
        sa.Column("model_path", sa.Text, nullable=False),
        sa.Column("performance", sa.JSON, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("is_production", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("model_id", name="pk_model_registry"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_model_registry_runs"),
        sa.ForeignKeyConstraint(["run_id", "cycle_id"], _CYCLE_KEY, name="fk_model_registry_cycle_metrics"),
    )
    op.create_index("ix_model_registry_run_id_cycle_id", "model_registry", ["run_id", "cycle_id"])
    op.create_index(
        "ix_model_registry_one_in_production",
        "model_registry",
        ["is_production"],
        unique=True,
        sqlite_where=sa.text("is_production"),
        postgresql_where=sa.text("is_production"),
    )


def _create_parameter_drift_log() -> None:
    op.create_table(
        "parameter_drift_log",
        sa.Column("log_id", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("cycle_id", sa.Integer, nullable=False),
        sa.Column("l2_norm_drift", sa.Double, nullable=False),
        sa.Column("relative_drift", sa.Double, nullable=False),
        sa.Column("threshold_exceeded", sa.Boolean, nullable=False),
        sa.Column("mean_kl", sa.Double, nullable=False),
        sa.Column("equal_greedy_share", sa.Double, nullable=False),
        sa.Column("action_taken", sa.Text),
        sa.Column("timestamp", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("log_id", name="pk_parameter_drift_log"),
        sa.UniqueConstraint("run_id", "cycle_id", name="uq_parameter_drift_log_run_id_cycle_id"),
        sa.ForeignKeyConstraint(
            ["run_id", "cycle_id"], _CYCLE_KEY, name="fk_parameter_drift_log_cycle_metrics"
        ),
        sqlite_autoincrement=True,
    )


def _create_looks() -> None:
    key = ["run_id", "artifact_digest", "data_digest", "first_date", "last_date"]
    op.create_table(
        "looks",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("data_digest", _DIGEST, nullable=False),
        sa.Column("first_date", sa.Date, nullable=False),
        sa.Column("last_date", sa.Date, nullable=False),
        sa.Column("artifact_digest", _DIGEST, nullable=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_looks"),
        sa.UniqueConstraint(*key, name="uq_looks_same_look"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_looks_runs"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_looks_data_digest", "looks", ["data_digest"])
