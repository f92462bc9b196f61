"""A receiver on this machine and a spool beside it."""

import pytest
import stamina.instrumentation

from pages import a_spool
from receivers import running_receiver


@pytest.fixture(autouse=True)
def _quiet_retries():
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.instrumentation.set_on_retry_hooks(None)


@pytest.fixture
def receiver():
    with running_receiver() as running:
        yield running


@pytest.fixture
def spool(tmp_path):
    return a_spool(tmp_path / "spool")
