"""The page of `hubft try` in a real browser, and the same page as a Space that was pushed to a loopback Hub."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import packages
import pictures
import pytest
from commands import Hubft
from extras import needs
from loopback import hub
from loopback.hub_api import SPACE

from hubft.base import urls
from hubft.deploy.trial import samples
from hubft.share import inference, load

gradio_client = needs("gradio_client", "gradio")
needs("gradio", "gradio")
pytestmark = pytest.mark.timeout(900)
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = os.environ.get("HUBFT_BROWSER") or next((found for name in NAMES if (found := shutil.which(name))), "")
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder with a run and labelled data."""
    packages.write(tmp_path / "run" / "package", packages.toy_job())
    pictures.folder(tmp_path / "insects", packages.CLASSES, 4, 3)
    return tmp_path


@contextmanager
def serving(command: list[str], cwd: Path, **environment: str) -> Iterator[str]:
    """Give the address of a page that a process serves; the process ends as by Ctrl-C."""
    process = subprocess.Popen(
        command, cwd=cwd, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout and process.stderr
        if "GRADIO_SERVER_PORT" in environment:  # an app says nothing
            yield answering(process, f"http://127.0.0.1:{environment['GRADIO_SERVER_PORT']}")
        else:
            line = process.stdout.readline()
            address = re.search(r"http://[\w.:]+", line)
            assert address, line + process.stderr.read()
            yield address[0]
    finally:
        process.kill()
        process.communicate()


def answering(process: subprocess.Popen[str], address: str) -> str:
    """Return the address when there is an answer at it."""
    while True:
        assert process.poll() is None, process.communicate()[1]
        with suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return address
        time.sleep(0.2)


def answered(made: Path, picture: Path) -> dict[str, float]:
    """Return what the command line would say."""
    [answer] = inference.predict(load.opened(load.package(made / "run")), [picture])
    found: dict[str, float] = answer.said["probabilities"]
    return found


def asked(address: str, picture: Path) -> tuple[str, dict[str, float], str]:
    """Return answer, confidences and examples that the page gives to a real HTTP client."""
    client = gradio_client.Client(address, verbose=False)
    said, sure, _, like = client.predict(gradio_client.handle_file(str(picture)), api_name="/ask")
    client.close()
    return said, {one["label"]: one["confidence"] for one in sure["confidences"]}, like


def test_a_picture_is_dropped_in_a_browser(made: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    if not BROWSER:
        pytest.skip("no browser: apt-get install chromium, or set HUBFT_BROWSER")
    picture = made / "insects" / "val" / "bee" / "0.png"
    best = next(iter(answered(made, picture)))
    command = [sys.executable, "-m", "hubft", "try", "run", "--examples", "insects"]
    with serving(command, made) as address, sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        tab, elsewhere, wrong = browser.new_page(), [], []
        tab.set_default_timeout(240_000)  # milliseconds: the first answer imports torch
        tab.on("request", lambda one: elsewhere.append(one.url) if not one.url.startswith(("data:", "blob:")) else None)
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.goto(address)
        tab.set_input_files("input[type=file]", str(picture))
        tab.wait_for_function("document.querySelector('#answer textarea')?.value")
        assert tab.input_value("#answer textarea").startswith(best)
        assert best in tab.inner_text("#sure") and f"Examples of {best}" in tab.inner_text("#examples")
        assert tab.locator("#examples img").count() == 3
        tab.wait_for_function("[...document.querySelectorAll('#examples img')].every(one => one.naturalWidth)")
        browser.close()
    assert wrong == [] and [url for url in elsewhere if not url.startswith(address)] == [], "nothing leaves the machine"


def test_the_space_of_a_package_answers_as_the_package(made: Path, hubft: Hubft, toy_site: Path) -> None:
    picture = made / "insects" / "val" / "cat" / "1.png"
    with hub.serving(hub.Hub()) as served:
        mine = {"HF_ENDPOINT": served.url, "HF_TOKEN": served.token, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        mine |= {"HF_HOME": str(made / "hf"), "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, "-m", "hubft", "push", "run", "me/insects", "--public", "--space"]

        def push(*more: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run([*command, *more], cwd=made, env=os.environ | mine, capture_output=True, text=True)

        done = push("--examples", "insects")
        assert done.returncode == 0, done.stderr
        assert served.refs["me/insects"]["main"] in done.stdout and "space    " in done.stdout
        files = served.files(f"{SPACE}me/insects")
        assert {"app.py", "README.md", "requirements.txt", samples.FILE, "hubft/job.py"} <= files.keys()
        assert b"sdk: gradio" in files["README.md"] and b"\n- me/insects\n" in files["README.md"]
        assert b"torch>=" in files["requirements.txt"] and b"pytest" not in files["requirements.txt"]
        assert not [path for path in files if path.endswith((".pyc", ".png", ".jpg")) or path.startswith("insects")]
        space = made / "space"
        for path, content in files.items():
            (space / path).parent.mkdir(parents=True, exist_ok=True)
            (space / path).write_bytes(content)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        theirs = {"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": port, "PYTHONPATH": str(toy_site)}
        with serving([sys.executable, "app.py"], space, **mine, **theirs) as address:
            said, sure, like = asked(address, picture)
        wanted = answered(made, picture)
        assert sure == pytest.approx(wanted, abs=1e-5) and said.startswith(next(iter(wanted)))
        assert f"Examples of {next(iter(wanted))}" in like
        assert push().returncode == 0 and samples.FILE not in served.files(f"{SPACE}me/insects")
        served.put(f"{SPACE}me/insects", {"game.py": b"mine"})
        done = push()
        assert done.returncode == 2 and "something that hubft did not make (game.py)" in done.stderr
        assert served.files(f"{SPACE}me/insects") == {"game.py": b"mine"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("try nowhere", "nowhere"),
        ("try run --examples nowhere", "'nowhere' is no folder"),
        ("try run --port 0", "--port 0: must be 1 to 65535"),
        (
            "push run me/insects --examples insects",
            "--examples is for the page that is sent along: ask for it by --space",
        ),
        ("push run me/insects --space --examples nowhere", "'nowhere' is no folder"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(made: Path, hubft: Hubft, line: str, said: str) -> None:
    ran = hubft(*line.split())
    assert ran.code == 2 and said in ran.err and ran.err.count("\n") == 1 and ran.out == ""


def test_texts_are_never_files_and_names_are_inert(tmp_path: Path) -> None:
    shown = samples.shown({EVIL: [EVIL, f"{urls.PICTURE}png;base64,AA=="]}, [EVIL, "other"])
    assert "<img src=x" not in shown and shown.count("&lt;img src=x onerror=alert(1)&gt;") == 3
