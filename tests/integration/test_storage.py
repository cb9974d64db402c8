"""Both stores keep one contract: a directory, and S3 served by servers that speak it for real."""

import dataclasses
import os
import stat
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from fluxfarm.errors import ObjectMissing, Unavailable
from fluxfarm.settings import Settings
from fluxfarm.storage import CHUNK, LocalStore, ObjectStore, input_key, object_key, open_store, prediction_prefix
from fluxfarm.storage.local import DRAFT_SECONDS, DRAFTS
from fluxfarm.storage.s3 import S3Store
from tests.servers import S3Server, free_port, rclone_s3

DATA = bytes(range(256)) * 1024  # four chunks
KEY = "tenants/t/predictions/p/1-c/0.webp"
ESCAPES = ["", "/etc/passwd", "../x", "a/../../x", "a/./b", "a//b", "a/", ".hidden", "a/.b", "a\\b", "a\x00b", "a\n"]
ODD = ["ä", "%2e", "a b", "a" * 129, "a/" * 16 + "a"]


def settings_of(server: S3Server, **changes: str) -> Settings:
    public = {"FLUXFARM_S3_PUBLIC_ENDPOINT_URL": server.endpoint}
    changed = {f"FLUXFARM_{name.upper()}": value for name, value in changes.items()}
    return Settings.from_environment({**server.environment(), **public, **changed})


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with rclone_s3(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture(scope="module")
def moto() -> Iterator[S3Server]:
    port = free_port()
    command = [f"{sysconfig.get_path('scripts')}/moto_server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server = S3Server(f"http://127.0.0.1:{port}", "id", "secret", "pictures")
    try:
        answer = until_answered(f"{server.endpoint}/{server.bucket}")
        assert answer.ok
        yield server
    finally:
        process.kill()
        process.wait()


def until_answered(url: str) -> requests.Response:
    deadline = time.monotonic() + 60
    while True:
        try:
            return requests.put(url, timeout=60)
        except requests.ConnectionError:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def rclone_store(rclone: S3Server) -> ObjectStore:
    return open_store(settings_of(rclone))


@pytest.fixture(scope="module")
def moto_store(moto: S3Server) -> ObjectStore:
    return open_store(settings_of(moto))


@pytest.fixture
def local_store(tmp_path: Path) -> ObjectStore:
    return open_store(Settings(data_dir=tmp_path))


@pytest.fixture(params=["local_store", "rclone_store", "moto_store"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    found: ObjectStore = request.getfixturevalue(request.param)
    return found


def test_what_was_put_is_read_in_chunks(store: ObjectStore) -> None:
    store.put(KEY, DATA, "image/webp")
    chunks = list(store.read(KEY))
    assert b"".join(chunks) == DATA
    assert len(chunks) >= 4
    assert max(map(len, chunks)) <= CHUNK


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, 1), (5, 5), (7, 70_000), (65_536, 131_072), (262_143, None), (262_144, None), (0, 9**9), (9**9, None)],
)
def test_a_range_is_half_open_and_stops_at_the_end(store: ObjectStore, start: int, end: int | None) -> None:
    store.put(KEY, DATA, "image/webp")
    assert b"".join(store.read(KEY, start, end)) == DATA[start:end]


def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    store.put(KEY, b"", "image/webp")
    assert b"".join(store.read(KEY)) == b""
    assert b"".join(store.read(KEY, 0, 10)) == b""


def test_a_second_put_replaces_the_whole_object(store: ObjectStore) -> None:
    store.put(KEY, DATA, "image/webp")
    store.put(KEY, b"short", "image/webp")
    assert b"".join(store.read(KEY)) == b"short"


@pytest.mark.parametrize("key", ["tenants/t/none.webp", "tenants/t/predictions", f"{KEY}/beneath"])
def test_a_missing_object_is_told_before_the_first_chunk(store: ObjectStore, key: str) -> None:
    store.put(KEY, DATA, "image/webp")
    with pytest.raises(ObjectMissing):
        store.read(key)


def test_a_read_can_be_left_early(store: ObjectStore) -> None:
    store.put(KEY, DATA, "image/webp")
    store.read(KEY)
    assert next(store.read(KEY)) == DATA[:CHUNK]


def test_deleting_is_final_and_may_be_repeated(store: ObjectStore) -> None:
    store.put(KEY, DATA, "image/webp")
    store.put("tenants/t/kept.webp", b"kept", "image/webp")
    store.delete([KEY, "tenants/t/never-there.webp", KEY])
    store.delete(iter([KEY]))
    store.delete([])
    with pytest.raises(ObjectMissing):
        store.read(KEY)
    assert b"".join(store.read("tenants/t/kept.webp")) == b"kept"


def test_keys_are_listed_by_prefix(store: ObjectStore) -> None:
    kept = {f"list/{name}" for name in ("p/1-a/0.png", "p/1-a/1.png", "p/2-b/0.png", "pq/1-c/0.png")}
    for key in kept:
        store.put(key, b"x", "image/png")
    assert sorted(store.keys("list/")) == sorted(kept)
    assert sorted(store.keys("list/p/1")) == ["list/p/1-a/0.png", "list/p/1-a/1.png"]
    assert len(list(store.keys("list/p"))) == 4
    assert list(store.keys("list/none/")) == []


@pytest.mark.parametrize("key", [*ESCAPES, *ODD])
def test_keys_that_could_escape_are_refused(store: ObjectStore, key: str) -> None:
    with pytest.raises(ValueError, match="is not a key"):
        store.put(key, b"x", "image/png")
    with pytest.raises(ValueError, match="is not a key"):
        store.read(key)
    with pytest.raises(ValueError, match="is not a key"):
        store.delete([key])


def test_a_prefix_that_could_escape_is_refused(store: ObjectStore) -> None:
    with pytest.raises(ValueError, match="is not a prefix"):
        list(store.keys("../"))


def test_a_working_store_passes_its_probe_and_keeps_nothing_of_it(store: ObjectStore) -> None:
    store.probe()
    assert list(store.keys("probes/")) == []


def test_object_keys_name_tenant_prediction_and_claim() -> None:
    assert object_key("t", "p", 2, "c", 3, "webp") == "tenants/t/predictions/p/2-c/3.webp"
    assert object_key("t", "p", 2, "c", 3, "webp").startswith(prediction_prefix("t", "p"))
    assert input_key("t", "f", "png") == "tenants/t/files/f.png"
    with pytest.raises(ValueError, match="is not a key"):
        input_key("../t", "f", "png")


def test_the_local_store_has_no_links_and_is_for_its_owner_only(tmp_path: Path) -> None:
    store = open_store(Settings(data_dir=tmp_path))
    store.put(KEY, DATA, "image/webp")
    assert store.link(KEY, 60, media_type="image/webp", filename=None) is None
    made = [tmp_path / "objects", *(tmp_path / "objects").rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o600, 0o700}


def test_a_reader_never_sees_half_of_a_second_put(local_store: ObjectStore) -> None:
    local_store.put(KEY, DATA, "image/webp")
    reading = local_store.read(KEY)
    local_store.put(KEY, DATA[::-1], "image/webp")
    assert b"".join(reading) == DATA


def test_keys_that_no_object_can_have_are_missing_to_a_deletion(local_store: ObjectStore) -> None:
    local_store.put(KEY, DATA, "image/webp")
    local_store.delete([f"{KEY}/beneath", "tenants/t"])
    assert list(local_store.keys("")) == [KEY]


def test_deleting_prunes_what_became_empty_but_not_the_store(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "objects")
    store.put(KEY, DATA, "image/webp")
    store.put("tenants/t/kept.webp", DATA, "image/webp")
    store.delete([KEY])
    assert sorted(path.name for path in (tmp_path / "objects" / "tenants").rglob("*")) == ["kept.webp", "t"]
    store.delete(["tenants/t/kept.webp"])
    assert list((tmp_path / "objects").iterdir()) == []


def test_drafts_of_writes_that_were_cut_off_go_when_they_are_old(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.tidy()
    store.put(KEY, DATA, "image/webp")
    for name, age in (("cut-off", DRAFT_SECONDS + 60), ("under-way", 0)):
        (tmp_path / DRAFTS / name).write_bytes(DATA)
        os.utime(tmp_path / DRAFTS / name, (time.time() - age,) * 2)
    assert list(store.keys("")) == [KEY], "a draft is no object"
    store.tidy()
    assert [path.name for path in (tmp_path / DRAFTS).iterdir()] == ["under-way"]
    assert b"".join(store.read(KEY)) == DATA


def test_writes_survive_deletions_that_prune_their_directory(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "objects")
    stop = threading.Event()

    def write_and_delete() -> None:
        while not stop.is_set():
            store.put("a/b/c/noise.png", b"x", "image/png")
            store.delete(["a/b/c/noise.png"])

    thread = threading.Thread(target=write_and_delete)
    thread.start()
    try:
        for turn in range(100):
            store.put("a/b/c/mine.png", str(turn).encode(), "image/png")
            assert b"".join(store.read("a/b/c/mine.png")) == str(turn).encode()
            store.delete(["a/b/c/mine.png"])
    finally:
        stop.set()
        thread.join()


def test_a_failed_write_leaves_no_trace_and_names_the_reason(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "objects")
    store.put("a/b.png", b"x", "image/png")
    with pytest.raises(Unavailable, match=r"could not write: File exists"):
        store.put("a/b.png/c.png", b"x", "image/png")
    (tmp_path / "objects" / "a" / "d.png").mkdir()
    with pytest.raises(Unavailable, match=r"could not write: Is a directory"):
        store.put("a/d.png", b"x", "image/png")
    assert sorted(path.name for path in (tmp_path / "objects").rglob("*")) == [DRAFTS, "a", "b.png", "d.png"]


def test_a_directory_that_cannot_be_made_fails_the_probe(tmp_path: Path) -> None:
    (tmp_path / "objects").write_text("a file")
    with pytest.raises(Unavailable, match="could not write"):
        LocalStore(tmp_path / "objects").probe()


def test_a_full_disk_fails_the_write(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    code = (
        "import resource, signal, sys, pathlib;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "from fluxfarm.errors import Unavailable;"
        "from fluxfarm.storage import LocalStore;"
        "store = LocalStore(pathlib.Path(sys.argv[1]));\n"
        "try: store.put('big.png', b'x' * 5000, 'image/png')\n"
        "except Unavailable as error: print(error.message)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "objects"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "the local store could not write: File too large\n"
    assert [path.name for path in (tmp_path / "objects").rglob("*")] == [DRAFTS], "its draft is gone"


def test_the_local_store_does_not_import_boto3(tmp_path: Path) -> None:
    code = (
        "import sys; from fluxfarm.settings import Settings; from fluxfarm.storage import open_store;"
        "open_store(Settings.from_environment({})).probe();"
        "print([name for name in sys.modules if name.startswith('boto')])"
    )
    environment = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def link_of(server: S3Server, seconds: int = 60, **changes: str) -> str:
    store = open_store(settings_of(server, **changes))
    link = store.link(KEY, seconds, media_type="image/webp", filename="flux-dev_7_ab12.webp")
    assert link is not None
    return link


@pytest.fixture
def stored(rclone: S3Server, rclone_store: ObjectStore) -> S3Server:
    rclone_store.put(KEY, DATA, "image/webp")
    return rclone


def test_a_link_reads_the_picture(stored: S3Server) -> None:
    answer = requests.get(link_of(stored), timeout=60)
    assert (answer.status_code, answer.content) == (200, DATA)


def test_a_link_fixes_type_and_name(moto_store: ObjectStore) -> None:
    moto_store.put(KEY, DATA, "image/webp")
    link = moto_store.link(KEY, 60, media_type="image/png", filename="flux-dev_7_ab12.webp")
    assert link is not None
    headers = requests.get(link, timeout=60).headers
    assert headers["Content-Type"] == "image/png"
    assert headers["Content-Disposition"] == 'attachment; filename="flux-dev_7_ab12.webp"'


def test_a_name_cannot_break_out_of_its_header(rclone_store: ObjectStore) -> None:
    link = rclone_store.link(KEY, 60, media_type="image/webp", filename='a"\r\nX: y/ä.webp')
    assert link is not None
    assert "filename%3D%22a___X__y__.webp%22" in link
    inline = rclone_store.link(KEY, 60, media_type="image/webp", filename=None)
    assert inline is not None
    assert "response-content-disposition=inline&" in inline


def test_a_tampered_link_is_refused(stored: S3Server, rclone_store: ObjectStore) -> None:
    link = link_of(stored)
    rclone_store.put(KEY.replace("0.webp", "1.webp"), DATA, "image/webp")
    for tampered in (link.replace("/0.webp", "/1.webp"), link.replace("X-Amz-Expires=60", "X-Amz-Expires=600")):
        assert tampered != link
        assert requests.get(tampered, timeout=60).status_code == 403


def test_a_link_signed_with_another_secret_is_refused(stored: S3Server) -> None:
    assert requests.get(link_of(stored, s3_secret_access_key="w" * 22), timeout=60).status_code == 403


def test_no_signature_is_refused(stored: S3Server) -> None:
    assert requests.get(link_of(stored).partition("?")[0], timeout=60).status_code in {400, 403}


def test_a_link_ends(stored: S3Server) -> None:
    brief, lasting = link_of(stored, seconds=1), link_of(stored, seconds=60)
    deadline = time.monotonic() + 60
    while requests.get(brief, timeout=60).status_code not in {400, 403}:
        assert time.monotonic() < deadline, "an expired link still reads"
        time.sleep(0.1)
    assert requests.get(lasting, timeout=60).status_code == 200


def test_links_lead_to_the_public_endpoint_only(stored: S3Server) -> None:
    assert link_of(stored, s3_public_endpoint_url="https://pictures.example").startswith("https://pictures.example/")
    private = dataclasses.replace(settings_of(stored), s3_public_endpoint_url=None)
    assert open_store(private).link(KEY, 60, media_type="image/webp", filename=None) is None


def test_more_keys_than_one_request_may_name_are_deleted(
    moto_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fluxfarm.storage.s3.DELETE_AT_ONCE", 3)
    keys = [f"batch/{number}.png" for number in range(7)]
    for key in keys:
        moto_store.put(key, b"x", "image/png")
    moto_store.delete(keys)
    assert list(moto_store.keys("batch/")) == []


def test_refusals_say_why_without_secrets(rclone: S3Server) -> None:
    wrong = open_store(settings_of(rclone, s3_secret_access_key="w" * 22))
    with pytest.raises(Unavailable, match="the S3 store could not write: SignatureDoesNotMatch") as caught:
        wrong.probe()
    assert "w" * 22 not in caught.value.message


def test_a_missing_bucket_is_not_a_missing_object(rclone: S3Server) -> None:
    store = open_store(settings_of(rclone, s3_bucket="elsewhere"))
    with pytest.raises(Unavailable, match="NoSuchBucket"):
        store.read(KEY)
    with pytest.raises(Unavailable, match="NoSuchBucket"):
        list(store.keys("tenants/"))


@pytest.mark.parametrize("when", ["when_required", "when_supported"])
def test_checksums_are_sent_as_the_setting_says(when: str) -> None:
    config = S3Store(Settings(s3_bucket="pictures", s3_checksums=when))._client.meta.config
    assert (config.request_checksum_calculation, config.response_checksum_validation) == (when, when)


def test_a_store_that_is_down_is_unavailable_soon() -> None:
    down = S3Server(f"http://127.0.0.1:{free_port()}", "id", "secret", "pictures")
    store = S3Store(settings_of(down))
    started = time.monotonic()
    for attempt in (store.probe, lambda: store.read(KEY), lambda: list(store.keys("a/"))):
        with pytest.raises(Unavailable, match="EndpointConnectionError"):
            attempt()
    assert time.monotonic() - started < 30


def test_what_is_put_and_every_new_name_on_its_way_is_made_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before `put` comes back: the file before its name, and the names once all are there."""
    made_durable: list[str] = []
    really = os.fsync

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_file():
            made_durable.append(f"file, named: {(tmp_path / 'root' / KEY).exists()}")
        else:
            made_durable.append(path.relative_to(tmp_path).as_posix())
        really(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    store = LocalStore(tmp_path / "root")
    store.put(KEY, DATA, "image/webp")
    chain = ["root/tenants/t/predictions/p/1-c", "root/tenants/t/predictions/p", "root/tenants/t/predictions"]
    assert made_durable == ["file, named: False", *chain, "root/tenants/t", "root/tenants", "root", "."]
    made_durable.clear()
    store.put(KEY, DATA, "image/webp")
    assert made_durable == ["file, named: True", "root/tenants/t/predictions/p/1-c"]
