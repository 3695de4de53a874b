"""The Open Inference Protocol v2 (KServe, Triton): `/v2`, with texts as BYTES tensors in JSON or behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from aiohttp import web

from gateway.core.order import Input
from gateway.http.bodies import check_values, parse, read_bytes
from gateway.http.context import CATALOGUE, LIVENESS, SETTINGS
from gateway.http.problems import ProblemError, invalid
from gateway.http.readiness import is_served, not_ready
from gateway.http.responses import json_response
from gateway.http.timeouts import timeout_ms_of
from gateway.protocols.asking import Ask, Results, Target, results_of, target_of
from gateway.protocols.bodies import text_input
from gateway.protocols.v2_outputs import defaults_of, names_of, outputs_of, tensors_of
from gateway.protocols.v2_schemas import InferInput, InferRequest
from gateway.protocols.v2_tensors import MalformedTensor, count_of, described, texts_of_bytes, texts_of_json
from shared.service.version import software_version

_JSON_LENGTH = "Inference-Header-Content-Length"
_BYTES = "application/octet-stream"
_TAKE_JSON = ("text-ranking", "question-answering")  # of the built-in tasks: objects, never a text
_PLACE = ("body", "inputs", 0)


async def v2_server(request: web.Request) -> web.Response:
    """Name and version of the server."""
    return json_response({"name": "millstream", "version": software_version(), "extensions": ["binary_tensor_data"]})


async def v2_live(request: web.Request) -> web.Response:
    """Whether the gateway runs; 503 if it is stuck."""
    live = not request.app[LIVENESS].stalled()
    return json_response({"live": live}, status=200 if live else 503)


async def v2_ready(request: web.Request) -> web.Response:
    """Whether to send requests here; 503 if not."""
    ready = not_ready(request.app) is None
    return json_response({"ready": ready}, status=200 if ready else 503)


async def v2_model(request: web.Request) -> web.Response:
    """What a model takes and gives."""
    served = _target(request).served
    found = request.app[CATALOGUE].find(served.model)
    name = "input" if served.task in _TAKE_JSON else "text"
    return json_response(
        {
            "name": served.model,
            "versions": [each.version for each in found.versions if each.active] if found else [],
            "platform": f"millstream_{'custom' if ':' in served.task else served.task.replace('-', '_')}",
            "inputs": [{"name": name, "datatype": "BYTES", "shape": [-1]}],
            "outputs": outputs_of(served.task),
        }
    )


async def v2_model_version(request: web.Request) -> web.Response:
    """What a version of a model takes and gives."""
    return await v2_model(request)


async def v2_model_ready(request: web.Request) -> web.Response:
    """Whether requests for a model would be computed now; 503 if not."""
    served = _target(request).served
    ready = await is_served(request.app, served)
    return json_response({"name": served.model, "ready": ready}, status=200 if ready else 503)


async def v2_model_version_ready(request: web.Request) -> web.Response:
    """Whether requests for a version of a model would be computed now; 503 if not."""
    return await v2_model_ready(request)


async def v2_infer(request: web.Request) -> web.Response:
    """Predict for each element of a tensor."""
    target = _target(request)
    raw = await read_bytes(request, "application/json", _BYTES)
    split = _json_length(request, len(raw))
    body = parse(raw[:split], InferRequest)
    names = _outputs(body, target.served.task)
    microseconds = body.parameters.timeout
    seconds = microseconds / 1e6 if microseconds else None
    place = ("body", "parameters", "timeout")
    ask = Ask(
        body,
        _inputs(body.inputs[0], raw[split:], request.app[SETTINGS].max_batch_texts),
        body.parameters.options(),
        timeout_ms=timeout_ms_of(seconds, request.app[SETTINGS], *place) if seconds else None,
    )
    return _response(target, body, names, await results_of(request, target, ask))


async def v2_infer_version(request: web.Request) -> web.Response:
    """Predict for each element of a tensor, by a version of a model."""
    return await v2_infer(request)


def _target(request: web.Request) -> Target:
    return target_of(request, request.match_info["name"], request.match_info.get("version"))


def _json_length(request: web.Request, length: int) -> int:
    """How many bytes of the body are JSON."""
    header = request.headers.get(_JSON_LENGTH)
    if header is None:
        return length
    if not (header.isascii() and header.isdigit() and len(header) < 12 and int(header) <= length):
        detail = f"{_JSON_LENGTH} must be how many of the body's {length} bytes, unpacked, are JSON"
        raise ProblemError(400, "malformed-body", detail)
    return int(header)


def _inputs(tensor: InferInput, behind: bytes, most: int) -> list[Input]:
    try:
        count = count_of(tensor.shape, most)
        texts = _texts(tensor, behind, count)
    except MalformedTensor as error:
        raise _malformed(str(error)) from None
    places = [(*_PLACE, "data", index) for index in range(count)]
    if tensor.name == "text":
        return [text_input(text, place) for text, place in zip(texts, places, strict=True)]
    check_values(",".join(texts).encode("utf-8", "replace"))
    return [Input(_parsed(text, place), place, sent_as_input=True) for text, place in zip(texts, places, strict=True)]


def _texts(tensor: InferInput, behind: bytes, count: int) -> list[str]:
    size = tensor.parameters.binary_data_size
    if (size is None) == (tensor.data is None):
        raise MalformedTensor("it needs either `data`, or `binary_data_size` and bytes behind the JSON")
    if len(behind) != (size or 0):
        raise MalformedTensor(f"{len(behind)} bytes are behind the JSON, and `binary_data_size` is {size or 0}")
    return texts_of_bytes(behind, count) if tensor.data is None else texts_of_json(tensor.data, count)


def _parsed(text: str, place: Sequence[str | int]) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise invalid([(place, "must be JSON, as a string")]) from None


def _malformed(detail: str) -> ProblemError:
    return ProblemError(400, "malformed-tensor", f"inputs.0: {detail}", errors=[(_PLACE, detail)])


def _outputs(body: InferRequest, task: str) -> list[str]:
    names = [each.name for each in body.outputs]
    unknown = [each for each in names if each not in names_of(task)]
    if unknown:
        detail = f"there is no output {unknown[0]!r}; there are {', '.join(names_of(task))}"
        raise ProblemError(400, "unknown-output", detail, errors=[(("body", "outputs"), detail)])
    return list(dict.fromkeys(names)) or defaults_of(task)


def _response(target: Target, body: InferRequest, names: Sequence[str], results: Results) -> web.Response:
    wanted = {each.name: each.parameters.binary_data for each in body.outputs}
    tensors, behind = [], []
    for tensor in tensors_of(target.served.task, names, results.texts):
        asked = wanted.get(tensor.name)
        about, packed = described(tensor, binary=body.parameters.binary_data_output if asked is None else asked)
        tensors.append(about)
        behind.append(packed)
    answer = {
        "model_name": target.served.model,
        "model_version": results.version,
        **({"id": body.id} if body.id else {}),
        "parameters": {"prediction_ids": ",".join(results.ids)},
        "outputs": tensors,
    }
    if not any("parameters" in each for each in tensors):
        return json_response(answer, headers=results.headers)
    head = orjson.dumps(answer)
    headers = {**results.headers, _JSON_LENGTH: str(len(head))}
    return web.Response(body=b"".join([head, *behind]), content_type=_BYTES, headers=headers)
