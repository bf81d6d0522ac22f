"""The arithmetic of ratings: what one win moves, in which order, and how sure it is."""

import array
import json
import random
import time

import pytest

from open_webui.models.feedbacks import verdict
from open_webui.services import ratings
from open_webui.services.leaderboard import by_vectors
from open_webui.services.ratings import Comparison, comparison, leaderboard
from tests.support.turns import frozen_heap, slowness


def won(model: str, *others: str, tags: tuple[str, ...] = ()) -> Comparison:
    return Comparison(model, True, others, tags)


def lost(model: str, *others: str, tags: tuple[str, ...] = ()) -> Comparison:
    return Comparison(model, False, others, tags)


def table(*comparisons: Comparison) -> dict[str, tuple[int, int, int]]:
    return {entry.model_id: (entry.rating, entry.won, entry.lost) for entry in leaderboard(comparisons)}


def test_equals_move_by_half_of_k() -> None:
    assert table(won("a", "b")) == {"a": (1016, 1, 0), "b": (984, 0, 1)}
    assert table(lost("a", "b")) == {"b": (1016, 1, 0), "a": (984, 0, 1)}


def test_a_win_over_a_stronger_model_moves_more() -> None:
    first = [won("strong", "weak")] * 10
    before, after = table(*first), table(*first, won("weak", "strong"))
    assert after["weak"][0] - before["weak"][0] > 16
    # What one gains the other loses.
    assert sum(points for points, _, _ in after.values()) == pytest.approx(2000, abs=1)


def test_the_order_counts() -> None:
    assert table(won("a", "b"), won("b", "a")) != table(won("b", "a"), won("a", "b"))


def test_as_recorded_who_meets_himself_wins_and_loses_and_stays() -> None:
    tags = ("Testing", "Science")
    (entry,) = leaderboard([won("echo", "echo", tags=tags), won("echo", tags=tags)])
    assert (entry.rating, entry.won, entry.lost, entry.count) == (1000, 1, 1, 2)
    assert entry.top_tags == [{"tag": "Testing", "count": 2}, {"tag": "Science", "count": 2}]


def test_a_rating_without_another_answer_compares_nothing() -> None:
    assert leaderboard([lost("echo")]) == []
    assert leaderboard([]) == []


def test_several_answers_are_as_many_comparisons() -> None:
    assert table(won("a", "b", "c"))["a"][1:] == (2, 0)


def test_intervals_narrow_with_comparisons_and_are_the_same_each_time() -> None:
    few, many = leaderboard([won("a", "b"), lost("a", "b")]), leaderboard([won("a", "b"), lost("a", "b")] * 200)
    (wide,), (narrow,) = ([e for e in entries if e.model_id == "a"] for entries in (few, many))
    assert wide.rating_low <= wide.rating <= wide.rating_high
    assert narrow.rating_high - narrow.rating_low < (wide.rating_high - wide.rating_low) / 5
    assert many == leaderboard([won("a", "b"), lost("a", "b")] * 200)


def test_the_interval_holds_the_true_strength() -> None:
    """Of models whose strengths are known, 200 points apart, nearly all lie in theirs."""
    chance = random.Random(4)
    real = {f"m{n}": 1000 + 100 * n for n in range(-2, 3)}
    inside = 0
    for _ in range(20):
        games = []
        for _ in range(600):
            a, b = chance.sample(sorted(real), 2)
            good = chance.random() < ratings.expected(real[a], real[b])
            games.append(Comparison(a, good, (b,), ()))
        found = {e.model_id: e for e in leaderboard(games)}
        # Elo's last games count more than the interval knows: it is asked to hold with that noise.
        inside += sum(found[m].rating_low - 60 <= real[m] <= found[m].rating_high + 60 for m in real)
    assert inside >= 90


def test_a_topic_weighs_and_what_is_none_of_it_is_left_out() -> None:
    games = [won("a", "b", tags=("cooking",)), won("b", "a", tags=("sailing",))]
    weigh = ratings.weighing(ratings.by_words("cook", ["cooking", "sailing"]))
    found = {e.model_id: (e.won, e.lost) for e in leaderboard(games, weigh)}
    assert found == {"a": (1, 0), "b": (0, 1)}
    assert 1000 < leaderboard(games, weigh)[0].rating < 1016
    assert leaderboard(games, ratings.weighing(ratings.by_words("xyzzy", ["cooking", "sailing"]))) == []


