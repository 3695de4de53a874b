"""Clients from the registry, unchanged, against real processes: tritonclient, openai, huggingface_hub.

Behind each model is a FIXTURE with random weights; what it answers means nothing, but is what the API answers too.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import openai
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from tritonclient.utils import InferenceServerException

from scripts.stack.postgres import PostgresServer
from scripts.stack.redis import RedisServer
from tests.conftest import cloned_database
from tests.e2e.conftest import services
from tests.examples import OTHER_CLIENTS, snippets
from tests.processes import REPOSITORY
from tests.tiny_families import encoder

SNIPPETS = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/CLIENTS.md").read_text(encoding="utf-8"), re.DOTALL)
SNIPPETS += [each for heading in OTHER_CLIENTS for each in snippets(heading, "python")]  # of docs/EXAMPLES.md
CURLS = re.findall(r"^\$ (curl .*)$", (REPOSITORY / "docs/CLIENTS.md").read_text(encoding="utf-8"), re.MULTILINE)
CLASSIFIER, BASE = "AutoModelForSequenceClassification", "AutoModel"
MODELS = {  # task, head, and settings of each
    "sentiment-analysis": ("text-classification", CLASSIFIER, {"num_labels": 3}),
    "embeddings": ("feature-extraction", BASE, {}),
    "zero-shot-classification": ("zero-shot-classification", BASE, {}),
    "text-summarization": ("summarization", BASE, {}),
    "ranker": ("text-ranking", CLASSIFIER, {"num_labels": 1}),
    "echo": ("tests.fixtures.tasks:Echo", "", {}),
}
TEXTS = ["The bridge is closed.", "Größe 🎉"]


def entry(folder: Path, name: str) -> str:
    task, head, settings = MODELS[name]
    artifact = encoder(folder / name, "bert", head, **settings) if head else "none"
    about = f'[[models]]\nname = "{name}"\ntask = "{task}"\ndescription = "a fixture"\n'
    return f'{about}[[models.versions]]\nversion = "1.0.0"\nartifact = "{artifact}"\ndefault = true\nprocesses = 1\n'


@pytest.fixture(scope="module")
def address(
    redis_server: RedisServer, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Host and port of a gateway that has a model of each kind."""
    folder = tmp_path_factory.mktemp("clients")
    (folder / "models.toml").write_text("\n".join(entry(folder, name) for name in MODELS), encoding="utf-8")
    with cloned_database(postgres_server) as database_url:
        environment = {
            "REDIS_URL": redis_server.url,
            "DATABASE_URL": database_url,
            "KEY_PREFIX": "clients:",
            "MODEL_CATALOGUE": str(folder / "models.toml"),
            "ACCEPT_ENCODED_BODIES": "true",
            "MAX_BATCH_TEXTS": "8",
        }
        with services(environment, folder) as start:
            started = [start(name, ready=False) for name in ("gateway", "inference_worker")]
            for service in started:
                service.wait_ready(180)
            yield started[0].url.removeprefix("http://")


