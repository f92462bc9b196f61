"""Where the service listens: nobody's file is taken, nobody's socket, and no network."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from stairways.errors import ConfigError, StorageError
from stairways.live.address import LONGEST_SOCKET_PATH, Address


def greeted(listener: socket.socket, client: socket.socket) -> bytes:
    """Accept a connection and return what comes through it."""
    client.sendall(b"hello")
    connection, _ = listener.accept()
    with connection:
        return connection.recv(5)


def test_a_socket_is_reached_at_its_path_by_its_owner_alone(tmp_path):
    address = Address(path=tmp_path / "socket")
    listener, found = address.listen()
    with listener, socket.socket(socket.AF_UNIX) as client:
        assert found == address
        assert stat.S_IMODE(address.path.stat().st_mode) == 0o600
        client.connect(str(address.path))
        assert greeted(listener, client) == b"hello"


def test_port_0_is_a_free_port_and_the_address_tells_which():
    listener, found = Address().listen()
    with listener, socket.create_connection((found.host, found.port), 5.0) as client:
        assert found.port > 0
        assert greeted(listener, client) == b"hello"
        with pytest.raises(StorageError, match="choose another --port"):
            found.listen()


@pytest.mark.parametrize(
    "address",
    [Address(path=Path("/run/a b/é:1.sock")), Address(port=8_000), Address(host="localhost", port=1)],
    ids=str,
)
def test_an_address_comes_back_from_its_text(address):
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "host", ["0.0.0.1", "::", "10.0.0.1", "example.org", "", "127.0.0.1.example.org", "localhost.", "8.8.8.8"]
)
def test_another_machine_is_refused(host):
    with pytest.raises(ConfigError, match="is not this machine itself"):
        Address(host=host)


def test_a_path_has_so_many_bytes_at_most(tmp_path):
    Address(path=Path("a" * LONGEST_SOCKET_PATH))
    with pytest.raises(ConfigError, match="101 bytes, a socket's path has 100 at most"):
        Address(path=Path("a" * (LONGEST_SOCKET_PATH + 1)))
    with pytest.raises(ConfigError, match="110 bytes"):
        Address(path=Path("é" * 55))


def test_the_socket_of_a_process_that_is_gone_gives_way(tmp_path):
    address = Address(path=tmp_path / "socket")
    address.listen()[0].close()
    assert address.path.exists()
    listener, _ = address.listen()
    with listener, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(address.path))
        assert greeted(listener, client) == b"hello"


def test_a_socket_that_somebody_listens_at_is_refused_however_busy(tmp_path):
    address = Address(path=tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address.path))
        listener.listen(0)
        inode = address.path.stat().st_ino
        for _ in range(3):
            # each try waits in its queue, which is full after the first
            with pytest.raises(StorageError, match="somebody listens there already"):
                address.listen()
        assert address.path.stat().st_ino == inode


def test_a_full_queue_is_no_sign_that_nobody_listens(tmp_path):
    address = Address(path=tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address.path))
        listener.listen(0)
        waiting = []
        while True:
            client = socket.socket(socket.AF_UNIX)
            waiting.append(client)
            client.setblocking(False)
            try:
                client.connect(str(address.path))
            except BlockingIOError:
                break
        with pytest.raises(StorageError, match="somebody listens there already"):
            address.listen()
        for client in waiting:
            client.close()


@pytest.mark.parametrize("kind", ["file", "folder", "link to a file", "link to nothing"])
def test_what_is_no_socket_stays(tmp_path, kind):
    place, other = tmp_path / "precious", tmp_path / "other"
    if kind == "file":
        place.write_text("precious")
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to(other)
        if kind == "link to a file":
            other.write_text("precious")
    before = place.lstat()
    with pytest.raises(StorageError, match="something that is no socket stands there"):
        Address(path=place).listen()
    assert place.lstat() == before


def test_a_folder_that_is_missing_is_named(tmp_path):
    with pytest.raises(StorageError, match="check the path"):
        Address(path=tmp_path / "missing" / "socket").listen()
