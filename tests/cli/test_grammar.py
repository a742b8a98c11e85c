"""The grammar of all commands. One that fails here needs a decorator of `cli.grammar`, or
a row in a table below with the reason."""

import click
import pytest

from gateway.cli.grammar import Kind, kind_of
from gateway.cli.main import COMMANDS, turnout
from gateway.cli.mistakes import leaves

ROOT = click.Context(turnout, info_name="turnout")
LEAVES = {" ".join(path): command for path, command in leaves(turnout, ROOT)}
# Nouns that are verbs themselves, as what they act on is the whole installation or one model.
ALONE = {
    "up", "status", "top", "doctor", "completion", "cutover", "deploy", "compare", "drift",
    "gateways", "loadtest", "explain", "apply", "diff", "export", "gateway", "control", "supervisor",
    "worker",
}  # fmt: skip
# command -> why it is neither reading nor changing by `cli.grammar`, though it speaks to the control API.
OF_NO_KIND = {
    "top": "it is a watch itself, and `--once --json` for machines",
    "rollout watch": "it is `--watch` of a rollout, and ends with it",
    "export": "it writes files, once",
    "audit export": "it writes a file, once",
    "audit head": "its output is a file, to be kept elsewhere",
    "audit report": "it writes a file, once",
    "model download": "it writes a file, once",
    "model follow": "it goes on until it is ended, and `--once` tries it",
    "demo install": "it writes what is missing of the demo, for a try-out",
    "bench versions": "it measures, and changes nothing",
    "loadtest": "it sends predictions, and changes nothing",
    "key recover": "the way in when nobody has a key: it speaks to Redis, and adds one key",
}
# changing command -> why it has no `--wait`.
NOT_AWAITED = "gateways need not know of it"
WITHOUT_WAIT = {
    "rollout abort": "it waits up to `--wait-s`",
    "rollout pause": "it waits up to `--wait-s`",
    "rollout promote": "it waits up to `--wait-s`",
    "rollout resume": "it waits up to `--wait-s`",
    "key create": "the control process always waits",
    "key revoke": "the control process always waits: a revoked key must not be believed anywhere",
    "alias rm": NOT_AWAITED,
    "alias set": NOT_AWAITED,
    "model approve": NOT_AWAITED,
    "model clear": NOT_AWAITED,
    "model deprecate": NOT_AWAITED,
    "model quarantine": NOT_AWAITED,
    "model reject": NOT_AWAITED,
    "model retire": NOT_AWAITED,
    "model rm": NOT_AWAITED,
    "model tag": NOT_AWAITED,
    "model validate": NOT_AWAITED,
    "policy apply": NOT_AWAITED,
    "policy rm": NOT_AWAITED,
    "model gc": NOT_AWAITED,
    "pools start": "it waits up to `--wait-s`",
    "unit erase": NOT_AWAITED,
}
TAKES_AWAY = {"rm", "delete", "revoke", "erase", "gc"}
MUST_NOT_ASK: dict[str, str] = {}  # command of such a verb -> why it does not ask


def options(command: click.Command) -> set[str]:
    return {
        name
        for option in command.params
        if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
    }


@pytest.mark.parametrize("words", LEAVES)
def test_every_command_keeps_the_grammar(words: str) -> None:
    command, kind = LEAVES[words], kind_of(LEAVES[words])
    has = options(command)
    assert command.help, "say in one sentence what it does"
    assert len(words.split()) == 2 or words in ALONE, "commands are `turnout NOUN VERB`"
    match kind:
        case Kind.READING:
            assert {"--json", "--watch", "--every-s"} <= has
        case Kind.CHANGING:
            assert {"--json", "--dry-run"} <= has
            assert ("--wait" in has) != (words in WITHOUT_WAIT)
            asks = words.split()[-1] in TAKES_AWAY and words not in MUST_NOT_ASK
            assert ("--yes" in has) == asks
        case Kind.RUNNING | Kind.LOCAL:
            assert words not in OF_NO_KIND
        case None:
            assert words in OF_NO_KIND, "put @reading, @changing() or @running above @operator"


def test_no_exception_outlives_its_command() -> None:
    named = {*OF_NO_KIND, *WITHOUT_WAIT, *MUST_NOT_ASK, *ALONE}
    assert named - set(LEAVES) == set()


def test_what_the_first_page_says_of_a_noun_is_true() -> None:
    for name in COMMANDS:
        command = turnout.get_command(ROOT, name)
        assert command is not None
        assert command.name == name


def test_an_option_means_the_same_everywhere() -> None:
    """`-f` is a file, and a flag somewhere is a flag everywhere."""
    kinds: dict[str, set[bool]] = {}
    for command in LEAVES.values():
        for option in command.params:
            if isinstance(option, click.Option):
                for name in option.opts:
                    kinds.setdefault(name, set()).add(option.is_flag)
    assert {name for name, seen in kinds.items() if len(seen) > 1} == {"--off", "--pin"}  # long in use
