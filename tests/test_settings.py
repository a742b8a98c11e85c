from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.app import place_of
from gateway.contract.errors import CallerError
from gateway.settings import Settings, config_dir, load


@pytest.fixture(autouse=True)
def _no_variables_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("TURNOUT_"):
            monkeypatch.delenv(name)


def settings_file(directory: Path, text: str) -> Path:
    file = directory / "settings.yaml"
    file.write_text(text)
    return file


def test_a_flag_wins_over_the_environment_that_over_the_file_and_that_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = settings_file(tmp_path, "gateway: {port: 1, metrics_port: 1, processes: 3, limits: {headers: 9}}")
    monkeypatch.setenv("TURNOUT_GATEWAY__PORT", "2")
    monkeypatch.setenv("TURNOUT_GATEWAY__METRICS_PORT", "2")
    gateway = load(file, flags={"gateway": {"port": 3, "host": None}}).gateway
    assert (gateway.port, gateway.metrics_port, gateway.processes) == (3, 2, 3)
    assert gateway.limits.headers == 9
    assert gateway.host == "127.0.0.1"


def test_redis_url_and_data_dir_hold_for_every_section(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_REDIS_URL", "redis://elsewhere")
    loaded = load(flags={"data_dir": "/srv/turnout"})
    assert loaded.gateway.redis_url == loaded.control.redis_url == "redis://elsewhere"
    assert loaded.gateway.data_dir == Path("/srv/turnout")
    assert loaded.control.artifacts_dir == Path("/srv/turnout/artifacts")


def test_every_unknown_name_and_wrong_value_is_reported_at_once(tmp_path: Path) -> None:
    file = settings_file(
        tmp_path, "bogus: 1\ngateway: {flush_s: soon, limits: {head: 1}}\ncontrol: {prot: 1}\nworker: 7\n"
    )
    with pytest.raises(CallerError) as caught:
        load(file)
    paths = {problem.partition(":")[0] for problem in caught.value.data["problems"]}
    assert paths == {"bogus", "gateway.flush_s", "gateway.limits.head", "control.prot", "worker"}


def test_a_misspelt_section_in_the_environment_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_GATWAY__PORT", "1")
    with pytest.raises(CallerError, match="TURNOUT_GATWAY__PORT"):
        load()


def test_variables_that_a_platform_adds_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_PORT", "tcp://10.0.0.1:8080")  # Kubernetes, for a service named turnout
    assert load().gateway.port == 8080


@pytest.mark.parametrize("value", ["-1", "70000", "nan", "eight"])
def test_a_port_that_is_none_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_CONTROL__PORT", value)
    with pytest.raises(CallerError, match=r"control\.port"):
        load()


@pytest.mark.parametrize("section", ["", "gateway: ", "worker: "])
def test_traces_to_no_address_are_refused_wherever_they_are_written(tmp_path: Path, section: str) -> None:
    with pytest.raises(CallerError, match=r"traces\.otlp_endpoint: 'nix' is no address"):
        load(settings_file(tmp_path, f"{section}{{traces: {{otlp_endpoint: nix}}}}"))


def test_traces_and_the_form_of_logs_hold_for_every_section(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_LOG_FORMAT", "json")
    loaded = load(flags={"traces": {"otlp_endpoint": "http://collector:4318", "share": 0.5}})
    assert loaded.gateway.traces == loaded.worker.traces == loaded.traces
    assert loaded.gateway.traces.is_on
    assert {loaded.gateway.log_format, loaded.control.log_format, loaded.supervisor.log_format} == {"json"}


@pytest.mark.parametrize("value", ["-0.1", ".nan", ".inf"])
def test_a_time_that_is_none_is_refused(value: str, tmp_path: Path) -> None:
    with pytest.raises(CallerError, match=r"gateway\.flush_s"):
        load(settings_file(tmp_path, f"gateway: {{flush_s: {value}}}"))


@pytest.mark.parametrize("text", ["- a list", "gateway: [", "\x00"])
def test_a_file_that_is_no_tree_of_settings_is_one_clear_error(text: str, tmp_path: Path) -> None:
    with pytest.raises(CallerError, match="The settings are wrong"):
        load(settings_file(tmp_path, text))


def test_a_file_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CallerError, match="No such file"):
        load(tmp_path / "absent.yaml")


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    assert tree(load(settings_file(tmp_path, "# nothing\n"))) == tree(load())


def tree(value: Any) -> Any:
    """Nested names and values, paths as text."""
    if isinstance(value, Settings):
        return {name: tree(getattr(value, name)) for name in Settings.model_fields}
    if is_dataclass(value):
        return {field.name: tree(getattr(value, field.name)) for field in fields(value)}
    return str(value) if isinstance(value, Path) else value


def names(value: Any, path: str = "") -> set[str]:
    if not isinstance(value, dict):
        return {path}
    return {found for name, inner in value.items() for found in names(inner, f"{path}.{name}".lstrip("."))}


COMMON = ("redis_url", "data_dir", "artifacts_dir", "artifacts_url", "keep_warm_s", "log_format")


def is_common(name: str) -> bool:
    """Said once at the top of the file, for all sections."""
    if name.startswith(("gateway.access", "control.access", "gateway.traces", "worker.traces")):
        return True
    return "." in name and name.rpartition(".")[2] in COMMON


def test_the_commented_file_lists_every_setting_with_its_default() -> None:
    import yaml

    written = yaml.safe_load((config_dir() / "turnout.yaml").read_text())
    assert names(written) == {name for name in names(tree(load())) if not is_common(name)}
    defaults = tree(load(flags={"redis_url": written["redis_url"]}))
    assert tree(load(config_dir() / "turnout.yaml")) == defaults


def test_every_line_of_the_commented_file_gives_a_reason() -> None:
    lines = (config_dir() / "turnout.yaml").read_text().splitlines()
    assert [line for line in lines if line.strip() and "# " not in line and line.strip() != "#"] == []


def test_an_unknown_name_is_told_once_with_the_near_one(tmp_path: Path) -> None:
    file = settings_file(
        tmp_path,
        "gateway: {prot: 1, bogus: 1, limits: {body_byte: 5}}\ncontrl: {port: 1}\naccess: {requird: on}\n"
        "metrics_port: 1\n",
    )
    with pytest.raises(CallerError) as caught:
        load(file)
    assert sorted(caught.value.data["problems"]) == [
        "access.requird: there is no such setting; did you mean access.required?",
        "contrl: there is no such setting; did you mean control?",
        "gateway.bogus: there is no such setting",
        "gateway.limits.body_byte: there is no such setting; did you mean gateway.limits.body_bytes?",
        "gateway.prot: there is no such setting; did you mean gateway.port?",
        "metrics_port: there is no such setting; did you mean gateway.metrics_port?",
    ]


def test_up_with_the_commented_file_and_another_data_dir_keeps_its_own_redis(tmp_path: Path) -> None:
    file = config_dir() / "turnout.yaml"  # it spells out the address of the usual data directory
    place = place_of(load(file, flags={"data_dir": tmp_path}), file)
    assert (place.redis_url, place.data_dir) == (None, tmp_path)
    outside = load(file, flags={"data_dir": tmp_path, "redis_url": "redis://127.0.0.1:6379"})
    assert place_of(outside, file).redis_url == "redis://127.0.0.1:6379"
