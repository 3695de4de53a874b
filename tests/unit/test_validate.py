"""What a check of `make validate` is worth: good passes, bad does not and for the reason that it should."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from scripts.tools.kit import ROOT
from scripts.validate import check as checks
from scripts.validate import kubernetes
from scripts.validate.__main__ import CHECKS, main, needed, report
from scripts.validate.check import Check, Refused, command, one_by_one, output, problem

MAKEFILE, README = ROOT / "Makefile", ROOT / "README.md"


def check(bad: Path = README, tool: str = "sh", words: str = "as it should be") -> Check:
    """A check that refuses one file."""

    def refuses_bad(paths: Sequence[Path]) -> None:
        if bad in paths:
            raise Refused("as it should be")

    return Check("a check", {tool: "Debian: apt install it"}, (MAKEFILE,), {bad: words}, refuses_bad)


def test_it_holds_where_good_passes_and_bad_does_not() -> None:
    assert problem(check()) is None


def test_a_missing_tool_is_named_with_how_to_get_it() -> None:
    assert problem(check(tool="no-such-tool")) == "no-such-tool is not installed. Debian: apt install it"


def test_it_fails_where_good_is_refused() -> None:
    assert problem(check(MAKEFILE)) == "as it should be"


def test_it_fails_where_there_is_nothing_to_check() -> None:
    assert problem(dataclasses.replace(check(), good=())) == "there are no files to check"


def test_it_fails_where_a_bad_file_passes() -> None:
    assert "finds nothing" in (problem(dataclasses.replace(check(), run=lambda paths: None)) or "")


def test_it_fails_where_a_bad_file_is_refused_for_another_reason() -> None:
    why = problem(check(words="for its colour"))
    assert why == "README.md was refused, but not for 'for its colour': as it should be"


def test_something_bad_can_be_made_at_run_time() -> None:
    made: list[Path] = []

    def make(folder: Path) -> dict[Path, str]:
        made.append(folder / "bad")
        return {made[0]: "bad"}

    blind = dataclasses.replace(check(), bad={}, make_bad=make, run=lambda paths: None)
    assert problem(blind) == f"{made[0]} is known to be bad and passed: this check finds nothing"


def test_a_program_that_fails_refuses() -> None:
    with pytest.raises(Refused, match="false"):
        command("false")([])
    one_by_one("true")([MAKEFILE])


def test_a_program_that_takes_too_long_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "TIMEOUT_S", 0.05)
    with pytest.raises(Refused, match="not done after 0.05 s"):
        output("sleep", "5")


def test_the_report_counts_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    assert report([check(), check(MAKEFILE)]) == 1
    printed = capsys.readouterr().out
    assert "FAILED" in printed and "as it should be" in printed and "ok" in printed


def test_an_unknown_word_lists_the_checks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no such check"]) == 2
    assert "helm lint" in capsys.readouterr().out


@pytest.mark.parametrize("each", CHECKS, ids=lambda each: each.name)
def test_every_check_has_files_good_and_bad(each: Check) -> None:
    assert each.good and (each.bad or each.make_bad)
    assert all(path.exists() for path in (*each.good, *each.bad))


def test_the_kits_of_checks_are_installed_once() -> None:
    names = [kit.name for kit in needed(CHECKS)]
    assert sorted(names) == ["checkers", "checkov", "helm", "schemas"]


def test_manifests_with_a_key_twice_or_without_a_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("apiVersion: v1\nkind: A\ndata: {a: 1, b: 2, a: 3}\n", encoding="utf-8")
    with pytest.raises(Refused, match="a stands there more than once"):
        kubernetes.documents(path)
    path.write_text("apiVersion: v1\n", encoding="utf-8")
    with pytest.raises(Refused, match="without apiVersion and kind"):
        kubernetes.documents(path)
    path.write_text("---\n---\napiVersion: v1\nkind: A\n", encoding="utf-8")
    assert kubernetes.documents(path) == [{"apiVersion": "v1", "kind": "A"}]
