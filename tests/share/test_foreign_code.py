"""A model with code of its own on a Hub: that of the very commit is run, on request, and fetched for a package."""

import shutil
from pathlib import Path

import own_code
import texts
from extras import needs
from loopback.hub import Hub, serving
from terminal import TOKEN, Terminal

from hubft.publish import manifest as manifests

needs("transformers", "transformers")


def test_a_package_is_built_by_the_code_of_the_commit(tmp_path: Path, server: str) -> None:
    own = own_code.model(tmp_path / "own")
    with serving(Hub(token=TOKEN)) as hub:
        commit = hub.commit("me/own", own)
        log = tmp_path / "ran.txt"
        user = Terminal(hub, tmp_path, server, **{own_code.RAN: str(log)})
        texts.table(user.work / "reviews.csv")
        words = ("finetune", "transformers:me/own", "reviews.csv", "--epochs", "1", "--workers", "0", "--output", "run")
        asks = "hubft: transformers:me/own brings code of its own, 'configuration_own.py', 'modeling_own.py', which "
        assert user.run(*words).error.startswith(asks) and not log.exists()
        ran = user.run(*words, "--trust")
        assert ran.code == 0, ran.err
        assert ran.out.splitlines()[-1] == "try      hubft predict run TEXT --trust"
        base = manifests.read(user.work / "run" / "package" / "hubft.json").base
        assert (base.reference, base.revision) == (f"transformers:me/own@{commit}", commit)
        assert set(base.code) == set(own_code.FILES)

        with (own / "modeling_own.py").open("a") as file:
            file.write("raise SystemExit(7)\n")
        hub.commit("me/own", own)
        shutil.rmtree(tmp_path / "cache")
        ask = ("predict", "run", "the lovely film")
        assert "loading this package runs the code of transformers:me/own@" in user.run(*ask).error
        assert not (tmp_path / "cache" / "hub").exists(), "nothing is fetched before"
        assert user.run(*ask, "--trust").out.startswith("the lovely film: ")
        hub.requests.clear()
        cached = user.but(HF_HUB_OFFLINE="1", **{own_code.RAN: str(log)}).run(*ask, "--trust")
        assert cached.out.startswith("the lovely film: ") and not hub.requests
        assert "its code cannot be run: SystemExit" in user.run(*words[:-1], "other", "--trust").error
