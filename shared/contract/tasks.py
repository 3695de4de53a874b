"""The built-in tasks: what more than one service needs to know about each. Pure.

A new built-in task is an entry in `TASKS` and a module in `inference_worker/tasks/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

NO_NUL = r"^[^\x00]*$"  # Postgres's jsonb cannot hold U+0000

_ONE_PLACE = r"^[^\x00{}]*\{\}[^\x00{}]*$"

Label = Annotated[str, Field(min_length=1, max_length=100, pattern=NO_NUL)]


class Options(BaseModel):
    """What a task accepts besides the text. A task without options uses this class, which has no fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ZeroShotOptions(Options):
    """Options of `zero-shot-classification`."""

    labels: list[Label] = Field(
        min_length=1,
        max_length=64,
        description="zero-shot-classification (required): the candidate labels",
        examples=[["sport", "politics"]],
    )
    multi_label: bool = Field(
        False,
        description="zero-shot-classification: score each label by itself, as several may be true; of inference models",
    )
    hypothesis_template: str | None = Field(
        None,
        min_length=2,
        max_length=200,
        pattern=_ONE_PLACE,
        description="zero-shot-classification: the sentence about a label, which stands in place of {}",
        examples=["This example is {}."],
    )


class ClassificationOptions(Options):
    """Options of `text-classification`."""

    text_pair: str | None = Field(
        None,
        min_length=1,
        max_length=20_000,
        pattern=NO_NUL,
        description="text-classification: the second text, for models that judge pairs of texts; never cut",
    )


class EmbeddingOptions(Options):
    """Options of `feature-extraction`."""

    prompt_name: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        pattern=NO_NUL,
        description="feature-extraction: which of the model's own prompts is written before the text, such as query",
    )
    dimensions: int | None = Field(
        None, ge=1, le=65_536, description="feature-extraction: keep so many numbers, of models trained for that"
    )
    normalize: bool = Field(
        False, description="feature-extraction: length 1, also if the model does not do that itself"
    )


class SummarizationOptions(Options):
    """Options of `summarization`."""

    max_length: int | None = Field(
        None,
        ge=8,
        le=512,
        description="summarization: maximum length, in words for extractive models and tokens for generative ones; "
        "unset: as the model's own settings say",
    )
    min_length: int | None = Field(
        None, ge=1, le=512, description="summarization: minimum length in tokens, for models that write"
    )
    thinking: bool = Field(
        False, description="summarization: let a chat model think aloud first, which counts for its length"
    )


class TokenClassificationOptions(Options):
    """Options of `token-classification`."""

    aggregation_strategy: Literal["none", "simple", "first", "average", "max"] = Field(
        "simple",
        description="token-classification: how tokens become entities, as in the pipeline of transformers: each token "
        "by itself (none), neighbours of one kind (simple), or whole words of one kind, whose label is that of their "
        "first token, of the average of their tokens, or of their surest",
    )


class FillMaskOptions(Options):
    """Options of `fill-mask`."""

    top_k: int = Field(5, ge=1, le=100, description="fill-mask: how many tokens are proposed for each mask")


Language = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[A-Za-z0-9_@-]+$")]


class TranslationOptions(Options):
    """Options of `translation`."""

    src_lang: Language | None = Field(
        None, description="translation: the language of the text, as the model calls it (`eng_Latn`, `en_XX`, `en`)"
    )
    tgt_lang: Language | None = Field(
        None, description="translation: the language to translate into, as the model calls it"
    )


StopText = Annotated[str, Field(min_length=1, max_length=100, pattern=NO_NUL)]


class TextGenerationOptions(Options):
    """Options of `text-generation`."""

    max_new_tokens: int = Field(
        256,
        ge=1,
        le=4096,
        description="text-generation: most tokens that are written; fewer where the model has no room",
    )
    temperature: float = Field(
        0.0,
        ge=0,
        le=2,
        description="text-generation: how freely tokens are drawn; 0: always the likeliest",
    )
    seed: int = Field(
        0, ge=0, le=2**32 - 1, description="text-generation: another seed draws other tokens, the same one the same"
    )
    stop: list[StopText] = Field(
        default_factory=list, max_length=4, description="text-generation: texts before which the answer ends"
    )
    thinking: bool = Field(
        False, description="text-generation: whether a model that can is to think aloud before it answers"
    )


class QuestionAnsweringOptions(Options):
    """Options of `question-answering`."""

    top_k: int = Field(1, ge=1, le=20, description="question-answering: most answers")
    max_answer_len: int = Field(15, ge=1, le=128, description="question-answering: most tokens of an answer")
    handle_impossible_answer: bool = Field(
        False, description="question-answering: whether that there is no answer is one, with an empty text"
    )


class ImageClassificationOptions(Options):
    """Options of `image-classification`."""

    top_k: int = Field(5, ge=1, le=100, description="image-classification: how many labels are told, the best first")


class Task(NamedTuple):
    """A built-in task.

    Attributes:
        loader: `module:function` that loads an artifact; imported only by workers.
        options: validates the options of a request, and describes them in the OpenAPI document.
        engines: what can compute it.
        takes_text: whether its input is a text, and nothing else.
    """

    loader: str
    options: type[Options] = Options
    engines: tuple[str, ...] = ("torch", "openvino", "onnxruntime")
    takes_text: bool = True


_MODULES = "inference_worker.tasks"
TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "text-classification": Task(f"{_MODULES}.text_classification:TextClassification.load", ClassificationOptions),
        "summarization": Task(f"{_MODULES}.summarization:load_summarization", SummarizationOptions),
        "feature-extraction": Task(f"{_MODULES}.feature_extraction:FeatureExtraction.load", EmbeddingOptions),
        "zero-shot-classification": Task(f"{_MODULES}.zero_shot:load_zero_shot", ZeroShotOptions),
        "token-classification": Task(
            f"{_MODULES}.token_classification:TokenClassification.load", TokenClassificationOptions
        ),
        "fill-mask": Task(f"{_MODULES}.fill_mask:FillMask.load", FillMaskOptions),
        "translation": Task(f"{_MODULES}.translation:Translation.load", TranslationOptions, ("torch",)),
        "text-generation": Task(
            f"{_MODULES}.text_generation:TextGeneration.load", TextGenerationOptions, ("torch",), False
        ),
        "text-ranking": Task(f"{_MODULES}.text_ranking:TextRanking.load", takes_text=False),
        "question-answering": Task(
            f"{_MODULES}.question_answering:QuestionAnswering.load", QuestionAnsweringOptions, ("torch",), False
        ),
        "image-classification": Task(
            f"{_MODULES}.image_classification:ImageClassification.load", ImageClassificationOptions, ("torch",), False
        ),
    }
)

_COMPUTES_IN = {"openvino": ("float32", "bfloat16"), "onnxruntime": ("float32",)}


def wrong_engine(task: str, engine: str) -> str:
    """Why an engine cannot compute a task's models, in words; empty if it can. A class has torch, or none of ours."""
    engines = TASKS[task].engines if task in TASKS else ("torch",)
    if engine in engines:
        return ""
    return f"engine {engine!r} does not compute {task!r}: choose {' or '.join(engines)}"


def wrong_dtype(engine: str, dtype: str) -> str:
    """Why an engine cannot compute in a dtype, in words; empty if it can."""
    dtypes = _COMPUTES_IN.get(engine, (dtype,))
    if dtype in dtypes:
        return ""
    return f"engine {engine!r} does not compute in {dtype}: choose {' or '.join(dtypes)}"
