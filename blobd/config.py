"""Every setting: its unit in the name, its default, its reason, and where its value came from.

Three sources, each overriding the one before: a TOML file, the environment
(`BLOBD_<SECTION>__<NAME>`), and command-line flags. Nothing is read from disk but the file.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, cast, get_type_hints

from blobd.errors import ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Value = str | int | float | bool | tuple[str, ...]

_MIB = 1024 * 1024


def _setting(
    default: Value,
    reason: str,
    *,
    least: float | None = None,
    choices: tuple[str, ...] = (),
    secret: bool = False,
) -> Any:
    rules = {"reason": reason, "least": least, "choices": choices, "secret": secret}
    return field(default=default, metadata=rules)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may ask of the daemon."""

    max_blob_bytes: int = _setting(
        10_000_000_000, "the largest blob; GitHub's registry allows 10 GB a layer", least=1
    )
    upload_timeout_s: float = _setting(
        600, "from an upload's start to its last byte; 0 switches the limit off", least=0
    )
    upload_idle_expiry_s: float = _setting(
        86_400, "an upload that received no byte for this long is removed", least=1
    )
    idle_timeout_s: float = _setting(
        60, "a body that sends no byte for this long is answered 408", least=0.1
    )
    head_timeout_s: float = _setting(
        10, "a request head must be complete within this time", least=0.1
    )
    max_uploads: int = _setting(
        1024, "uploads receiving a body at one time, in all workers together", least=1
    )
    max_open_uploads: int = _setting(
        10_000, "upload sessions open at one time; one more is answered 429", least=1
    )
    max_open_uploads_per_account: int = _setting(
        1000, "and of one account, or of one address where there are no accounts", least=1
    )
    account_share_percent: int = _setting(
        50,
        "what one account may hold of what it holds and what is free together; 100: all of it",
        least=1,
    )
    bytes_in_flight_max_bytes: int = _setting(
        256 * _MIB,
        "all upload buffers of all workers together; this bounds the memory of uploads",
        least=_MIB,
    )
    budget_wait_s: float = _setting(
        30, "an upload that gets no buffer for this long is answered 429", least=0
    )
    max_manifest_bytes: int = _setting(
        4 * _MIB, "the largest manifest; the specification asks for at least 4 MB", least=1024
    )
    min_free_bytes: int = _setting(
        64 * _MIB, "new uploads are refused (507) when less disk space than this is left", least=0
    )
    refused_drain_bytes: int = _setting(
        2048 * _MIB,
        "of a refused body so much is read and thrown away, for clients that read the answer last",
        least=0,
    )
    refused_drain_s: float = _setting(
        120, "and for this long; a slower client sees its connection break", least=0
    )
    drain_timeout_s: float = _setting(
        30, "on SIGTERM, running transfers get this long to finish", least=0
    )

    @property
    def account_share(self) -> float:
        """`account_share_percent` as a fraction."""
        return self.account_share_percent / 100


@dataclass(frozen=True, slots=True)
class Server:
    """The daemon's processes."""

    workers: int = _setting(
        0,
        "serving processes; 0 means one for each CPU that affinity and the quotas of cgroups leave",
        least=0,
    )


@dataclass(frozen=True, slots=True)
class Store:
    """Where bytes live."""

    backend: str = _setting(
        "filesystem",
        "memory, for trials, forgets everything at exit; its catalog is in /dev/shm",
        choices=("filesystem", "memory", "s3"),
    )
    path: str = _setting("./blobd-data", "blobs, uploads and the catalog live in this folder")
    durability: str = _setting(
        "full",
        "full: a finished push survives power loss; none: only a crash of blobd itself",
        choices=("full", "none"),
    )
    group_access: bool = _setting(
        default=False,
        reason="let the group of the data folder read it (0750, 0640); false: blobd's user alone",
    )


@dataclass(frozen=True, slots=True)
class S3:
    """The bucket, where `store.backend` is s3."""

    endpoint_url: str = _setting("", "the engine's URL; empty: AWS, by region")
    region: str = _setting("us-east-1", "the region that requests are signed for")
    bucket: str = _setting("", "the bucket; it must exist")
    prefix: str = _setting("", "keys begin with this, so that several may share a bucket")
    path_style: bool = _setting(
        default=False, reason="put the bucket into the path, as most engines but AWS want it"
    )
    access_key_id: str = _setting("", "empty: boto3's own chain finds the credentials")
    secret_access_key: str = _setting("", "goes with access_key_id", secret=True)
    part_size_bytes: int = _setting(
        8 * _MIB,
        "parts of multipart uploads; grown where an engine takes too few of them",
        least=5 * _MIB,
    )
    parts_in_flight: int = _setting(4, "parts that one upload sends at a time", least=1)
    checksum: str = _setting(
        "when_required",
        "when_supported adds a checksum to every request; some engines break on it",
        choices=("when_required", "when_supported"),
    )
    redirect: bool = _setting(
        default=True, reason="answer a GET with 307 to the engine; false: stream it through"
    )
    presign_lifetime_s: int = _setting(1200, "how long such a redirect is good for", least=1)
    server_side_encryption: str = _setting("", "as AES256 or aws:kms; sent with every object")
    sse_kms_key_id: str = _setting("", "the key that aws:kms encrypts with")
    storage_class: str = _setting("", "as STANDARD_IA; sent with every object")
    connect_timeout_s: float = _setting(5, "how long reaching the engine may take", least=0.1)
    read_timeout_s: float = _setting(60, "without a byte of an answer", least=0.1)
    retry_budget_s: float = _setting(
        30, "how long a request is retried after a transient failure; 0 disables retries", least=0
    )


