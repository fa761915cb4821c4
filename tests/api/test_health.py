"""What operators and their machines ask: is it there, can it store, what has it done."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from tests.api.served import EMPTY, Served, answer_json, digest_of, some_bytes, until

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

    from tests.daemon import Daemon

SETTINGS = {
    "limits.max_blob_bytes": "10000000",
    "server.workers": "2",
    "upkeep.expire_interval_s": "0.2",
}

LABELS = {"outcome", "limit", "route", "status", "le", "pid", "job", "operation"}
"""The labels there may be; none of them can hold a repository, a digest or a user."""


def samples(served: Served) -> list[Sample]:
    text = served.ask("GET", "/metrics").body.decode()
    return [each for family in text_string_to_metric_families(text) for each in family.samples]


def test_the_process_says_that_it_is_there(served: Served) -> None:
    """Issue item 8: /healthz."""
    for method in ("GET", "HEAD"):
        assert served.ask(method, "/healthz").status == 200


def test_readiness_is_tried_and_not_assumed(daemon: Daemon) -> None:
    """Issue item 8: /readyz really checks that the backend can be written."""
    served = Served(daemon)
    uploads = served.daemon.data / "uploads"
    aside = uploads.with_name("aside")
    uploads.rename(aside)
    try:
        answers = [served.ask("GET", "/readyz") for _ in range(4)]
    finally:
        aside.rename(uploads)
    assert {(answer.status, answer.code) for answer in answers} == {(503, "UNAVAILABLE")}
    assert not [path for path in uploads.iterdir() if path.name.startswith(".probe")]
    for method in ("GET", "HEAD", "GET", "HEAD"):
        assert served.ask(method, "/readyz").status == 200, "a failure is not remembered"
    assert served.ask("GET", "/readyz?for=writes").status == 200
    assert served.ask("GET", "/readyz?for=ever").status == 400


def test_traffic_is_counted(served: Served) -> None:
    """Issue item 8: what /metrics has at least, over all workers."""
    count = served.daemon.metric
    start = {name: count(name) for name in ("blobd_received_bytes_total", "blobd_sent_bytes_total")}
    data = some_bytes(1_000_000)
    blob = served.store(data)
    assert served.store(data) == blob
    assert served.ask("GET", blob).body == data
    with served.talk() as talk:
        talk.head("POST", f"/uploads?digest={EMPTY}", {"Content-Length": 20_000_000})
        assert talk.answer().status == 413
    assert count("blobd_received_bytes_total") - start["blobd_received_bytes_total"] == 2_000_000
    assert count("blobd_sent_bytes_total") - start["blobd_sent_bytes_total"] == 1_000_000
    assert count("blobd_uploads_total", outcome="committed") >= 2
    assert count("blobd_uploads_in_flight") == 0
    assert count("blobd_dedup_hits_total") == 1
    assert count("blobd_dedup_saved_bytes_total") == 1_000_000
    assert count("blobd_refusals_total", limit="max_blob_bytes") == 1
    assert count("blobd_request_duration_seconds_count", route="blob", status="200") >= 1
    assert count("blobd_commit_duration_seconds_count") >= 2
    assert count("blobd_receive_wait_seconds_total") > 0
    assert count("blobd_hash_seconds_total") > 0
    assert count("blobd_write_seconds_total") > 0
    assert count("blobd_in_flight_bytes") == 0
    assert count("blobd_in_flight_budget_bytes") == 256 * 1024 * 1024
    assert count("blobd_loop_lag_seconds_count") > 0
    assert served.ask("PATCH", served.start(), body=data).status == 202
    until(lambda: count("blobd_staged_bytes") == len(data), "what is staged is added up")


def test_no_label_tells_who_or_what(served: Served) -> None:
    """Issue item 8: no label holds a repository, digest or user, whatever is asked."""
    data = some_bytes(1000)
    blob = served.store(data)
    for target in (
        blob,
        "/blobs/nonsense",
        "/uploads/nonsense",
        "/nothing/here",
        "/v2/a/b/tags/list",
    ):
        served.ask("GET", target)
    found = samples(served)
    assert {label for each in found for label in each.labels} <= LABELS
    values = {value for each in found for value in each.labels.values()}
    assert not [value for value in values if "nonsense" in value or digest_of(data)[7:20] in value]
    assert len(found) < 1000, "what is asked does not make metrics grow"


def test_garbage_in_the_folder_is_left_alone(served: Served) -> None:
    """B9, issue item 9: listings tolerate garbage, and nobody removes what he did not put there."""
    data = served.daemon.data
    blob = served.store(some_bytes(10))
    shard = data / "blobs" / "sha256" / "ab"
    garbage = [
        shard / "not-a-digest",
        shard / ("cd" * 32),
        data / "uploads" / "notes.txt",
        data / "blobs" / "README",
    ]
    for path in garbage:
        path.write_text("garbage")
    folder = data / "uploads" / ("e" * 32)
    folder.mkdir()
    (folder / "record").write_text("{not json")
    digests = [each["digest"] for each in answer_json(served.ask("GET", "/blobs"))["blobs"]]
    assert blob.removeprefix("/blobs/") in digests
    assert all(digest.partition(":")[2][:2] != "cd" for digest in digests)
    listed = answer_json(served.ask("GET", "/uploads"))["uploads"]
    assert folder.name not in {each["id"] for each in listed}
    for method in ("GET", "DELETE", "PATCH"):
        assert served.ask(method, f"/uploads/{'e' * 32}").status == 404
    assert all(path.exists() for path in garbage)
    assert (folder / "record").exists()
    for path in garbage:
        path.unlink()
    shutil.rmtree(folder)
