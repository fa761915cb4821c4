"""Somebody at a browser without JavaScript: cookies, links and forms."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.registry.access.conftest import Town
    from tests.registry.protocol import Answer

FORM = "application/x-www-form-urlencoded"


class Person:
    """Keeps cookies, and fills forms as the last page had them."""

    def __init__(self, town: Town, **headers: str) -> None:
        self._client = town.client()
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.cookies: dict[str, str] = {}
        self.page = ""

    def open(self, path: str) -> Answer:
        return self._take(self._client.send("GET", path, headers=self._shown()))

    def send(self, path: str, fields: Mapping[str, str | list[str]]) -> Answer:
        """Send a form's fields as they are given."""
        body = urlencode(fields, doseq=True).encode()
        headers = {**self._shown(), "Content-Type": FORM}
        return self._take(self._client.send("POST", path, body, headers))

    def submit(self, path: str, **filled: str | list[str]) -> Answer:
        """Fill the last page's form that goes to a path, and send it."""
        found = [form for form in Forms(self.page).found if form.action == path]
        assert found, f"no form to {path} on this page"
        for form in found:
            if all(form.hidden.get(name, value) == value for name, value in filled.items()):
                return self.send(path, {**form.hidden, **filled})
        raise AssertionError(f"no form to {path} on this page is for {filled}")

    def sign_in(self, name: str, onward: str = "") -> Answer:
        self.open(f"/packages/-/sign-in?{urlencode({'next': onward})}")
        return self.submit("/packages/-/sign-in", token=f"blobd_pat_{name}")

    @property
    def secret(self) -> str:
        """What the forms of the last page carry to be of this session."""
        return next(form.hidden["csrf"] for form in Forms(self.page).found if "csrf" in form.hidden)

    def _shown(self) -> dict[str, str]:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {**self._headers, **({"Cookie": cookie} if cookie else {})}

    def _take(self, answer: Answer) -> Answer:
        for line in answer.headers.get_all("Set-Cookie", []):
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        self.page = answer.body.decode()
        return answer


@dataclass(slots=True)
class Form:
    """Where a form is sent to, and what it holds that nobody fills."""

    action: str | None
    hidden: dict[str, str] = field(default_factory=dict)


class Forms(HTMLParser):
    """Every form of a page that is sent by POST."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[Form] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "form":
            is_post = attributes.get("method") == "post"
            self.found.append(Form(attributes["action"] if is_post else None))
        elif tag == "input" and attributes.get("type") == "hidden":
            self.found[-1].hidden[attributes["name"]] = attributes["value"]
