"""Signed links: what was signed reads until it expires, and nothing else does; the secrets are made once and rotate."""

import multiprocessing
import stat
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fluxfarm.errors import SettingsError
from fluxfarm.links import LinkSigner, load_secrets, rotate
from fluxfarm.settings import Settings

OLD, NEW = b"an older secret of ours", b"the newest secret of ours"
PATH = "/files/4c1f/0.webp"
EXPIRES = 2_000_000_000


def query(signer: LinkSigner, path: str = PATH, expires: int = EXPIRES) -> dict[str, str]:
    return dict(pair.split("=") for pair in signer.sign(path, expires).split("&"))


def test_a_link_reads_until_the_second_it_expires() -> None:
    signer = LinkSigner((NEW,))
    assert signer.verify(PATH, **query(signer), now=EXPIRES - 0.001)
    assert not signer.verify(PATH, **query(signer), now=EXPIRES)


def test_path_time_and_signature_are_all_bound() -> None:
    signer = LinkSigner((NEW,))
    exp, sig = query(signer).values()
    swapped = ("B" if sig[0] == "A" else "A") + sig[1:]
    assert not signer.verify("/files/4c1f/1.webp", exp, sig, now=0)
    assert not signer.verify(PATH, str(EXPIRES + 1), sig, now=0)
    assert not signer.verify(PATH, exp, swapped, now=0)
    assert not signer.verify(PATH, exp, sig[:-1], now=0)
    assert not signer.verify(PATH, exp, sig + "=", now=0)


def test_time_and_path_cannot_be_moved_into_each_other() -> None:
    signer = LinkSigner((NEW,))
    shifted = query(signer, path=f"1\n{PATH}", expires=2)
    assert not signer.verify(PATH, exp="2\n1", sig=shifted["sig"], now=0)


def test_the_first_secret_signs_and_all_verify() -> None:
    both = LinkSigner((NEW, OLD))
    assert both.verify(PATH, **query(LinkSigner((OLD,))), now=0)
    assert LinkSigner((NEW,)).verify(PATH, **query(both), now=0)
    assert not LinkSigner((OLD,)).verify(PATH, **query(both), now=0)


def test_signing_needs_a_secret() -> None:
    with pytest.raises(ValueError, match="at least one secret"):
        LinkSigner(())


@pytest.mark.parametrize(
    "exp",
    [
        None,
        "",
        "0",
        "-1",
        "+9",
        "1e12",
        "99 ",
        " 99",
        "9_9",
        "09",
        "9" * 13,
        "٩٩٩٩",
        "99\n",
        "NaN",
        "²",
        "9" * 5000,
        "\udcff",
    ],
)
def test_a_time_not_as_we_write_it_is_refused(exp: str | None) -> None:
    signer = LinkSigner((NEW,))
    assert not signer.verify(PATH, exp, query(signer)["sig"], now=0)


ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(path=ANY_TEXT, exp=st.none() | ANY_TEXT, sig=st.none() | ANY_TEXT)
@example(path="/files/\udcff", exp="1", sig="\udcff")
def test_malformed_links_never_raise(path: str, exp: str | None, sig: str | None) -> None:
    signer = LinkSigner((NEW, OLD))
    assert not signer.verify(path, exp, sig, now=0)
    assert not signer.verify(path, str(EXPIRES), sig, now=0)


def test_secrets_of_the_settings_win_and_leave_no_file(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, link_secrets=(NEW.decode(), OLD.decode()))
    assert load_secrets(settings) == (NEW, OLD)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SettingsError, match="FLUXFARM_LINK_SECRETS"):
        rotate(settings)


def test_a_short_secret_is_refused_without_showing_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="at least 16") as caught:
        load_secrets(Settings(data_dir=tmp_path, link_secrets=("hunter2",)))
    assert "hunter2" not in caught.value.message


def test_the_secret_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    first = load_secrets(settings)
    assert load_secrets(settings) == first
    assert len(first[0]) >= 43
    file = tmp_path / "data" / "secrets" / "links"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [path.name for path in file.parent.iterdir()] == ["links"]


def test_racing_processes_agree_on_the_secret(tmp_path: Path) -> None:
    settings = [Settings(data_dir=tmp_path / str(round_)) for round_ in range(20) for _ in range(4)]
    with multiprocessing.get_context("fork").Pool(4) as pool:
        found = pool.map(load_secrets, settings, chunksize=1)
    assert all(len(set(found[at : at + 4])) == 1 for at in range(0, len(found), 4))


def test_rotation_puts_a_new_secret_in_front_and_keeps_old_links(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    before = load_secrets(settings)
    link = query(LinkSigner(before))
    rotate(settings)
    after = load_secrets(settings)
    assert after[0] not in before
    assert after[1:] == before
    assert LinkSigner(after).verify(PATH, **link, now=0)
    assert stat.S_IMODE((tmp_path / "secrets" / "links").stat().st_mode) == 0o600


def test_an_unusable_secrets_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "secrets" / "links").mkdir(parents=True)
    with pytest.raises(SettingsError, match="cannot be used: Is a directory"):
        load_secrets(Settings(data_dir=tmp_path))


def test_an_empty_secrets_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "links").write_text("\n \n")
    with pytest.raises(SettingsError, match="at least 16"):
        load_secrets(Settings(data_dir=tmp_path))
