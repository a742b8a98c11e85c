"""`turnout doctor`, with a control process that answers, and with none."""

import json
import socket
from pathlib import Path

import pytest

from tests.cli.conftest import Installation, Run
from tests.sockets import free_port


def test_each_finding_has_its_reason_and_its_command(run: Run, installation: Installation) -> None:
    found = json.loads(run("doctor", "--json").out)
    checks = {item["check"] for item in found["findings"]}
    assert (found["ok"], found["redis"]["policy"]) == (False, "noeviction")
    assert "leader" in checks or "worker_unreachable" in checks  # the workers of this world have no sockets
    shown = run("doctor")
    assert shown.code == 1
    assert shown.out.startswith("found: ")
    assert "          mend: " in shown.out


def test_without_control_it_says_what_listens_and_what_to_start(run: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gateway:
        config = tmp_path / "my.yaml"
        config.write_text(
            f"redis_url: redis://bob:hunter2@127.0.0.1:{free_port()}\n"
            f"gateway: {{port: {gateway.getsockname()[1]}}}\n"
        )
        away = run("doctor", "--control-url", f"http://127.0.0.1:{free_port()}", "--config", config, "--json")
    found = json.loads(away.out)["findings"]
    assert away.code == 1
    assert [item["check"] for item in found] == ["control_away", "redis_away"]
    assert "turnout up" in found[0]["mend"]
    assert "hunter2" not in away.out


def test_without_control_wrong_settings_are_a_finding(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "my.yaml"
    config.write_text("gateway: {prot: 1}\n")
    away = run("doctor", "--control-url", f"http://127.0.0.1:{free_port()}", "--config", config)
    assert "did you mean gateway.port?" in away.out


@pytest.mark.parametrize("status", [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{]"])
def test_something_else_at_the_address_is_told_apart_from_nothing(run: Run, status: bytes) -> None:
    import threading

    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            for _ in range(2):
                client, _ = other.accept()
                with client:
                    client.settimeout(60)
                    if client.recv(65536):
                        client.sendall(status)

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{other.getsockname()[1]}"
        away = run("doctor", "--control-url", url, "--json")
        thread.join()
    first = json.loads(away.out)["findings"][0]
    assert "is not a control API of Turnout" in first["what"]
