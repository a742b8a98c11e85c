"""Where a setting's value comes from, and whether a file is right: no server is asked."""

import json
from pathlib import Path

import pytest

from gateway.settings import load
from tests.cli.conftest import Run


def came_from(run: Run, *words: object) -> dict[str, tuple[object, str]]:
    found = json.loads(run("config", "show", *words, "--json").out)["settings"]
    return {item["path"]: (item["value"], item["came_from"]) for item in found}


def test_each_value_names_its_flag_variable_line_or_default(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(
        "redis_url: redis://bob:hunter2@db\ngateway:\n  port: 1\n  flush_s: 0.1\n  limits: {headers: 7}\n"
    )
    monkeypatch.setenv("TURNOUT_GATEWAY__FLUSH_S", "0.5")
    monkeypatch.setenv("TURNOUT_SUPERVISOR", '{"poll_s": 2}')
    monkeypatch.setenv("TURNOUT_CONTROL__WEBHOOK_SECRET", "hunter2")
    monkeypatch.setenv("TURNOUT_DATA_DIR", str(tmp_path))
    found = came_from(run, "-f", file, "--set", "gateway.port=9")
    assert found["gateway.port"] == (9, "flag gateway.port")
    assert found["gateway.flush_s"] == (0.5, "environment TURNOUT_GATEWAY__FLUSH_S")
    assert found["supervisor.poll_s"] == (2.0, "environment TURNOUT_SUPERVISOR")
    assert found["supervisor.max_backoff_s"] == (10.0, "default")
    assert found["gateway.limits.headers"] == (7, f"{file}:5")
    assert found["gateway.limits.body_s"] == (15.0, "default")
    assert found["redis_url"] == ("redis://bob:****@db", f"{file}:1")
    assert found["worker.redis_url"] == found["redis_url"]
    assert found["control.webhook_secret"] == ("****", "environment TURNOUT_CONTROL__WEBHOOK_SECRET")
    assert found["worker.artifacts_dir"] == (str(tmp_path / "artifacts"), "environment TURNOUT_DATA_DIR")
    assert "hunter2" not in run("config", "show", "-f", file).out
    assert set(came_from(run, "gateway.limits")) == {
        name for name in found if name.startswith("gateway.limits.")
    }
    assert "gateway.limits.body_s" not in came_from(run, "-f", file, "--changed")


def test_no_secret_is_shown_wherever_it_was_said(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(
        "artifacts_url: s3://bob:hunter2@store/x\naccess: {proxy_secret: hunter2}\n"
        "control: {oidc: {client_secret: hunter2}}\ntraces: {headers: {authorization: Bearer hunter2}}\n"
    )
    monkeypatch.setenv("TURNOUT_CONTROL__WEBHOOK_SECRET", "hunter2")
    shown = run("config", "show", "-f", file, "--json")
    assert (shown.code, shown.out.count("****") >= 9, "hunter2" in shown.out) == (0, True, False)
    assert "hunter2" not in run("config", "show", "-f", file).out
    loaded = load(file)
    assert "hunter2" not in repr((loaded.access, loaded.control.access, loaded.control.oidc, loaded.traces))


def test_a_file_is_judged_before_a_process_starts_with_it(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("gateway: {prot: 1}\n")
    wrong = run("config", "check", "-f", file)
    assert (wrong.code, wrong.out) == (2, "")
    assert "did you mean gateway.port?" in wrong.err
    assert json.loads(run("config", "check", "-f", file, "--json").out)["problems"]
    file.write_text("gateway: {port: 1}\n")
    assert run("config", "check", "-f", file).code == 0


def test_the_environment_alone_is_judged_as_doctor_says(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("config", "check").code == 0
    monkeypatch.setenv("TURNOUT_GATEWAY__PORT", "x")
    wrong = run("config", "check")
    assert (wrong.code, "gateway.port" in wrong.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "hint"),
    [(("gatewy.port",), "did you mean gateway.port?"), (("--set", "x"), "is not NAME=VALUE")],
)
def test_a_wrong_name_is_wrong_use(run: Run, words: tuple[str, ...], hint: str) -> None:
    wrong = run("config", "show", *words)
    assert (wrong.code, hint in wrong.err) == (2, True)
