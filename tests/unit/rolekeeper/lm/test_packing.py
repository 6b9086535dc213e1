from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.lm.encode import EncodedSample
from rolekeeper.lm.packing import MIN_SHARED, ROW_MULTIPLE, packed_rows, pad_row, tree_mask

HIDDEN = float("-inf")


def sample(prompt_ids: list[int], response_ids: list[int]) -> EncodedSample:
    return EncodedSample(prompt_ids, response_ids, truncated=False, dropped_messages=0)


def test_two_prompts_one_of_them_answered_twice_by_hand() -> None:
    samples = [sample([5, 6], [7, 8]), sample([1], [2, 3, 4]), sample([5, 6], [9])]
    (row,) = packed_rows(samples, past=10, max_tokens=100)
    # The prompt 5 6 has the inputs 7 and, for the response of one token, none. It ties with 1 2 3, and comes first.
    assert row.samples == [0, 2, 1]
    assert row.input_ids_T.tolist() == [5, 6, 7, 1, 2, 3]
    assert row.position_ids_T.tolist() == [10, 11, 12, 10, 11, 12]
    assert row.labels_R.tolist() == [7, 8, 9, 2, 3, 4]
    assert row.rows_R.tolist() == [1, 2, 1, 3, 4, 5]
    assert [(group.start, group.stop) for group in row.groups] == [(0, 3), (3, 6)]
    assert row.groups[0].mask_LL is not None
    assert row.groups[1].mask_LL is None


def test_prompts_that_begin_alike_share_their_beginning_by_hand() -> None:
    shared = [1] * MIN_SHARED
    samples = [sample([*shared, 5, 6], [7, 8]), sample(shared, [9, 4]), sample([*shared[:-1], 5], [2])]
    (row,) = packed_rows(samples, past=0, max_tokens=200)
    # The third begins with one token less, and is a group of its own. The second answers where the first asks 5 6.
    assert row.samples == [0, 1, 2]
    assert row.input_ids_T.tolist() == [*shared, 5, 6, 7, 9, *shared[:-1], 5]
    end = MIN_SHARED
    assert row.position_ids_T.tolist() == [*range(end), end, end + 1, end + 2, end, *range(end)]
    assert row.rows_R.tolist() == [end + 1, end + 2, end - 1, end + 3, 2 * end + 3]
    assert row.labels_R.tolist() == [7, 8, 9, 4, 2]
    assert [(group.start, group.stop) for group in row.groups] == [(0, end + 4), (end + 4, 2 * end + 4)]


def test_the_branches_of_a_tree_do_not_see_each_other() -> None:
    assert tree_mask([2, 1, 2]).tolist() == [
        [0, HIDDEN, HIDDEN, HIDDEN, HIDDEN],
        [0, 0, HIDDEN, HIDDEN, HIDDEN],
        [0, 0, 0, HIDDEN, HIDDEN],
        [0, 0, HIDDEN, 0, HIDDEN],
        [0, 0, HIDDEN, 0, 0],
    ]


def test_a_prompt_with_too_many_responses_is_split() -> None:
    samples = [sample([1, 2], [3, 4, 5])] * 5
    rows = list(packed_rows(samples, past=0, max_tokens=6))
    assert [len(row.input_ids_T) for row in rows] == [6, 6, 4]
    assert [row.samples for row in rows] == [[0, 1], [2, 3], [4]]


def test_a_group_is_as_long_as_its_shared_beginning_and_what_each_sample_adds() -> None:
    shared = [1] * MIN_SHARED
    samples = [sample([*shared, 2, number], [3, 4]) for number in range(4)]
    # The first adds 2, 0 and 3 to the beginning; with the second they share the 2 as well, and each adds two tokens.
    assert [row.samples for row in packed_rows(samples, past=0, max_tokens=MIN_SHARED + 5)] == [[0, 1], [2, 3]]
    assert [row.samples for row in packed_rows(samples, past=0, max_tokens=MIN_SHARED + 9)] == [[0, 1, 2, 3]]


def test_a_padded_row_is_the_row_and_a_group_that_nobody_reads() -> None:
    (row,) = packed_rows([sample([5, 6], [7, 8]), sample([1], [2])], past=10, max_tokens=100)
    padded = pad_row(row, past=10)
    assert padded.input_ids_T.tolist() == [5, 6, 7, 1] + [0] * (ROW_MULTIPLE - 4)
    assert padded.position_ids_T.tolist() == [10, 11, 12, 10, *range(10, 10 + ROW_MULTIPLE - 4)]
    assert [(group.start, group.stop) for group in padded.groups] == [(0, 3), (3, 4), (4, ROW_MULTIPLE)]
    assert (padded.rows_R.tolist(), padded.labels_R.tolist()) == (row.rows_R.tolist(), row.labels_R.tolist())
    assert pad_row(padded, past=10) is padded


ids = st.lists(st.integers(1, 3), min_size=1, max_size=4)


prompts = st.one_of(ids, ids.map(lambda rest: [1] * MIN_SHARED + rest))


@given(st.lists(st.builds(sample, prompts, ids), max_size=12), st.integers(0, 5), st.integers(1, 200))
def test_every_response_token_is_predicted_from_its_own_history(
    samples: list[EncodedSample], past: int, max_tokens: int
) -> None:
    rows = list(packed_rows(samples, past, max_tokens))
    assert sorted(index for row in rows for index in row.samples) == list(range(len(samples)))
    for row in rows:
        assert len(row.input_ids_T) <= max_tokens or len(row.samples) == 1
        wanted = [
            [*samples[index].prompt_ids, *samples[index].response_ids[:position]]
            for index in row.samples
            for position in range(len(samples[index].response_ids))
        ]
        groups = [group for group in row.groups for _ in range(group.start, group.stop)]
        for at, history in zip(row.rows_R.tolist(), wanted, strict=True):
            group = groups[at]
            seen = range(group.start, at + 1)
            if group.mask_LL is not None:
                seen_by_mask = (group.mask_LL[at - group.start] == 0).nonzero().flatten() + group.start
                assert seen_by_mask.tolist() == [key for key in seen if key in seen_by_mask]
                seen = seen_by_mask.tolist()
            assert row.input_ids_T[list(seen)].tolist() == history
            assert row.position_ids_T[list(seen)].tolist() == [past + number for number in range(len(history))]
