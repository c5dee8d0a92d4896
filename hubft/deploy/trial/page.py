"""The page: something is dropped or typed, and answer, confidence and samples of the class stand beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from typing import Any

from hubft import modality
from hubft.base.display import visible
from hubft.base.distributions import installs, missing
from hubft.base.errors import JobError
from hubft.data.asked import Input
from hubft.data.freetext import Texts
from hubft.deploy.trial import samples
from hubft.deploy.trial.samples import Examples
from hubft.publish import measured
from hubft.share import inference
from hubft.share.opened import Opened

EXTRA = "gradio"
TOP = 5  # classes whose confidence is shown
FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # none is fetched


def library() -> Any:
    """Return gradio, which then reports nothing to anybody.

    :raises JobError: it is not installed.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        import gradio
    except ImportError as error:
        raise JobError(f"a page to try a package on {missing('gradio', installs(EXTRA))}") from error
    return gradio


def serve(
    opened: Opened, examples: Examples, host: str | None = "127.0.0.1", port: int | None = None, wait: bool = True
) -> tuple[Any, str]:
    """Serve the page; return it and its address.

    :param host: to listen on; None leaves it to gradio, which a Space tells by its environment.
    :param port: to listen on; a free one from 7860 on, if none is given.
    :param wait: until the process is told to end.
    :raises JobError: gradio is not installed, or the port is taken.
    """
    gradio = library()
    made = page(opened, examples)
    theme = gradio.themes.Default(**FONTS)
    try:
        _, address, _ = made.launch(
            server_name=host, server_port=port, prevent_thread_lock=not wait, share=False, quiet=True, ssr_mode=False,
            footer_links=[], theme=theme,
        )  # fmt: skip
    except OSError as error:
        raise JobError(f"no page can be served on {host}: {error}") from error
    return made, str(address).rstrip("/")


def page(opened: Opened, examples: Examples) -> Any:
    """Return the page of a model, as gradio's `Blocks`."""
    gradio, manifest = library(), opened.manifest
    task, word = manifest.task, modality.of(manifest.inputs).word
    title = f"{manifest.job.reference} {task.summary()}"
    pictures = manifest.inputs.kind == "images"
    with gradio.Blocks(title=visible(title, 100)) as made:
        gradio.Markdown("# Try it", elem_id="title")
        gradio.Textbox(title, label="The model", interactive=False)
        if reached := measured.headline(manifest):
            gradio.Textbox(reached, label="What it reached on data that it was not trained on", interactive=False)
        with gradio.Row():
            with gradio.Column():
                if pictures:
                    given = gradio.Image(type="filepath", image_mode=None, sources=["upload", "clipboard"], label=word)
                else:
                    given = gradio.Textbox(label=word, lines=4, elem_id="text")
                button = gradio.Button("Ask", variant="primary")
            with gradio.Column():
                said = gradio.Textbox(label="Answer", elem_id="answer")
                sure = gradio.Label(label="Confidence", num_top_classes=TOP, visible=task.ranks, elem_id="sure")
                drawn = gradio.Image(label="Where", visible=task.located, interactive=False)
                like = gradio.HTML(elem_id="examples")
        starts = [button.click, given.upload if pictures else given.submit]
        gradio.on(starts, asking(opened, examples, pictures), given, [said, sure, drawn, like], api_name="ask")
    return made


Shown = tuple[str, Mapping[str, float] | None, Any, str]


def asking(opened: Opened, examples: Examples, pictures: bool) -> Callable[[str | None], Shown]:
    """Return what answers: gets a picture's file or a text, gives answer, confidences, drawn picture and samples.

    A text is a text, also where it is the name of a file of this machine.
    """
    task = opened.manifest.task

    def ask(given: str | None) -> Shown:
        if not given:
            return "nothing was given yet", None, None, ""
        one = Input("it", given) if pictures else Input("it", given, Texts({given: given}))
        answer = next(iter(inference.answers(opened, [one])))
        if answer.error:
            return f"no answer: {answer.error}", None, None, ""
        if task.writes:
            return str(answer.said["written"]), None, None, ""
        sure = answer.said.get("probabilities") if task.ranks else None
        return task.words(answer.said, TOP), sure, _drawn(opened, one, answer.said), _like(examples, answer.said)

    return ask


def _like(examples: Examples, said: Mapping[str, Any]) -> str:
    """Return samples of the classes that were said."""
    names: Iterable[str] = [said["class"]] if "class" in said else said.get("labels", ())
    return samples.shown(examples, names)


def _drawn(opened: Opened, one: Input, said: Mapping[str, Any]) -> Any:
    """Return the picture with what was found drawn on it, where a model says such."""
    manifest = opened.manifest
    drawing = modality.of(manifest.inputs).drawing()
    if not manifest.task.located or drawing is None:
        return None
    from PIL import Image

    return Image.open(BytesIO(drawing.one(one.open(), said, manifest.task.names)))
