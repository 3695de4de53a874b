"""Reading an input that is an object: each field is checked, and what is wrong is told with its path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inference_worker.tasks.protocol import InvalidInput


class Fields:
    """The fields of an object.

    Args:
        path: where in the input the object is.

    Raises:
        InvalidInput: it is no object.
    """

    def __init__(self, value: Any, *path: str | int) -> None:
        if not isinstance(value, dict):
            raise InvalidInput("must be an object", *path)
        self._value, self._path = value, path
        self._known: list[str] = []

    def text(self, name: str) -> str:
        """A field that is a text.

        Raises:
            InvalidInput: it is missing, no text, or blank.
        """
        return _text(self._field(name), *self._path, name)

    def choice(self, name: str, values: Sequence[str]) -> str:
        """A field that is one of several texts.

        Raises:
            InvalidInput: it is missing, or another.
        """
        value = self._field(name)
        if value not in values:
            raise InvalidInput(f"must be one of {', '.join(values)}", *self._path, name)
        return str(value)

    def texts(self, name: str, most: int) -> list[str]:
        """A field that is a list of texts.

        Raises:
            InvalidInput: it is missing, no list, empty, has more than `most` items, or one that is no text or blank.
        """
        items = self._list(name, most, "texts")
        return [_text(each, *self._path, name, index) for index, each in enumerate(items)]

    def objects(self, name: str, most: int) -> list[Fields]:
        """A field that is a list of objects.

        Raises:
            InvalidInput: it is missing, no list, empty, has more than `most` items, or one that is no object.
        """
        items = self._list(name, most, "objects")
        return [Fields(each, *self._path, name, index) for index, each in enumerate(items)]

    def nothing_else(self) -> None:
        """Refuse fields that nobody asked for.

        Raises:
            InvalidInput: there is one.
        """
        for name in self._value:
            if name not in self._known:
                raise InvalidInput(f"is not known: {' and '.join(self._known)} are", *self._path, name)

    def _list(self, name: str, most: int, what: str) -> list[Any]:
        value = self._field(name)
        if not isinstance(value, list) or not value:
            raise InvalidInput(f"must be a list of {what}, at least one", *self._path, name)
        if len(value) > most:
            raise InvalidInput(f"must have at most {most} {what}, not {len(value)}", *self._path, name)
        return value

    def _field(self, name: str) -> Any:
        self._known.append(name)
        if name not in self._value:
            raise InvalidInput("must be given", *self._path, name)
        return self._value[name]


def _text(value: Any, *path: str | int) -> str:
    if not isinstance(value, str):
        raise InvalidInput("must be a text", *path)
    if not value.strip():
        raise InvalidInput("must not be blank", *path)
    return value
