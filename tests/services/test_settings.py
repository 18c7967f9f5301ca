"""Does the environment say what the settings are, and does a mistake in it get a helpful word?"""

from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.log.note import COSIGNATURE, Verifier
from services.settings import SETTINGS, BadSetting, Settings, describe, read_settings

ROOT = Path(__file__).parents[2]


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = read_settings({"PATH": "/bin", "HOME": "/root"})
    assert settings == Settings()
    assert settings.data == Path.cwd() / ".assent"
    assert (settings.host, settings.port, settings.mode) == ("127.0.0.1", 8000, "development")
    assert settings.database_url == ""


LOG = str(Verifier("log.example.gov/assent", bytes(32)))
WITNESS = str(Verifier("witness.example.gov/one", bytes(32), COSIGNATURE))


def test_each_setting_is_read_from_its_variable() -> None:
    given = {
        "ASSENT_DATA": "/srv/assent",
        "DATABASE_URL": "postgresql://assent@db/assent",
        "DATABASE_URL_FILE": "",
        "DATABASE_LOGINS": "/srv/logins",
        "ASSENT_HOST": "0.0.0.0",  # noqa: S104
        "ASSENT_PORT": "9000",
        "ASSENT_MODE": "development",
        "ASSENT_ROLES": "timers",
        "ASSENT_DOORS": "2",
        "ASSENT_CLOCK": "manual",
        "ASSENT_CLOCK_START": "2026-01-05T14:00:00Z",
        "ASSENT_ROOT": "avery",
        "ASSENT_ISSUERS": '[{"issuer": "https://id.example.gov", "audience": "assent"}]',
        "ASSENT_URL": "https://assent.example.gov",
        "ASSENT_HOSTS": "assent,10.0.0.7",
        "ASSENT_SESSION_HOURS": "8",
        "ASSENT_SESSION_IDLE_MINUTES": "10",
        "ASSENT_ORIGIN": "log.example.gov/assent",
        "ASSENT_QUEUE_MAX": "10",
        "ASSENT_BODY_BYTES_MAX": "2048",
        "ASSENT_REQUEST_SECONDS": "5",
        "ASSENT_COMMANDS_PER_SECOND": "50",
        "ASSENT_EVALUATIONS_PER_SECOND": "5000",
        "ASSENT_READS_PER_SECOND": "100",
        "ASSENT_FAILED_SIGN_INS_PER_SECOND": "10",
        "ASSENT_LOGINS_PER_MINUTE": "20",
        "ASSENT_PROXIES": "10.0.0.7,fd00::/64",
        "ASSENT_LOG_FORMAT": "json",
        "ASSENT_ACCESS_LOG": "on",
        "ASSENT_ACCESS_REQUESTS": "on",
        "ASSENT_STATES_MAX": "99",
        "ASSENT_WITNESSES": f"{WITNESS} https://witness.example.gov/one",
        "ASSENT_WITNESS_NAME": "witness.example.gov/two",
        "ASSENT_WITNESS_LOGS": f"{LOG} {LOG}",
    }
    assert given.keys() == {each.name for each in SETTINGS}
    settings = read_settings(given)
    assert settings.data == Path("/srv/assent")
    assert settings.clock_start == datetime(2026, 1, 5, 14, tzinfo=UTC)
    changed = {each.name for each in fields(Settings) if getattr(settings, each.name) != getattr(Settings(), each.name)}
    assert changed == {each.name for each in fields(Settings)} - {"mode", "database_url_file"}


