"""All settings of all processes, in one tree, and where a value comes from.

A flag wins over the environment, the environment over the file, the file over the default. The sections are
the dataclasses that the processes themselves use, so each default, with its unit and reason, is written in
one place. `config/turnout.yaml` lists every setting. An unknown key or a wrong value is an error, and all of
them are reported at once. Called by the commands that start processes; nothing below `app` knows of it.

    TURNOUT_REDIS_URL=redis://10.0.0.5   TURNOUT_GATEWAY__LIMITS__BODY_BYTES=1048576
"""

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from gateway.contract import oidc
from gateway.contract.access import AccessSettings
from gateway.contract.errors import CallerError
from gateway.contract.logs import LogFormat
from gateway.contract.route import problems_of
from gateway.control.settings import ControlSettings
from gateway.dataplane.settings import GatewaySettings
from gateway.traces.settings import TraceSettings
from workers.settings import SupervisorSettings, WorkerSettings

PREFIX = "TURNOUT_"
BETWEEN = "__"  # TURNOUT_<section>__<setting>
MAX_PORT = 65535
_UNKNOWN = frozenset({"Unexpected keyword argument", "Extra inputs are not permitted"})  # pydantic's words
DEFAULT_DATA_DIR = Path(".turnout")
DEFAULT_KEEP_WARM_S = 300.0  # as in the sections
# The names of each section's settings.
SECTIONS = {
    name: frozenset(field.name for field in fields(section))
    for name, section in {
        "gateway": GatewaySettings,
        "control": ControlSettings,
        "worker": WorkerSettings,
        "supervisor": SupervisorSettings,
    }.items()
}


class Settings(BaseSettings):
    """What stands above the sections holds for each that does not say otherwise."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=BETWEEN,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
    )

    redis_url: str
    data_dir: Path
    artifacts_url: str = ""
    access: AccessSettings
    keep_warm_s: float
    log_format: LogFormat
    traces: TraceSettings
    gateway: GatewaySettings
    control: ControlSettings
    worker: WorkerSettings
    supervisor: SupervisorSettings

    @model_validator(mode="before")
    @classmethod
    def _common_to_sections(cls, given: dict[str, Any]) -> dict[str, Any]:
        data_dir = Path(given.get("data_dir") or DEFAULT_DATA_DIR)
        redis_url = _with_whole_path(given.get("redis_url")) or embedded_redis_url(data_dir)
        access = given.get("access", {})
        keep_warm_s = given.get("keep_warm_s", DEFAULT_KEEP_WARM_S)
        common = {
            "redis_url": redis_url,
            "data_dir": data_dir,
            "artifacts_dir": data_dir / "artifacts",
            "artifacts_url": given.get("artifacts_url") or "",
            "access": access,
            "keep_warm_s": keep_warm_s,
            "log_format": given.get("log_format", "auto"),
            "traces": given.get("traces", {}),
        }
        sections = {
            name: {key: common[key] for key in common if key in SECTIONS[name]} | given.get(name, {})
            for name in SECTIONS
            if isinstance(given.get(name, {}), dict)
        }
        at_top = {name: common[name] for name in cls.model_fields if name in common}
        return {**given, **at_top, **sections}


def load(file: Path | None = None, *, flags: Mapping[str, Any] | None = None) -> Settings:
    """Merges flags (nested like the tree; None = not given), environment, file and defaults.

    Raises CallerError("invalid_document") whose message names every problem with its path.
    """
    from_file = _read(file) if file is not None else {}

    class Sources(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, from_file)

    try:
        loaded = Sources(**_given(flags or {}))
    except ValidationError as error:
        raise _wrong(_with_near_names(problems_of(error)) + _unknown_variables()) from None
    except SettingsError as error:
        raise _wrong([f"environment: {error}"]) from None
    if problems := _unknown_variables() + _impossible(loaded) + oidc.problems(loaded.control.oidc):
        raise _wrong(problems)
    return loaded


def leaves(section: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting of a tree with its path."""
    if isinstance(section, BaseModel):
        named = [(name, getattr(section, name)) for name in type(section).model_fields]
    else:
        named = [(entry.name, getattr(section, entry.name)) for entry in fields(section)]
    for name, value in named:
        if is_dataclass(value):
            yield from leaves(value, f"{path}{name}.")
        else:
            yield path + name, value


