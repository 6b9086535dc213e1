"""Clients that are slow or too many, over real sockets."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import uvicorn
from fastapi import APIRouter, FastAPI

from rolekeeper.web.app import create_app
from rolekeeper.web.body_limit import BodyLimits
from rolekeeper.web.connections import BoundedProtocol

QUICK = 0.3
GET = b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n"
POST = b"POST /trees HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 40\r\n\r\n"


class Impatient(BoundedProtocol):
    header_seconds = QUICK
    max_connections = 3


def make_app() -> FastAPI:
    router = APIRouter()

    @router.get("/slow")
    def answer_slowly() -> str:
        time.sleep(2 * QUICK)
        return "done"

    @router.post("/trees")
    def plant(tree: dict[str, int]) -> int:
        return len(tree)

    return create_app("Test", [router], limits=BodyLimits(grace_seconds=QUICK, bytes_per_second=1000))


@pytest.fixture(scope="module")
def connect() -> Iterator[Callable[[], AbstractContextManager[socket.socket]]]:
    config = uvicorn.Config(make_app(), port=0, log_config=None, http=Impatient, timeout_keep_alive=30)
    server = uvicorn.Server(config)
    listener = config.bind_socket()
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    while not server.started:
        time.sleep(0.01)

    @contextmanager
    def connected() -> Iterator[socket.socket]:
        with socket.create_connection(listener.getsockname(), timeout=30) as client:
            yield client

    yield connected
    server.should_exit = True
    thread.join()


Connect = Callable[[], AbstractContextManager[socket.socket]]


def read_until(client: socket.socket, end: bytes) -> bool:
    """Whether an answer ends so, after as many reads as it takes."""
    answer = b""
    while not answer.endswith(end) and (data := client.recv(65536)):
        answer += data
    return answer.endswith(end)


def read_all(client: socket.socket) -> bytes:
    """What the server sends until it closes the connection."""
    return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.mark.parametrize("start", [b"", b"GET /slow HT", b"GET /slow HTTP/1.1\r\nhost: x\r\n"])
def test_headers_that_do_not_come_are_not_waited_for(connect: Connect, start: bytes) -> None:
    with connect() as client:
        client.sendall(start)
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert {b"content-type: application/problem+json", b"connection: close"} < set(answer.split(b"\r\n"))
    assert b'"code":"too_slow"' in answer


def test_headers_that_drip_are_not_waited_for(connect: Connect) -> None:
    """Each byte is early enough, the last one is not."""
    with connect() as client:
        for byte in GET:
            client.sendall(bytes([byte]))
            if select.select([client], [], [], QUICK / 8)[0]:
                break
        assert b" 408 " in client.recv(65536)


def test_headers_without_end_are_not_kept(connect: Connect) -> None:
    """The server closes with bytes unread, which resets the connection: the client may never read why."""
    header, answer = b"x: " + b"y" * 4000 + b"\r\n", b" 413 "
    with connect() as client, contextlib.suppress(ConnectionError):
        client.sendall(GET[:-2] + 10 * header)
        assert not select.select([client], [], [], QUICK / 10)[0]  # 40 KB are taken
        client.sendall(10 * header)
        answer = client.recv(65536)
    assert b" 413 " in answer


def test_blank_lines_between_requests_hold_no_connection(connect: Connect) -> None:
    with connect() as client:
        client.sendall(GET)
        assert read_until(client, b'"done"')
        client.sendall(b"\r\n")
        assert b" 408 " in read_all(client)


def test_a_request_that_comes_behind_a_slow_one_does_not_break_its_answer(connect: Connect) -> None:
    """Its headers are late, but an answer is being made on this connection."""
    with connect() as client:
        client.sendall(GET + GET[:9])
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.index(b'"done"') < answer.index(b" 408 ")


def test_a_long_answer_and_a_pause_between_requests_are_no_slow_headers(connect: Connect) -> None:
    with connect() as client:
        for _ in range(2):
            client.sendall(GET)
            assert read_until(client, b'"done"')
            time.sleep(2 * QUICK)
        client.sendall(GET[:9])
        assert b" 408 " in read_all(client)


def test_a_body_that_does_not_come_is_not_waited_for(connect: Connect) -> None:
    with connect() as client:
        client.sendall(POST + b'{"a":')
        answer = read_all(client)
    assert b" 408 " in answer
    assert b"only 5 bytes of the body came in 0 s; send at least 1000 bytes a second" in answer


def test_a_body_in_pieces_is_waited_for(connect: Connect) -> None:
    with connect() as client:
        client.sendall(POST)
        for part in (b'{"a": 1,', b" " * 26, b'"b":2}'):
            client.sendall(part)
            time.sleep(QUICK / 10)
        assert read_until(client, b"\r\n\r\n2")


def test_too_many_connections_are_turned_away_and_room_is_given_again(connect: Connect) -> None:
    with connect() as first, connect() as second, connect() as third:
        for client in (first, second, third):
            client.sendall(GET)
        with connect() as fourth:
            answer = read_all(fourth)
        assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"\r\nretry-after: 2\r\n" in answer
        assert read_until(first, b'"done"')
    with connect() as client:
        client.sendall(GET)
        assert read_until(client, b'"done"')
