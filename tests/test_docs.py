"""The documentation is held to the code: what it names exists, and what exists it names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from blobd.cli import main
from blobd.config import settings
from blobd.http.answers import TABLE, UNEXPECTED, add_answers
from blobd.metrics import Metrics
from blobd.registry.http.answers import ANSWERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blobd.config import Value
    from tests.daemon import Daemon

add_answers(ANSWERS)

ROOT = Path(__file__).parent.parent
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
DESIGN = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
MAP = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
_FILE_NAME = re.compile(r"`([a-z_.][a-z0-9_./]*\.(?:py|yaml|toml|md|service|conf))`")
_LINK = re.compile(r"\]\(([^)#]+)\)")


def rows(text: str) -> set[tuple[str, ...]]:
    """Return the rows of all tables, cell by cell, without code marks."""
    lines = (line for line in text.splitlines() if line.startswith("| "))
    return {tuple(cell.strip().strip("`") for cell in line.strip("|").split("|")) for line in lines}


def toml(value: Value) -> str:
    if isinstance(value, bool | str):
        return json.dumps(value)
    if isinstance(value, tuple):
        return json.dumps(list(value))
    return f"{value:,}".replace(",", "_") if isinstance(value, int) else f"{value:g}"


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command with the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield " ".join(("blobd", *path, name)), command


def code_block(language: str, containing: str) -> str:
    """Return the one block of code of the API page that holds a text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", API, flags=re.DOTALL)
    (found,) = [block for block in blocks if containing in block]
    return str(found)


def test_the_table_of_settings_is_the_code() -> None:
    """Every setting with its variable, default and reason; and no other."""
    documented = {row for row in rows(OPERATIONS) if len(row) == 4 and row[1].startswith("BLOBD_")}
    assert documented == {
        (setting.key, setting.variable, toml(setting.default), setting.reason)
        for setting in settings()
    }


def test_every_command_and_option_is_documented() -> None:
    """What `--help` lists, the page names."""
    table = OPERATIONS.split("## The command line", 1)[1].split("\n## ", 1)[0]
    for words, command in commands(main):
        assert f"`{words}" in table
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                longest = max(parameter.opts, key=len)
                assert longest in table, f"{words} {longest}"


def test_every_command_explains_itself() -> None:
    """`blobd COMMAND --help` says what it does, and what each option is for."""
    for words, command in commands(main):
        assert command.help, words
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{words} {parameter.name}"


def test_every_metric_is_documented() -> None:
    """By the name that a dashboard asks for; and no other."""
    exported = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in Metrics().registry.collect()
    }
    assert {row[0] for row in rows(OPERATIONS) if row[0].startswith("blobd_")} == exported


def test_every_error_is_documented() -> None:
    """Each status and code that a client may meet; and no other."""
    documented = {(row[0], row[1]) for row in rows(API) if row[0].isdigit()}
    answers = (*TABLE.values(), UNEXPECTED)
    assert documented == {(str(answer.status), answer.code) for answer in answers}


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "deploy/README.md",
        "deploy/SECURITY.md",
        *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md")),
    ],
)
def test_every_file_that_is_named_is_there(page: str) -> None:
    """Links lead somewhere, and so do names of files, from the page's folder or from the top.

    The map may leave a file's folder out.
    """
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    for link in _LINK.findall(text):
        assert "://" in link or (path.parent / link).exists(), link
    for name in _FILE_NAME.findall(text):
        inside = page == "docs/architecture.md" and any((ROOT / "blobd").rglob(name))
        assert inside or (path.parent / name).exists() or (ROOT / name).exists(), name


def test_the_map_names_every_module() -> None:
    """A newcomer finds each file of the package on the map."""
    package = ROOT / "blobd"
    named = set(_FILE_NAME.findall(MAP))
    modules = [str(path.relative_to(package)) for path in package.rglob("*.py")]
    skipped = re.compile(r".*__|database/migrations/")
    unnamed = [
        module
        for module in modules
        if not skipped.match(module)
        and module not in named
        and not (f"`{Path(module).parent}/`" in MAP and Path(module).name in named)
    ]
    assert unnamed == []


def test_every_folder_of_tests_says_what_it_needs_and_costs() -> None:
    """CONTRIBUTING.md has a row for each; and no other."""
    documented = {row[0] for row in rows(CONTRIBUTING) if row[0].startswith("tests/")}
    folders = {str(path.parent.relative_to(ROOT)) for path in ROOT.glob("tests/*/__init__.py")}
    assert documented == folders


