"""The page of `man hubft`, made of the commands: `python -m hubft.cli.manual > docs/hubft.1`; a wheel installs it."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import Parameter, cleandoc, getdoc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclopts import App, Argument

BEGINNING = """.\\" Made by python -m hubft.cli.manual: do not edit.
.TH HUBFT 1 "" "hubft" "User Commands"
.SH NAME
hubft \\- {what}
.SH SYNOPSIS
.B hubft
.I COMMAND
[\\fIOPTIONS\\fR] [\\fIARGUMENTS\\fR]
.SH DESCRIPTION
{walk}
"""
WALK = (
    "One run takes a pretrained model and labelled data, and leaves a package that torch.hub loads. "
    "hubft COMMAND \\-\\-help shows one command; the pages in docs/ show how they are used."
)
END = """.SH EXIT STATUS
.TP
.B 0
Done.
.TP
.B 1
A part could not be done, and was named; or training diverged and left no package.
.TP
.B 2
Something that you can mend: one line on stderr says what was got, what is known, and what to type.
.TP
.B 128 + n
Stopped by signal n; 141 where nobody reads the output. A run goes on with \\-\\-resume.
.SH SEE ALSO
\\fBhubft \\fICOMMAND\\fB \\-\\-help\\fR; \\fBhubft completion\\fR; docs/cli.md
"""


def page(app: App) -> str:
    """Return the page in roff, a section for each command of an app, which has all of its options."""
    lines = [*BEGINNING.format(what=_roff(str(app.help)), walk=WALK).splitlines(), ".SH COMMANDS"]
    for name, command in _commands(app):
        lines += _command(command, ("hubft", name))
    return "\n".join(lines) + "\n" + END


def _commands(app: App) -> Iterator[tuple[str, App]]:
    return ((name, app[name]) for name in app if not name.startswith("-"))


def _command(app: App, words: tuple[str, ...]) -> Iterator[str]:
    """Yield the section of a command, which is typed so, and those of the commands below it."""
    arguments = app.assemble_argument_collection(parse_docstring=True) if app.default_command else ()
    shown = [one for one in arguments if one.show and one.names != ("*",)]
    yield f".SS {_roff(' '.join((*words, *map(_operand, filter(_is_operand, shown)))))}"
    yield _roff(_summary(app))
    for one in shown:
        names = [f"\\fB{_roff(name)}\\fR" for name in one.names if name.startswith("-")]
        yield ".TP"
        yield ", ".join([f"\\fI{_roff(_operand(one))}\\fR", *names] if _is_operand(one) or not names else names)
        yield _roff(" ".join((one.parameter.help or "").split())) + _usual(one)
    for name, inner in _commands(app):
        yield from _command(inner, (*words, name))


def _summary(app: App) -> str:
    """Return what a command does, all paragraphs of it."""
    text = app.help if isinstance(app.help, str) and app.help else getdoc(app.default_command)
    return " ".join(cleandoc(text or "").partition("Parameters\n")[0].split())


def _is_operand(argument: Argument) -> bool:
    return argument.index is not None and argument.field_info.default is Parameter.empty


def _operand(argument: Argument) -> str:
    return argument.names[0].lstrip("-").upper()


def _usual(argument: Argument) -> str:
    """Return what an option may be, and what it is where nobody says it."""
    choices, usual = argument.get_choices(), argument.field_info.default
    said = f" One of {_roff(', '.join(choices))}." if choices else ""
    plain: Any = usual if isinstance(usual, str | int | float) and not isinstance(usual, bool) else ""
    return f"{said} Without it {_roff(str(plain))}." if plain != "" else said


def _roff(text: str) -> str:
    """Return a text of one line that roff shows as it is."""
    plain = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("^", "\\(ha")
    plain = plain.replace("~", "\\(ti").replace("`", "\\(ga")
    return f"\\&{plain}" if plain.startswith(".") else plain


if __name__ == "__main__":
    from hubft.cli.main import app

    print(page(app), end="")