@pytest.fixture
async def session(address: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://{address}") as made:
        yield made


async def told(session: aiohttp.ClientSession, model: str, text: str, **options: Any) -> Any:
    """What the API answers."""
    body = {"model": model, "text": text, **({"options": options} if options else {})}
    async with session.post("/api/v1/predict?wait=30", json=body) as answer:
        said = await answer.json()
        assert answer.status == 200, said
        return said["result"]


# --- what the document shows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_what_the_document_shows_runs(address: str, snippet: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(snippet.replace("localhost:8000", address), "docs/CLIENTS.md", "exec"), {"__name__": "shown"})
    assert capsys.readouterr().out.strip()


def test_each_client_is_shown() -> None:
    assert len(SNIPPETS) == 7 and len(CURLS) == 3


@pytest.mark.parametrize("command", CURLS, ids=range(len(CURLS)))
async def test_what_the_document_sends_is_answered(address: str, command: str) -> None:
    shell = await asyncio.create_subprocess_shell(
        f"{command.replace('localhost:8000', address)} --fail", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await shell.communicate()
    assert shell.returncode == 0 and out.startswith((b"[", b"{")), out


# --- tritonclient ---------------------------------------------------------------------------------------------------


def tensor(texts: list[Any], *, binary: bool = True, name: str = "text", shape: list[int] | None = None) -> Any:
    made = triton.InferInput(name, shape or [len(texts)], "BYTES")
    data = np.array(texts, dtype=object).reshape(shape or [len(texts)])
    return made.set_data_from_numpy(data, binary_data=binary)


@pytest.fixture
def triton_client(address: str) -> Iterator[Any]:
    """The synchronous client, which is of greenlets: it may be used by one thread alone."""
    with triton.InferenceServerClient(address) as client:
        yield client


def test_triton_sees_the_server_and_its_models(triton_client: Any) -> None:
    assert triton_client.is_server_live() and triton_client.is_server_ready()
    assert triton_client.get_server_metadata()["name"] == "millstream"
    assert triton_client.is_model_ready("embeddings") and triton_client.is_model_ready("embeddings", "1.0.0")
    assert not triton_client.is_model_ready("nothing") and not triton_client.is_model_ready("embeddings", "9")
    about = triton_client.get_model_metadata("sentiment-analysis")
    assert about["versions"] == ["1.0.0"] and about["platform"] == "millstream_text_classification"
    assert about["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert [each["name"] for each in about["outputs"]] == ["label", "score", "labels", "scores", "result"]
    assert triton_client.get_model_metadata("ranker", "1.0.0")["inputs"][0]["name"] == "input"


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("packing", [None, "gzip", "deflate"])
async def test_triton_gets_the_columns_that_the_api_has(
    session: aiohttp.ClientSession, triton_client: Any, binary_in: bool, binary_out: bool, packing: str | None
) -> None:
    wanted = [await told(session, "sentiment-analysis", text) for text in TEXTS]
    names = ("label", "score", "labels", "scores")
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in names]
    answer = triton_client.infer(
        "sentiment-analysis",
        [tensor(TEXTS, binary=binary_in)],
        outputs=outputs,
        request_id="mine",
        request_compression_algorithm=packing,
        response_compression_algorithm=packing,
    )
    assert answer.get_response()["id"] == "mine" and answer.get_response()["model_version"] == "1.0.0"
    assert len(answer.get_response()["parameters"]["prediction_ids"].split(",")) == 2
    columns = {name: answer.as_numpy(name) for name in names}
    assert [bytes(each).decode() if binary_out else each for each in columns["label"]] == [
        each["label"] for each in wanted
    ]
    assert columns["score"].dtype == columns["scores"].dtype == np.float32
    for row, each in enumerate(wanted):
        assert columns["scores"][row] == pytest.approx(list(each["scores"].values()), abs=1e-5)
        assert columns["score"][row] == columns["scores"][row][0] and columns["labels"].shape == (2, 3)


async def test_triton_gets_embeddings_and_own_results(session: aiohttp.ClientSession, triton_client: Any) -> None:
    answer = triton_client.infer("embeddings", [tensor(TEXTS, shape=[2, 1])], "1.0.0")
    vectors = answer.as_numpy("embedding")
    for vector, text in zip(vectors, TEXTS, strict=True):
        assert vector == pytest.approx((await told(session, "embeddings", text))["embedding"], abs=1e-5)
    answer = triton_client.infer("echo", [tensor(["hello", "you"])])
    assert [each for each in answer.as_numpy("result")] == [
        b'{"echo":"hello","reversed":"olleh"}',
        b'{"echo":"you","reversed":"uoy"}',
    ]
    asked = tensor(['{"query": "a", "documents": ["the bridge", "is closed"]}'], name="input")
    answer = triton_client.infer("ranker", [asked])
    assert b'"ranking"' in answer.as_numpy("result")[0]
    parameters = {"labels": "bridge, closed"}
    answer = triton_client.infer("zero-shot-classification", [tensor(TEXTS)], parameters=parameters, timeout=30_000_000)
    assert sorted(answer.as_numpy("labels")[0]) == [b"bridge", b"closed"]
    answer = triton_client.infer("text-summarization", [tensor(TEXTS)])
    assert answer.as_numpy("summary")[0].decode() == TEXTS[0]


@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        ({"model_name": "nothing"}, "404", "there is no model 'nothing'; there are: sentiment-analysis"),
        ({"model_version": "9"}, "404", "model 'sentiment-analysis' has no version '9'; it has: 1.0.0"),
        (
            {"outputs": [triton.InferRequestedOutput("nope")]},
            "400",
            "there is no output 'nope'; there are label, score",
        ),
        ({"inputs": [tensor(["a", " "])]}, "422", "body.inputs.0.data.1: must not be blank"),
        ({"inputs": [tensor(["a\0"])]}, "422", "body.inputs.0.data.0: must not contain NUL"),
        ({"inputs": [tensor(["a"] * 9)]}, "400", "inputs.0: it must have 1 to 8 elements, not 9"),
        ({"inputs": [tensor(["a", "b"], shape=[1, 2])]}, "400", "its shape must be [N] or [N, 1]"),
        ({"parameters": {"top": 1}}, "422", "body.parameters.top: a text-classification model has no option 'top'"),
        ({"timeout": 10**15}, "422", "body.parameters.timeout: must be at most 3600 seconds"),
        ({"model_name": "echo", "inputs": [tensor(["raise it"])]}, "500", "this model cannot read 'raise'"),
        ({"query_params": {"wait": "0.01"}, "model_name": "echo", "inputs": [tensor(["slow"])]}, "504", "not finished"),
    ],
)
def test_triton_is_told_what_is_wrong(triton_client: Any, given: dict[str, Any], status: str, said: str) -> None:
    asked = {"model_name": "sentiment-analysis", "inputs": [tensor(["a"])], **given}
    with pytest.raises(InferenceServerException) as caught:
        triton_client.infer(**asked)
    assert caught.value.status() == status and said in caught.value.message()


