import hashlib
import http.server
import threading
from pathlib import Path

import pytest

from btxrd import fetch as fetch_module
from btxrd.errors import UserError
from btxrd.fetch import fetch

CONTENT = bytes(range(256)) * 4000
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT at /good, cuts it off at /cut, and misbehaves elsewhere."""

    requests: list[tuple[str, str | None]]

    def do_GET(self):
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.requests.append((self.path, self.headers.get("Range")))
        if self.path == "/empty":
            self.answer(202, b"")
        elif self.path == "/wrong":
            self.answer(200, b"another file")
        elif self.path == "/cut":
            self.answer(206 if start else 200, CONTENT[start : start + 300_000], length=len(CONTENT) - start)
        elif self.path == "/no-range":
            self.answer(200, CONTENT)
        elif self.path == "/good":
            self.answer(206 if start else 200, CONTENT[start:])
        else:
            self.answer(500, b"")

    def answer(self, status, body, length=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetch_module, "PAUSE_SECONDS", 0.01)
    requests = []
    handler = type("Handler", (Server,), {"requests": requests})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}", requests
        running.shutdown()


def check_fetched(server, *paths, size=SIZE):
    fetch([server[0] + path for path in paths], "file.bin", SHA256, size, "Do this.")
    assert Path("file.bin").read_bytes() == CONTENT
    assert not Path("file.bin.part").exists()


def test_file_is_fetched_and_checked(server):
    check_fetched(server, "/good")


def test_interrupted_download_goes_on_where_it_ended(server):
    Path("file.bin.part").write_bytes(CONTENT[:1000])
    check_fetched(server, "/good")
    assert server[1] == [("/good", "bytes=1000-")]


def test_server_without_ranges_starts_over(server):
    Path("file.bin.part").write_bytes(b"x" * 1000)
    check_fetched(server, "/no-range")


def test_cut_connections_are_retried_until_all_is_there(server):
    check_fetched(server, "/cut", "/cut")
    assert len(server[1]) >= 4


def test_size_need_not_be_known(server):
    check_fetched(server, "/good", size=None)


@pytest.mark.parametrize("first", ["/empty", "/wrong", "/error"])
def test_second_address_helps_out(server, first):
    check_fetched(server, first, "/good")


def test_wrong_file_is_never_put_in_place(server):
    with pytest.raises(UserError, match=r"file.bin could not be fetched .*SHA-256 differs.* Do this\."):
        check_fetched(server, "/wrong", size=None)
    assert list(Path().iterdir()) == []


def test_no_connection_is_one_sentence(server):
    with pytest.raises(UserError, match=r"\(127.0.0.1:9: no connection\)\. Do this\."):
        fetch(["http://127.0.0.1:9/x"], "file.bin", SHA256, None, "Do this.")