def test_every_dependency_is_locked() -> None:
    """`.ci/constraints.txt` has a version of each; CI installs no other."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [each for group in project["optional-dependencies"].values() for each in group]
    named = {
        re.split(r"[^A-Za-z0-9_-]", each, maxsplit=1)[0].lower().replace("_", "-")
        for each in (*project["dependencies"], *extras)
    }
    locked = re.findall(
        r"^([^=#\s]+)==",
        (ROOT / ".ci" / "constraints.txt").read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    assert named - {"blobd"} <= {each.lower().replace("_", "-") for each in locked}


def test_every_make_command_is_there_and_explained() -> None:
    """`make` lists each target, and CONTRIBUTING.md names no other."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    explained = set(re.findall(r"^([a-z]+):.*## \w", makefile, flags=re.MULTILINE))
    named = re.findall(r"(?:^|`)make ([a-z ]+)", CONTRIBUTING, flags=re.MULTILINE)
    assert explained == targets
    assert {target for words in named for target in words.split()} <= targets
    assert "install" in targets


def cited(pattern: str) -> set[str]:
    """Return the numbers that the package and the tests cite in lines of this form."""
    found = set()
    for path in (*ROOT.glob("blobd/**/*.py"), *ROOT.glob("tests/**/*.py")):
        for line in path.read_text(encoding="utf-8").splitlines():
            found |= set(re.findall(pattern, line))
    return found


def test_every_rule_that_is_cited_is_on_the_design_page() -> None:
    """A reader of `R48` in a docstring finds what it is."""
    rules = {row[0] for row in rows(DESIGN)}
    used = cited(r"\bR\d+\b")
    assert used
    assert used <= rules


def test_every_section_and_promise_that_is_cited_is_on_the_design_page() -> None:
    """By number, and the map has each promise in full."""
    sections = set(re.findall(r"^## (\d+)\. ", DESIGN, flags=re.MULTILINE))
    assert cited(r"[Dd]esign(?:\.md)?,? section (\d+)") | cited(r'"""Section (\d+)') <= sections
    in_short = DESIGN.split("## 4. ", 1)[1].split("\n## ", 1)[0]
    in_full = MAP.split("## The promises", 1)[1].split("\n## ", 1)[0]
    promises = re.findall(r"^(\d+)\. ", in_short, flags=re.MULTILINE)
    assert promises == re.findall(r"^(\d+)\. ", in_full, flags=re.MULTILINE)
    assert cited(r"[Pp]romise (\d+)") <= set(promises)


_RIDDLES = re.compile(
    r"\b(?:whoever|somebody|told|tells?|telling|he|his|so long|any more|be it|be there|the model)"
    r"\b",
    re.IGNORECASE,
)


def test_the_language_is_plain() -> None:
    """Report, not tell; a process is no he; no subject that is only a pronoun."""
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/*.md")]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in (*ROOT.glob("blobd/**/*.py"), *ROOT.glob("blobd/**/*.html"), *pages)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if _RIDDLES.search(line) and "def tell(" not in line
    ]
    assert found == []


def test_nothing_is_cited_that_is_not_in_the_repository() -> None:
    """Numbers of tasks and pages that only the authors have mean nothing to a reader."""
    assert cited(r"\b[Ii]ssue \d+, item|\([Ii]ssue \d+[,)]|\btrap \d+\b") == set()


def test_the_glossary_has_no_word_that_the_code_has_dropped() -> None:
    """Each word occurs in the package or on its map."""
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    words = {row[0] for row in rows(glossary)} - {"word"}
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "blobd").rglob("*.py"))
    used = set(re.findall(r"[a-z]+", f"{code}\n{MAP}".lower()))
    assert words
    assert {word for word in words if not set(word.split()) <= used} == set()


def test_every_decision_is_on_their_page() -> None:
    """And is linked from there once."""
    folder = ROOT / "docs" / "decisions"
    listed = _LINK.findall((folder / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(
        page.name for page in folder.glob("*.md") if page.name != "README.md"
    )


def test_the_floors_are_the_import_contract() -> None:
    """The map's drawing is what import-linter holds."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = contracts["tool"]["importlinter"]["contracts"][0]["layers"]
    assert "```\n" + "\n".join(layers) + "\n```" in MAP


def test_the_client_example_runs(daemon: Daemon, tmp_path: Path) -> None:
    """As it stands, but for the address."""
    (tmp_path / "layer.tar.gz").write_bytes(b"layer" * 100_000)
    example = code_block("python", "Client(")
    assert "http://127.0.0.1:5080" in example
    script = tmp_path / "example.py"
    script.write_text(example.replace("http://127.0.0.1:5080", daemon.blob_api_url))
    run = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "copy.tar.gz").read_bytes() == b"layer" * 100_000


@pytest.mark.needs("curl")
def test_the_walk_by_hand_runs(daemon: Daemon, tmp_path: Path) -> None:
    """Line by line as a reader would type it, but for the address."""
    walk = code_block("sh", "api=http://127.0.0.1:5080")
    walk = walk.replace("http://127.0.0.1:5080", daemon.blob_api_url)
    run = subprocess.run(
        ["/bin/sh", "-e", "-c", walk], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "blob").read_bytes()
    assert (tmp_path / "part").stat().st_size == 100
