"""The private Valkey: only its owner gets in, nothing is kept, nothing is evicted."""

import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from fluxfarm.local import server as server_module
from fluxfarm.local.valkey import PrivateValkey


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateValkey]:
    with PrivateValkey(tmp_path_factory.mktemp('a "quoted" \\ folder') / "valkey") as running:
        yield running


def ask(url: str, *words: str) -> object:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        return client.execute_command(*words)


def test_answers_its_owner_and_no_one_without_the_password(valkey: PrivateValkey) -> None:
    assert ask(valkey.url, "PING")
    with pytest.raises(redis.AuthenticationError):
        ask(f"redis://127.0.0.1:{valkey.port}/0", "PING")
    with pytest.raises(redis.AuthenticationError):
        ask(f"redis://:wrong@127.0.0.1:{valkey.port}/0", "PING")


def test_listens_on_loopback_alone_evicts_nothing_and_saves_nothing(valkey: PrivateValkey) -> None:
    with redis.Redis.from_url(valkey.url, decode_responses=True) as client:
        found = client.config_get("bind", "maxmemory-policy", "save", "appendonly")
    assert found == {"bind": "127.0.0.1", "maxmemory-policy": "noeviction", "save": "", "appendonly": "no"}


def test_its_configuration_is_readable_by_its_owner_alone(valkey: PrivateValkey) -> None:
    assert stat.S_IMODE((valkey.directory / "valkey.conf").stat().st_mode) == 0o600


def test_a_stranger_on_the_port_is_not_taken_for_it(valkey: PrivateValkey, tmp_path: Path) -> None:
    """Not even if it lets the password pass."""
    other = PrivateValkey(tmp_path)
    other.port, other._password = valkey.port, valkey._password
    assert not other.ready()
    assert valkey.ready()


def test_another_port_is_taken_when_one_is_lost_in_a_race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([taken.getsockname()[1], server_module.free_port()])
        monkeypatch.setattr(server_module, "free_port", lambda: next(ports))
        with PrivateValkey(tmp_path) as valkey:
            assert ask(valkey.url, "PING")


def test_is_gone_after_the_block(tmp_path: Path) -> None:
    with PrivateValkey(tmp_path) as valkey:
        pass
    with pytest.raises(redis.ConnectionError):
        ask(valkey.url, "PING")
