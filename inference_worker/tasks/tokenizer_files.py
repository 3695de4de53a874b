"""A model's tokenizer from its files, and whether it is the model's.

Without files, transformers makes up a vocabulary of five, to which every text is the same; the tokenizer of another
model gives ids that mean something else. Both are refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import Unigram
from transformers import AutoTokenizer

from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.hub import words
from shared.contract.errors import ConfigurationError

_FILES = ("tokenizer.json", "*.model", "*.tiktoken", "tekken.json", "vocab.txt", "vocab.json", "vocab.bpe", "*.spm")
_MOST_UNUSED = 0.04  # of the embeddings: cased and uncased BERT are 5 % apart, padding is up to 2.3 % in known models
_PADDED_TO = (8, 16, 32, 64, 128, 256)  # what a number of embeddings is commonly rounded up to
_HIDDEN = "\x00"  # no text has it


def load_tokenizer(artifact: Artifact, fast: bool = True) -> Any:
    """Load the artifact's tokenizer.

    Args:
        fast: it must be one that knows where in a text its tokens are, as chunking by tokens needs.

    Raises:
        ConfigurationError: there are no files of one, it is another model's, or it is not a fast one.
    """
    directory = _directory(artifact)
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except MemoryError:
        raise
    except Exception as error:  # noqa: B902 - each class raises its own
        raise ConfigurationError(f"cannot load the tokenizer of {artifact.location}: {words(error)}") from error
    if fast and not tokenizer.is_fast:
        raise ConfigurationError(
            f"{artifact.location} has a tokenizer without a fast form ({type(tokenizer).__name__}), which is needed "
            "for offsets: add the tokenizer.json of a converted one, or serve it by a class of your own"
        )
    wanted = {"tokenizer.json", *filter(None, tokenizer.vocab_files_names.values())}
    if not any(any(directory.glob(pattern)) for pattern in (*wanted, "*.model")):
        raise _no_files(artifact, wanted)
    _check_size(tokenizer, artifact)
    return tokenizer


def control_ids(tokenizer: Any) -> set[int]:
    """The ids of control tokens: what no text may become. An unknown token may, if the vocabulary needs one."""
    marked = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    model = tokenizer.backend_tokenizer.model
    has_unknown = isinstance(model, Unigram) or getattr(model, "unk_token", None) is not None
    return (marked | set(tokenizer.all_special_ids)) - ({tokenizer.unk_token_id} if has_unknown else set())


def text_reader(tokenizer: Any, but: str = "") -> Tokenizer:
    """The tokenizer's fast part in a form that reads a control token's name in a text as text.

    Not to look for the names is enough, unless the vocabulary itself has them as pieces, as those of unigram models do:
    then they are renamed in a copy.

    Args:
        but: the name of one that is read as the token all the same, such as a mask.
    """
    backend: Any = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    control = control_ids(tokenizer)
    names = {str(name) for name in map(tokenizer.convert_ids_to_tokens, control) if name and name != but}
    leaks = any(control & {*backend.encode(name, add_special_tokens=False).ids} for name in names)
    if not (leaks or but):
        return backend  # type: ignore[no-any-return]
    copied: Any = Tokenizer.from_str(_renamed(json.loads(backend.to_str()), names if leaks else set(), but))
    copied.encode_special_tokens = True
    return copied  # type: ignore[no-any-return]


def _renamed(state: dict[str, Any], names: set[str], but: str) -> str:
    for token in state["added_tokens"]:
        token["special"] = token["special"] and token["content"] != but
    vocabulary = state["model"]["vocab"]
    if isinstance(vocabulary, list):
        state["model"]["vocab"] = [[_HIDDEN + piece if piece in names else piece, *rest] for piece, *rest in vocabulary]
        hidden = {piece for piece, *_ in vocabulary} & names
    else:
        hidden = (vocabulary.keys() & names) - set(_merged(state["model"].get("merges") or ()))
        state["model"]["vocab"] = {
            _HIDDEN + piece if piece in hidden else piece: at for piece, at in vocabulary.items()
        }
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] not in hidden]
    return json.dumps(state)


def _merged(merges: Any) -> Iterator[str]:
    """What the merges of a byte-pair vocabulary make or need: it could not be read without."""
    for merge in merges:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        yield from (*parts, "".join(parts))


def _directory(artifact: Artifact) -> Path:
    """An adapter and an old sentence-transformers repository may have the tokenizer of their own, or the model's."""
    for directory in (artifact.home, artifact.directory):
        if any(any(directory.glob(pattern)) for pattern in _FILES):
            return directory
    raise _no_files(artifact, {"tokenizer.json"})


def _no_files(artifact: Artifact, wanted: set[str]) -> ConfigurationError:
    elsewhere = sorted(file.parent.name for pattern in _FILES for file in artifact.home.glob(f"*/{pattern}"))
    way = (
        f"move them up from its folder {elsewhere[0]}" if elsewhere else "copy them from the model it was trained from"
    )
    return ConfigurationError(f"{artifact.location} has no tokenizer files ({' or '.join(sorted(wanted))}): {way}")


def _check_size(tokenizer: Any, artifact: Artifact) -> None:
    rows = embeddings_of(artifact.config)
    if rows is None:
        return
    known = max(tokenizer.get_vocab().values(), default=-1) + 1
    padded = any(-(-known // size) * size == rows for size in _PADDED_TO)
    counted = tokenizer.is_fast  # others have tokens beside their vocabulary, such as the languages of M2M100
    if known > rows or (counted and not padded and rows - known > _MOST_UNUSED * rows):
        raise ConfigurationError(
            f"the tokenizer of {artifact.location} knows {known} tokens and the model {rows}: it is another model's, "
            "or tokens were added to one of them alone; save both from where they were trained"
        )


def embeddings_of(config: Any) -> int | None:
    """How many tokens a model has embeddings of, by its configuration."""
    rows = getattr(config.get_text_config(), "vocab_size", None)
    return rows if isinstance(rows, int) and rows > 0 else None
