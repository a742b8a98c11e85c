"""`kill -9` of the control process at every step of a registration."""

import asyncio
import json
import sys
from pathlib import Path


async def test_a_registration_that_is_killed_anywhere_is_whole_or_not_there_and_can_be_repeated(
    redis_url: str, tmp_path: Path
) -> None:
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.killed_register", redis_url, str(tmp_path / "artifacts")),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await program.communicate()
    assert program.returncode == 0
    lines = [json.loads(line) for line in out.splitlines()]
    *killed, last = lines
    assert (last["died"], last["status"]) == ("", 201)
    assert len(killed) >= 10
    assert {"in the file", "os.rename", "before commit", "after commit"} <= {line["died"] for line in killed}
    for line in killed:
        assert line["status"] is None
        assert line["is_whole"], line
        assert line["version"] == line["wanted"], line
        assert line["file"] or not line["version"], line
        assert line["again"] == (200 if line["version"] else 201), line
        assert [line["after"][what] for what in ("is_whole", "file", "version", "wanted")] == [True] * 4
    states = {(line["file"], line["version"]) for line in killed}
    assert states == {(False, False), (True, False), (True, True)}
