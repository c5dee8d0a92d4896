"""Documents that choose among answers: which those are, and what they would be with another answer."""

import json
from typing import Any

from hubft.text import choices


def texts(*documents: dict[str, Any]) -> list[str]:
    return [json.dumps(one) for one in documents]


def pair(completion: str, **more: Any) -> dict[str, Any]:
    return {"prompt": "a", "completion": completion, **more}


def chat(answer: str, *before: str) -> dict[str, Any]:
    roles = ("user", "assistant")
    said = [*before, "a", answer]
    return {"messages": [{"role": roles[i % 2], "content": one} for i, one in enumerate(said)]}


def test_a_few_answers_that_recur_are_chosen_among() -> None:
    assert choices.shared(texts(*map(pair, ("no", "yes", "no", "yes", "yes")))) == ("no", "yes")
    assert choices.shared(texts(*map(chat, ("no", "yes", "no", "yes")))) == ("no", "yes")
    for answers in (("no", "yes", "yes"), ("yes", "yes"), [str(i % 11) for i in range(44)], ("x" * 101, "y") * 2):
        assert choices.shared(texts(*map(pair, answers))) == (), answers
    assert choices.shared(texts(*[pair("no"), pair("yes", choices=["yes", "no"])] * 2)) == ()
    assert choices.shared(texts({"text": "no"}, {"text": "no"}, {"text": "yes"}, {"text": "yes"})) == ()


def test_a_document_is_given_each_other_answer() -> None:
    def others(document: dict[str, Any], *among: str) -> list[Any]:
        return [json.loads(one) for one in choices.others(json.dumps(document), among)]

    assert others(pair("no"), "maybe", "no", "yes") == [pair("maybe"), pair("yes")]
    assert others(pair("never"), "no", "yes") == []
    own = pair(" b\n", choices=["a ", "b", "c"])
    assert others(own, "no", "yes") == [pair(" a\n"), pair(" c\n")], "blanks around the answer stay"
    assert others(chat("no", "q", "x"), "no", "yes") == [chat("yes", "q", "x")]
    assert others({"text": "no"}, "no", "yes") == []
