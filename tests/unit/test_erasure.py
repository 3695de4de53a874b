"""Which entries an erasure covers."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.erasure import Erasure
from shared.contract.ids import uuid7

AT = 1_000_000  # ms
ID = UUID(int=0)


class Sent(NamedTuple):
    """A prediction: when it was accepted, by whom, on whose behalf, and whether it is a copy for a shadow."""

    at: int
    principal: str
    subject_id: str
    is_copy: bool

    def fields(self) -> dict[bytes, bytes]:
        """Its entry; of a copy, which is made later and belongs to nobody."""
        original = uuid7(self.at, 1)
        known = {b"subject_id": self.subject_id.encode()} if self.subject_id else {}
        if self.is_copy:
            copy = {b"shadow_of": original.encode(), b"shadow_for": self.principal.encode(), b"principal": b""}
            return {b"id": uuid7(self.at + 1000, 2).encode(), **copy, **known}
        return {b"id": original.encode(), b"principal": self.principal.encode(), **known}


names = st.sampled_from(["", "p_a", "p_b", "p_aa"])
sent = st.builds(Sent, st.sampled_from([AT - 1, AT, AT + 1]), names, names, st.booleans())


@given(sent, names, names)
def test_it_covers_what_has_all_of_its_values_and_nothing_else(each: Sent, principal: str, subject_id: str) -> None:
    erasure = Erasure(ID, UUID(int=AT << 80), principal, subject_id)
    wanted = each.at < AT and principal in ("", each.principal) and subject_id in ("", each.subject_id)
    assert erasure.covers(f"{each.at}-0", each.fields()) == wanted


@pytest.mark.parametrize(("entry", "covered"), [(f"{AT - 1}-5", True), (f"{AT}-0", False)])
@pytest.mark.parametrize("unreadable", [{}, {b"id": b"?"}, {b"id": b"\xff"}])
def test_what_cannot_be_read_is_as_old_as_its_entry(entry: str, covered: bool, unreadable: dict[bytes, bytes]) -> None:
    assert Erasure(ID, UUID(int=AT << 80)).covers(entry, unreadable) == covered
    assert not Erasure(ID, UUID(int=AT << 80), "p_a").covers(entry, unreadable), "nobody knows whose it is"
    assert Erasure(ID, UUID(int=AT << 80), "p_a").covers(entry, {**unreadable, b"principal": b"p_a"}) == covered
