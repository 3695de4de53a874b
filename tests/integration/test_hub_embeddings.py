"""Embeddings are what sentence-transformers answers for the same directory: its modules, and its settings."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

with warnings.catch_warnings(action="ignore"):
    import sentence_transformers
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Dropout, LayerNorm, Pooling

from inference_worker.tasks.loading import load_task
from inference_worker.tasks.protocol import InvalidInput, Item
from shared.contract.errors import ConfigurationError
from tests.hub_models import LLAMA, SEQ2SEQ, T5, change_json, config, gpt2_tokenizer, made, sentencepiece_file, write
from tests.tiny_families import ENCODERS, LIMIT, encoder, texts

assert sentence_transformers.__version__
Floats = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return encoder(tmp_path_factory.mktemp("bert"), "bert", "AutoModel")


def saved(directory: Path, encoder: str, *modules: Any, **settings: Any) -> str:
    with warnings.catch_warnings(action="ignore"):
        torch.manual_seed(1)
        model = SentenceTransformer(modules=[Transformer(encoder), *modules], device="cpu", **settings)
        model.save(str(directory), create_model_card=False)
    return str(directory)


def reference(location: str, texts: Sequence[str], **options: Any) -> Floats:
    """What sentence-transformers answers to each text by itself."""
    with warnings.catch_warnings(action="ignore"):
        model = SentenceTransformer(location, device="cpu", local_files_only=True)
        return np.stack([model.encode(text, show_progress_bar=False, **options) for text in texts])


def ours(location: str, texts: Sequence[str], engine: str = "torch", **options: Any) -> Floats:
    """What the task answers to the texts together, which is what it answers to each alone."""
    task = load_task("feature-extraction", location, engine=engine)
    items = [Item(text, options) for text in texts]

    def embed(some: list[Item]) -> list[Any]:
        return [output.result["embedding"] for output in task.predict(task.encode(some))]

    together = np.array(embed(items))
    assert together == pytest.approx(np.array([embed([item])[0] for item in items]), abs=1e-5)
    return together


def dense(size: int = 32, to: int = 16, **settings: Any) -> Any:
    torch.manual_seed(2)
    return Dense(size, to, **settings)


MODULES: dict[str, Callable[[], list[Any]]] = {
    "mean": lambda: [Pooling(32, "mean")],
    "mean, normalized": lambda: [Pooling(32, "mean"), Normalize()],
    "cls": lambda: [Pooling(32, "cls")],
    "max": lambda: [Pooling(32, "max")],
    "last token": lambda: [Pooling(32, "lasttoken"), Normalize()],
    "weighted mean": lambda: [Pooling(32, "weightedmean")],
    "mean over the root": lambda: [Pooling(32, "mean_sqrt_len_tokens")],
    "several": lambda: [Pooling(32, ("max", "mean", "cls"))],
    "dense": lambda: [Pooling(32, "mean"), dense(), Normalize()],
    "dense without bias and activation": lambda: [
        Pooling(32, "cls"),
        dense(bias=False, activation_function=torch.nn.Identity()),
    ],
    "dense with a residual": lambda: [
        Pooling(32, "cls"),
        dense(use_residual=True, activation_function=torch.nn.GELU()),
    ],
    "layer norm, dropout": lambda: [Pooling(32, "mean"), Dropout(0.3), LayerNorm(32)],
    "dense, twice": lambda: [Pooling(32, "mean"), dense(), dense(16, 8), Normalize()],
}


@pytest.mark.parametrize("kind", MODULES)
def test_modules_behind_the_encoder(tmp_path: Path, bert: str, kind: str) -> None:
    location = saved(tmp_path, bert, *MODULES[kind]())
    wanted = reference(location, texts())
    assert ours(location, texts()) == pytest.approx(wanted, abs=1e-5)
    assert ours(location, texts()[:2], normalize=True) == pytest.approx(
        reference(location, texts()[:2], normalize_embeddings=True), abs=1e-5
    )


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_other_engines_have_the_same_modules(tmp_path: Path, bert: str, engine: str) -> None:
    location = saved(tmp_path, bert, *MODULES["dense"]())
    assert ours(location, texts(), engine) == pytest.approx(reference(location, texts()), abs=1e-4)


def _old_repository(location: str) -> None:
    """As sentence-transformers 0.x and 2.x wrote it: a folder for the encoder, and a switch for each way to pool."""
    root = Path(location)
    folder = root / "0_Transformer"
    folder.mkdir()
    for file in list(root.iterdir()):
        if file.is_file() and file.name not in ("modules.json", "config_sentence_transformers.json"):
            file.rename(folder / file.name)
    modules = json.loads((root / "modules.json").read_text(encoding="utf-8"))
    modules[0]["path"] = "0_Transformer"
    for module in modules:
        module["type"] = f"sentence_transformers.models.{module['type'].rsplit('.', 1)[-1]}"
    (root / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    switches = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
    on = {f"pooling_mode_{name}": name in ("mean_tokens", "cls_token") for name in switches}
    (root / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 32, **on}), encoding="utf-8"
    )
    (folder / "sentence_bert_config.json").rename(folder / "sentence_roberta_config.json")
    change_json(folder / "sentence_roberta_config.json", max_seq_length=500, do_lower_case=True)


def test_an_old_repository(tmp_path: Path) -> None:
    roberta = encoder(tmp_path / "roberta", "roberta", "AutoModel")
    location = saved(tmp_path / "old", roberta, Pooling(32, "mean"))
    wanted_now = reference(location, texts())
    _old_repository(location)
    wanted = reference(location, texts())
    assert wanted.shape == (9, 64) and wanted_now.shape == (9, 32)
    assert ours(location, texts()) == pytest.approx(wanted, abs=1e-5)
    assert ours(location, ["WÜRZBURG lies north"]) == pytest.approx(ours(location, ["würzburg lies north"]), abs=1e-6)
    assert ours(location, ["The bridge is closed. " * 40]).shape == (1, 64)  # above the positions, not only the setting


@pytest.mark.parametrize("family", ["t5", "qwen", "xlnet", "bert"])
def test_encoders_of_other_kinds(tmp_path: Path, family: str, bert: str) -> None:
    directory = tmp_path / "encoder"
    if family == "t5":
        sentencepiece_file(directory, "t5", "spiece.model")
        made("AutoModelForSeq2SeqLM", config("T5Config", vocab_size=201, **T5)).save_pretrained(directory)
        transformers.AutoTokenizer.from_pretrained(directory).save_pretrained(directory)
        location, modules = str(directory), [Pooling(32, "mean"), dense(bias=False), Normalize()]
    elif family == "qwen":
        tokenizer = gpt2_tokenizer(pad_token="<|endoftext|>")
        made_of = config("Qwen3Config", **{**LLAMA, "vocab_size": len(tokenizer), "tie_word_embeddings": True})
        location = write(directory, made("AutoModelForCausalLM", made_of), tokenizer)
        modules = [Pooling(32, "lasttoken"), Normalize()]
    elif family == "xlnet":
        settings = {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 32, "initializer_range": 0.3}
        tokenizer = ENCODERS["bert"][0]()
        made_of = config("XLNetConfig", vocab_size=len(tokenizer), pad_token_id=0, **settings)
        location, modules = write(directory, made("AutoModel", made_of), tokenizer), [Pooling(32, "weightedmean")]
    else:
        location, modules = bert, [Pooling(32, "mean")]
    plain = family != "xlnet" and ours(location, texts())  # without any file of sentence-transformers
    assert family == "xlnet" or plain == pytest.approx(reference(location, texts()), abs=1e-5)
    location = saved(tmp_path / "whole", location, *modules)
    assert ours(location, texts()) == pytest.approx(reference(location, texts()), abs=1e-5)


def test_prompts_and_dimensions(tmp_path: Path, bert: str) -> None:
    prompts = {"query": "the question: ", "document": ""}
    location = saved(tmp_path, bert, *MODULES["dense"](), prompts=prompts, default_prompt_name="query", truncate_dim=8)
    assert ours(location, texts()) == pytest.approx(reference(location, texts()), abs=1e-5)
    assert ours(location, texts()).shape == (9, 8)
    wanted = reference(location, texts(), prompt_name="document", truncate_dim=12)
    assert ours(location, texts(), prompt_name="document", dimensions=12) == pytest.approx(wanted, abs=1e-5)
    wanted = reference(location, texts(), truncate_dim=5, normalize_embeddings=True)
    assert ours(location, texts(), dimensions=5, normalize=True) == pytest.approx(wanted, abs=1e-5)
    task = load_task("feature-extraction", location)
    with pytest.raises(InvalidInput, match="options.prompt_name: .* no prompt 'passage'; it has 'document', 'query'"):
        task.encode([Item("a", {"prompt_name": "passage"})])
    with pytest.raises(InvalidInput, match="options.dimensions: 17 are asked for, and the model has 16"):
        task.encode([Item("a", {"dimensions": 17})])
    mixed = [Item("a", {"prompt_name": "document"}), Item("a"), Item("a", {"dimensions": 3})]
    sizes = [len(output.result["embedding"]) for output in task.predict(task.encode(mixed))]
    assert sizes == [8, 8, 3]


def test_a_prompt_may_be_left_out_of_the_pooling(tmp_path: Path, bert: str) -> None:
    pooling = Pooling(32, "mean", include_prompt=False)
    location = saved(tmp_path, bert, pooling, prompts={"query": "the council said "}, default_prompt_name="query")
    short = [text for text in texts() if len(text) < 80]
    assert ours(location, short) == pytest.approx(reference(location, short), abs=1e-5)


def test_each_chunk_of_a_long_text_stands_behind_the_prompt(tmp_path: Path, bert: str) -> None:
    location = saved(tmp_path, bert, Pooling(32, "mean"), prompts={"query": "the council: "})
    task: Any = load_task("feature-extraction", location)
    [encoded] = task.encode([Item("The bridge is closed. " * 60, {"prompt_name": "query"})])
    rows = encoded.data[0]
    [head] = task._embedder._tokenizer.tokenize(["the council: "])
    assert len(rows) > 3 and all(list(row.ids[1 : 1 + len(head.ids)]) == list(head.ids) for row in rows)
    assert max(len(row.ids) for row in rows) <= LIMIT


def test_the_limit_is_the_repositorys_and_a_longer_text_is_read_in_chunks(tmp_path: Path, bert: str) -> None:
    location = saved(tmp_path, bert, Pooling(32, "mean"))
    change_json(tmp_path / "sentence_bert_config.json", max_seq_length=16)
    task = load_task("feature-extraction", location)
    assert max(len(row.ids) for row in task.encode([Item("The bridge is closed. " * 60)])[0].data[0]) <= 16


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        (["Transformer", "SpladePooling"], "sparse embeddings .SpladePooling.: only dense"),
        (["MLMTransformer", "SpladePooling"], "sparse embeddings .MLMTransformer, SpladePooling"),
        (["Transformer", "Pooling", "LSTM"], "modules that are not supported: LSTM"),
        (["Router"], "modules that are not supported: Router"),
        (["StaticEmbedding"], "modules that are not supported: StaticEmbedding"),
        (["CLIPModel"], "reads more than texts: CLIPModel"),
        (["Transformer", "Dense", "Pooling"], "in the order Transformer, Dense, Pooling"),
        (["Transformer"], "in the order Transformer: supported"),
    ],
)
def test_what_is_not_dense_or_not_of_texts_is_refused_by_name(tmp_path: Path, modules: list[str], words: str) -> None:
    location = encoder(tmp_path, "bert", "AutoModel")
    kinds = [
        {"idx": place, "name": str(place), "path": f"{place}_{kind}" if place else "", "type": f"a.b.{kind}"}
        for place, kind in enumerate(modules)
    ]
    (tmp_path / "modules.json").write_text(json.dumps(kinds), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=words):
        load_task("feature-extraction", location)


@pytest.mark.parametrize("change", ["pickled", "activation", "pooling", "prompt"])
def test_modules_that_cannot_be_read_are_refused(tmp_path: Path, bert: str, change: str) -> None:
    location = saved(tmp_path, bert, *MODULES["dense"]())
    if change == "pickled":
        (tmp_path / "2_Dense" / "model.safetensors").rename(tmp_path / "2_Dense" / "pytorch_model.bin")
    elif change == "activation":
        change_json(tmp_path / "2_Dense" / "config.json", activation_function="os.system")
    elif change == "pooling":
        change_json(tmp_path / "1_Pooling" / "config.json", pooling_mode="median")
    else:
        change_json(tmp_path / "config_sentence_transformers.json", default_prompt_name="passage")
    words = {"pickled": "never read", "activation": "os.system", "pooling": "median", "prompt": "'passage'"}
    with pytest.raises(ConfigurationError, match=words[change]):
        load_task("feature-extraction", location)


def test_an_encoder_decoder_without_an_encoder_alone_is_refused(tmp_path: Path) -> None:
    tokenizer = ENCODERS["roberta"][0]()
    made_of = config("BartConfig", **{**SEQ2SEQ, "vocab_size": len(tokenizer)})
    with pytest.raises(ConfigurationError, match="encoder-decoder .bart."):
        load_task("feature-extraction", write(tmp_path, made("AutoModelForSeq2SeqLM", made_of), tokenizer))
