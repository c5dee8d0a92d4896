"""The page of a run: for every kind of task, of what the run's folder holds, each number from its JSON."""

import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import reported
from commands import Hubft
from runs import heard

from hubft import engine
from hubft.report import page, samples
from hubft.tasks.metrics import number

Made = Callable[[str], engine.Result]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Gives the run of a kind, made when it is asked for first."""
    found: dict[str, engine.Result] = {}

    def run(kind: str) -> engine.Result:
        if kind not in found:
            with pytest.MonkeyPatch.context() as patch:
                found[kind] = reported.run(kind, tmp_path_factory.mktemp(kind), patch)
        return found[kind]

    return run


class Page(HTMLParser):
    """The elements of a page, and the text of those with an id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, str] = {}
        self.links: list[tuple[str, str]] = []
        self.open: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        its = {name: value or "" for name, value in attrs}
        self.tags.append((tag, its))
        if tag not in ("meta", "link", "br", "img", "path", "use", "rect"):
            self.open.append((tag, its))
        if tag == "a" and its.get("class") == "n":
            self.links.append((its["href"], ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        for tag, its in self.open:
            if "id" in its:
                self.texts[its["id"]] = self.texts.get(its["id"], "") + data
            if tag == "a" and its.get("class") == "n":
                self.links[-1] = (self.links[-1][0], self.links[-1][1] + data)


def read(result: engine.Result) -> tuple[str, Page]:
    text = (result.run.report / page.FILE).read_text(encoding="utf-8")
    return text, Page(text)


@pytest.mark.parametrize("kind", reported.KINDS)
def test_every_kind_has_its_page(made: Made, kind: str) -> None:
    text, its = read(made(kind))
    assert len(text.encode()) < 5e6 and "Traceback" not in text and "Undefined" not in text
    for tag, attributes in its.tags:
        for name in ("src", "href", "xlink:href", "action"):
            assert re.match(r"data:|#|$", attributes.get(name, "")), f"<{tag} {name}> leaves the page"
    assert text.count("<svg") >= 3, "the headline, and two curves"
    facts = json.loads((made(kind).run.report / page.FACTS).read_text())
    assert len(facts["mistakes"]) == text.count('class="wrong"')
    assert facts["mistakes"] or made(kind).metrics.head.value == 1
    shown = sum(tag == "img" for tag, _ in its.tags)
    assert shown >= 12 if facts["kind"] == "images" else text.count("<blockquote") >= len(facts["mistakes"])


@pytest.mark.parametrize("kind", reported.KINDS)
def test_every_number_leads_to_the_json_that_has_it(made: Made, kind: str) -> None:
    _, its = read(made(kind))
    assert len(its.links) > 20
    for href, text in its.links:
        stated, first = its.texts[href[1:]], re.match(r"-?[\d,.]+(?:e[-+]?\d+)?", text)
        if first and re.fullmatch(r"-?[\d.]+(e[-+]?\d+)?", stated):
            assert number(float(stated)) == text or float(stated) == float(text.replace(",", "")), (text, stated)
        elif stated.startswith("{") and " [" in text:  # a number with its interval
            assert number(json.loads(stated)["value"]) == text.partition(" ")[0]
    head = made(kind).metrics.head
    assert any(text.startswith(number(head.value)) for _, text in its.links)


def test_names_are_inert(made: Made) -> None:
    text, its = read(made("classification"))
    assert text.count("<script") == 1 and not any("onerror" in attributes for _, attributes in its.tags)
    assert "{{ 7 * 7 }}" in text and "49 " not in re.findall(r"图 [^<]{0,9}", text)


def test_the_headline_stands_against_the_probe_and_the_base_rate(made: Made) -> None:
    result = made("classification")
    facts = json.loads((result.run.report / page.FACTS).read_text())
    assert facts["base_rate"]["accuracy"]["value"] == pytest.approx(1 / 3, abs=0.05)
    text, _ = read(result)
    assert all(f"<dt>{name}</dt>" in text for name in ("probe", "base rate"))
    assert not json.loads((made("boxes").run.report / page.FACTS).read_text())["base_rate"]


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression"])
def test_the_difference_to_probe_and_base_rate_is_paired(made: Made, kind: str) -> None:
    result = made(kind)
    results = json.loads((result.run.report / "results.json").read_text())
    facts = json.loads((result.run.report / page.FACTS).read_text())
    name, (text, its) = result.metrics.headline, read(result)
    others = {"base_rate": facts["base_rate"]} | ({"probe": results["probe"]} if results["probe"] else {})
    assert set(others) == set(results["beyond"]), "of each that there is"
    for other, metrics in others.items():
        apart, reached = results["beyond"][other], results["metrics"][name]
        assert apart["value"] == pytest.approx(reached["value"] - metrics[name]["value"], abs=1e-6)
        assert apart["low"] <= apart["value"] <= apart["high"] and apart["n"] == reached["n"]
        assert "; difference <a" in text
        assert any(shown.startswith(number(apart["value"])) for _, shown in its.links)


def test_pictures_of_samples_stay_in_the_report(made: Made) -> None:
    for kind in ("classification", "boxes"):
        run = made(kind).run
        assert list((run.report / samples.FOLDER).glob("mistake-*.jpg"))
        assert not list(run.package.rglob("*.jpg")) and not list(run.package.rglob("outcomes*"))


def test_it_is_written_again_without_the_data_and_where_it_is_now(made: Made, hubft: Hubft, tmp_path: Path) -> None:
    run = made("classification").run
    there = Path(json.loads(run.job_file.read_text())["data"])
    before = (run.report / page.FILE).read_bytes()
    (run.report / page.FILE).unlink()
    ran = hubft("report", run.folder)
    assert ran.code == 0 and f"report   {run.report / page.FILE}" in ran.out
    assert (run.report / page.FILE).read_bytes() == before, "the same samples, views and maps"
    moved = shutil.move(there, tmp_path / "moved")
    try:
        ran = hubft("report", run.folder)
        assert ran.code == 0 and "which is not there now" in ran.out
        assert (run.report / page.FILE).read_bytes() == before
        shutil.rmtree(run.report / samples.FOLDER)
        assert hubft("report", run.folder, "--data", moved).code == 0
        assert (run.report / page.FILE).read_bytes() == before
    finally:
        shutil.move(moved, there)


def test_what_is_no_run_is_told_in_a_line(hubft: Hubft, tmp_path: Path) -> None:
    ran = hubft("report", tmp_path)
    assert ran.code == 2 and ran.err.startswith("hubft: ") and len(ran.err.splitlines()) == 1


def test_no_run_is_lost_for_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("a font")

    monkeypatch.setattr(page, "write", broken)
    monkeypatch.setattr(samples, "shown", broken)
    job = reported.classification(tmp_path, monkeypatch)
    result, console = heard(job.__class__(job.reference, job.data, recipe=job.recipe, output=tmp_path / "run"))
    notes = console.about("note: ")
    assert result.run.package.is_dir() and (result.run.report / "results.json").is_file()
    assert sum("a font" in note for note in notes) == 2 and any("hubft report" in note for note in notes)
