"""The guarded door: pictures come in, nothing inside the farm is ever asked, and no server outlasts the clock."""

import dataclasses
import gzip
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fluxfarm.errors import Cancelled, PredictionFailed
from fluxfarm.settings import Settings
from worker import exchange
from worker.destination import Address, Rules, is_public, system_addresses
from worker.outbound import Door, fetch

PICTURE = bytes(range(256)) * 500
FRONT, INSIDE = "127.0.0.2", "127.0.0.1"
"""Two loopback addresses, so that one can be allowed and the other not."""

Route = Callable[[BaseHTTPRequestHandler], None]


class Server(ThreadingHTTPServer):
    """Answers each path by its route and remembers what it was asked."""

    daemon_threads = True

    def __init__(self, address: str, tls: ssl.SSLContext | None = None) -> None:
        super().__init__((address, 0), Answer)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.routes: dict[str, Route] = {}
        self.asked: list[dict[str, str]] = []
        self.cut = threading.Event()
        self.url = f"http://{address}:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(dict(self.headers))
        try:
            self.server.routes.get(self.path, answer(PICTURE))(self)
        except OSError:
            self.server.cut.set()

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(address: str, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    with Server(address, tls) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def inside_server() -> Iterator[Server]:
    with serving(INSIDE) as server:
        yield server


@pytest.fixture(scope="module")
def front_server() -> Iterator[Server]:
    with serving(FRONT) as server:
        yield server


@pytest.fixture
def canary(inside_server: Server) -> Server:
    """A server inside that must never be asked."""
    inside_server.asked.clear()
    return inside_server


@pytest.fixture
def front(front_server: Server) -> Server:
    """A server that may be asked."""
    front_server.asked.clear()
    front_server.routes.clear()
    front_server.cut.clear()
    return front_server


def answer(body: bytes, status: int = 200, **headers: str) -> Route:
    def route(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return route


def redirect(location: str, status: int = 302) -> Route:
    return answer(b"elsewhere", status, Location=location, Set_Cookie="tracked=1")


def never() -> bool:
    return False


def offline(host: str, port: int) -> list[Address]:
    """The system's resolver for numbers and localhost, with or without a last dot; no other name exists."""
    name = host.rstrip(".")
    if name == "localhost" or ":" in name or all(label[:1].isdigit() for label in name.split(".")):
        return system_addresses(name, port)
    raise socket.gaierror


def door(server: Server, seconds: float = 10, **rules: object) -> Door:
    """Lets through to the front server's address, and to the canary's port if its address were public."""
    known = {"allow": (ip_network(FRONT),), "ports": frozenset({80, 443, server.server_port}), "resolve": offline}
    return Door(Rules(**(known | rules)), seconds, 1_000_000)  # type: ignore[arg-type]


def settings(**changes: object) -> Settings:
    return dataclasses.replace(Settings(fetch_allow=(ip_network(FRONT),)), **changes)  # type: ignore[arg-type]


def refusal(guarded: Door, url: str) -> PredictionFailed:
    with pytest.raises(PredictionFailed) as caught:
        guarded.fetch(url, never)
    return caught.value


HOSTILE_HOSTS = """
127.0.0.1 127.1 127.0.1 127.0.0.1. 127.255.255.254 0 0.0.0.0 2130706433 0x7f000001 0x7F.1 0x7f.0x0.0x0.0x1
0177.0.0.1 017700000001 00000177.0.0.1 localhost LOCALHOST localhost. LocalHost.
[::1] [::] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::FFFF:127.0.0.1] [::127.0.0.1] [::7f00:1]
[64:ff9b::127.0.0.1] [64:ff9b::a9fe:a9fe] [64:ff9b:1::7f00:1] [2002:7f00:1::] [2001:0:7f00:1::1] [fe80::1]
[fe80::1%25lo] [fe80::1%lo] [fc00::1] [fd00:ec2::254] [fec0::1] [ff02::1] [100::1] [2001:db8::1] [5f00::1]
10.0.0.1 172.16.0.1 172.31.255.255 192.168.0.1 169.254.169.254 169.254.170.2 0xa9fea9fe 2852039166
0251.0376.0251.0376 100.64.0.1 100.100.100.200 168.63.129.16 192.0.0.192 192.0.2.1 192.88.99.1 198.18.0.1
198.51.100.1 203.0.113.7 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255
"""


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", HOSTILE_HOSTS.split())
def test_addresses_inside_are_refused_in_every_spelling(canary: Server, host: str, scheme: str) -> None:
    failure = refusal(door(canary), f"{scheme}://{host}:{canary.server_port}/picture.png")
    assert failure.reason == "input_forbidden"
    assert canary.asked == []


HOSTILE_URLS = [
    "http://public.example@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}@public.example/",
    "http://user:secret@127.0.0.1:{port}/",
    "http://@127.0.0.1:{port}/",
    "http://public.example\\@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@public.example/",
    "http:\\\\127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\r\nX-Smuggled: yes/",
    "http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "\thttp://127.0.0.1:{port}/",
    "http://127.0.0.1\x00.public.example:{port}/",
    "http://127.0.0.1%00.public.example:{port}/",
    "http://%31%32%37.0.0.1:{port}/",
    "http://\uff11\uff12\uff17.0.0.1:{port}/",
    "http://\u2460\u2461\u2466.0.0.1:{port}/",
    "http://127\u30020\u30020\u30021:{port}/",
    "http://[::1:{port}/",
    "http://::1:{port}/",
    "http://127.0.0.1:{port}:80/",
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:-1/",
    "http:///127.0.0.1:{port}/",
    "http:127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "127.0.0.1:{port}/",
    "file:///etc/passwd",
    "ftp://127.0.0.1:{port}/",
    "gopher://127.0.0.1:{port}/_GET",
    "unix:///run/x.sock",
    "data:image/png;base64,AA==",
    "http://",
    "",
]


@pytest.mark.parametrize("form", HOSTILE_URLS)
def test_urls_that_programs_disagree_on_are_refused(canary: Server, form: str) -> None:
    assert refusal(door(canary), form.format(port=canary.server_port)).reason == "input_forbidden"
    assert canary.asked == []


@pytest.mark.parametrize("form", ["http://public.example#@127.0.0.1:{port}/", "http://a.example?@127.0.0.1:{port}/"])
def test_only_the_host_of_a_url_is_asked(canary: Server, form: str) -> None:
    assert refusal(door(canary), form.format(port=canary.server_port)).reason == "input_unreachable"
    assert canary.asked == []


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "168.63.129.15", "223.255.255.1", "2606:4700::1111"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ip_address(address))


def test_a_name_that_leads_inside_is_refused_without_telling_where(canary: Server) -> None:
    guarded = door(canary, resolve=lambda host, port: [ip_address("10.11.12.13")])
    failure = refusal(guarded, f"http://inside.example:{canary.server_port}/")
    assert failure.reason == "input_forbidden"
    assert "10.11" not in failure.message


@pytest.mark.parametrize("order", [("1.1.1.1", INSIDE), (INSIDE, "1.1.1.1"), (FRONT, INSIDE)])
def test_one_inside_address_among_others_is_enough_to_refuse(canary: Server, order: tuple[str, ...]) -> None:
    guarded = door(canary, resolve=lambda host, port: [ip_address(address) for address in order])
    assert refusal(guarded, f"http://mixed.example:{canary.server_port}/").reason == "input_forbidden"
    assert canary.asked == []


def test_a_name_is_looked_up_once_and_the_answer_pinned(front: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([FRONT, INSIDE, INSIDE])
    system: Callable[..., object] = socket.getaddrinfo

    def without_names(host: str, *args: object, **kwargs: object) -> object:
        assert host != "picture.example", "looked up a second time"
        return system(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", without_names)
    guarded = door(front, resolve=lambda host, port: [ip_address(next(answers))])
    assert guarded.fetch(f"http://picture.example:{front.server_port}/p", never) == PICTURE
    assert next(answers) == INSIDE, "only one answer was used"
    assert front.asked[0]["Host"] == f"picture.example:{front.server_port}"


def test_public_servers_are_asked_at_web_ports_only() -> None:
    rules = Rules(resolve=lambda host, port: [ip_address("1.1.1.1")])
    assert rules.destination("http://a.example/p?q=1#f").port == 80
    assert rules.destination("https://A.example").host == "a.example"
    for url in ("http://a.example:22/", "http://a.example:8080/", "https://a.example:6379/", "http://a.example:0/"):
        with pytest.raises(PredictionFailed, match="port other than 80 and 443"):
            rules.destination(url)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(front: Server, status: int) -> None:
    front.routes["/old"] = redirect("/new", status)
    assert fetch(f"{front.url}/old", settings=settings(), cancelled=never) == PICTURE
    assert "Cookie" not in front.asked[1]


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:{port}/", "//127.0.0.1:{port}/", "http://[::ffff:127.0.0.1]:{port}/", "file:///x", "http://[/"]
)  # fmt: skip
def test_redirects_are_judged_like_the_first_url(front: Server, canary: Server, target: str) -> None:
    front.routes["/"] = redirect(target.format(port=canary.server_port))
    assert refusal(door(canary), f"{front.url}/").reason in {"input_forbidden", "input_unreachable"}
    assert len(front.asked) == 1
    assert canary.asked == []


def test_redirects_end(front: Server) -> None:
    front.routes |= {f"/{left}": redirect(f"/{left - 1}") for left in range(1, 5)}
    assert fetch(f"{front.url}/3", settings=settings(), cancelled=never) == PICTURE
    assert refusal(door(front), f"{front.url}/4").message == "its URL redirects more than 3 times"


def test_the_environment_is_not_believed_and_nothing_of_ours_is_told(
    front: Server, canary: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, canary.url)
    assert fetch(f"{front.url}/p", settings=settings(), cancelled=never) == PICTURE
    assert canary.asked == []
    assert set(front.asked[0]) == {"Host", "User-Agent", "Accept", "Accept-Encoding", "Connection"}
    assert front.asked[0]["User-Agent"] == "fluxfarm"


def test_without_a_permission_the_settings_refuse_loopback(front: Server) -> None:
    with pytest.raises(PredictionFailed, match="not public"):
        fetch(front.url, settings=Settings(), cancelled=never)
    assert front.asked == []


def endless(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    while True:
        request.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")


@pytest.mark.parametrize(
    "route",
    [
        answer(bytes(2_000_000)),
        answer(b"", Content_Length=str(10**15)),
        endless,
        answer(gzip.compress(bytes(50_000_000)), Content_Encoding="gzip"),
    ],
    ids=["declared", "declared and absurd", "endless", "bomb"],
)
def test_what_is_too_large_is_refused(front: Server, route: Route) -> None:
    front.routes["/"] = route
    failure = refusal(door(front), f"{front.url}/")
    assert (failure.reason, failure.message) == ("input_too_large", "it is larger than 1,000,000 bytes")


def test_the_limit_itself_is_allowed(front: Server) -> None:
    largest = settings(fetch_max_bytes=len(PICTURE))
    assert fetch(front.url, settings=largest, cancelled=never) == PICTURE
    with pytest.raises(PredictionFailed, match="larger than"):
        fetch(front.url, settings=settings(fetch_max_bytes=len(PICTURE) - 1), cancelled=never)


@pytest.mark.parametrize("encoding", ["gzip", "X-GZip", "identity"])
def test_an_encoding_nobody_asked_for_is_undone(front: Server, encoding: str) -> None:
    sent = PICTURE if encoding == "identity" else gzip.compress(PICTURE)
    front.routes["/"] = answer(sent, Content_Encoding=encoding)
    assert door(front).fetch(f"{front.url}/", never) == PICTURE


def raw(text: bytes) -> Route:
    def route(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(text)
        request.close_connection = True

    return route


@pytest.mark.parametrize(
    ("route", "says"),
    [
        (answer(b"no", 404), "answered 404"),
        (answer(b"no", 500), "answered 500"),
        (answer(b"", 204), "answered 204"),
        (answer(b"", 304), "answered 304"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"), "broke off"),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsh"), "properly"),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "properly"),
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "properly"),
        (raw(b""), "properly"),
        (answer(b"\x1f\x8b broken", Content_Encoding="gzip"), "properly"),
        (answer(gzip.compress(PICTURE)[:200], Content_Encoding="gzip"), "broke off"),
        (answer(b"x", Content_Encoding="br"), "content encoding"),
    ],
)
def test_answers_that_are_no_file_are_unreachable(front: Server, route: Route, says: str) -> None:
    front.routes["/"] = route
    failure = refusal(door(front), f"{front.url}/")
    assert failure.reason == "input_unreachable"
    assert says in failure.message


def test_a_closed_port_and_an_unknown_host_are_unreachable(front: Server) -> None:
    with socket.create_server((FRONT, 0)) as gone:
        port = gone.getsockname()[1]
    assert refusal(door(front), f"http://{FRONT}:{port}/").reason == "input_unreachable"
    assert refusal(door(front), "http://nowhere.example/").message == "the host in its URL is not known"


def test_the_next_address_is_tried_when_one_does_not_answer(front: Server) -> None:
    guarded = door(
        front, allow=(ip_network("127.0.0.0/8"),), resolve=lambda host, port: map(ip_address, ("127.0.0.3", FRONT))
    )
    assert guarded.fetch(f"http://two.example:{front.server_port}/", never) == PICTURE


def dripping(start: bytes) -> Route:
    def route(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(start)
        while True:
            request.wfile.write(b"x")
            time.sleep(0.02)  # the pace of a server that never lets a single read time out

    return route


@pytest.mark.parametrize(
    "start",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Long: ", b""],
    ids=["body", "headers", "first line"],
)
def test_a_dripping_server_is_cut_off_by_the_clock(front: Server, start: bytes) -> None:
    front.routes["/"] = dripping(start)
    started = time.monotonic()
    failure = refusal(door(front, seconds=0.3), f"{front.url}/")
    assert time.monotonic() - started < 2
    assert (failure.reason, failure.message) == ("input_unreachable", "fetching it took longer than 0.3 s")
    assert front.cut.wait(10), "the connection was left open"
    until_no_fetch_runs()


def test_a_resolver_that_hangs_is_not_waited_for(front: Server) -> None:
    released = threading.Event()

    def hanging(host: str, port: int) -> list[Address]:
        released.wait(30)
        return [ip_address(FRONT)]

    failure = refusal(door(front, seconds=0.2, resolve=hanging), f"http://slow.example:{front.server_port}/")
    released.set()
    until_no_fetch_runs()
    assert "took longer" in failure.message
    assert front.asked == [], "asked after it was given up"


def test_a_wish_to_cancel_cuts_the_fetch(front: Server) -> None:
    front.routes["/"] = dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n")
    with pytest.raises(Cancelled):
        door(front, seconds=60).fetch(f"{front.url}/", lambda: bool(front.asked))
    assert front.cut.wait(10), "the connection was left open"
    until_no_fetch_runs()


def certificate_for(name: str) -> tuple[bytes, bytes]:
    """A self-signed certificate and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return certificate.public_bytes(serialization.Encoding.PEM), secret


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A front server under TLS whose certificate is for picture.example, and is trusted."""
    certificate, secret = certificate_for("picture.example")
    (tmp_path / "certificate.pem").write_bytes(certificate)
    (tmp_path / "both.pem").write_bytes(certificate + secret)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    exchange._tls.cache_clear()
    with serving(FRONT, context) as server:
        yield server
    exchange._tls.cache_clear()


def to_front(host: str, port: int) -> list[Address]:
    return [ip_address(FRONT)]


def test_under_tls_the_name_is_verified_and_not_the_address(secure: Server) -> None:
    guarded = door(secure, resolve=to_front)
    assert guarded.fetch(f"https://picture.example:{secure.server_port}/p", never) == PICTURE
    assert refusal(guarded, f"https://other.example:{secure.server_port}/p").reason == "input_unreachable"
    assert refusal(guarded, f"https://{FRONT}:{secure.server_port}/p").reason == "input_unreachable"
    assert len(secure.asked) == 1


def test_a_certificate_nobody_vouches_for_is_refused(secure: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    failure = refusal(door(secure, resolve=to_front), f"https://picture.example:{secure.server_port}/p")
    assert failure.reason == "input_unreachable"
    assert secure.asked == []


def test_the_clock_cuts_tls_too(secure: Server) -> None:
    secure.routes["/"] = dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n")
    guarded = door(secure, seconds=0.3, resolve=to_front)
    failure = refusal(guarded, f"https://picture.example:{secure.server_port}/")
    assert "took longer" in failure.message
    assert secure.cut.wait(10), "the connection was left open"
    until_no_fetch_runs()


def until_no_fetch_runs() -> None:
    deadline = time.monotonic() + 60
    while any(thread.name == "fetch" for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "a fetching thread went on"
        time.sleep(0.01)