@pytest.mark.parametrize(
    ("query", "tag", "like"),
    [("python", "Python", 1.0), ("Büro", "BÜRO", 1.0), ("python code", "code", 0.5), ("", "a", 0.0), ("a", "", 0.0)],
)
def test_letters(query: str, tag: str, like: float) -> None:
    assert ratings.by_words(query, [tag])[tag] == pytest.approx(like, abs=0.25)


def test_vectors() -> None:
    def pack(*numbers: float) -> bytes:
        return array.array("f", numbers).tobytes()

    found = by_vectors(
        pack(1, 0), {"same": pack(1, 0), "near": pack(0.6, 0.8), "far": pack(0, 1), "against": pack(-1, 0)}
    )
    assert found["same"] == 1
    assert found["near"] == pytest.approx(0.6)
    assert (found["far"], found["against"]) == (0, 0)


@pytest.mark.parametrize(
    "data",
    [
        "", "null", "[]", "{", '{"sibling_model_ids": "b"}', '{"sibling_model_ids": {"b": 1}}',
        '{"sibling_model_ids": [1, null, ""]}',
        '{"tags": 7}', '{"sibling_model_ids": null, "tags": [null]}', "[" * 100_000, json.dumps({"tags": ["x" * 1000]}),
    ],
)  # fmt: skip
def test_broken_data_compares_nothing(data: str) -> None:
    assert comparison("a", 1, data) == Comparison("a", True, (), ())


def test_data_is_bounded() -> None:
    names = [f"m{n}" for n in range(1_000)]
    found = comparison("a", 1, json.dumps({"sibling_model_ids": names, "tags": names}))
    assert found is not None
    assert (len(found.others), len(found.tags)) == (ratings.MAX_TEXTS, ratings.MAX_TOPICS)
    # The same twice is one.
    assert comparison("a", 1, '{"sibling_model_ids": ["b", "b"]}') == Comparison("a", True, ("b",), ())


def test_ids_of_many_ratings_are_held_once_and_up_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratings, "MAX_CHARS", 10)
    texts = ratings.Texts()
    first = comparison("aaaa", 1, '{"sibling_model_ids": ["bbbb"], "tags": ["cccc", "dd"]}', texts)
    assert first == Comparison("aaaa", True, ("bbbb",), ("dd",))
    again = comparison("a" * 4, 1, '{"sibling_model_ids": ["bbbb"]}', texts)
    assert again is not None
    assert again.others[0] is first.others[0]
    # No model can be told any more.
    assert comparison("eeee", 1, "{}", texts) is None


def test_a_board_has_the_models_that_were_compared_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratings, "MAX_MODELS", 2)
    invented = [Comparison(f"x{n}", True, ("a",), ()) for n in range(5)]
    games = [*invented, Comparison("a", True, ("b",), ()), Comparison("a", True, ("b", "x1"), ())]
    assert [(e.model_id, e.won, e.lost) for e in leaderboard(games)] == [("a", 2, 0), ("b", 0, 2)]


@pytest.mark.parametrize(
    ("rating", "said"),
    [(1, 1), (-1, -1), ("1", 1), ("-1", -1), (10, 1), (0, None), (None, None), ("good", None), ([], None), (True, 1)],
)
def test_what_a_rating_says(rating: object, said: int | None) -> None:
    assert verdict(rating) == said


def test_a_hundred_thousand_take_a_second() -> None:
    chance = random.Random(1)
    names = [f"model-{n}" for n in range(30)]
    games = [
        Comparison(chance.choice(names), chance.random() < 0.5, (chance.choice(names),), ("a", "b"))
        for _ in range(100_000)
    ]
    slow = slowness()
    with frozen_heap():
        began = time.thread_time()
        assert len(leaderboard(games)) == 30
        took = time.thread_time() - began
    assert took < 3 * max(slow, slowness())
