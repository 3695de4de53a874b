"""How clients of Hugging Face ask each task, and what they expect of it. Pure.

A parameter is an option of ours under another name, or is for the rendering, or has no effect that an answer shows;
any other is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from gateway.http.problems import invalid

Parameters = Mapping[str, Any]

_MASKS = ("[MASK]", "<mask>")


class HfTask(NamedTuple):
    """A task as Hugging Face's clients know it.

    Attributes:
        answer: of a result, given the input and the parameters.
        options: our names of parameters.
        rendering: parameters that `answer` uses.
        ignored: parameters without effect.
        listed: whether the answer to one input is a list of one.
    """

    answer: Callable[[Any, Any, Parameters], Any]
    options: Mapping[str, str] = {}
    rendering: Sequence[str] = ()
    ignored: Sequence[str] = ()
    listed: bool = True


def _ranked(result: Any, _: Any, parameters: Parameters) -> list[dict[str, Any]]:
    ranked = sorted(result["scores"].items(), key=lambda pair: -pair[1])
    return [{"label": label, "score": score} for label, score in ranked[: parameters.get("top_k")]]


def _entities(result: Any, _: Any, parameters: Parameters) -> list[dict[str, Any]]:
    kind = "entity" if parameters.get("aggregation_strategy") == "none" else "entity_group"
    left_out = parameters.get("ignore_labels") or ()
    return [
        {kind: each["label"], "word": each["text"], **{key: each[key] for key in ("score", "start", "end")}}
        for each in result["entities"]
        if each["label"] not in left_out
    ]


def _masks(result: Any, text: Any, _: Parameters) -> list[Any]:
    mask = next((each for each in _MASKS if each in text), "")
    masks = [
        [
            {
                "score": each["score"],
                "token": each["token"],
                "token_str": each["text"],
                "sequence": text.replace(mask, each["text"], 1) if mask else text,
            }
            for each in tokens
        ]
        for tokens in result["masks"]
    ]
    return masks[0] if len(masks) == 1 else masks


def _generated(result: Any, text: Any, parameters: Parameters) -> dict[str, Any]:
    before = text if parameters.get("return_full_text") and isinstance(text, str) else ""
    return {"generated_text": before + result["text"]}


def _answers(result: Any, _: Any, parameters: Parameters) -> Any:
    answers = [
        {"answer": each["text"], **{key: each[key] for key in ("score", "start", "end")}} for each in result["answers"]
    ]
    return answers[0] if len(answers) == 1 and parameters.get("top_k", 1) == 1 else answers


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_TOKENIZING = ("clean_up_tokenization_spaces", "truncation")

HF_TASKS: Mapping[str, HfTask] = {
    "text-classification": HfTask(_ranked, rendering=("top_k", "function_to_apply")),
    "zero-shot-classification": HfTask(
        _ranked,
        {"candidate_labels": "labels", **_same("multi_label", "hypothesis_template")},
        listed=False,
    ),
    "summarization": HfTask(
        lambda result, *_: {"summary_text": result["summary"]}, _same("max_length", "min_length"), ignored=_TOKENIZING
    ),
    "translation": HfTask(
        lambda result, *_: {"translation_text": result["translation"]},
        _same("src_lang", "tgt_lang"),
        ignored=_TOKENIZING,
    ),
    "feature-extraction": HfTask(
        lambda result, *_: result["embedding"],
        _same("normalize", "prompt_name", "dimensions"),
        ignored=("truncate", "truncation_direction"),
    ),
    "token-classification": HfTask(
        _entities, _same("aggregation_strategy"), rendering=("ignore_labels",), listed=False
    ),
    "fill-mask": HfTask(_masks, _same("top_k"), listed=False),
    "text-generation": HfTask(
        _generated, _same("max_new_tokens", "temperature", "seed", "stop"), rendering=("return_full_text",)
    ),
    "question-answering": HfTask(_answers, _same("top_k", "max_answer_len", "handle_impossible_answer"), listed=False),
    "image-classification": HfTask(_ranked, _same("top_k"), rendering=("function_to_apply",), listed=False),
}
_CUSTOM = HfTask(lambda result, *_: result, listed=False)


def hf_task(task: str) -> HfTask:
    """A task; of a class of the user's own, the result as it is."""
    return HF_TASKS.get(task, _CUSTOM)


def flat(parameters: Parameters) -> dict[str, Any]:
    """The parameters that are given, those for generating among them."""
    inner = parameters.get("generate_parameters")
    given = {**parameters, **(inner if isinstance(inner, dict) else {})}
    return {name: each for name, each in given.items() if each is not None and name != "generate_parameters"}


def options_of(task: str, parameters: Parameters) -> dict[str, Any]:
    """The options that parameters stand for; of a class of the user's own, they are the options.

    Args:
        parameters: as `flat` gives them.

    Raises:
        ProblemError: 422, one is not known, or asks for what is not to be had.
    """
    if task not in HF_TASKS:
        return dict(parameters)
    known = HF_TASKS[task]
    others = {*known.rendering, *known.ignored}
    for name in parameters:
        if name not in known.options and name not in others:
            names = ", ".join(sorted({*known.options, *others}))
            raise invalid([(("body", "parameters", name[:100]), f"is not supported for {task}; these are: {names}")])
    _check_rendering({name: parameters[name] for name in known.rendering if name in parameters})
    options = {ours: parameters[name] for name, ours in known.options.items() if name in parameters}
    if options.get("multi_label") is False:  # as the client sends it, also to models that have no such option
        del options["multi_label"]
    return options


def _check_rendering(parameters: Parameters) -> None:
    top_k = parameters.get("top_k", 1)
    if type(top_k) is not int or top_k < 1:
        raise invalid([(("body", "parameters", "top_k"), "must be a whole number above 0")])
    labels = parameters.get("ignore_labels", [])
    if not isinstance(labels, list):
        raise invalid([(("body", "parameters", "ignore_labels"), "must be a list of labels")])
    if parameters.get("function_to_apply") == "none":
        problem = "cannot be `none`: scores are those of the model's own function"
        raise invalid([(("body", "parameters", "function_to_apply"), problem)])
