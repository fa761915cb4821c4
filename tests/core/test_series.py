"""Values of metrics that workers share: added up, true when a worker dies, bounded."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from prometheus_client import metrics as library
from prometheus_client import values
from prometheus_client.parser import text_string_to_metric_families

from blobd import series
from blobd.metrics import Metrics
from blobd.series import SharedSeries, SharedValues

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def library_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what a worker's process would keep."""
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    monkeypatch.setattr(library, "_use_created", True)


@pytest.fixture
def shared() -> SharedSeries:
    return SharedSeries(3)


def in_worker(shared: SharedSeries, index: int, work: Callable[[Metrics], None]) -> None:
    """Do something with the metrics of a worker's own process, which then is killed."""
    pid = os.fork()
    if pid == 0:
        try:
            work(Metrics(SharedValues(shared, index)))
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def read(text: bytes) -> dict[tuple[str, ...], float]:
    """Return values by the name of the sample and the values of its labels."""
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def _push(metrics: Metrics) -> None:
    metrics.received_bytes.inc(1_000)
    metrics.received_bytes.inc(0.5)
    metrics.uploads.labels("committed").inc()
    metrics.request_duration.labels("blobs", "201").observe(0.003)
    metrics.request_duration.labels("blobs", "201").observe(7)
    metrics.uploads_in_flight.set(2)
    metrics.staged_bytes.set(70)


def test_any_worker_tells_what_all_have_counted(shared: SharedSeries) -> None:
    """Labels that only another worker has used are there too."""
    ours = Metrics(shared.values(2))
    assert read(ours.render())["blobd_received_bytes_total",] == 0
    in_worker(shared, 0, _push)
    in_worker(shared, 1, _push)
    ours.received_bytes.inc()
    found = read(ours.render())
    assert found["blobd_received_bytes_total",] == 2_002
    assert found["blobd_uploads_total", "committed"] == 2
    assert found["blobd_request_duration_seconds_count", "blobs", "201"] == 4
    assert found["blobd_request_duration_seconds_sum", "blobs", "201"] == pytest.approx(14.006)
    name = "blobd_request_duration_seconds_bucket"
    bounds = {
        bound: found[name, bound, "blobs", "201"]
        for bound in ("0.001", "0.005", "5.0", "30.0", "+Inf")
    }
    assert bounds == {"0.001": 0, "0.005": 2, "5.0": 2, "30.0": 4, "+Inf": 4}


def test_a_worker_that_begins_late_tells_what_others_had_counted(shared: SharedSeries) -> None:
    in_worker(shared, 0, _push)
    found = read(Metrics(shared.values(1)).render())
    assert found["blobd_uploads_total", "committed"] == 1
    assert found["blobd_request_duration_seconds_count", "blobs", "201"] == 2


def test_the_form_is_that_of_one_worker(shared: SharedSeries) -> None:
    """A dashboard reads the same names, types and texts, however many workers there are."""
    alone = Metrics()
    _push(alone)
    together = Metrics(shared.values(0))
    _push(together)

    def form(metrics: Metrics) -> list[str]:
        lines = metrics.render().decode().splitlines()
        return sorted(line.rpartition(" ")[0] for line in lines if "_created" not in line)

    assert form(together) == form(alone)


def test_a_killed_worker_leaves_its_counts_and_takes_its_gauges(shared: SharedSeries) -> None:
    ours = Metrics(shared.values(2))
    in_worker(shared, 0, _push)
    assert read(ours.render())["blobd_uploads_in_flight",] == 2
    shared.retire(0)
    found = read(ours.render())
    assert found["blobd_uploads_in_flight",] == 0
    assert found["blobd_received_bytes_total",] == 1_000.5
    assert found["blobd_staged_bytes",] == 70, "what is on disk has not gone with the worker"


def test_a_replacement_counts_on(shared: SharedSeries) -> None:
    """No counter falls, and no region grows by being taken over."""
    ours = Metrics(shared.values(2))
    for times in range(1, 4):
        in_worker(shared, 0, _push)
        shared.retire(0)
        found = read(ours.render())
        assert found["blobd_received_bytes_total",] == times * 1_000.5
        assert found["blobd_request_duration_seconds_count", "blobs", "201"] == times * 2
        assert found["blobd_staged_bytes",] == 70


def test_too_many_series_are_refused_and_counted(
    shared: SharedSeries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were there go on, nothing raises, and what is lost is told."""
    monkeypatch.setattr(series, "SERIES_MAX", 20)
    ours = Metrics(shared.values(0))
    ours.received_bytes.inc(5)
    for number in range(40):
        ours.uploads.labels(f"outcome {number}").inc(3)
        ours.received_bytes.inc()
    found = read(ours.render())
    assert found["blobd_received_bytes_total",] == 45
    kept = sum(found["blobd_uploads_total", f"outcome {number}"] == 3 for number in range(40))
    assert kept == 18, "all but the one that was there, and the one that counts the others"
    assert found["blobd_unrecorded_updates_total",] == 22


def test_too_long_keys_are_refused_and_counted(shared: SharedSeries) -> None:
    ours = Metrics(shared.values(0))
    for number in range(20):
        ours.uploads.labels(f"{number}" + "x" * 200_000).inc()
    found = read(ours.render())
    kept = sum(value for (name, *_), value in found.items() if name == "blobd_uploads_total")
    assert 0 < kept < 20
    assert found["blobd_unrecorded_updates_total",] == 20 - kept
    seen_elsewhere = read(Metrics(shared.values(1)).render())
    assert seen_elsewhere.items() <= found.items()
    assert seen_elsewhere["blobd_unrecorded_updates_total",] == 20 - kept


def test_a_series_that_was_not_finished_is_nobodys(shared: SharedSeries) -> None:
    """Killed between a key and its publication: the next one takes its place."""

    def begin(metrics: Metrics) -> None:
        metrics.received_bytes.inc(3)
        region = shared.region(0)
        used_bytes = region._used[0]
        region._keys[used_bytes : used_bytes + 9] = b'["stays",'

    in_worker(shared, 0, begin)
    ours = Metrics(shared.values(1))
    assert read(ours.render())["blobd_received_bytes_total",] == 3
    in_worker(shared, 0, _push)
    assert read(ours.render())["blobd_received_bytes_total",] == 1_003.5


def test_a_key_that_cannot_be_seen_yet_is_read_the_next_time(shared: SharedSeries) -> None:
    """A processor may show the count of bytes before the bytes."""
    writer, reader = shared.region(0), shared.region(0)
    line = b'["stays","blobd_uploads","_total",["lost"]]\n'
    writer._used[0] = len(line)
    writer._keys[:10] = line[:10]
    assert list(reader.refresh()) == []
    writer._keys[: len(line)] = line
    writer.cells[0] = 4
    assert list(reader.refresh()) == [("blobd_uploads", "_total", ("lost",))]
    assert reader.read(("blobd_uploads", "_total", ("lost",))) == 4


def test_files_are_not_used_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: str
) -> None:
    """One worker alone keeps its values to itself where the library is told of a folder."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue())  # type: ignore[no-untyped-call]
    alone = Metrics()
    _push(alone)
    assert read(alone.render())["blobd_received_bytes_total",] == 1_000.5
    assert os.listdir(tmp_path) == []  # noqa: PTH208
