"""Users, organisations, teams and source repositories in JSON, complete for GitHub's clients.

Typed clients require every member of GitHub's schemas. What blobd does not have is zero, empty,
false or null; the URLs are formed as GitHub forms them, and not all of them lead somewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blobd.registry.auth.roles import Visibility
from blobd.registry.catalog.accounts import ORGANISATION
from blobd.registry.http.rest.times import moment

if TYPE_CHECKING:
    from blobd.registry.catalog.accounts import Account
    from blobd.registry.catalog.sources import Source
    from blobd.registry.catalog.teams import Team

PAGES = "/packages"

_OF_USERS = (
    "followers",
    "following{/other_user}",
    "gists{/gist_id}",
    "starred{/owner}{/repo}",
    "subscriptions",
    "orgs",
    "repos",
    "events{/privacy}",
    "received_events",
)
_NAMED_OTHERWISE = {"orgs": "organizations"}
_OF_ORGANISATIONS = ("repos", "events", "hooks", "issues", "members{/member}")
_OF_REPOSITORIES = (
    "{archive_format}{/ref}",
    "assignees{/user}",
    "git/blobs{/sha}",
    "branches{/branch}",
    "collaborators{/collaborator}",
    "comments{/number}",
    "commits{/sha}",
    "compare/{base}...{head}",
    "contents/{+path}",
    "contributors",
    "deployments",
    "downloads",
    "events",
    "forks",
    "git/commits{/sha}",
    "git/refs{/sha}",
    "git/tags{/sha}",
    "issues/comments{/number}",
    "issues/events{/number}",
    "issues{/number}",
    "keys{/key_id}",
    "labels{/name}",
    "languages",
    "merges",
    "milestones{/number}",
    "notifications{?since,all,participating}",
    "pulls{/number}",
    "releases{/id}",
    "stargazers",
    "statuses/{sha}",
    "subscribers",
    "subscription",
    "tags",
    "teams",
    "git/trees{/sha}",
    "hooks",
)
_REPOSITORY_URLS = {
    "{archive_format}{/ref}": "archive_url",
    "git/blobs{/sha}": "blobs_url",
    "git/commits{/sha}": "git_commits_url",
    "git/refs{/sha}": "git_refs_url",
    "git/tags{/sha}": "git_tags_url",
    "issues/comments{/number}": "issue_comment_url",
    "issues/events{/number}": "issue_events_url",
    "git/trees{/sha}": "trees_url",
}


@dataclass(frozen=True, slots=True)
class OwnerShapes:
    """Writes values with the URLs that a client came by."""

    base_url: str

    def simple(self, name: str, account_id: int, kind: str) -> dict[str, Any]:
        """Return an account as other objects name it.

        `site_admin` is false: the registry's administrators are not disclosed here.
        """
        organisation = kind == ORGANISATION
        at = f"{self.base_url}/api/users/{name}"
        return {
            "login": name,
            "id": account_id,
            "node_id": f"{'O' if organisation else 'U'}_{account_id}",
            "avatar_url": "",
            "gravatar_id": "",
            "url": f"{self.base_url}/api/{'orgs' if organisation else 'users'}/{name}",
            "html_url": f"{self.base_url}{PAGES}/{name}",
            **{_url_of(part, _NAMED_OTHERWISE): f"{at}/{part}" for part in _OF_USERS},
            "type": "Organization" if organisation else "User",
            "site_admin": False,
        }

    def public(self, account: Account, *, public_sources: int) -> dict[str, Any]:
        """Return an account as anybody sees it; `public_sources` counts source repositories."""
        return {
            **self.simple(account.name, account.account_id, account.kind),
            "name": None,
            "company": None,
            "blog": None,
            "location": None,
            "email": None,
            "hireable": None,
            "bio": None,
            "public_repos": public_sources,
            "public_gists": 0,
            "followers": 0,
            "following": 0,
            "created_at": moment(account.created_at),
            "updated_at": moment(account.created_at),
        }

    def private(
        self, account: Account, *, public_sources: int, private_sources: int
    ) -> dict[str, Any]:
        """Return an account as its user sees it."""
        return {
            **self.public(account, public_sources=public_sources),
            "site_admin": account.is_administrator,
            "private_gists": 0,
            "total_private_repos": private_sources,
            "owned_private_repos": private_sources,
            "disk_usage": 0,
            "collaborators": 0,
            "two_factor_authentication": False,
        }

    def listed(self, account: Account) -> dict[str, Any]:
        """Return an account as the administrator sees it in lists."""
        return {
            **self.simple(account.name, account.account_id, account.kind),
            **self._of_organisation(account),
            "administrator": account.is_administrator,
            "disabled": account.disabled_at is not None,
            "created_at": moment(account.created_at),
        }

    def organisation(self, account: Account, *, public_sources: int) -> dict[str, Any]:
        """Return an organisation."""
        return {
            **self.simple(account.name, account.account_id, account.kind),
            **self._of_organisation(account),
            "has_organization_projects": False,
            "has_repository_projects": False,
            "public_repos": public_sources,
            "public_gists": 0,
            "followers": 0,
            "following": 0,
            "created_at": moment(account.created_at),
            "updated_at": moment(account.created_at),
            "archived_at": None,
            "packages_inherit_access": bool(account.packages_inherit),
        }

    def team(self, organisation: str, team: Team) -> dict[str, Any]:
        """Return a team."""
        at = f"{self.base_url}/api/orgs/{organisation}/teams/{team.name}"
        return {
            "id": team.team_id,
            "node_id": f"T_{team.team_id}",
            "name": team.name,
            "slug": team.name,
            "description": None,
            "permission": "pull",
            "url": at,
            "html_url": f"{self.base_url}{PAGES}/{organisation}",
            "members_url": f"{at}/members{{/member}}",
            "repositories_url": f"{at}/repos",
            "type": "organization",
            "parent": None,
        }

    def minimal_repository(self, source: Source) -> dict[str, Any]:
        """Return a source repository as other objects name it."""
        at = f"{self.base_url}/api/repos/{source.full_name}"
        return {
            "id": source.source_id,
            "node_id": f"R_{source.source_id}",
            "name": source.name,
            "full_name": source.full_name,
            "owner": self.simple(source.owner, source.owner_id, source.owner_kind),
            "private": source.visibility != Visibility.PUBLIC,
            "visibility": source.visibility,
            "html_url": f"{self.base_url}{PAGES}/{source.owner}",
            "description": None,
            "fork": False,
            "url": at,
            **{_url_of(part, _REPOSITORY_URLS): f"{at}/{part}" for part in _OF_REPOSITORIES},
        }

    def listed_repository(self, source: Source) -> dict[str, Any]:
        """Return a source repository as lists have it, with the labels that link to it."""
        return {
            **self.minimal_repository(source),
            "host": source.host,
            "writers_link": source.writers_link,
        }

    def repository(self, source: Source) -> dict[str, Any]:
        """Return a source repository. It holds no files: it is a record with roles."""
        place = f"{self.base_url}/{source.full_name}.git"
        return {
            **self.listed_repository(source),
            **dict.fromkeys(("git_url", "ssh_url", "clone_url", "svn_url"), place),
            **dict.fromkeys(("mirror_url", "homepage", "language", "license"), None),
            **dict.fromkeys(
                (
                    "forks_count",
                    "stargazers_count",
                    "watchers_count",
                    "size",
                    "open_issues_count",
                    "subscribers_count",
                    "network_count",
                    "forks",
                    "open_issues",
                    "watchers",
                ),
                0,
            ),
            "default_branch": "",
            **dict.fromkeys(
                (
                    "has_issues",
                    "has_projects",
                    "has_wiki",
                    "has_pages",
                    "has_discussions",
                    "archived",
                    "disabled",
                ),
                False,
            ),
            **dict.fromkeys(("pushed_at", "created_at", "updated_at"), moment(source.created_at)),
        }

    def _of_organisation(self, account: Account) -> dict[str, Any]:
        at = f"{self.base_url}/api/orgs/{account.name}"
        if account.kind != ORGANISATION:
            return {}
        return {
            **{_url_of(part, {}): f"{at}/{part}" for part in _OF_ORGANISATIONS},
            "public_members_url": f"{at}/public_members{{/member}}",
            "description": None,
        }


def _url_of(part: str, otherwise: dict[str, str]) -> str:
    """Return the member that holds the URL of a part of an object."""
    word = otherwise.get(part, part)
    return word if word.endswith("_url") else f"{word.partition('{')[0].partition('/')[0]}_url"
