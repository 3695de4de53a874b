"""Train the sentiment adapters anew: `python -m models.train_sentiment lora|full`, behind `make train-sentiment`.

`lora` trains low-rank changes of every linear layer of the encoder, with its LayerNorms and the head (version 1.0.0).
`full` trains everything and cuts the change to rank 128 afterwards (version 1.1.0). Both take about half an hour on two
cores and write an adapter file; the shipped ones were made so. Targets are soft: the probability of POSITIVE is the
logistic function of 1.5 times the human rating, so that near-neutral texts teach that they are.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402
from torch.optim.lr_scheduler import LambdaLR  # noqa: E402
from transformers import AutoModelForSequenceClassification  # noqa: E402

from inference_worker.tasks.artifacts import Artifact, open_artifact  # noqa: E402
from inference_worker.tasks.rows import Row, pad  # noqa: E402
from inference_worker.tasks.text_classification import TextClassification  # noqa: E402
from inference_worker.tasks.tokens import TextTokenizer  # noqa: E402
from inference_worker.tasks.torch_models import moved, set_threads  # noqa: E402
from models.adapters import compress, write_adapter  # noqa: E402
from models.artifacts import ARTIFACTS  # noqa: E402
from models.build import build_all  # noqa: E402
from models.data import Rated, load_split  # noqa: E402
from models.evaluate import PINNED_RATING, sentiment_accuracies  # noqa: E402
from models.recipes import BASE, BASE_SHA256, write_sentiment_config  # noqa: E402

_BATCH = 32
_SOFTNESS = 1.5
_WARM_UP = 0.1  # share of the steps
_LORA_RANK, _LORA_ALPHA, _SVD_RANK = 16, 32.0, 128
_SEED = 7


@dataclass(frozen=True, slots=True)
class Plan:
    """How one kind of training goes."""

    learning_rate: float
    longest: int  # tokens in a row; training texts above it are cut
    paragraphs: int  # how many paragraphs are made of single training texts, to learn from longer ones as well


PLANS = {"lora": Plan(1.5e-3, 160, 4000), "full": Plan(8e-5, 96, 0)}


class LowRank(nn.Module):
    """A linear layer with a trainable low-rank change beside its frozen weight (LoRA, Hu et al., ICLR 2022)."""

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.A = nn.Parameter(torch.randn(rank, linear.in_features) / linear.in_features**0.5)
        self.B = nn.Parameter(torch.zeros(linear.out_features, rank))
        self.scale = alpha / rank

    def forward(self, inputs: Tensor) -> Tensor:
        change: Tensor = (inputs @ self.A.T) @ self.B.T
        return self.linear(inputs) + change * self.scale  # type: ignore[no-any-return]


def add_low_rank(model: Any) -> None:
    """Freeze a classifier, but for low-rank changes of its encoder, its LayerNorms, the pooler and the head."""
    model.requires_grad_(False)
    for module in list(model.bert.encoder.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, LowRank(child, _LORA_RANK, _LORA_ALPHA))
    for name, parameter in model.named_parameters():
        if name.startswith(("classifier", "bert.pooler")) or ("LayerNorm" in name and ".encoder." in name):
            parameter.requires_grad_(True)


def make_paragraphs(texts: Sequence[Rated], count: int) -> list[Rated]:
    """Paragraphs of 2 to 5 texts with their mean rating: neighbours of one article, or films of mostly one opinion."""
    rng = random.Random(_SEED)
    groups: dict[tuple[str, str], list[Rated]] = {}
    for rated in texts:
        if rated.domain in ("amazon", "nyt"):
            groups.setdefault((rated.domain, rated.group), []).append(rated)
    articles = [group for group in groups.values() if len(group) > 1]
    single = [rated for rated in texts if rated.domain in ("movie", "tweet")]
    agreeing = [[rated for rated in single if rated.rating * sign > 0.3] for sign in (1, -1)]

    def draw(index: int) -> list[Rated]:
        if index % 3 == 0:
            group = rng.choice(articles)
            size = min(len(group), rng.randint(2, 5))
            start = rng.randint(0, len(group) - size)
            return group[start : start + size]
        return rng.sample(rng.choice(agreeing) if rng.random() < 0.75 else single, rng.randint(2, 5))

    drawn = (draw(index) for index in range(count))
    return [Rated("paragraph", "", sum(r.rating for r in p) / len(p), " ".join(r.text for r in p)) for p in drawn]


def batches(rows: Sequence[Row], rng: random.Random) -> list[list[int]]:
    """Indices in random batches of like length: shuffled, sorted by length 50 batches at a time, shuffled again."""
    order = rng.sample(range(len(rows)), len(rows))
    stretch = _BATCH * 50
    parts = [
        sorted(order[start : start + stretch], key=lambda index: len(rows[index].ids))
        for start in range(0, len(order), stretch)
    ]
    cut = [part[start : start + _BATCH] for part in parts for start in range(0, len(part), _BATCH)]
    rng.shuffle(cut)
    return cut


def train(
    model: Any,
    tokenizer: TextTokenizer,
    texts: Sequence[Rated],
    steps: int,
    rate: float,
    report: Callable[[int, float], None],
    end_epoch: Callable[[], None],
) -> None:
    """Run the optimizer over the texts.

    Args:
        model: the classifier; what requires a gradient is trained.
        tokenizer: makes its rows.
        texts: what to learn from.
        steps: how many batches in all.
        rate: the learning rate of matrices.
        report: called after each step with its number and loss.
        end_epoch: called after each time through the texts, and at the end.
    """
    rows = [parts[0] for parts in tokenizer.rows([rated.text for rated in texts])]
    positive = torch.sigmoid(_SOFTNESS * torch.tensor([rated.rating for rated in texts]))
    targets = torch.stack([1 - positive, positive], dim=1)
    optimizer = torch.optim.AdamW(_parameter_groups(model, rate), lr=rate)
    warm_up = max(1, int(_WARM_UP * steps))
    schedule = LambdaLR(optimizer, lambda step: min(step / warm_up, (steps - step) / max(1, steps - warm_up)))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rng, step = random.Random(_SEED), 0
    while step < steps:
        model.train()
        for indices in batches(rows, rng)[: steps - step]:
            inputs = moved(pad([rows[index] for index in indices], tokenizer.pad_id), model.device)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = model(**inputs).logits
            loss = cross_entropy(logits.float(), targets[indices])
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            step += 1
            report(step, float(loss.detach()))
        end_epoch()


def _parameter_groups(model: Any, rate: float) -> list[dict[str, Any]]:
    """Matrices with weight decay; vectors without and, beside low-rank changes, five times slower."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    slow = rate / 5 if any(name.endswith(".A") for name, _ in named) else rate
    vectors = [parameter for name, parameter in named if parameter.ndim == 1 or (slow < rate and "pooler" in name)]
    known = {id(parameter) for parameter in vectors}
    matrices = [parameter for _, parameter in named if id(parameter) not in known]
    return [
        {"params": matrices, "weight_decay": 0.01, "lr": rate},
        {"params": vectors, "weight_decay": 0.0, "lr": slow},
    ]


