"""`hubft completion`: what a real bash completes with the script; and the exit codes that docs/cli.md promises."""

import shutil
import subprocess
from pathlib import Path

import pytest
from commands import Hubft

ASKED = """
source "$1"
COMP_WORDS=({words}); COMP_CWORD={place}; COMP_LINE="{words}"; COMP_POINT=${{#COMP_LINE}}
$(complete -p hubft | sed 's/.*-F \\([^ ]*\\).*/\\1/')
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(
    ("words", "wanted"),
    [("hubft fine", {"finetune"}), ("hubft benchmark --aga", {"--against"}), ("hubft com", {"compare"})],
)
def test_bash_completes_commands_and_options(hubft: Hubft, tmp_path: Path, words: str, wanted: set[str]) -> None:
    if not (bash := shutil.which("bash")):
        pytest.skip("no bash")
    ran = hubft("completion", "bash")
    assert (ran.code, ran.err) == (0, "")
    script = tmp_path / "hubft.bash"
    script.write_text(ran.out)
    asked = ASKED.format(words=words, place=len(words.split()) - 1)
    done = subprocess.run([bash, "-c", asked, "bash", str(script)], capture_output=True, text=True, check=False)
    assert wanted <= {word.strip() for word in done.stdout.splitlines()}, done.stdout + done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish", "powershell"])
def test_scripts_of_other_shells_know_the_commands(hubft: Hubft, shell: str) -> None:
    ran = hubft("completion", shell)
    assert ran.code == 0 and all(word in ran.out for word in ("finetune", "benchmark", "against"))


def test_a_shell_that_is_unknown_is_told_in_one_line(hubft: Hubft) -> None:
    ran = hubft("completion", "tcsh")
    assert ran.code == 2 and ran.out == "" and ran.err.count("\n") == 1 and "fish" in ran.err