def test_an_unknown_setting_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(BadSetting, match=r"no setting ASSENT_PORTS\. Did you mean ASSENT_PORT\?"):
        read_settings({"ASSENT_PORTS": "9000"})


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("ASSENT_WITNESSES", "https://witness.example.gov", "`KEY URL` of each witness"),
        ("ASSENT_WITNESSES", f"{LOG} https://witness.example.gov", "`KEY URL` of each witness"),
        ("ASSENT_WITNESSES", f"{WITNESS} witness.example.gov", "`KEY URL` of each witness"),
        ("ASSENT_WITNESSES", f"{WITNESS} http://a, {WITNESS} http://b", "each witness once"),
        ("ASSENT_WITNESS_NAME", "a+b", "a name without spaces or plus signs"),
        ("ASSENT_WITNESS_LOGS", "log", "verifier keys with spaces between them"),
        ("ASSENT_WITNESS_LOGS", WITNESS, "keys of logs, such as `assent log key` prints"),
        ("ASSENT_PORT", "eighty", "whole number from 0 to 65535"),
        ("ASSENT_PORT", "65536", "whole number"),
        ("ASSENT_PORT", "-1", "whole number"),
        ("ASSENT_PORT", "٣", "whole number"),
        ("ASSENT_QUEUE_MAX", "0", "whole number from 1"),
        ("ASSENT_QUEUE_MAX", "9" * 5000, "whole number from 1"),
        ("ASSENT_MODE", "prod", "one of development, production"),
        ("ASSENT_ROLES", "project,serve", "some of project, sign, timers, feed, with commas between them, or nothing"),
        ("ASSENT_CLOCK", "", "one of real, manual"),
        ("ASSENT_CLOCK_START", "2026-01-05", "a time with its zone"),
        ("ASSENT_CLOCK_START", "soon", "a time with its zone"),
        ("ASSENT_DATA", "", "a folder"),
        ("ASSENT_ROOT", " root", "without spaces"),
        ("ASSENT_PROXIES", "front", "addresses or networks"),
        ("ASSENT_PROXIES", "10.0.0.7/24", "addresses or networks"),
        ("DATABASE_URL", "mysql://db", "postgresql://"),
    ],
)
def test_an_impossible_value_is_refused_with_what_would_do(name: str, value: str, wanted: str) -> None:
    with pytest.raises(BadSetting, match=wanted) as refused:
        read_settings({name: value})
    assert str(refused.value).startswith(name)


def test_a_refused_database_url_is_not_repeated_for_it_may_hold_a_password() -> None:
    with pytest.raises(BadSetting) as refused:
        read_settings({"DATABASE_URL": "db:hunter2@host"})
    assert "hunter2" not in str(refused.value)


def test_the_database_url_may_lie_in_a_file_of_its_own(tmp_path: Path) -> None:
    secret = tmp_path / "database-url"
    secret.write_text("postgresql://assent:hunter2@db/assent\n")
    settings = read_settings({"DATABASE_URL_FILE": str(secret)})
    assert settings.database_url == "postgresql://assent:hunter2@db/assent"
    with pytest.raises(BadSetting, match="twice"):
        read_settings({"DATABASE_URL_FILE": str(secret), "DATABASE_URL": "postgresql://db"})
    secret.unlink()
    with pytest.raises(BadSetting, match="DATABASE_URL_FILE must be a file that can be read"):
        read_settings({"DATABASE_URL_FILE": str(secret)})


def test_time_is_not_ours_to_set_in_production() -> None:
    with pytest.raises(BadSetting, match="development mode only"):
        read_settings(
            {"ASSENT_MODE": "production", "ASSENT_CLOCK": "manual", "ASSENT_CLOCK_START": "2026-01-05T14:00Z"}
        )


def test_a_manual_clock_needs_a_time_to_start_at() -> None:
    with pytest.raises(BadSetting, match="needs ASSENT_CLOCK_START"):
        read_settings({"ASSENT_CLOCK": "manual"})


def test_the_page_of_settings_is_up_to_date() -> None:
    # To write it anew: python -c 'from services.settings import describe; print(describe(), end="")' > docs/settings.md
    assert (ROOT / "docs" / "settings.md").read_text() == describe()


def test_where_there_is_room_for_a_door_there_is_one_unless_it_is_said_how_many() -> None:
    assert [Settings().door_count(processors) for processors in (1, 3, 4, 64)] == [0, 0, 1, 1]
    assert [read_settings({"ASSENT_DOORS": doors}).door_count(4) for doors in ("0", "3")] == [0, 3]
    manual = {"ASSENT_DOORS": "3", "ASSENT_CLOCK": "manual", "ASSENT_CLOCK_START": "2026-01-05T14:00:00Z"}
    assert read_settings(manual).door_count(64) == 0
    with pytest.raises(BadSetting, match="auto, or a whole number from 0 to 16"):
        read_settings({"ASSENT_DOORS": "many"})
