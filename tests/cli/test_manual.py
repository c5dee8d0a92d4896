"""`man hubft`: the page in docs/ is made of the commands, all of them, and a wheel brings it along."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

from hubft.cli import manual
from hubft.cli.main import app

PAGE = Path(__file__).parents[2] / "docs" / "hubft.1"
AGAIN = "it is not that of the commands: python -m hubft.cli.manual > docs/hubft.1"


def test_the_page_is_that_of_the_commands_and_man_can_show_it() -> None:
    stated = PAGE.read_text(encoding="utf-8")
    assert stated == manual.page(app), AGAIN
    sections = re.findall(r"^\.SS hubft (\S+)", stated.replace("\\-", "-"), re.MULTILINE)
    assert set(sections) == {name for name in app if not name.startswith("-")}
    for words in ("finetune REFERENCE DATA", "distill TEACHER REFERENCE DATA", "families check", "export PACKAGE"):
        assert f"\n.SS hubft {words}" in stated
    assert "\\fIREFERENCE\\fR, \\fB\\-\\-reference\\fR\n" in stated and "One of fp32, bf16, int8." in stated
    if groff := shutil.which("groff"):
        shown = subprocess.run([groff, "-man", "-Tutf8", "-ww", "-z", PAGE], capture_output=True, text=True, check=True)
        assert not shown.stdout + shown.stderr


def test_a_wheel_brings_the_page() -> None:
    build = tomllib.loads((PAGE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    assert build["targets"]["wheel"]["shared-data"] == {"docs/hubft.1": "share/man/man1/hubft.1"}