def run(kind: str, epochs: int, max_steps: int | None, output: Path) -> None:
    """Train one kind of adapter, write it and print its held-out accuracy."""
    plan, split = PLANS[kind], load_split()
    texts = split["train"] + make_paragraphs(split["train"], plan.paragraphs)
    torch.manual_seed(_SEED)
    with tempfile.TemporaryDirectory() as scratch:
        artifact = _untrained(Path(scratch))
        model, tokenizer = _classifier(artifact), TextTokenizer.load(artifact, plan.longest)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if kind == "lora":
        add_low_rank(model)
    steps = min(-(-len(texts) // _BATCH) * epochs, max_steps or sys.maxsize)
    started = time.monotonic()

    def report(step: int, loss: float) -> None:
        if step % 100 == 0 or step == steps:
            print(
                f"step {step} of {steps}  loss {loss:.3f}  {(time.monotonic() - started) / step:.2f} s/step", flush=True
            )

    best = _Best(model, TextClassification(model, tokenizer, 8192), split["dev"])
    train(model, tokenizer, texts, steps, plan.learning_rate, report, best.offer)
    model.load_state_dict(best.state)
    _write(kind, model, before, output)
    for each in sentiment_accuracies(best.task, split["test"]):
        print(f"held out, |rating| >= {each.least_rating}: {each.share:.1%} of {each.texts}")


class _Best:
    """The weights of the epoch that did best on the development texts."""

    def __init__(self, model: Any, task: TextClassification, texts: Sequence[Rated]) -> None:
        self.task = task
        self.state: dict[str, Tensor] = {}
        self._model = model
        self._texts = texts
        self._share = -1.0

    def offer(self) -> None:
        """Measure the model as it is now, and keep it if it is the best so far."""
        self._model.eval()
        share = next(e.share for e in sentiment_accuracies(self.task, self._texts) if e.least_rating == PINNED_RATING)
        print(f"development texts, |rating| >= {PINNED_RATING}: {share:.1%}", flush=True)
        if share > self._share:
            self._share = share
            self.state = {name: tensor.detach().clone() for name, tensor in self._model.state_dict().items()}


def _untrained(directory: Path) -> Artifact:
    """The base with a sentiment configuration: its head is not in the file, and training starts it at random."""
    base = ARTIFACTS / BASE
    write_sentiment_config(base, directory)
    (directory / "model.safetensors").symlink_to(base / "model.safetensors")
    return open_artifact(str(directory), "float32")


def _classifier(artifact: Artifact) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(
        artifact.directory, config=artifact.config, use_safetensors=True, local_files_only=True, dtype=torch.float32
    )


def _write(kind: str, model: Any, before: dict[str, Tensor], output: Path) -> None:
    if kind == "lora":
        changed = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        write_adapter(output, changed, _LORA_RANK, _LORA_ALPHA, BASE_SHA256)
    else:
        adapter, kept = compress(before, model.state_dict(), _SVD_RANK)
        print(f"rank {_SVD_RANK} keeps {kept:.1%} of the squared change")
        write_adapter(output, adapter, _SVD_RANK, _SVD_RANK, BASE_SHA256)
    print(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB)")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m models.train_sentiment", description="Train a sentiment adapter.")
    parser.add_argument("kind", choices=sorted(PLANS), help="lora (version 1.0.0) or full (version 1.1.0)")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--max-steps", type=int, help="stop after so many steps, to try the code")
    parser.add_argument("--output", type=Path, help="adapter file to write (default: under models/artifacts/trained/)")
    options = parser.parse_args(arguments)
    output = options.output or ARTIFACTS / "trained" / f"sentiment-{options.kind}.safetensors"
    output.parent.mkdir(parents=True, exist_ok=True)
    set_threads()
    build_all(BASE)
    run(options.kind, options.epochs, options.max_steps, output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
