"""Logistic regression of scikit-learn with its defaults, on TF-IDF or with --embed on MiniLM's embeddings.

On TF-IDF it sees all words of a text. The embeddings are means over the tokens, of length one, as the model was trained
to give them; with --seconds, of as many rows as there is time for, drawn from all of them. The time is that of making
the features of the training part and of the fit.
"""

from __future__ import annotations

import random

import text_common
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

EMBED = "--embed"
BATCH = 32


def embedded(texts: list[str], length: int, seconds: float = 0) -> tuple[torch.Tensor, list[int]]:
    """Return the embeddings of texts, and which texts they are of: of as many as `seconds` has time for, 0 for all."""
    import transformers

    transformers.logging.set_verbosity_error()
    tokenizer = transformers.AutoTokenizer.from_pretrained(text_common.weights())
    model = transformers.AutoModel.from_pretrained(text_common.weights()).eval()
    found, done, clock = torch.zeros(len(texts), model.config.hidden_size), [], text_common.Clock()
    with torch.inference_mode():
        for places in batches(texts, bool(seconds)):
            clock.stop()
            if seconds and clock.seconds > seconds:
                break
            done += places
            chosen = [texts[place] for place in places]
            inputs = tokenizer(chosen, truncation=True, max_length=length, padding=True, return_tensors="pt")
            mask = inputs["attention_mask"][..., None]
            mean = (model(**inputs).last_hidden_state * mask).sum(1) / mask.sum(1)
            found[places] = torch.nn.functional.normalize(mean)
    return found[done], done


def batches(texts: list[str], drawn: bool) -> list[list[int]]:
    """Return all texts by their places, in batches of like lengths, which come as they are drawn or by length."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    found = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    if drawn:
        random.Random(0).shuffle(found)
    return found


def main() -> None:
    given = text_common.options(__doc__, flags=True)
    (texts, labels), (asked, _) = (text_common.rows(given, part) for part in ("train", "test"))
    by_model = EMBED in given.extra
    clock = text_common.Clock()
    if by_model:
        made, places = embedded(texts, given.length, given.seconds)
        features, labels = made.numpy(), [labels[place] for place in places]
    else:
        counted = TfidfVectorizer()
        features = counted.fit_transform(texts)
    regression = LogisticRegression(max_iter=1000).fit(features, labels)
    clock.stop()
    if by_model:
        seen, places = embedded(asked, given.length)
        wanted = torch.zeros_like(seen).index_copy(0, torch.tensor(places), seen).numpy()
    else:
        wanted = counted.transform(asked)
    system, more = ("embed", {"rows": len(labels)}) if by_model else ("tfidf", {})
    text_common.show(system, ["scikit-learn"], given, clock.seconds, list(regression.predict(wanted)), **more)


if __name__ == "__main__":
    main()
