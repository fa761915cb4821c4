"""A package's page shows its admins, and nobody else, who may do what with it."""

from __future__ import annotations

import re
import secrets
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from tests.registry.access.conftest import basic
from tests.registry.access.person import Person
from tests.registry.access.test_rest import api, path_of

if TYPE_CHECKING:
    from tests.registry.access.conftest import Town


class Lines(HTMLParser):
    """The lines of the section on access, each with its words in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        _, _, section = page.partition('<section aria-labelledby="access">')
        self.feed(section.partition("</section>")[0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"li", "p", "h2", "h3"}:
            self.found.append("")

    def handle_data(self, data: str) -> None:
        if self.found:
            self.found[-1] = " ".join(f"{self.found[-1]} {data}".split())


@pytest.fixture
def shared(town: Town, app: str) -> str:
    """A package of acme that people, a team and workflows may do something with."""
    town.person("ada").push_image(app)
    client, name = api(town, "ada"), app.partition("/")[2]
    client.do("POST", "/orgs/acme/teams", name=name)
    client.do("PUT", f"{path_of(app)}/access/roles/bob", role="read")
    client.do("PUT", f"{path_of(app)}/access/roles/acme%2F{name}", role="write")
    client.do("PUT", f"{path_of(app)}/repository", repository="acme/code")
    workflows = f"{path_of(app)}/access/workflows/acme%2Fcode"
    client.do("PUT", f"{workflows}/automation", role="admin", may_publish=True)
    client.do("PUT", f"{workflows}/environment", role="read")
    return app


def test_people_teams_the_linked_repository_and_workflows(town: Town, shared: str) -> None:
    ada, name = Person(town), shared.partition("/")[2]
    ada.sign_in("ada")
    ada.open(f"/packages/{shared}")
    lines = Lines(ada.page).found
    assert "Nobody may pull without a role." in lines
    assert "Owners of acme are admins." in lines
    assert "It is linked to acme/code and inherits no roles from there." in lines
    assert "bob user read" in lines
    assert f"acme/{name} team write" in lines
    assert "acme/code automation, the linked repository's admin, may make it public" in lines
    assert "acme/code environment, the linked repository's read" in lines
    assert f'href="/packages/{shared}/-/settings"' in ada.page


def test_what_is_inherited_says_from_where(town: Town, app: str) -> None:
    ada, source = Person(town), f"s{secrets.token_hex(4)}"
    town.person("ada").push_image(app)
    client = api(town, "ada")
    client.do("POST", "/repos/acme", name=source, visibility="private")
    client.do("PUT", f"/repos/acme/{source}/roles/eve", role="write")
    client.do("PUT", f"{path_of(app)}/repository", repository=f"acme/{source}")
    client.do("PUT", f"{path_of(app)}/access/mode", 200, inherits=True)
    ada.sign_in("ada")
    ada.open(f"/packages/{app}")
    lines = Lines(ada.page).found
    assert f"eve user, inherited from acme/{source} write" in lines
    assert f"acme/{source} automation, the linked repository's admin" in lines
    assert any("inherits the roles of people and teams there" in line for line in lines)


def test_a_link_alone_gives_workflows_nothing(town: Town, app: str) -> None:
    ada = Person(town)
    town.person("ada").push_image(app)
    api(town, "ada").do("PUT", f"{path_of(app)}/repository", repository="acme/code")
    ada.sign_in("ada")
    ada.open(f"/packages/{app}")
    assert "No workflow has access, those of acme/code neither." in Lines(ada.page).found


@pytest.mark.parametrize("who", ["bob", None])
def test_it_is_for_admins_alone(town: Town, shared: str, who: str | None) -> None:
    api(town, "ada").do("PATCH", path_of(shared), 200, visibility="public")
    person = Person(town)
    if who is not None:
        person.sign_in(who)
    assert person.open(f"/packages/{shared}").status == 200
    assert Lines(person.page).found == []
    assert "acme/code environment" not in person.page
    access = town.client(None if who is None else basic(f"blobd_pat_{who}"))
    assert access.get(f"/api{path_of(shared)}/access").status in {401, 403}


def test_a_password_shows_it_and_offers_no_change(town: Town, shared: str) -> None:
    """Where a browser's own password signs in, forms are not for the visitor."""
    page = town.person("ada").get(f"/packages/{shared}").body.decode()
    assert "bob user read" in Lines(page).found
    assert "/-/settings" not in page


def test_a_token_to_read_does_not_show_it(town: Town, shared: str) -> None:
    made = api(town, "ada").do("POST", "/user/tokens", 201, scopes=["read:packages"])
    client = town.client(basic(made["token"]))
    assert client.get(f"/api{path_of(shared)}/access").status == 403
    page = client.get(f"/packages/{shared}")
    assert page.status == 200
    assert not re.search("bob", page.body.decode())
