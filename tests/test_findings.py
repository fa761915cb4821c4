"""Each finding is listed and begins with the facts that a reader needs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

_FOLDER = Path(__file__).parent.parent / "findings"
_SCRIPTS = sorted(_FOLDER.glob("*.sh"))
_FACTS = (
    "# Tried: ",
    "# One would believe: ",
    "# What happens: ",
    "# Seen:",
    "# What blobd does: ",
)


def test_the_page_lists_each_finding_once() -> None:
    rows = (_FOLDER / "README.md").read_text().splitlines()
    listed = [row.split("`")[1] for row in rows if row.startswith("| `")]
    assert sorted(listed) == [script.stem for script in _SCRIPTS]


@pytest.mark.parametrize("script", _SCRIPTS, ids=lambda script: script.stem)
def test_a_finding_states_its_facts(script: Path) -> None:
    text = script.read_text()
    missing = [fact for fact in _FACTS if fact not in text]
    assert not missing
    assert "blobd" not in "\n".join(
        line for line in text.splitlines() if not line.startswith("#")
    ), "a finding runs without blobd"
    subprocess.run(["bash", "-n", script], check=True)