@dataclass(frozen=True, slots=True)
class Catalog:
    """The registry's tables."""

    url: str = _setting(
        "",
        "postgresql://user:password@host/database; empty: catalog.sqlite in store.path",
        secret=True,
    )


@dataclass(frozen=True, slots=True)
class BlobApi:
    """The internal front for registry frontends; also health and metrics."""

    listen: str = _setting("127.0.0.1:5080", "host:port, unix:/path, or empty to switch it off")
    tokens: tuple[str, ...] = _setting(
        (), "bearer tokens; needed on any address but loopback or a unix socket", secret=True
    )


@dataclass(frozen=True, slots=True)
class Registry:
    """The OCI Distribution front."""

    listen: str = _setting("127.0.0.1:5000", "host:port, unix:/path, or empty to switch it off")
    auth: bool = _setting(
        default=True,
        reason="require authentication; false gives everyone full access, on loopback only",
    )
    public_url: str = _setting(
        "", "https://host as clients reach it; empty: what each request's Host header says"
    )
    source_hosts: tuple[str, ...] = _setting(
        (),
        "hosts whose OWNER/REPOSITORY in labels are source repositories here; empty: public_url's",
    )
    trusted_proxies: tuple[str, ...] = _setting(
        (), "addresses and networks of proxies whose Forwarded or X-Forwarded-* is believed"
    )
    signing_key_secret: str = _setting(
        "",
        "encrypts signing keys in the catalog; empty: signing.key beside SQLite's file, "
        "on PostgreSQL they are not encrypted",
        secret=True,
    )
    trash_retention_s: float = _setting(
        2_592_000, "how long deleted packages and versions can be restored; 0: not at all", least=0
    )
    audit_retention_s: float = _setting(
        7_776_000, "how long audit entries are kept; they are logged as well", least=0
    )
    allow_unpublish: bool = _setting(
        default=False, reason="let admins make public packages private again"
    )
    sparse_indexes: bool = _setting(
        default=False,
        reason="take indexes without the manifests they list; packages can be let one by one",
    )
    refresh_tokens: bool = _setting(
        default=False,
        reason="issue refresh tokens; podman, skopeo and buildah refuse a file with docker's",
    )


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages for people."""

    public_url: str = _setting(
        "", "https://host of their own, apart from the APIs; empty: the registry's address"
    )


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Jobs beside the traffic."""

    expire_interval_s: float = _setting(
        300, "how often abandoned uploads are looked for; 0 never", least=0
    )
    gc_interval_s: float = _setting(
        3600, "how often blobs that nobody holds are removed; 0 never", least=0
    )
    unnamed_link_grace_s: float = _setting(
        86_400,
        "a pushed blob that no manifest names is kept this long after its last use by a pusher",
        least=0,
    )
    sweep_interval_s: float = _setting(
        3600, "how often what crashes left in a bucket is removed; 0 never", least=0
    )
    orphan_grace_s: float = _setting(
        86_400, "how long objects that nothing names are kept after redirects expire", least=0
    )
    clock_settle_s: float = _setting(
        3600,
        "after a clock jumped, or contradicted another, nothing is removed until clocks have "
        "agreed for this long",
        least=0,
    )
    scrub_interval_s: float = _setting(
        1_814_400, "how long after its last verification a blob is read and hashed again", least=0
    )
    scrub_bytes_per_s: int = _setting(
        8 * _MIB, "at most so fast, in one process of all workers and replicas; 0 never", least=0
    )
    receipt_lifetime_s: float = _setting(
        3600, "a finished upload answers a repeated PUT for this long", least=0
    )


@dataclass(frozen=True, slots=True)
class Log:
    """Structured logs on standard error."""

    level: str = _setting(
        "info", "the least severe event written", choices=("debug", "info", "warning", "error")
    )
    format: str = _setting("text", "text for people, json for collectors", choices=("text", "json"))


