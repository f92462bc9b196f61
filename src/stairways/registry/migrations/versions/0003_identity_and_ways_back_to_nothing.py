"""Whose database it is; a way back that only stops; a second waiver of the same verdict.

Self-contained on purpose: a released migration never changes when the models do.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_DIGEST = sa.String(64)


def upgrade() -> None:
    """Add the identity of the registry, and let go of two constraints."""
    op.create_table(
        "registry_identity",
        sa.Column("one", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("registry_id", sa.Text, nullable=False),
        sa.Column("bound_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("one", name="pk_registry_identity"),
    )
    with op.batch_alter_table("rollbacks") as rollbacks:
        rollbacks.alter_column("target_model", existing_type=_DIGEST, nullable=True)
    with op.batch_alter_table("waivers") as waivers:
        waivers.drop_constraint("uq_waivers_model_id_verdict", type_="unique")
