"""The private servers on an address besides loopback: only when told to, and the same at every start."""

import socket
from pathlib import Path

import psycopg
import pytest
import redis

from fluxfarm.errors import SettingsError
from fluxfarm.local import sharing
from fluxfarm.local.address import find_share
from fluxfarm.local.postgres import PrivatePostgres
from fluxfarm.local.sharing import Share
from fluxfarm.local.valkey import PrivateValkey

pytestmark = pytest.mark.xdist_group("sharing")  # all of them look for ports from the same number on

QUICK = {"fsync": "off"}
SECOND = Share("127.0.0.2", "127.0.0.2")
"""Also of this machine alone, but not where the servers listen by themselves."""


def answers(url: str | None, query: str = "SELECT 1") -> object:
    assert url is not None
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def test_other_machines_have_a_role_that_works_on_rows_and_nothing_else(tmp_path: Path) -> None:
    with PrivatePostgres(tmp_path, SECOND, tuning=QUICK) as server:
        with psycopg.connect(server.url) as owner:
            owner.execute("CREATE TABLE later (n int)")
        assert server.shared_url is not None
        with psycopg.connect(server.shared_url) as worker:
            worker.execute("INSERT INTO later VALUES (1)")
            for forbidden in (
                "CREATE TABLE own ()",
                "COPY later TO PROGRAM 'true'",
                "SELECT rolpassword FROM pg_authid",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege), worker.transaction():
                    worker.execute(forbidden)
        rules = "SELECT string_agg(user_name[1] || ' ' || address || ' ' || auth_method, ', ') FROM pg_hba_file_rules"
        assert answers(server.url, rules) == "all 127.0.0.1 scram-sha-256, fluxfarm_worker all scram-sha-256"
        assert answers(server.url, "SHOW listen_addresses") == "127.0.0.1,127.0.0.2"


def test_addresses_and_passwords_stay_until_they_are_rotated(tmp_path: Path) -> None:
    def shared() -> tuple[str | None, str | None]:
        with (
            PrivatePostgres(tmp_path, SECOND, tuning=QUICK) as postgres,
            PrivateValkey(tmp_path / "valkey", SECOND) as valkey,
        ):
            assert answers(postgres.shared_url) == 1
            assert valkey.shared_url is not None
            with redis.Redis.from_url(valkey.shared_url) as client:
                assert client.ping()
            return postgres.shared_url, valkey.shared_url

    first = shared()
    assert shared() == first
    PrivatePostgres(tmp_path).wish_new_password()
    PrivateValkey(tmp_path / "valkey").wish_new_password()
    second = shared()
    for old, new in zip(first, second, strict=True):
        assert old is not None
        assert new is not None
        assert old != new
        assert old.rpartition("@")[2] == new.rpartition("@")[2]


def test_what_was_shared_once_is_not_by_the_next_start(tmp_path: Path) -> None:
    with PrivatePostgres(tmp_path, SECOND, tuning=QUICK), PrivateValkey(tmp_path / "valkey", SECOND):
        pass
    with PrivatePostgres(tmp_path, tuning=QUICK) as postgres, PrivateValkey(tmp_path / "valkey") as valkey:
        assert postgres.shared_url is None
        assert valkey.shared_url is None
        assert answers(postgres.url, "SHOW listen_addresses") == "127.0.0.1"
        for port in (postgres.port, valkey.port):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.2", port), timeout=2)


def test_a_port_that_others_know_is_not_silently_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "PATIENCE", 0.1)
    file = tmp_path / "port"
    first = SECOND.kept_port(file, first=21000)
    with socket.create_server(("127.0.0.2", first)):
        with pytest.raises(SettingsError, match=f"port {first}, by which other machines know this farm, is taken"):
            SECOND.kept_port(file, first=21000)
        assert SECOND.kept_port(tmp_path / "other", first=first) > first
    assert SECOND.kept_port(file, first=22000) == first


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1", "is reached by this machine alone"),
        ("localhost", "is reached by this machine alone"),
        ("::", "does not tell others which address to use"),
        ("192.0.2.77", "is not an address of this machine"),
        ("no.such.host.invalid", "is no address or host name that this machine knows"),
    ],
)
def test_shares_only_an_address_that_others_may_reach(address: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        find_share(address)


def test_listening_everywhere_is_named_by_an_address() -> None:
    share = find_share("0.0.0.0")
    assert share.listen == ("0.0.0.0",)
    assert share.name != "0.0.0.0"
