"""SmolLM2-135M-Instruct from its 4-bit GGUF file to a standard transformers directory in bfloat16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.artifacts import write_json
from models.packages import say

_DROPPED = ("quantization_config", "_name_or_path", "_model_name_or_path", "output_attentions", "output_hidden_states")


def convert(gguf: Path, directory: Path) -> None:
    """Dequantize the weights and write config, weights, generation settings and tokenizer."""
    say("converting the GGUF weights (about 20 s)")
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, local_files_only=True
    )
    state = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in model.state_dict().items()}
    del state["lm_head.weight"]  # tied to the embeddings: one tensor under two names
    save_file(state, directory / "model.safetensors", metadata={"format": "pt"})
    write_json(directory / "config.json", _config(model.config))
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
    tokenizer.model_max_length = model.config.max_position_embeddings
    tokenizer.save_pretrained(directory)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    write_json(
        directory / "generation_config.json",
        {"bos_token_id": model.config.bos_token_id, "eos_token_id": end, "pad_token_id": end, "do_sample": False},
    )


def _config(config: Any) -> dict[str, Any]:
    kept = {name: value for name, value in config.to_dict().items() if name not in _DROPPED}
    return {**kept, "architectures": ["LlamaForCausalLM"], "dtype": "bfloat16"}
