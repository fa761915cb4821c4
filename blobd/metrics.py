"""All Prometheus objects, in one class. No label holds a repository, a digest or a user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values

from blobd.series import UNRECORDED

if TYPE_CHECKING:
    from blobd.series import SharedValues

_SECONDS = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 30, 120, 600)
_COMMIT_SECONDS = (0.0005, 0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 1, 5)


class Metrics:
    """The daemon's counters. Made once per process by the composition root, once per test."""

    def __init__(self, shared: SharedValues | None = None) -> None:
        """Make all metrics, `shared` with the daemon's other workers where there are any."""
        self.registry = registry = CollectorRegistry()
        self._shared = shared
        self._labelled: dict[str, tuple[Counter | Histogram, int]] = {}
        """By name; with the number of labels."""
        if shared is None:
            values.ValueClass = values.MutexValue  # whatever the environment says of files
        else:
            shared.adopt()

        def counter(name: str, text: str, *labels: str) -> Counter:
            made = Counter(f"blobd_{name}", text, labels, registry=registry)
            if labels:
                self._labelled[f"blobd_{name}"] = made, len(labels)
            return made

        def gauge(name: str, text: str, *, mode: str = "livesum") -> Gauge:
            return Gauge(f"blobd_{name}", text, registry=registry, multiprocess_mode=mode)  # type: ignore[arg-type]

        def histogram(
            name: str, text: str, *labels: str, buckets: tuple[float, ...] = _SECONDS
        ) -> Histogram:
            made = Histogram(f"blobd_{name}", text, labels, registry=registry, buckets=buckets)
            if labels:
                self._labelled[f"blobd_{name}"] = made, len(labels)
            return made

        self.received_bytes = counter("received_bytes", "Bytes of blob bodies received")
        self.sent_bytes = counter("sent_bytes", "Bytes of blobs sent")
        self.discarded_bytes = counter(
            "discarded_bytes", "Bytes received and then thrown away: undone, refused or aborted"
        )
        self.reread_bytes = counter(
            "reread_bytes",
            "Staged bytes read again because no saved hash state stands at their end",
        )
        self.uploads = counter("uploads", "Uploads ended, by outcome", "outcome")
        self.uploads_in_flight = gauge("uploads_in_flight", "Uploads receiving a body right now")
        self.takeovers = counter("upload_takeovers", "Writers overtaken by a newer request")
        self.dedup_hits = counter("dedup_hits", "Commits whose bytes were stored already")
        self.dedup_saved_bytes = counter("dedup_saved_bytes", "Bytes not stored twice")
        self.deleted_bytes = counter("deleted_bytes", "Bytes of blobs removed")
        self.refusals = counter("refusals", "Requests refused by a limit", "limit")
        self.connections = gauge("connections", "Connections that are open right now")
        self.connections_max = gauge(
            "connections_max", "Connections that may be open, by the limit on open files"
        )
        self.connections_refused = counter(
            "connections_refused", "Connections answered 503, or reset, because there were too many"
        )
        self.connections_closed_idle = counter(
            "connections_closed_idle", "Idle connections closed to make room for new ones"
        )
        self.request_duration = histogram(
            "request_duration_seconds", "Requests, by route and status", "route", "status"
        )
        self.commit_duration = histogram(
            "commit_duration_seconds",
            "From verified bytes to a published blob",
            buckets=_COMMIT_SECONDS,
        )
        self.receive_wait_seconds = counter(
            "receive_wait_seconds", "Time uploads waited for their client's bytes"
        )
        self.hash_seconds = counter("hash_seconds", "Time spent hashing")
        self.write_seconds = counter("write_seconds", "Time spent writing to the backend")
        self.storage_full = gauge(
            "storage_full", "1 while uploads are refused for want of room, by the last look"
        )
        self.staged_bytes = gauge("staged_bytes", "Bytes of open uploads", mode="sum")
        self.in_flight_bytes = gauge("in_flight_bytes", "Bytes of upload buffers in use")
        self.in_flight_budget_bytes = gauge(
            "in_flight_budget_bytes", "Bytes that upload buffers may use", mode="sum"
        )
        self.loop_lag_seconds = histogram(
            "loop_lag_seconds",
            "How late the event loop ran a timer",
            buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.5),
        )
        self.s3_request_duration = histogram(
            "s3_request_duration_seconds",
            "Requests to the S3 engine with their retries, by operation and outcome",
            "operation",
            "outcome",
        )
        self.s3_retries = counter("s3_retries", "Requests to the S3 engine sent again", "operation")
        self.s3_parts_in_flight = gauge("s3_parts_in_flight", "Parts being sent right now")
        self.s3_wasted_bytes = counter(
            "s3_wasted_bytes", "Bytes sent to the S3 engine that ended in no blob"
        )
        self.orphans = counter(
            "orphans", "What crashes had left behind, found and removed, by kind", "kind"
        )
        self.expired_uploads = counter("expired_uploads", "Abandoned uploads removed")
        self.quarantined_blobs = counter(
            "quarantined_blobs", "Blobs found damaged, by what is wrong with their bytes", "reason"
        )
        self.scrubbed_bytes = counter("scrubbed_bytes", "Stored bytes read again to verify them")
        self.scrub_oldest_seconds = gauge(
            "scrub_oldest_seconds",
            "Age of the verification that is the oldest of all blobs; +Inf: one never was",
        )
        self.collected_blobs = counter("collected_blobs", "Blobs removed by garbage collection")
        self.collected_bytes = counter("collected_bytes", "Bytes removed by garbage collection")

        self.unrecorded_updates = counter(
            UNRECORDED.removeprefix("blobd_"),
            "Updates of metrics that were lost because a worker had too many series",
        )

    def render(self) -> bytes:
        """Return all metrics as text, added up over the workers of the daemon. Blocks a little."""
        if self._shared is not None:
            for metric, _, labels in self._shared.new_keys():
                if metric in self._labelled:
                    family, count = self._labelled[metric]
                    family.labels(*labels[:count])  # a bucket's key has its bound as one more
        return generate_latest(self.registry)
