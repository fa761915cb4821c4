"""`openapi.yaml` is true and complete: held against the code, and against a daemon."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from blobd.api.blobs import BlobRoutes
from blobd.api.health import HealthRoutes
from blobd.api.routes import OPEN_PATHS, blob_api_routes
from blobd.api.uploads import UploadRoutes
from blobd.errors import Refused
from blobd.http import errors as http_errors
from blobd.http.answers import TABLE, Answer
from blobd.registry.http.answers import ANSWERS
from tests.api.document import DOCUMENT, METHODS, Document
from tests.api.served import Served, digest_of

SETTINGS = {"blob_api.tokens": "open sesame", "limits.idle_timeout_s": "2", "server.workers": "1"}
TOKEN = {"Authorization": "Bearer open sesame"}

_REGISTRY_ONLY = {*ANSWERS, http_errors.MediaTypeUnsupported, Refused}


@pytest.fixture(scope="module")
def document() -> Document:
    return Document()


def test_the_document_lists_exactly_the_routes_there_are(document: Document) -> None:
    """Issue item 8: the document is true."""
    routes = blob_api_routes(
        BlobRoutes.__new__(BlobRoutes),
        UploadRoutes.__new__(UploadRoutes),
        HealthRoutes.__new__(HealthRoutes),
    )
    there = set()
    for route in routes:
        path = re.sub(r"\(\?P<(\w+)>[^)]*\)", r"{\1}", route.pattern.pattern)
        path = re.sub(r"\(\?:[^)]*\)\?", "", path)  # the offset that a Location adds
        path = path.removesuffix("/?").replace(r"\.", ".")
        there |= {(path, method) for method in route.handlers}
    assert {(each.path, each.method) for each in document.operations} == there


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=kind.__name__)
        for kind, row in TABLE.items()
        if kind not in _REGISTRY_ONLY
    ],
)
def test_every_error_of_the_table_is_documented(document: Document, row: Answer) -> None:
    """Issue item 8: a client author needs no other source for statuses and codes."""
    statuses = {status for each in document.operations for status in each.responses}
    about_all = set(re.findall(r"[45][0-9]{2}", document.whole["info"]["description"]))
    assert str(row.status) in statuses | about_all
    codes = document.whole["components"]["schemas"]["Errors"]["properties"]["errors"]["items"][
        "properties"
    ]["code"]["enum"]
    assert row.code in codes


def test_every_operation_can_be_named_by_a_generator(document: Document) -> None:
    """Issue item 8: clients are generated from operation ids."""
    names = [
        item[method]["operationId"]
        for item in document.whole["paths"].values()
        for method in METHODS
        if method in item
    ]
    assert len(set(names)) == len(names) == len(document.operations)


def test_the_document_is_served(served: Served, document: Document) -> None:
    """Design section 8."""
    answer = served.ask("GET", "/openapi.yaml")
    assert answer.headers["Content-Type"] == "application/yaml"
    assert answer.body == document.text.encode()


def test_a_token_is_asked_for_where_the_document_says_so(
    served: Served, document: Document
) -> None:
    """Design section 8: health and the document are open, everything else needs a token."""
    open_paths = set()
    for each in document.operations:
        target = each.path.format(digest=digest_of(b""), upload_id="0" * 32)
        if served.ask(each.method, target).status != 401:
            open_paths.add(each.path)
        for wrong in ("Bearer", "Bearer ", "Bearer open", "Basic b3BlbiBzZXNhbWU=", "open sesame"):
            answer = served.ask(each.method, target, {"Authorization": wrong})
            assert (answer.status == 401) == (each.path not in open_paths)
        assert served.ask(each.method, target, TOKEN).status != 401
    assert open_paths == OPEN_PATHS == document.open_paths


def test_a_token_in_no_known_letters_is_no_token(served: Served) -> None:
    """Promise 9: no header of a client makes the server fail."""
    answer = served.ask("GET", "/blobs", {"Authorization": "Bearer \xff\xfe"})
    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
)
def test_methods_and_paths_beside_the_document_are_refused(
    served: Served, document: Document, method: str
) -> None:
    """Issue item 8: what is not documented is not there (405 with Allow, 404)."""
    for path in document.whole["paths"]:
        target = path.format(digest=digest_of(b""), upload_id="0" * 32)
        answer = served.ask(method, target, TOKEN)
        assert (answer.status == 405) == (method not in document.methods(path))
    for target in ("/", "/blob", "/v2/", "/uploads/x/y", "/blobs/a/b", "//blobs", "/metrics/x"):
        assert served.ask(method, target, TOKEN).status in {404, 405}


def test_schemathesis_finds_nothing(served: Served) -> None:
    """Issue item 8: what is generated from the document meets no surprise."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli"),
        *("--config-file", str(Path(__file__).with_name("schemathesis.toml"))),
        *("run", str(DOCUMENT), "--url", served.daemon.blob_api_url),
        *("--header", f"Authorization: {TOKEN['Authorization']}"),
        *("--generation-deterministic", "--max-examples", "30", "--warnings", "off", "--no-color"),
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "No issues found" in run.stdout
