"""Which code is tried, and which test files may reach it; which of their tests do is found out by running them once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.mutants.lua_mutants import lua_mutants
from tests.mutants.mutation import Mutant
from tests.mutants.python_mutants import python_mutants

Table = dict[str, tuple[str, ...]]

LANE = (
    "unit/test_held_entries",
    "integration/test_lane",
    "integration/test_lane_losses",
    "integration/test_held_entries",
    "integration/test_outages",
    "integration/test_spans",
)
PERSISTER = (
    *("unit/test_rows", "unit/test_persister_start", "integration/test_result_stream", "integration/test_outages"),
    *("integration/test_postgres_farewell", "integration/test_postgres_preconditions"),
    *("integration/test_slow_postgres", "integration/test_drift", "integration/test_spans"),
)
WAITING = ("unit/test_waiters", "integration/test_gateway_waiting", "integration/test_gateway_accepted")
STREAMS = (
    *("integration/test_scripts", "integration/test_request_stream", "integration/test_result_stream"),
    *("integration/test_full_redis", "integration/test_refused_commands", "integration/test_held_entries"),
    *("integration/test_large_results", "integration/test_caller_limits", "integration/test_stored_inputs"),
    "integration/test_result_cache",
    *("integration/test_gateway_cancelling", "integration/test_gateway_tags", "integration/test_gateway_experiments"),
)
TABLE: Table = {
    "gateway/core/submissions.py": (
        "unit/test_gateway_submissions",
        "integration/test_gateway_coalescing",
        "integration/test_priorities",
    ),
    "gateway/core/waiting.py": WAITING,
    "gateway/upkeep/drain.py": ("unit/test_drain",),
    "gateway/upkeep/expiry.py": (
        "unit/test_expiry",
        "integration/test_expiry",
        "integration/test_gateway_dead_letters",
    ),
    "inference_worker/batching.py": ("unit/test_batching",),
    "inference_worker/held_entries.py": LANE,
    "inference_worker/lane.py": ("unit/test_lane", *LANE),
    "inference_worker/movement.py": ("unit/test_movement",),
    "inference_worker/outcomes.py": ("unit/test_outcomes", "unit/test_limits", *LANE),
    "inference_worker/passes.py": ("unit/test_passes", *LANE),
    "inference_worker/tasks/tokens.py": (
        *("unit/test_tasks_tokens", "unit/test_tasks_chunking", "integration/test_hub_embeddings"),
        *("integration/test_hub_classifiers", "integration/test_hub_tokenizers"),
    ),
    "inference_worker/triage.py": ("unit/test_triage",),
    "persister/batch_writer.py": ("unit/test_batch_writer", *PERSISTER),
    "persister/database.py": PERSISTER,
    "persister/persister.py": ("unit/test_persister", *PERSISTER),
    "persister/rows.py": ("unit/test_rows", "integration/test_result_stream"),
    "shared/contract/fields.py": ("unit/test_messages", "unit/test_outcomes", "unit/test_rows"),
    "shared/contract/given.py": ("unit/test_rows", "unit/test_gateway_finished"),
    "shared/contract/hints.py": ("unit/test_messages",),
    "shared/contract/keys.py": ("unit/test_keys",),
    "shared/contract/messages.py": ("unit/test_messages", "unit/test_outcomes", "unit/test_rows"),
    "shared/streams/lua/*.lua": STREAMS,
    "shared/streams/prediction_state.py": ("integration/test_prediction_states", *STREAMS),
    "shared/streams/publishing.py": STREAMS,
    "shared/streams/request_stream.py": STREAMS,
    "shared/streams/result_stream.py": STREAMS,
}
# Its test is hollow on purpose: faults must be found to survive.
KNOWN_BAD: Table = {"tests/fixtures/mutants/hollow.py": ("fixtures/mutants/test_hollow",)}


def subjects(root: Path, table: Table, only: list[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Paths and their test files, of those whose path holds one of the words (all without any)."""
    for pattern, tests in table.items():
        found = sorted(str(path.relative_to(root)) for path in root.glob(pattern))
        if not found:
            raise FileNotFoundError(f"{pattern} is in tests/mutants/subjects.py, but not in the repository")
        for path in found:
            if not only or any(word in path for word in only):
                yield path, tuple(f"tests/{each}.py" for each in tests)


def mutants_of(root: Path, path: str) -> list[Mutant]:
    """All faults of a file."""
    source = (root / path).read_text(encoding="utf-8")
    return lua_mutants(path, source) if path.endswith(".lua") else python_mutants(path, source)
