"""A chat as the token ids of a prompt, in the model's own template; what people say in it is only ever text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError

from inference_worker.tasks.fields import Fields
from inference_worker.tasks.protocol import InvalidInput
from inference_worker.tasks.tokens import TextTokenizer

_MARK = "\u241f{}\u241f"  # stands where a message goes while the prompt is made; no template contains it

MOST_MESSAGES = 256
_ROLES = ("system", "user", "assistant")
_OPENS, _CLOSES = "<think>", "</think>"
_CLOSED = f"\n{_CLOSES}\n\n"

Message = Mapping[str, str]  # its `role` and its `content`


def messages_of(value: Any) -> list[Message]:
    """The messages of an input: a text is the user's turn.

    Raises:
        InvalidInput: it is neither a text nor `{"messages": [{"role", "content"}]}` that ends with the user's turn.
    """
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    fields = Fields(value)
    messages = [_message(each) for each in fields.objects("messages", MOST_MESSAGES)]
    fields.nothing_else()
    if messages[-1]["role"] != "user":
        raise InvalidInput("the last one must be the user's", "messages", len(messages) - 1, "role")
    return messages


def _message(fields: Fields) -> Message:
    message = {"role": fields.choice("role", _ROLES), "content": fields.text("content")}
    fields.nothing_else()
    return message


def chat_ids(tokenizer: TextTokenizer, messages: Sequence[Message], thinking: bool) -> list[int]:
    """The ids of a chat, up to where the model's answer begins.

    Args:
        thinking: whether the model is to think aloud first, if its template knows that.

    Raises:
        InvalidInput: the template takes no such chat, as when turns do not alternate.
    """
    names = control_names(tokenizer.raw)
    if not any(name in message["content"] for message in messages for name in names):
        return tokenizer.control(rendered(tokenizer.raw, messages, thinking))
    # A message that names a control token: the template's parts are read apart from what people say.
    marked = [{**message, "content": _MARK.format(at)} for at, message in enumerate(messages)]
    rest, ids = rendered(tokenizer.raw, marked, thinking), list[int]()
    for at, message in enumerate(messages):
        before, found, after = rest.partition(_MARK.format(at))
        if found:  # a template may leave a message out
            [text] = tokenizer.tokenize([message["content"]])
            ids += [*tokenizer.control(before), *text.ids]
            rest = after
    return [*ids, *tokenizer.control(rest)]


def control_names(tokenizer: Any) -> set[str]:
    """What control tokens are called."""
    return {token.content for token in tokenizer.added_tokens_decoder.values() if token.special and token.content}


def rendered(tokenizer: Any, messages: Sequence[Message], thinking: bool) -> str:
    """A chat in the model's template, up to where its answer begins. Of several templates, the one named `default`.

    Families call the switch for thinking differently. A template that opens a thought all the same has it closed.

    Raises:
        InvalidInput: the template takes no such chat.
    """
    templates = tokenizer.chat_template
    if isinstance(templates, dict):
        templates = templates.get("default") or next(iter(templates.values()))
    try:
        prompt = tokenizer.apply_chat_template(
            list(messages),
            chat_template=templates,
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=thinking,
            thinking=thinking,
        )
    except TemplateError as error:
        raise InvalidInput(f"the model's chat template refuses this chat: {error}") from error
    opened = not thinking and str(prompt).rstrip().endswith(_OPENS)
    return f"{prompt}{_CLOSED}" if opened else str(prompt)


def without_thought(text: str) -> str:
    """What follows a thought.

    Raises:
        InvalidInput: it is not finished.
    """
    thought, closed, answer = text.rpartition(_CLOSES)
    if not closed and _OPENS in answer:
        raise InvalidInput("the model was still thinking when its answer was full: raise options.max_length")
    return answer