async def test_the_asynchronous_client_of_triton_gets_the_same(address: str) -> None:
    async with triton_aio.InferenceServerClient(address) as client:
        assert await client.is_server_ready() and await client.is_model_ready("echo")
        for binary in (True, False):
            answer = await client.infer("echo", [tensor(["hello"], binary=binary)])
            assert b"olleh" in answer.as_numpy("result")[0]
        answer = await client.infer("echo", [tensor(["hello"])], request_compression_algorithm="gzip")
        assert b"olleh" in answer.as_numpy("result")[0]
        with pytest.raises(InferenceServerException, match="there is no model"):
            await client.infer("nothing", [tensor(["a"])])


# --- openai ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def openai_client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"http://{address}/v1", api_key="none") as client:
        yield client


@pytest.mark.parametrize("encoding", [None, "float", "base64"])
async def test_openai_gets_the_embeddings_that_the_api_has(
    session: aiohttp.ClientSession, openai_client: openai.OpenAI, encoding: Any
) -> None:
    extra: dict[str, Any] = {"encoding_format": encoding} if encoding else {}
    answer = await asyncio.to_thread(
        lambda: openai_client.embeddings.create(model="embeddings", input=TEXTS, user="u1", **extra)
    )
    assert answer.model == "embeddings@1.0.0" and [each.index for each in answer.data] == [0, 1]
    assert answer.usage.total_tokens == answer.usage.prompt_tokens > 5
    for each, text in zip(answer.data, TEXTS, strict=True):
        vector: Any = each.embedding
        if encoding == "base64":
            vector = np.frombuffer(base64.b64decode(vector), "<f4")
        assert vector == pytest.approx((await told(session, "embeddings", text))["embedding"], abs=1e-5)


def test_openai_lists_models(openai_client: openai.OpenAI) -> None:
    assert [each.id for each in openai_client.models.list()] == list(MODELS)
    assert openai_client.models.retrieve("embeddings").owned_by == "millstream"
    assert openai_client.models.retrieve("embeddings@1.0.0").id == "embeddings@1.0.0"
    with pytest.raises(openai.NotFoundError) as caught:
        openai_client.models.retrieve("embeddings@9")
    assert caught.value.code == "model_not_found" and caught.value.param == "model"


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"model": "nothing"}, openai.NotFoundError, "there is no model 'nothing'"),
        ({"model": "echo"}, openai.BadRequestError, "model 'echo' makes no embeddings"),
        ({"input": [[1, 2, 3]]}, openai.BadRequestError, "check_embedding_ctx_length=False"),
        ({"input": [1, 2, 3]}, openai.BadRequestError, "check_embedding_ctx_length=False"),
        ({"input": []}, openai.UnprocessableEntityError, "must be a text, or a list of texts"),
        ({"input": ["a", " "]}, openai.UnprocessableEntityError, "body.input.1: must not be blank"),
        ({"input": ["a"] * 9}, openai.UnprocessableEntityError, "must have at most 8 texts, not 9"),
        ({"dimensions": 4096}, openai.UnprocessableEntityError, "4096 are asked for"),
        ({"extra_body": {"inputs": "a"}}, openai.UnprocessableEntityError, "body.inputs: Extra inputs"),
        ({"extra_query": {"wat": "1"}}, openai.UnprocessableEntityError, "query.wat: is no parameter"),
    ],
)
def test_openai_is_told_what_is_wrong(openai_client: openai.OpenAI, given: Any, error: Any, said: str) -> None:
    with pytest.raises(error) as caught:
        openai_client.embeddings.create(**{"model": "embeddings", "input": "a", **given})
    assert said in caught.value.message and caught.value.body["message"] in caught.value.message
    assert caught.value.type == "invalid_request_error"


