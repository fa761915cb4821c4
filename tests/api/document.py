"""`openapi.yaml` as a judge of answers: every one that a test gets must be in it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import jsonschema_rs
import yaml

from blobd import api

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.http.talk import Answer

DOCUMENT = Path(api.__file__).with_name("openapi.yaml")
METHODS = ("get", "head", "post", "put", "patch", "delete")
_ERRORS = {"$ref": "#/components/schemas/Errors"}


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    path: str
    method: str
    responses: Mapping[str, Any]

    def is_at(self, path: str) -> bool:
        parts = self.path.split("/")
        pattern = "/".join("[^/]+" if part.startswith("{") else re.escape(part) for part in parts)
        return re.fullmatch(pattern, path) is not None


class Document:
    """The document, with its references followed."""

    def __init__(self) -> None:
        self.text = DOCUMENT.read_text(encoding="utf-8")
        self.whole = yaml.safe_load(self.text)
        self.operations = list(self._operations())

    def _operations(self) -> Iterator[Operation]:
        for path, item in self.whole["paths"].items():
            for method in METHODS:
                if method in item:
                    yield Operation(path, method.upper(), item[method]["responses"])

    def methods(self, path: str) -> set[str]:
        """Return the methods of a path as the document writes it."""
        return {operation.method for operation in self.operations if operation.path == path}

    @property
    def open_paths(self) -> set[str]:
        """The paths that need no token."""
        items = self.whole["paths"].items()
        return {path for path, item in items if item.get("get", {}).get("security") == []}

    def check(self, method: str, target: str, answer: Answer) -> None:
        """Assert that an answer is one that the document knows."""
        asked = urlsplit(target).path.rstrip("/")
        known = [each for each in self.operations if each.is_at(asked)]
        what = f"{method} {target}: {answer.status} {answer.reason}"
        operation = next((each for each in known if each.method == method), None)
        if operation is None:
            assert answer.status == (405 if known else 404), what
            if known:
                allowed = ", ".join(sorted(each.method for each in known))
                assert answer.headers["Allow"] == allowed, what
            if method != "HEAD":
                self._check_json(_ERRORS, answer, what)
            return
        assert str(answer.status) in operation.responses, f"{what}: not documented"
        response = self._followed(operation.responses[str(answer.status)])
        self._check_headers(response, answer, what)
        self._check_body(response, method, answer, what)

    def _check_headers(self, response: Any, answer: Answer, what: str) -> None:
        for name, reference in response.get("headers", {}).items():
            header = self._followed(reference)
            if name not in answer.headers:
                assert not header.get("required"), f"{what}: {name} is missing"
                continue
            value: str | int = answer.headers[name]
            if header["schema"].get("type") == "integer":
                value = int(value)
            assert self._is_valid(header["schema"], value), f"{what}: {name}: {value}"

    def _check_body(self, response: Any, method: str, answer: Answer, what: str) -> None:
        content = response.get("content")
        if content is None:
            assert answer.body == b"", f"{what}: a body that the document does not know"
            return
        if method == "HEAD":
            return
        kind = answer.headers["Content-Type"].partition(";")[0]
        assert kind in content, f"{what}: {kind}"
        if kind == "application/json":
            self._check_json(content[kind]["schema"], answer, what)

    def _check_json(self, schema: Any, answer: Answer, what: str) -> None:
        assert answer.headers["Content-Type"].partition(";")[0] == "application/json", what
        document = json.loads(answer.body)
        assert self._is_valid(schema, document), f"{what}: {document}"

    def _is_valid(self, schema: Any, value: object) -> bool:
        whole = {**schema, "components": self.whole["components"]}
        return jsonschema_rs.Draft202012Validator(whole).is_valid(value)

    def _followed(self, node: Any) -> Any:
        while "$ref" in node:
            target = node["$ref"].removeprefix("#/").split("/")
            node = self.whole
            for key in target:
                node = node[key]
        return node
