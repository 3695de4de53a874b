"""Directories as people have them: adapters work, and what cannot be read is named, with the way on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor

from inference_worker.tasks.loading import load_task
from inference_worker.tasks.protocol import Item
from shared.contract.errors import ConfigurationError
from tests.hub_models import GPT2, change_json, config, gpt2_tokenizer, made, write
from tests.integration.test_hub_tokenizers import by_pipeline, same, scores
from tests.tiny_families import encoder, texts

CLASSIFIER = "AutoModelForSequenceClassification"


def refused(location: str | Path, words: str, task: str = "text-classification") -> None:
    with pytest.raises(ConfigurationError, match=words):
        load_task(task, str(location))


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("model-Q4_K_M.gguf", "has GGUF weights only .model-Q4_K_M.gguf.: .*gguf_file="),
        ("onnx/model.onnx", "has ONNX weights only .model.onnx.: take the model that it was exported from"),
        ("tf_model.h5", "has TensorFlow weights only"),
        ("flax_model.msgpack", "has Flax weights only"),
        ("pytorch_model.bin", "has pickled weights only .pytorch_model.bin.*safetensors"),
        ("consolidated.safetensors", "no model.safetensors, only consolidated.safetensors"),
        ("model_index.json", "a diffusers pipeline"),
        ("README.md", "has no model.safetensors"),
    ],
)
@pytest.mark.parametrize("configured", [True, False])
def test_what_a_directory_is_instead(tmp_path: Path, file: str, words: str, configured: bool) -> None:
    if configured:
        transformers.BertConfig().save_pretrained(tmp_path)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(b"{}")
    needs_configuration = file in ("pytorch_model.bin", "consolidated.safetensors", "README.md")
    refused(tmp_path, "no config.json" if needs_configuration and not configured else words)


def test_a_pointer_of_git_lfs_is_not_weights(tmp_path: Path) -> None:
    location = encoder(tmp_path, "bert", CLASSIFIER)
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    refused(location, "pointer of Git LFS; run there: git lfs pull")


@pytest.mark.parametrize(
    ("method", "package"),
    [
        ("bitsandbytes", "bitsandbytes"),
        ("gptq", "gptqmodel"),
        ("awq", "gptqmodel"),
        ("compressed-tensors", "compressed-tensors"),
        ("torchao", "torchao"),
        ("hqq", "hqq"),
        ("quanto", "optimum"),
    ],
)
def test_a_quantised_model_names_the_package_that_it_needs(tmp_path: Path, method: str, package: str) -> None:
    location = encoder(tmp_path, "bert", CLASSIFIER)
    change_json(tmp_path / "config.json", quantization_config={"quant_method": method, "load_in_4bit": True, "bits": 4})
    refused(location, f"is quantised by {method}, which needs the package {package}: .*not quantised")


@pytest.mark.parametrize("method", ["fbgemm_fp8", "something-new"])
def test_other_quantised_models_are_refused_in_transformers_words(tmp_path: Path, method: str) -> None:
    location = encoder(tmp_path, "bert", CLASSIFIER)
    change_json(tmp_path / "config.json", quantization_config={"quant_method": method})
    if method == "something-new":  # its weights are as usual, so it is none
        assert load_task("text-classification", location)
    else:
        refused(location, "cannot load .*(require|requires|GPU|accelerate|does not fit)")


@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation"])
def test_the_attention_of_its_trainers_is_not_needed(tmp_path: Path, key: str) -> None:
    location = encoder(tmp_path, "bert", CLASSIFIER)
    wanted = by_pipeline(location, texts()[:2])
    change_json(tmp_path / "config.json", **{key: "flash_attention_2"})
    task = load_task("text-classification", location)
    assert same(scores(task, [Item(text) for text in texts()[:2]]), wanted)


def test_code_of_its_own_is_never_run(tmp_path: Path) -> None:
    location = encoder(tmp_path, "bert", CLASSIFIER)
    change_json(tmp_path / "config.json", model_type="own", auto_map={"AutoConfig": "modeling.Config"})
    (tmp_path / "modeling.py").write_text("raise SystemExit('run')", encoding="utf-8")
    refused(location, "brings code of its own, which is never run here")


# --- adapters --------------------------------------------------------------------------------------------------------


def low_rank(model: Any, layers: str, rank: int = 4, **more: bool) -> dict[str, Tensor]:
    """Weights as peft saves them, for each layer whose name ends so."""
    torch.manual_seed(3)
    weights: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if not name.endswith(layers):
            continue
        rows, columns = (
            module.weight.shape
            if not isinstance(module, transformers.pytorch_utils.Conv1D)
            else (
                module.weight.shape[1],
                module.weight.shape[0],
            )
        )
        weights[f"base_model.model.{name}.lora_A.weight"] = torch.randn(rank, columns)
        weights[f"base_model.model.{name}.lora_B.weight"] = torch.randn(rows, rank)
        if more.get("magnitudes"):
            weights[f"base_model.model.{name}.lora_magnitude_vector"] = torch.rand(rows) + 0.5
    return weights


def adapter(directory: Path, base: str, weights: dict[str, Tensor], **settings: Any) -> str:
    directory.mkdir()
    given = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": base, **settings}
    change_json(directory / "adapter_config.json", **given)
    save_file(weights, directory / "adapter_model.safetensors")
    return str(directory)


def merged(layer: Tensor, weights: dict[str, Tensor], name: str, scale: float) -> Tensor:
    low, high = (weights[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
    return layer + scale * (high @ low)


@pytest.mark.parametrize(
    ("settings", "scale"),
    [({}, 2.0), ({"use_rslora": True}, 4.0), ({"alpha_pattern": {"query": 2}}, 0.5)],
    ids=["plain", "rslora", "a scale by layer"],
)
def test_an_adapter_is_laid_over_its_base(tmp_path: Path, settings: dict[str, Any], scale: float) -> None:
    base = encoder(tmp_path / "base", "bert", "AutoModel")  # without a head: the adapter brings it
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)
    weights = low_rank(model, "query")
    weights["base_model.model.classifier.weight"] = torch.randn(3, 32)
    weights["base_model.model.classifier.bias"] = torch.randn(3)
    location = adapter(tmp_path / "adapter", base, weights, modules_to_save=["classifier"], **settings)
    with torch.no_grad():
        for name, module in model.named_modules():
            if name.endswith("query"):
                module.weight.copy_(merged(module.weight, weights, name, scale))
        model.classifier.weight.copy_(weights["base_model.model.classifier.weight"])
        model.classifier.bias.copy_(weights["base_model.model.classifier.bias"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    model.save_pretrained(tmp_path / "merged")
    tokenizer.save_pretrained(tmp_path / "merged")
    wanted = by_pipeline(str(tmp_path / "merged"), texts())
    for engine in ("torch", "openvino", "onnxruntime") if not settings else ("torch",):
        task = load_task("text-classification", location, engine=engine)
        found = scores(task, [Item(text) for text in texts()])
        assert same(found, wanted, apart=1e-4), engine  # random weights of this size double a rounding


def test_an_adapter_of_a_language_model_and_dora(tmp_path: Path) -> None:
    tokenizer = gpt2_tokenizer()
    made_of = config("GPT2Config", **{**GPT2, "vocab_size": len(tokenizer), "num_labels": 2})
    base = write(tmp_path / "base", made(CLASSIFIER, made_of), tokenizer)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base)
    weights = low_rank(model, "attn.c_attn", magnitudes=True)
    location = adapter(tmp_path / "adapter", base, weights, fan_in_fan_out=True, use_dora=True)
    with torch.no_grad():
        for name, module in model.named_modules():
            if name.endswith("attn.c_attn"):  # a row of the usual layout is a column here
                summed = merged(module.weight.T, weights, name, 2.0)
                size = weights[f"base_model.model.{name}.lora_magnitude_vector"]
                module.weight.copy_((summed * (size / summed.norm(dim=1))[:, None]).T)
    write(tmp_path / "merged", model, tokenizer)
    task = load_task("text-classification", location)
    wanted = by_pipeline(str(tmp_path / "merged"), texts())
    assert same(scores(task, [Item(text) for text in texts()]), wanted)
    assert not any(math.isnan(score) for answer in wanted for score in answer.values())


def test_an_adapter_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    base = encoder(tmp_path / "base", "bert", CLASSIFIER)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base)
    weights = low_rank(model, "query")
    refused(adapter(tmp_path / "absent", "/home/me/base", weights), "is an adapter of /home/me/base, .*merge it once")
    refused(adapter(tmp_path / "unnamed", "", weights), "of a model that it does not name")
    refused(adapter(tmp_path / "ia3", base, weights, peft_type="IA3"), "of the kind IA3, not plain LORA: merge it once")
    strange = {name.replace("query", "elsewhere"): weight for name, weight in weights.items()}
    refused(adapter(tmp_path / "strange", base, strange), "does not fit its base: no bert.encoder.*elsewhere")
    location = adapter(tmp_path / "pickled", base, weights)
    (tmp_path / "pickled" / "adapter_model.safetensors").rename(tmp_path / "pickled" / "adapter_model.bin")
    refused(location, "without adapter_model.safetensors")
