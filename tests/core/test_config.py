"""Settings: from a file, the environment and flags; and one clear line where one is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from blobd import config
from blobd.config import Config, Setting, Value, load, settings
from blobd.errors import ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SETTINGS = list(settings())
EACH = pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)

OTHER_CHOICES = {
    "store.backend": "memory",
    "store.durability": "none",
    "s3.checksum": "when_supported",
    "log.level": "debug",
    "log.format": "json",
}


def other_value(setting: Setting) -> Value:
    """Return an allowed value that is not the default."""
    if setting.key in OTHER_CHOICES:
        return OTHER_CHOICES[setting.key]
    match setting.default:
        case bool():
            return not setting.default
        case int() | float():
            return setting.default * 2 + 1
        case str():
            return setting.default + "x"
        case _:
            return ("first token", "second")


def wrong_values(setting: Setting) -> list[Any]:
    """Return values of a file that are not allowed: of another type, too small, no choice."""
    match setting.default:
        case bool():
            return ["yes", 1, 0.5, []]
        case int() if setting.key.endswith("_s"):
            return [-1.0, True, "long", [], float("nan"), float("inf")]
        case int():
            return [-1, 1.5, True, "many", [], float("nan")]
        case str():
            return [1, True, [], *(["something else"] if setting.key in OTHER_CHOICES else [])]
        case _:
            return [1, True, [1], ["fine", 1]]


def value_of(loaded: Config, setting: Setting) -> Value:
    section, _, name = setting.key.partition(".")
    value: Value = getattr(getattr(loaded, section), name)
    return value


def written(path: Path, setting: Setting, value: Any) -> Path:
    """Write a file with one setting."""
    section, _, name = setting.key.partition(".")
    match value:
        case bool():
            text = str(value).lower()
        case tuple() | list():
            text = "[" + ", ".join(_toml(part) for part in value) + "]"
        case _:
            text = _toml(value)
    file = path / "blobd.toml"
    file.write_text(f"[{section}]\n{name} = {text}\n")
    return file


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def environment_of(setting: Setting, value: Value) -> Mapping[str, str]:
    return {setting.variable: ", ".join(value) if isinstance(value, tuple) else str(value)}


def load_file(file: Path) -> Config:
    return load(file=file, environment={}, flags={})


@EACH
class TestEverySetting:
    def test_it_has_a_default_and_a_reason(self, setting: Setting) -> None:
        """config.py: every setting, its default, its reason."""
        loaded = load(file=None, environment={}, flags={})
        assert value_of(loaded, setting) == setting.default
        assert loaded.origins[setting.key] == "default"
        assert len(setting.reason) > 20

    def test_its_unit_is_in_its_name(self, setting: Setting) -> None:
        """House rule: units in names."""
        name = setting.key.partition(".")[2]
        if isinstance(setting.default, int | float) and not isinstance(setting.default, bool):
            counts = (
                "max_uploads",
                "max_open_uploads",
                "max_open_uploads_per_account",
                "account_share_percent",
                "workers",
                "parts_in_flight",
            )
            assert name.endswith(("_bytes", "_s")) or name in counts

    def test_a_file_sets_it(self, setting: Setting, tmp_path: Path) -> None:
        """Section 7: TOML."""
        file = written(tmp_path, setting, other_value(setting))
        loaded = load_file(file)
        assert value_of(loaded, setting) == other_value(setting)
        assert loaded.origins[setting.key] == str(file)

    def test_the_environment_sets_it_over_the_file(self, setting: Setting, tmp_path: Path) -> None:
        """Section 7: the environment overrides the file; BLOBD_<SECTION>__<NAME>."""
        assert setting.variable == "BLOBD_" + setting.key.replace(".", "__").upper()
        loaded = load(
            file=written(tmp_path, setting, setting.default),
            environment=environment_of(setting, other_value(setting)),
            flags={},
        )
        assert value_of(loaded, setting) == other_value(setting)
        assert setting.variable in loaded.origins[setting.key]

    def test_a_flag_sets_it_over_both(self, setting: Setting, tmp_path: Path) -> None:
        """Section 7: flags override both."""
        loaded = load(
            file=written(tmp_path, setting, setting.default),
            environment=environment_of(setting, setting.default),
            flags={setting.key: other_value(setting)},
        )
        assert value_of(loaded, setting) == other_value(setting)
        assert loaded.origins[setting.key] == "command line"

    def test_a_wrong_value_is_told_in_one_line(self, setting: Setting, tmp_path: Path) -> None:
        """load: names the setting, its value, where it came from, and what is allowed."""
        for value in wrong_values(setting):
            file = written(tmp_path, setting, value)
            with pytest.raises(ConfigInvalid) as raised:
                load_file(file)
            message = str(raised.value)
            assert message.startswith(setting.key)
            assert str(file) in message
            assert "must be " in message
            assert "\n" not in message
            if not setting.secret:
                assert repr(value) in message

    def test_a_wrong_variable_is_named(self, setting: Setting) -> None:
        """load: from the environment everything is text, and not every text will do."""
        if isinstance(setting.default, str | tuple) and setting.key not in OTHER_CHOICES:
            return
        for text in ("", "something else", "1,5", "-1", "nan", "inf"):
            with pytest.raises(ConfigInvalid, match=rf"{setting.variable}.*must be") as raised:
                load(file=None, environment={setting.variable: text}, flags={})
            assert "\n" not in str(raised.value)


def test_a_secret_is_never_repeated(tmp_path: Path) -> None:
    """Section 7: secrets hidden, in errors too."""
    secrets = [setting for setting in SETTINGS if setting.secret]
    assert {setting.key for setting in secrets} >= {"blob_api.tokens", "catalog.url"}
    for setting in secrets:
        file = written(tmp_path, setting, [12345678, 87654321])
        with pytest.raises(ConfigInvalid) as raised:
            load_file(file)
        assert "12345678" not in str(raised.value)


@pytest.mark.parametrize("key", ["limits.max_blob_size", "limit.max_blob_bytes", "store.secret"])
def test_an_unknown_setting_is_refused_wherever_it_comes_from(key: str, tmp_path: Path) -> None:
    """load: a typing error is not passed over."""
    section, _, name = key.partition(".")
    file = tmp_path / "blobd.toml"
    file.write_text(f"[{section}]\n{name} = 1\n")
    variable = "BLOBD_" + key.upper().replace(".", "__")
    for given in (
        {"file": file, "environment": {}, "flags": {}},
        {"file": None, "environment": {variable: "1"}, "flags": {}},
        {"file": None, "environment": {}, "flags": {key: 1}},
    ):
        with pytest.raises(ConfigInvalid, match=f"^{key} .*is not a setting"):
            load(**given)


def test_a_setting_of_an_earlier_version_is_reported_and_ignored() -> None:
    """load: an upgrade starts, and says what to set instead."""
    config = load(file=None, environment={"BLOBD_S3__RETRIES": "5"}, flags={})
    origin = "environment, BLOBD_S3__RETRIES"
    assert config.ignored == (
        f"s3.retries ({origin}) has no effect: s3.retry_budget_s took its place",
    )
    assert load(file=None, environment={}, flags={}).ignored == ()


def test_variables_of_others_are_left_alone() -> None:
    """load: BLOBD_<SECTION>__<NAME> alone is a setting."""
    load(file=None, environment={"BLOBD_CONFIG": "x", "PATH": "/bin", "A__B": "1"}, flags={})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("limits = 5\n", r"limits .* is not a section such as \[limits\]"),
        ("max_blob_bytes = 5\n", r"max_blob_bytes .* is not a section"),
        ("[limits\n", "not TOML"),
        ("[limits]\nmax_uploads = \n", "not TOML"),
        ("[limits]\nmax_uploads = 1\nmax_uploads = 2\n", "not TOML"),
    ],
)
def test_a_file_that_is_none_is_told_in_one_line(text: str, told: str, tmp_path: Path) -> None:
    """load: raises ConfigInvalid with one line."""
    file = tmp_path / "blobd.toml"
    file.write_text(text)
    with pytest.raises(ConfigInvalid, match=told) as raised:
        load_file(file)
    assert "\n" not in str(raised.value)
    assert str(file) in str(raised.value)


def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    """load: raises ConfigInvalid with one line."""
    (tmp_path / "latin.toml").write_bytes(b"# caf\xe9\n")
    for path in (tmp_path / "absent.toml", tmp_path, tmp_path / "latin.toml"):
        with pytest.raises(ConfigInvalid, match=r"^--config ") as raised:
            load_file(path)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    """load: a file, an environment and flags may each be silent."""
    file = tmp_path / "blobd.toml"
    file.write_text("[limits]\n\n[store]\n# nothing\n")
    assert load_file(file) == load(file=None, environment={}, flags={})


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("TRUE", True), ("1", True), ("false", False), ("0", False)]
)
def test_yes_and_no_have_few_words(text: str, value: bool) -> None:
    """config.py: true or false."""
    environment = {"BLOBD_REGISTRY__AUTH": text}
    loaded = load(file=None, environment=environment, flags={})
    assert loaded.registry.auth is value


def test_a_list_in_the_environment_is_separated_by_commas() -> None:
    """config.py: a list of texts."""
    environment = {"BLOBD_BLOB_API__TOKENS": " one, two ,,three"}
    loaded = load(file=None, environment=environment, flags={})
    assert loaded.blob_api.tokens == ("one", "two", "three")


def test_the_documented_limits_are_the_defaults() -> None:
    """Section 7, the numbers."""
    limits = config.Limits()
    assert limits.max_blob_bytes == 10_000_000_000
    assert limits.upload_timeout_s == 600
    assert limits.upload_idle_expiry_s == 24 * 3600
    assert limits.idle_timeout_s == 60
    assert limits.max_manifest_bytes == 4 * 1024 * 1024