@dataclass(frozen=True, slots=True)
class Config:
    """All sections, frozen. `origins` says, for `section.name`, where its value came from."""

    server: Server = field(default_factory=Server)
    limits: Limits = field(default_factory=Limits)
    store: Store = field(default_factory=Store)
    s3: S3 = field(default_factory=S3)
    catalog: Catalog = field(default_factory=Catalog)
    blob_api: BlobApi = field(default_factory=BlobApi)
    registry: Registry = field(default_factory=Registry)
    pages: Pages = field(default_factory=Pages)
    upkeep: Upkeep = field(default_factory=Upkeep)
    log: Log = field(default_factory=Log)
    origins: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    """A line for each setting of an earlier version that was given and has no effect."""

    @property
    def parts_max_bytes(self) -> int:
        """What of `limits.bytes_in_flight_max_bytes` is for parts on their way to S3."""
        return self.limits.bytes_in_flight_max_bytes * 3 // 4 if self.store.backend == "s3" else 0


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as documentation and `check-config` show it."""

    key: str
    """`section.name`."""
    default: Value
    reason: str
    secret: bool

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return "BLOBD_" + self.key.upper().replace(".", "__")


_SECTIONS: dict[str, type] = {
    "server": Server,
    "limits": Limits,
    "store": Store,
    "s3": S3,
    "catalog": Catalog,
    "blob_api": BlobApi,
    "registry": Registry,
    "pages": Pages,
    "upkeep": Upkeep,
    "log": Log,
}

_REPLACED = {"s3.retries": "s3.retry_budget_s"}
"""Settings of earlier versions, and what took their place: an upgrade must still start."""


def settings() -> Iterator[Setting]:
    """Yield every setting there is, in the order of the sections above."""
    for section, kind in _SECTIONS.items():
        for item in fields(kind):
            yield Setting(
                key=f"{section}.{item.name}",
                default=cast("Value", item.default),
                reason=item.metadata["reason"],
                secret=item.metadata["secret"],
            )


def load(
    *,
    file: Path | None,
    environment: Mapping[str, str],
    flags: Mapping[str, Value],
) -> Config:
    """Return the effective configuration; `flags` are keyed `section.name`.

    Raises ConfigInvalid with one line that names the setting, its value and what is allowed.
    """
    given: dict[str, tuple[Any, str]] = {}
    if file is not None:
        given.update(_from_file(file))
    given.update(_from_environment(environment))
    given.update({key: (value, "command line") for key, value in flags.items()})
    ignored = tuple(
        f"{key} ({given.pop(key)[1]}) has no effect: {replacement} took its place"
        for key, replacement in _REPLACED.items()
        if key in given
    )
    known = {setting.key for setting in settings()}
    for key, (_, origin) in given.items():
        if key not in known:
            raise ConfigInvalid(f"{key} ({origin}) is not a setting; see `blobd check-config`")
    sections: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for section, kind in _SECTIONS.items():
        hints = get_type_hints(kind)
        values = {}
        for item in fields(kind):
            key = f"{section}.{item.name}"
            if key in given:
                raw, origin = given[key]
                values[item.name] = _checked(key, raw, origin, hints[item.name], item.metadata)
                origins[key] = origin
            else:
                origins[key] = "default"
        sections[section] = kind(**values)
    return Config(**sections, origins=origins, ignored=ignored)


def _from_file(file: Path) -> Iterator[tuple[str, tuple[Any, str]]]:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigInvalid(f"--config {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"--config {file}: not TOML: {error}") from error
    for section, values in document.items():
        if not isinstance(values, dict):
            raise ConfigInvalid(f"{section} ({file}) is not a section such as [limits]")
        for name, value in values.items():
            yield f"{section}.{name}", (value, str(file))


def _from_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, tuple[Any, str]]]:
    for variable, value in environment.items():
        if variable.startswith("BLOBD_") and "__" in variable:
            section, _, name = variable.removeprefix("BLOBD_").lower().partition("__")
            yield f"{section}.{name}", (value, f"environment, {variable}")


def _checked(key: str, raw: Any, origin: str, kind: Any, rules: Mapping[str, Any]) -> Value:
    """Convert and check one value; the environment and flags bring strings."""
    allowed = _allowed(kind, rules)
    wrong = ConfigInvalid(f"{key} = {raw!r} ({origin}): must be {allowed}")
    if rules["secret"]:
        wrong = ConfigInvalid(f"{key} ({origin}): must be {allowed}")
    try:
        value = _converted(raw, kind)
    except (TypeError, ValueError):
        raise wrong from None
    if rules["choices"] and value not in rules["choices"]:
        raise wrong
    if rules["least"] is not None and not value >= rules["least"]:
        raise wrong
    return value


def _converted(raw: Any, kind: Any) -> Value:
    if kind is bool:
        words = {"true": True, "1": True, "false": False, "0": False}
        value = words.get(raw.lower()) if isinstance(raw, str) else raw
        if not isinstance(value, bool):
            raise TypeError
        return value
    if isinstance(raw, bool):
        raise TypeError
    if kind is int:
        if isinstance(raw, float):
            raise TypeError
        return int(raw)
    if kind is float:
        number = float(raw)
        if not math.isfinite(number):
            raise ValueError
        return number
    if kind is str:
        if not isinstance(raw, str):
            raise TypeError
        return raw
    if isinstance(raw, str):
        return tuple(part.strip() for part in raw.split(",") if part.strip())
    if not isinstance(raw, list | tuple) or not all(isinstance(part, str) for part in raw):
        raise TypeError
    return tuple(raw)


def _allowed(kind: Any, rules: Mapping[str, Any]) -> str:
    if rules["choices"]:
        return "one of " + ", ".join(rules["choices"])
    words = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "a text",
    }.get(kind, "a list of texts (comma-separated in the environment)")
    return words if rules["least"] is None else f"{words} of at least {rules['least']:g}"