async def test_the_asynchronous_client_of_openai_gets_the_same(address: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"http://{address}/v1", api_key="none") as client:
        answer = await client.embeddings.create(model="embeddings@1.0.0", input="a", dimensions=4)
        assert len(answer.data[0].embedding) == 4
        assert len((await client.models.list()).data) == len(MODELS)
        with pytest.raises(openai.NotFoundError):
            await client.embeddings.create(model="embeddings@2", input="a")


# --- huggingface_hub ------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(address: str) -> Iterator[Any]:
    def client(model: str) -> InferenceClient:
        return InferenceClient(f"http://{address}/hf/{model}")

    yield client


async def test_hugging_face_asks_every_task(session: aiohttp.ClientSession, hub: Any) -> None:
    wanted = await told(session, "sentiment-analysis", TEXTS[0])
    found = await asyncio.to_thread(hub("sentiment-analysis@1.0.0").text_classification, TEXTS[0])
    assert {each.label: each.score for each in found} == pytest.approx(wanted["scores"], abs=1e-5)
    found = await asyncio.to_thread(lambda: hub("sentiment-analysis").text_classification(TEXTS[0], top_k=1))
    assert [each.label for each in found] == [wanted["label"]]
    found = await asyncio.to_thread(hub("embeddings").feature_extraction, TEXTS[0])
    one = await told(session, "embeddings", TEXTS[0])
    assert found.shape[0] == 1 and found[0] == pytest.approx(one["embedding"], abs=1e-5)
    assert (await asyncio.to_thread(hub("embeddings").feature_extraction, TEXTS)).shape[0] == 2
    found = await asyncio.to_thread(hub("embeddings").sentence_similarity, TEXTS[0], [TEXTS[0], TEXTS[1]])
    other = await told(session, "embeddings", TEXTS[1], normalize=True)
    source = await told(session, "embeddings", TEXTS[0], normalize=True)
    cosine = float(np.dot(source["embedding"], other["embedding"]))
    assert found == pytest.approx([1, cosine], abs=1e-4)
    zero_shot = hub("zero-shot-classification").zero_shot_classification
    found = await asyncio.to_thread(zero_shot, TEXTS[0], ["bridge", "closed"])
    scores = (await told(session, "zero-shot-classification", TEXTS[0], labels=["bridge", "closed"]))["scores"]
    assert {each.label: each.score for each in found} == pytest.approx(scores, abs=1e-5)
    found = await asyncio.to_thread(hub("text-summarization").summarization, TEXTS[0])
    assert found.summary_text == (await told(session, "text-summarization", TEXTS[0]))["summary"]


@pytest.mark.parametrize(
    ("model", "ask", "said"),
    [
        ("nothing", lambda client: client.summarization("a"), "there is no model 'nothing'"),
        ("sentiment-analysis", lambda client: client.text_classification(" "), "body.inputs: must not be blank"),
        (
            "sentiment-analysis",
            lambda client: client.text_classification("a", function_to_apply="none"),
            "scores are those of the model's own function",
        ),
        (
            "sentiment-analysis",
            lambda client: client.fill_mask("a", targets=["b"]),
            "targets: is not supported for text-",
        ),
        (
            "zero-shot-classification",
            lambda client: client.zero_shot_classification("a", ["b"], multi_label=True),
            "",
        ),
        ("ranker", lambda client: client.text_classification("a"), "POST to its path /rerank"),
    ],
)
def test_hugging_face_is_told_what_is_wrong(hub: Any, model: str, ask: Any, said: str) -> None:
    with pytest.raises(HfHubHTTPError) as caught:
        ask(hub(model))
    assert said in str(caught.value) and '"error_type":"Validation"' in caught.value.response.text


