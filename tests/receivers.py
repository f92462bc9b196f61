"""A receiver of the Events API on this machine that answers as it is told, and remembers what it got."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SUCCESS = {"status": "success", "message": "Event processed"}


class Receiver:
    """Answers requests with the next of ``script``; with 202 once it is used up."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        self.script: list[Callable[[BaseHTTPRequestHandler, dict], None]] = []
        self.paths: list[str] = []
        self.seen: list[dict] = []
        self.accepted: list[dict] = []
        self.lock = threading.Lock()
        self.over = threading.Event()

    def next_answer(self):
        with self.lock:
            return self.script.pop(0) if self.script else accept


def accept(handler, event):
    handler.receiver.accepted.append(event)
    reply(handler, 202, SUCCESS | {"dedup_key": event["dedup_key"]})


def say(status, body=None, headers=()):
    """Answer with a status, a body and headers."""
    return lambda handler, event: reply(handler, status, body, dict(headers))


def hang(handler, event):
    """Take the request and say nothing until the test is over."""
    handler.receiver.over.wait(30)
    handler.close_connection = True


def accept_then_hang(handler, event):
    """Take the page, and lose the answer."""
    handler.receiver.accepted.append(event)
    hang(handler, event)


def reset(handler, event):
    """Reset the connection."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def drip(handler, event):
    """Answer byte by byte, each soon enough for a read timeout, all of them never."""
    handler.close_connection = True
    for byte in b"HTTP/1.1 202 Accepted\r\nX-Slow: " + b"a" * 10_000:
        if handler.receiver.over.wait(0.05):
            return
        try:
            handler.connection.send(bytes([byte]))
        except OSError:
            return


def endless(handler, event):
    """Answer with a body that has no end."""
    handler.close_connection = True
    handler.connection.sendall(b"HTTP/1.1 202 Accepted\r\n\r\n")
    while not handler.receiver.over.is_set():
        try:
            handler.connection.send(b"x" * 65_536)
        except OSError:
            return


def garbage(handler, event):
    """Answer with something that is no HTTP."""
    handler.connection.sendall(b"\x00\xff\x13 no protocol at all\r\n\r\n")
    handler.close_connection = True


def later(answer, started, go):
    """Say that a request is here, wait for a word, and answer."""

    def wait(handler, event):
        started.set()
        go.wait(10)
        answer(handler, event)

    return wait


def slowly(answer, seconds):
    """Answer after a while."""

    def wait(handler, event):
        handler.receiver.over.wait(seconds)
        answer(handler, event)

    return wait


def reply(handler, status, body=None, headers=()):
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    handler.send_response(status)
    for name, value in dict(headers).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


@contextmanager
def running_receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        receiver: Receiver

        def do_POST(self):
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.receiver.paths.append(self.path)
            self.receiver.seen.append(event)
            try:
                self.receiver.next_answer()(self, event)
            except OSError:
                self.close_connection = True

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_):
            pass

    server = Server(("127.0.0.1", 0), Handler)
    Handler.receiver = receiver = Receiver(server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