def embedded_redis_url(data_dir: Path) -> str:
    """Where `turnout up` keeps the Redis of this data directory."""
    return f"unix://{(data_dir / 'redis' / 'redis.sock').absolute()}"


def config_dir() -> Path:
    """Where the data files are that come with Turnout: in a checkout, or inside the installed package."""
    package = Path(__file__).resolve().parent
    checkout = package.parent / "config"
    return checkout if (checkout / "turnout.yaml").is_file() else package / "_config"


def numbers(section: Any) -> Iterator[tuple[str, float]]:
    """Every number of a settings tree with its path."""
    for path, value in leaves(section):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield path, value


def _with_near_names(problems: list[str]) -> list[str]:
    """An unknown setting with the one that was perhaps meant; what is said of `access` once, not for each
    section that inherits it."""
    found: list[str] = []
    known = list(_all_paths())
    for problem in problems:
        path, _, words = problem.partition(": ")
        if words not in _UNKNOWN:
            found.append(problem)
            continue
        if any(earlier.startswith(f"{path.partition('.')[2]}: there is") for earlier in found if "." in path):
            continue
        near = _nearest(path, known)
        hint = f"; did you mean {near}?" if near else ""
        found.append(f"{path}: there is no such setting{hint}")
    return found


def _nearest(path: str, known: Sequence[str]) -> str | None:
    """A like name in the same section, else the same name in another one."""
    section, _, name = path.rpartition(".")
    siblings = {one.rpartition(".")[2]: one for one in known if one.rpartition(".")[0] == section}
    near = difflib.get_close_matches(name, siblings, n=1)
    return siblings[near[0]] if near else next((one for one in known if one.endswith(f".{name}")), None)


def _all_paths() -> Iterator[str]:
    """Every setting and every section."""
    for name, field in Settings.model_fields.items():
        yield name
        if is_dataclass(field.annotation):
            yield from _paths_in(field.annotation, f"{name}.")


def _paths_in(section: Any, path: str) -> Iterator[str]:
    for entry in fields(section):
        yield path + entry.name
        if is_dataclass(entry.type):
            yield from _paths_in(entry.type, f"{path}{entry.name}.")


def _impossible(settings: Settings) -> list[str]:
    """Every number is a count, a size, a time or a port: none is negative."""
    processes = settings.gateway.processes
    none = ["gateway.processes: a gateway needs at least one"] if processes == 0 else []
    all_traces = (settings.traces, settings.gateway.traces, settings.worker.traces)
    traced = list(dict.fromkeys(f"traces.{problem}" for each in all_traces for problem in each.problems()))
    return (
        none
        + traced
        + [
            f"{path}: {value:g} is not between 0 and {MAX_PORT}"
            if path.endswith("port")
            else f"{path}: {value:g} is negative"
            for path, value in numbers(settings)
            if value < 0 or (path.endswith("port") and value > MAX_PORT)
        ]
    )


def _unknown_variables() -> list[str]:
    """A misspelt section. Names without `__` are left alone: platforms add some of their own."""
    known = {name.upper() for name in Settings.model_fields}
    return [
        f"environment: {name} names no section; sections are {', '.join(sorted(known)).lower()}"
        for name in sorted(os.environ)
        if name.startswith(PREFIX)
        and BETWEEN in name
        and name.removeprefix(PREFIX).partition(BETWEEN)[0] not in known
    ]


def _with_whole_path(redis_url: Any) -> Any:
    """`unix://` needs an absolute path: what is left relative is meant from here."""
    if isinstance(redis_url, str) and redis_url.startswith("unix://"):
        path = redis_url.removeprefix("unix://")
        return f"unix://{Path(path).absolute()}"
    return redis_url


def _given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Without what was not given."""
    given: dict[str, Any] = {}
    for name, value in flags.items():
        if isinstance(value, Mapping):
            if inner := _given(value):
                given[name] = inner
        elif value is not None:
            given[name] = value
    return given


def _read(file: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(file.read_text())
    except OSError as error:
        raise _wrong([f"{file}: {error.strerror}"]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _wrong([f"{file}: not YAML: {' '.join(str(error).split())}"]) from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise _wrong([f"{file}: the top of the file must be names with values"])
    return values


def _wrong(problems: list[str]) -> CallerError:
    first, *rest = problems
    more = f" (and {len(rest)} more)" if rest else ""
    return CallerError("invalid_document", f"The settings are wrong: {first}{more}", problems=problems)
