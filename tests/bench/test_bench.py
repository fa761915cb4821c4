"""The benchmark's own arithmetic, and that its clients and its floor understand each other."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from bench.charts import draw
from bench.journal import CPU, Journal, Key
from bench.material import bodies, write_source
from bench.metrics import lag_p99_ms
from bench.report import figure, report
from bench.servers import running_floor
from bench.verdict import Verdict
from bench.workforce import employ

if TYPE_CHECKING:
    from pathlib import Path


def test_the_floor_stores_what_the_sender_sends(tmp_path: Path) -> None:
    """A body longer than its source arrives whole, under the digest that was announced."""
    write_source(tmp_path / "source", 100_000)
    body = bodies(tmp_path / "source", 250_000, 2)[1]
    with running_floor(tmp_path / "floor") as server:
        outcome = employ("bench.senders", [[body.errand(server, "put")]])
    stored = (tmp_path / "floor" / "received").read_bytes()
    assert len(stored) == body.length_bytes
    assert f"sha256:{hashlib.sha256(stored).hexdigest()}" == body.digest
    assert outcome.results[0]["start_s"] <= outcome.results[0]["end_s"]


@pytest.mark.parametrize(
    ("buckets", "expected_ms"),
    [
        ({0.001: 100.0, 0.005: 100.0, float("inf"): 100.0}, 0.99),
        ({0.001: 0.0, 0.005: 100.0, float("inf"): 100.0}, 4.96),
        ({0.001: 50.0, 0.005: 50.0, float("inf"): 100.0}, 5.0),
        ({}, 0.0),
    ],
)
def test_percentiles_are_read_inside_their_bucket(
    buckets: dict[float, float], expected_ms: float
) -> None:
    """The 99th percentile of a histogram is interpolated, and capped by its last real bound."""
    assert lag_p99_ms(buckets) == pytest.approx(expected_ms)


def test_a_run_can_be_told_again(tmp_path: Path) -> None:
    """What a journal wrote reads back as the same medians, with a report and a chart of them."""
    journal = Journal(tmp_path / "results.jsonl", {"cores": 2})
    key = Key("upload", "PUT with length, 1 client", "blobd", CPU)
    for value in (1.0, 9.0, 2.0):
        journal.note(key, value)
    told, machine = Journal.read([tmp_path / "results.jsonl"])
    assert (told.median(key), machine) == (2.0, {"cores": 2})
    missed = Verdict("a target", 2.0, 1.5, at_most=True, unit="s")
    lines = "\n".join(report(told, machine, [missed]))
    assert "**not reached**" in lines
    assert figure(2.0) in lines
    assert [path.name for path in draw(told, tmp_path)] == ["upload-cpu.svg"]
