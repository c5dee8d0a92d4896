"""Logistic regression of scikit-learn with its defaults, on TF-IDF or with --embed on MiniLM's embeddings.

On TF-IDF it sees all words of a text. The embeddings are means over the tokens, of length one, as the model was trained
to give them. The time is that of making the features of the training part and of the fit.
"""

from __future__ import annotations

import text_common
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

EMBED = "--embed"
BATCH = 32


def embedded(texts: list[str], length: int) -> torch.Tensor:
    import transformers

    transformers.logging.set_verbosity_error()
    tokenizer = transformers.AutoTokenizer.from_pretrained(text_common.weights())
    model = transformers.AutoModel.from_pretrained(text_common.weights()).eval()
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    found = torch.zeros(len(texts), model.config.hidden_size)
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            chosen = [texts[place] for place in places]
            inputs = tokenizer(chosen, truncation=True, max_length=length, padding=True, return_tensors="pt")
            mask = inputs["attention_mask"][..., None]
            mean = (model(**inputs).last_hidden_state * mask).sum(1) / mask.sum(1)
            found[places] = torch.nn.functional.normalize(mean)
    return found


def main() -> None:
    given = text_common.options(__doc__, flags=True)
    (texts, labels), (asked, _) = (text_common.rows(given, part) for part in ("train", "test"))
    by_model = EMBED in given.extra
    clock = text_common.Clock()
    if by_model:
        features = embedded(texts, given.length).numpy()
    else:
        counted = TfidfVectorizer()
        features = counted.fit_transform(texts)
    regression = LogisticRegression(max_iter=1000).fit(features, labels)
    clock.stop()
    wanted = embedded(asked, given.length).numpy() if by_model else counted.transform(asked)
    system = "embed" if by_model else "tfidf"
    text_common.show(system, ["scikit-learn"], given, clock.seconds, list(regression.predict(wanted)))


if __name__ == "__main__":
    main()
