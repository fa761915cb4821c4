"""More than the server is told to take: those who come too late are told so, the others go on."""

from __future__ import annotations

import resource
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.api.served import EMPTY, Served, digest_of, some_bytes, until
from tests.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.http.talk import Answer, Talk

_QUEUED_S = 5.0

SETTINGS = {"server.workers": "1", "limits.max_uploads": "2", "upkeep.gc_interval_s": "0"}


def is_too_many(answer: Answer) -> bool:
    return (answer.status, answer.code) == (429, "TOOMANYREQUESTS") and int(
        answer.headers["Retry-After"]
    ) > 0


@pytest.mark.usefixtures("tidy")
@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_one_upload_too_many_is_429(served: Served, method: str) -> None:
    """Design section 7: with Retry-After, readable while the body is sent; then there is room."""
    data = some_bytes(100_000)
    first, second, third = (served.start() for _ in range(3))
    target = {
        "POST": f"/uploads?digest={EMPTY}",
        "PATCH": third,
        "PUT": f"{third}?digest={EMPTY}",
    }[method]
    with served.talk() as one, served.talk() as other:
        one.invited("PATCH", first, {"Content-Length": len(data)})
        other.invited("PATCH", second, {"Content-Length": len(data)})
        with served.talk() as talk:
            talk.head(method, target, {"Content-Length": 20_000_000})
            with talk.pouring(20_000_000) as pour:
                assert is_too_many(talk.answer())
                assert pour.is_taken()
        assert served.offset(third) == 0
        for talk, upload in ((one, first), (other, second)):
            talk.send(data)
            assert talk.answer().status == 202
            assert served.ask("PUT", f"{upload}?digest={digest_of(data)}").status == 201
    assert served.ask("PUT", f"{third}?digest={digest_of(data)}", body=data).status == 201


@pytest.mark.usefixtures("tidy")
def test_what_needs_no_body_is_never_too_many(served: Served) -> None:
    """Promise 7: somebody always finishes; status, commit and reading take no place."""
    data = some_bytes(1000)
    blob = served.store(data)
    upload = served.start()
    assert served.ask("PATCH", upload, body=data).status == 202
    with served.talk() as one, served.talk() as other:
        for talk in (one, other):
            talk.invited("PATCH", served.start(), {"Content-Length": 100_000})
        assert served.offset(upload) == len(data)
        assert served.ask("GET", blob).body == data
        assert served.ask("PUT", f"{upload}?digest={digest_of(data)}").status == 201
        for talk in (one, other):
            talk.send(bytes(100_000))
            assert talk.answer().status == 202


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A daemon with sixteen small buffers, for which nobody waits."""
    settings = {
        "server.workers": "1",
        "store.durability": "none",
        "limits.bytes_in_flight_max_bytes": str(1024 * 1024),
        "limits.budget_wait_s": "0",
    }
    with Daemon(tmp_path_factory.mktemp("small") / "data", settings=settings) as daemon:
        yield Served(daemon)


def test_a_spent_budget_is_429_for_some_and_done_for_others(small: Served) -> None:
    """Design section 7: budget spent for too long; promise 7: somebody always finishes."""
    size_bytes = 2_000_000

    def send(number: int) -> tuple[str, Answer]:
        upload = small.start()
        with small.talk() as talk:
            talk.head("PATCH", upload, {"Content-Length": size_bytes})
            with talk.pouring(size_bytes):
                return upload, talk.answer()

    refused = stored = 0
    with ThreadPoolExecutor(64) as threads:
        while not refused:
            for upload, answer in threads.map(send, range(64)):
                if answer.status == 202:
                    stored += 1
                    target = f"{upload}?digest={digest_of(bytes(size_bytes))}"
                    assert small.ask("PUT", target).status == 201
                else:
                    refused += 1
                    assert is_too_many(answer)
                    offset = small.offset(upload)
                    assert offset is not None
                    assert offset < size_bytes, "what came before is saved"
    assert stored, "somebody always finishes"
    until(small.is_at_rest, "the daemon is at rest")


@pytest.fixture
def few_descriptors(served: Served) -> Iterator[int]:
    """The daemon may open this many more descriptors."""
    (pid,) = served.daemon.pids()
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(served.daemon.open_files()) + 20, hard))
    yield 20
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("tidy")
def test_out_of_descriptors_is_503_and_passes(served: Served, few_descriptors: int) -> None:
    """Promise 9: what cannot be opened now is told as such, and nothing is broken afterwards."""
    data = some_bytes(100_000)
    blob = served.store(data)
    with ExitStack() as stack:
        talks = [stack.enter_context(served.talk()) for _ in range(2 * few_descriptors)]
        for talk in talks:
            talk.socket.settimeout(_QUEUED_S)
        told = [_told(talk, blob) for talk in talks]
    assert set(told) <= {200, 503, None}
    assert 503 in told, "a connection with no file to send"
    assert None in told, "no connection to be had"
    until(lambda: _told_anew(served, blob) == 200, "there is room again")
    assert served.store(data) == blob


def _told(talk: Talk, blob: str) -> int | None:
    """Return the status that a GET is answered.

    None where the connection breaks off, or waits in the kernel's queue until there is room.
    """
    try:
        answer = talk.ask("GET", blob)
    except (ConnectionError, TimeoutError):
        return None
    assert answer.status != 503 or answer.code == "UNAVAILABLE"
    return answer.status


def _told_anew(served: Served, blob: str) -> int | None:
    with served.talk() as talk:
        return _told(talk, blob)
