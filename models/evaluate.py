"""Measure what is shipped, with the code that serves it: `python -m models.evaluate`, behind `make eval`.

Prints held-out accuracy of both sentiment versions and of zero-shot classification on the same texts, what the
extractive summaries of the fixture articles hold, and which numbers the abstractive ones made up.
Exits with 1 where a figure is below its floor, so that no change to a recipe, a library or a task can lower it unseen.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inference_worker.tasks.loading import load_task
from inference_worker.tasks.protocol import Item, Task
from inference_worker.tasks.threads import use_threads
from models.articles import Article, load_articles
from models.artifacts import ROOT
from models.build import build_all
from models.data import Rated, load_split
from models.packages import BuildError
from shared.contract.catalogue import Catalogue
from shared.service.catalogue_file import load_catalogue

LEAST_RATINGS = (0.01, 0.5, 1.0)  # a text nearer to 0 than this has no clear sentiment and is not counted
PINNED_RATING = 0.5
ACCURACY_FLOORS = {
    ("sentiment-analysis", "1.0.0"): 0.855,
    ("sentiment-analysis", "1.1.0"): 0.875,
    ("zero-shot-classification", "1.0.0"): 0.63,
}
SENTIMENT_LABELS = ("positive", "negative")
LARGEST_SHARE = 0.4
_BATCH = 64
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How often a sentiment model is right on texts rated at least this far from 0."""

    least_rating: float
    right: int
    texts: int

    @property
    def share(self) -> float:
        return self.right / self.texts


def sentiment_accuracies(task: Task, texts: Sequence[Rated]) -> list[Accuracy]:
    """Score rated texts and count, for each of `LEAST_RATINGS`, how often the label agrees with the rating's sign."""
    labels: list[str] = []
    for start in range(0, len(texts), _BATCH):
        encoded = task.encode(
            [Item(rated.text, {"labels": SENTIMENT_LABELS}) for rated in texts[start : start + _BATCH]]
        )
        labels += [str(output.result["label"]) for output in task.predict(encoded)]
    right = [(label.lower() == "positive") == (rated.rating > 0) for label, rated in zip(labels, texts, strict=True)]
    counted = ([ok for ok, rated in zip(right, texts, strict=True) if abs(rated.rating) >= at] for at in LEAST_RATINGS)
    return [Accuracy(at, sum(each), len(each)) for at, each in zip(LEAST_RATINGS, counted, strict=True)]


def summary_faults(article: Article, summary: str) -> list[str]:
    """What is wrong with an extractive summary; empty where nothing is."""
    faults = [f"lacks {fact!r}" for fact in article.facts if fact not in summary]
    if len(summary) > LARGEST_SHARE * len(article.text):
        faults.append("is too long")
    return faults


def invented_numbers(text: str, summary: str) -> list[str]:
    """The numbers in a summary that are not in its text."""
    known = set(_NUMBER.findall(text))
    return [number for number in _NUMBER.findall(summary) if number not in known]


def load_version(catalogue: Catalogue, name: str, version: str) -> Task:
    """Load one version of the catalogue as the worker does."""
    model = catalogue.find(name)
    found = model.find(version) if model else None
    if model is None or found is None:
        raise BuildError(f"the catalogue has no {name}:{version}")
    location = catalogue.artifact_location(found)
    return load_task(model.task, location, found.dtype, found.batch.tokens, found.engine)


def main() -> int:
    """The command; returns its exit code."""
    use_threads()
    try:
        build_all()
        texts = load_split()["test"]
        catalogue = load_catalogue(Path(ROOT, "models.toml"))
        good = [_report_sentiment(catalogue, *key, floor, texts) for key, floor in ACCURACY_FLOORS.items()]
        good.append(_report_summaries(load_version(catalogue, "text-summarization", "1.0.0")))
        _report_inventions(load_version(catalogue, "text-summarization", "2.0.0"))
    except BuildError as error:
        print(f"eval: error: {error}", file=sys.stderr)
        return 1
    return 0 if all(good) else 1


def _report_sentiment(catalogue: Catalogue, name: str, version: str, floor: float, texts: Sequence[Rated]) -> bool:
    started = time.monotonic()
    accuracies = sentiment_accuracies(load_version(catalogue, name, version), texts)
    pinned = next(each for each in accuracies if each.least_rating == PINNED_RATING)
    for each in accuracies:
        bound = f"  (at least {floor:.1%})" if each is pinned else ""
        print(f"{name} {version}  |rating| >= {each.least_rating}  n = {each.texts}  {each.share:.1%}{bound}")
    verdict = "ok" if pinned.share >= floor else "BELOW ITS FLOOR"
    print(f"{name} {version}  {verdict}, {time.monotonic() - started:.1f} s", flush=True)
    return pinned.share >= floor


def _report_summaries(task: Task) -> bool:
    good = True
    for article in load_articles():
        [output] = task.predict(task.encode([Item(article.text)]))
        summary = str(output.result["summary"])
        faults = summary_faults(article, summary)
        share = len(summary) / len(article.text)
        found = ", ".join(faults) or "all facts held"
        print(f"text-summarization 1.0.0  {article.title}: {share:.0%} of the text, {found}")
        good = good and not faults
    return good


def _report_inventions(task: Task) -> None:
    """Print the numbers of abstractive summaries that their article has not; no floor, as the card says it happens."""
    articles = load_articles()
    outputs = task.predict(task.encode([Item(article.text) for article in articles]))
    for article, output in zip(articles, outputs, strict=True):
        made_up = invented_numbers(article.text, str(output.result["summary"]))
        print(f"text-summarization 2.0.0  {article.title}: numbers not in the text: {', '.join(made_up) or 'none'}")


if __name__ == "__main__":
    sys.exit(main())
