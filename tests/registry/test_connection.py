"""Database URLs as they may be shown."""

from stairways.registry.connection import without_password


def test_a_password_is_hidden():
    shown = without_password("postgresql+psycopg://desk:s3cret@db:5432/gate")
    assert "s3cret" not in shown
    assert shown == "postgresql+psycopg://desk:***@db:5432/gate"


def test_a_url_without_one_stays_as_it_is():
    assert without_password("sqlite:////a/b:c@d.db") == "sqlite:////a/b:c@d.db"
    assert without_password("no url at all") == "no url at all"
