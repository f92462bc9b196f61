import json
import os
import pickle  # noqa: TID251 - to show that a key does not go in

import pytest

from pages import KEY, a_page, config_file, spooled
from stairways.config import Settings, load_settings
from stairways.errors import ConfigError, PagingError, StorageError
from stairways.monitoring.log_pager import LogPager
from stairways.monitoring.paging import pager_of, spool_of
from stairways.monitoring.paging_config import PagingConfig
from stairways.monitoring.routing_key import RoutingKey


def settings_of(**paging):
    return load_settings(None, {"paging": paging}).paging


class TestSettings:
    def test_the_defaults_page_into_a_file_within_five_seconds(self):
        config = PagingConfig()
        assert (config.to, config.budget_seconds, config.attempts) == ("log", 5.0, 5)
        assert config.base_url == "https://events.pagerduty.com"

    def test_they_are_no_part_of_a_result_s_digest(self):
        assert load_settings(None, {"paging": {"budget_seconds": 1}}).digest == Settings().digest
        assert "paging" not in Settings().as_record()

    @pytest.mark.parametrize(
        "url",
        ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:1", "https://pages.example.org/sub"],
    )
    def test_addresses_that_keep_the_key(self, url):
        assert settings_of(base_url=f"{url}/").base_url == url

    @pytest.mark.parametrize(
        "url",
        [
            "http://events.pagerduty.com",
            "http://127.0.0.1.example.org",
            "ftp://x",
            "x",
            "",
            "https://",
            "https://a b",
            "https://user:secretword@host",
            "https://host/?secretword",
            "https://host/#secretword",
            "https://h:port",
        ],
    )
    def test_addresses_that_do_not(self, url):
        with pytest.raises(ConfigError, match="base_url must") as caught:
            settings_of(base_url=url)
        assert "secretword" not in caught.value.line()

    @pytest.mark.parametrize(
        "paging", [{"routing_key": KEY}, {"routing_key_variable": KEY}, {"routing_key_file": KEY}]
    )
    def test_a_key_in_the_settings_is_refused_and_not_shown(self, paging):
        with pytest.raises(ConfigError) as caught:
            settings_of(**paging)
        assert KEY not in caught.value.line()

    @pytest.mark.parametrize(
        "paging",
        [
            {"budget_seconds": 0},
            {"budget_seconds": float("nan")},
            {"attempts": 0},
            {"to": "mail"},
            {"colour": 1},
            {"spool_max_pages": 0},
            {"spool_max_bytes": 1},
            {"least_severity": "fatal"},
        ],
    )
    def test_bounds_and_names(self, paging):
        with pytest.raises(ConfigError):
            settings_of(**paging)


class TestRoutingKey:
    def test_from_a_file_of_its_owner_alone(self, tmp_path):
        file = tmp_path / "key"
        file.write_text(f"{KEY}\n")
        file.chmod(0o400)
        assert RoutingKey.from_file(file).reveal() == KEY

    @pytest.mark.parametrize("rights", [0o640, 0o604, 0o644, 0o601, 0o777])
    def test_a_file_that_others_have_rights_on_is_refused(self, tmp_path, rights):
        file = tmp_path / "key"
        file.write_text(KEY)
        file.chmod(rights)
        with pytest.raises(ConfigError, match="others have rights on it"):
            RoutingKey.from_file(file)

    def test_what_is_no_file(self, tmp_path):
        with pytest.raises(StorageError, match="No such file"):
            RoutingKey.from_file(tmp_path / "none")
        with pytest.raises((ConfigError, StorageError), match=r"no regular file|Is a directory"):
            RoutingKey.from_file(tmp_path)
        os.mkfifo(tmp_path / "pipe", 0o600)
        with pytest.raises(ConfigError, match="no regular file"):
            RoutingKey.from_file(tmp_path / "pipe")

    @pytest.mark.parametrize("content", ["", "short", f"{KEY} {KEY}", f"key: {KEY}", "é" * 32, KEY * 5])
    def test_what_is_no_key_is_not_repeated(self, tmp_path, content):
        file = tmp_path / "key"
        file.write_text(content)
        file.chmod(0o600)
        with pytest.raises(ConfigError, match="are no routing key") as caught:
            RoutingKey.from_file(file)
        assert KEY not in caught.value.line()

    def test_from_the_environment(self):
        assert RoutingKey.from_environment("A_KEY", {"A_KEY": f" {KEY} "}).reveal() == KEY
        with pytest.raises(ConfigError, match="environment variable A_KEY: the routing key is missing"):
            RoutingKey.from_environment("A_KEY", {})

    def test_it_is_shown_and_written_nowhere(self):
        key = RoutingKey(KEY)
        assert KEY not in f"{key} {key!r} {[key]}"
        with pytest.raises(TypeError):
            pickle.dumps(key)


class TestPagerOf:
    def test_a_file_of_pages_without_pagerduty(self, tmp_path):
        pager = pager_of(PagingConfig(log_file=tmp_path / "a" / "pages.jsonl"), {})
        assert pager.send(a_page()).outcome == "delivered"
        assert pager.flush().clean

    def test_what_is_wrong_is_said_at_once(self, tmp_path):
        with pytest.raises(ConfigError, match="STAIRWAYS_ROUTING_KEY"):
            pager_of(PagingConfig(to="pagerduty", spool_folder=tmp_path / "s"), {})
        (tmp_path / "open").mkdir(mode=0o755)
        with pytest.raises(StorageError, match="others have rights"):
            pager_of(
                PagingConfig(to="pagerduty", spool_folder=tmp_path / "open"), {"STAIRWAYS_ROUTING_KEY": KEY}
            )

    def test_the_settings_reach_the_receiver_and_the_spool(self, receiver, tmp_path):
        from receivers import say

        config = load_settings(config_file(tmp_path, receiver.url, attempts=2), {}).paging
        receiver.script = [say(500)] * 2
        delivery = pager_of(config, {}).send(a_page())
        assert (delivery.outcome, delivery.attempts) == ("spooled", 2)
        assert spooled(spool_of(config)) == [("a", "trigger")]


class TestLogPager:
    def test_one_line_a_page_readable_by_its_owner_alone(self, tmp_path):
        path = tmp_path / "deep" / "pages.jsonl"
        pager = LogPager(path)
        before = os.umask(0)
        try:
            assert [pager.send(a_page(key)).outcome for key in "ab"] == ["delivered", "delivered"]
        finally:
            os.umask(before)
        assert [json.loads(line)["dedup_key"] for line in path.read_text().splitlines()] == ["a", "b"]
        assert path.stat().st_mode & 0o777 == 0o600

    def test_half_a_line_of_a_killed_writer_spoils_no_other(self, tmp_path):
        path = tmp_path / "pages.jsonl"
        path.write_text('{"half')
        LogPager(path).send(a_page())
        assert json.loads(path.read_text().splitlines()[1])["dedup_key"] == "a"

    def test_what_can_t_be_written_is_loud(self, tmp_path):
        with pytest.raises(PagingError, match="was not written"):
            LogPager(tmp_path).send(a_page())
