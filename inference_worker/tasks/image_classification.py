"""Task `image-classification`: what an image shows, as `{"label", "scores": {label: score}}`, the best labels first.

The input is an image as base64 or a `data:` URL (see `images`). It is made into what the model reads by the artifact's
own `preprocessor_config.json`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoImageProcessor

from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.images import read_image
from inference_worker.tasks.protocol import Encoded, Item, Output
from inference_worker.tasks.torch_models import load_model, moved
from inference_worker.tasks.vectors import Floats, floats, rounded
from shared.contract.errors import ConfigurationError

DEFAULT_TOP_K = 5
_Processor: Any = AutoImageProcessor  # has no types
_PIXELS_A_TOKEN = 16 * 16  # a patch, as vision transformers have them: so that an image costs about what a text does
# Two by two pixels: red, green, blue, white.
_SAMPLE = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFklEQVR42mP4z8DA8J+BkYHh////DAAe9gT9CzF8CQAAAABJRU5ErkJggg=="


class ImageClassification:
    """Any image classifier.

    Attributes:
        labels: what the model's configuration names.
    """

    sample = Item(_SAMPLE)

    def __init__(self, model: Any, processor: Any, token_budget: int) -> None:
        self._model, self._processor, self._token_budget = model, processor, token_budget
        self.labels = [str(model.config.id2label[index]) for index in range(model.config.num_labels)]
        self._scores = _activation(model.config)

    @classmethod
    def load(cls, artifact: Artifact, token_budget: int) -> ImageClassification:
        """Load an image classifier and how its images are prepared.

        Raises:
            ConfigurationError: the artifact is of another kind, or does not say how images are prepared.
        """
        try:
            processor = _Processor.from_pretrained(artifact.directory, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, ImportError) as error:
            told = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ConfigurationError(
                f"{artifact.location} does not say how its images are prepared (preprocessor_config.json): {told}"
            ) from error
        return cls(load_model("AutoModelForImageClassification", artifact), processor, token_budget)

    def encode(self, items: Sequence[Item]) -> list[Encoded]:
        """Decode and prepare; `data` is (pixels, how many labels are wanted).

        Raises:
            InvalidInput: it is no image that is read.
        """
        return [self._encode(item) for item in items]

    def predict(self, batch: Sequence[Encoded]) -> list[Output]:
        """Classify, images of one shape together; the confidence is the score of the best label."""
        by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, each in enumerate(batch):
            by_shape[each.data[0].shape].append(index)
        outputs: dict[int, Output] = {}
        for indices in by_shape.values():
            for part in _parts(indices, max(1, self._token_budget // batch[indices[0]].tokens)):
                scores = self._pass([batch[index].data[0] for index in part])
                outputs.update(
                    (index, self._output(of, batch[index].data[1])) for index, of in zip(part, scores, strict=True)
                )
        return [outputs[index] for index in range(len(batch))]

    def _encode(self, item: Item) -> Encoded:
        image = read_image(item.input)
        [pixels] = self._processor(images=image, return_tensors="np")["pixel_values"]
        tokens = max(1, pixels.shape[-1] * pixels.shape[-2] // _PIXELS_A_TOKEN)
        return Encoded(tokens, (np.asarray(pixels, np.float32), item.options.get("top_k", DEFAULT_TOP_K)))

    def _pass(self, images: Sequence[Floats]) -> Floats:
        pixels = {"pixel_values": torch.from_numpy(np.stack(images)).to(self._model.dtype)}
        with torch.inference_mode():
            scores: Tensor = self._scores(self._model(**moved(pixels, self._model.device)).logits.float())
        return floats(scores)

    def _output(self, scores: Floats, top_k: int) -> Output:
        told = rounded(scores)
        order = sorted(range(len(told)), key=lambda index: -told[index])[:top_k]
        best = told[order[0]]
        ranked = {self.labels[index]: told[index] for index in order}
        return Output({"label": self.labels[order[0]], "scores": ranked}, best if 0 <= best <= 1 else None)


def _activation(config: Any) -> Any:
    if config.problem_type == "regression":
        return lambda logits: logits
    if config.problem_type == "multi_label_classification" or config.num_labels == 1:
        return torch.sigmoid
    return lambda logits: logits.softmax(-1)


def _parts(indices: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    yield from (indices[start : start + size] for start in range(0, len(indices), size))