async def test_the_asynchronous_client_of_hugging_face_gets_the_same(address: str) -> None:
    async with AsyncInferenceClient(f"http://{address}/hf/sentiment-analysis") as client:
        assert len(await client.text_classification("a")) == 3
        with pytest.raises(HfHubHTTPError, match="must not be blank"):
            await client.text_classification(" ")


# --- Text Embeddings Inference --------------------------------------------------------------------------------------


async def asked(session: aiohttp.ClientSession, path: str, body: Any) -> tuple[int, Any]:
    async with session.post(f"/hf/{path}", json=body) as answer:
        return answer.status, await answer.json()


def by_label(ranked: list[dict[str, Any]]) -> dict[str, float]:
    return {each["label"]: each["score"] for each in ranked}


async def test_the_paths_of_tei_are_answered(session: aiohttp.ClientSession) -> None:
    status, found = await asked(session, "embeddings/embed", {"inputs": TEXTS, "truncate": True})
    assert status == 200 and [np.linalg.norm(each) for each in found] == pytest.approx([1, 1], abs=1e-3)
    status, raw = await asked(session, "embeddings/embed", {"inputs": TEXTS[0], "normalize": False, "dimensions": 4})
    assert status == 200 and raw == [
        pytest.approx((await told(session, "embeddings", TEXTS[0]))["embedding"][:4], abs=1e-5)
    ]
    body = {"inputs": {"source_sentence": TEXTS[0], "sentences": TEXTS}}
    status, cosines = await asked(session, "embeddings/similarity", body)
    assert status == 200 and cosines == pytest.approx([1, np.dot(*found)], abs=1e-4)
    scores = (await told(session, "sentiment-analysis", "a"))["scores"]
    status, one = await asked(session, "sentiment-analysis/predict", {"inputs": "a"})
    assert status == 200 and by_label(one) == pytest.approx(scores, abs=1e-5)
    status, several = await asked(session, "sentiment-analysis/predict", {"inputs": [["a"], ["b"]]})
    assert status == 200 and len(several) == 2 and by_label(several[0]) == pytest.approx(scores, abs=1e-5)
    status, pair = await asked(session, "sentiment-analysis/predict", {"inputs": ["a", "b"]})
    paired = await told(session, "sentiment-analysis", "a", text_pair="b")
    assert status == 200 and by_label(pair) == pytest.approx(paired["scores"], abs=1e-5)
    texts = ["the bridge", "is closed"]
    status, ranks = await asked(session, "ranker/rerank", {"query": "bridge", "texts": texts, "return_text": True})
    assert status == 200 and sorted(each["text"] for each in ranks) == sorted(texts)
    assert ranks[0]["score"] >= ranks[1]["score"]
    async with session.get("/hf/embeddings/health") as answer:
        assert answer.status == 200 and not await answer.read()
    async with session.get("/hf/embeddings@1.0.0/info") as answer:
        about = await answer.json()
        assert about["model_id"] == "embeddings" and about["max_client_batch_size"] == 8


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("ranker/embed", {"inputs": "a"}, 400, "model 'ranker' makes no embeddings"),
        ("embeddings/predict", {"inputs": "a"}, 400, "model 'embeddings' has no classes"),
        ("embeddings/rerank", {"query": "a", "texts": ["b"]}, 400, "model 'embeddings' ranks no texts"),
        ("ranker/rerank", {"query": "a", "texts": ["b"], "raw_scores": True}, 422, "raw_scores: cannot be true"),
        ("ranker/rerank", {"query": "a", "texts": ["b", " "]}, 422, "must not be blank"),
        ("embeddings/embed", {"inputs": [1, 2]}, 400, "token ids"),
        ("sentiment-analysis/predict", {"inputs": [["a", "b"], ["c"]]}, 422, "a pair goes alone"),
        ("embeddings/nothing", {}, 404, "nothing exists at this path"),
        ("embeddings/v1/chat/completions", {}, 404, "nothing exists at this path"),
    ],
)
async def test_what_is_wrong_is_told_as_tei_does(
    session: aiohttp.ClientSession, path: str, body: Any, status: int, said: str
) -> None:
    answered, found = await asked(session, path, body)
    assert (answered, found["error_type"]) == (status, "Validation") and said in found["error"] == found["detail"]
