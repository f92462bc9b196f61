import json

import pytest

from pages import KEY, a_page, a_spool, config_file
from receivers import say
from stairways.cli.main import BAD_INPUT, FAILED, PASSED, run


@pytest.fixture
def config(receiver, tmp_path):
    return config_file(tmp_path, receiver.url)


class TestTest:
    def test_it_says_that_it_is_a_test_and_what_became_of_it(self, receiver, config, capsys):
        assert run(["page", "test", "--config", str(config)]) == PASSED
        [event] = receiver.accepted
        assert event["payload"]["summary"].startswith("TEST page from stairways")
        assert event["payload"]["severity"] == "info"
        assert capsys.readouterr().out.startswith("delivered after 0.")

    def test_resolve_closes_it_again(self, receiver, config):
        assert run(["page", "test", "--resolve", "--severity", "error", "--config", str(config)]) == PASSED
        assert [event["event_action"] for event in receiver.accepted] == ["trigger", "resolve"]
        assert len({event["dedup_key"] for event in receiver.accepted}) == 1

    def test_the_threshold_does_not_withhold_it(self, receiver, tmp_path):
        config = config_file(tmp_path, receiver.url, least_severity="critical")
        assert run(["page", "test", "--config", str(config)]) == PASSED
        assert len(receiver.accepted) == 1

    def test_what_did_not_arrive_is_a_failure_and_waits(self, receiver, config, tmp_path, capsys):
        receiver.script = [say(500)] * 5
        assert run(["page", "test", "--json", "--config", str(config)]) == FAILED
        out, err = capsys.readouterr()
        assert json.loads(out)["deliveries"][0]["outcome"] == "spooled"
        assert "the test page was not delivered: HTTP 500" in err
        assert KEY not in out + err
        assert len(a_spool(tmp_path / "spool").entries()) == 1

    def test_an_unknown_severity_is_bad_input(self, config):
        assert run(["page", "test", "--severity", "fatal", "--config", str(config)]) == BAD_INPUT


class TestFlush:
    def test_all_of_it(self, receiver, config, tmp_path, capsys):
        a_spool(tmp_path / "spool").put(a_page(), 1)
        assert run(["page", "flush", "--config", str(config)]) == PASSED
        assert capsys.readouterr().out == "delivered 1, left 0\n"
        assert len(receiver.accepted) == 1

    def test_what_is_left_is_a_failure(self, receiver, config, tmp_path, capsys):
        a_spool(tmp_path / "spool").put(a_page(), 1)
        receiver.script = [say(403)]
        assert run(["page", "flush", "--json", "--config", str(config)]) == FAILED
        out, err = capsys.readouterr()
        assert json.loads(out)["left"] == 1
        assert "0 refused, 0 damaged, 1 left (HTTP 403" in err


class TestSpool:
    def test_it_lists_without_a_key_and_without_the_network(self, tmp_path, capsys):
        config = tmp_path / "c.yaml"
        config.write_text(json.dumps({"paging": {"spool_folder": str(tmp_path / "spool")}}))
        spool = a_spool(tmp_path / "spool")
        spool.put(a_page("a", summary="red \x1b[31m"), 1)
        bad = spool.put(a_page("b"), 1)
        (spool.folder / bad.name).write_text("no")
        assert run(["page", "spool", "--config", str(config)]) == PASSED
        first, second, last = capsys.readouterr().out.splitlines()
        assert first == "2026-03-02T12:00:00+00:00 critical trigger a red  [31m"
        assert second.startswith(bad.name)
        assert last == "waiting 2, refused 0, damaged 0"
        assert run(["page", "spool", "--json", "--config", str(config)]) == PASSED
        record = json.loads(capsys.readouterr().out)
        assert [sorted(page)[0] for page in record["waiting"]] == ["action", "damaged"]
        assert len(spool.entries()) == 2

    def test_an_empty_one(self, tmp_path, capsys, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert run(["page", "spool"]) == PASSED
        assert capsys.readouterr().out == "waiting 0, refused 0, damaged 0\n"
        assert list(tmp_path.iterdir()) == []
