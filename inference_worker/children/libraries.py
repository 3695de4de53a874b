"""Imported by the server that children are forked from: what built-in tasks need, and nothing that computes.

What is imported here is in memory once; what a child imports, once for each child.
"""

from __future__ import annotations

import gc
from importlib.util import find_spec

import transformers.models.auto.modeling_auto  # noqa: F401
import transformers.models.auto.tokenization_auto  # noqa: F401
import transformers.models.bert.tokenization_bert  # noqa: F401

from inference_worker.tasks import (  # noqa: F401
    artifacts,
    encoders,
    feature_extraction,
    summarization,
    text_classification,
    zero_shot,
)

if find_spec("torch"):  # which the image inference-worker-openvino does not have
    import safetensors.torch  # noqa: F401
    import torch._dynamo  # noqa: F401 - imported by the first forward pass, with hundreds of modules
    import transformers.modeling_utils  # noqa: F401
    import transformers.models.bert.modeling_bert  # noqa: F401

    from inference_worker.tasks import generative, torch_models  # noqa: F401

gc.collect()
gc.freeze()  # a collection would write to the pages that children share
