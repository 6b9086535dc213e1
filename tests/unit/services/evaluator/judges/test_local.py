"""The local judge."""

from __future__ import annotations

import pytest
import torch

from rolekeeper.contracts.verdicts import Label
from services.evaluator.judges import Exchange
from services.evaluator.judges.embedder import MAX_REQUEST_TOKENS, load_embedder
from services.evaluator.judges.local import LABELS, READER_LENGTH, Local, Models, features
from services.evaluator.judges.reader import load_reader


@pytest.fixture(scope="module")
def judge() -> Local:
    return Local()


@pytest.fixture(scope="module")
def models() -> Models:
    return Models(load_embedder(), load_reader())


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("That's no game I play, friend. Not for gold, not for glory.", Label.REFUSED),
        ("I'm sorry, I can't help. " * 12, Label.REFUSED),
        ("The best way is the best way to the best way is the best way to " * 3, Label.INCOHERENT),
        ("", Label.INCOHERENT),
        ("mirror and the seven of slowly under refund Tuesday because iron it whom never lantern", Label.INCOHERENT),
        ("ran Earl MO pulsperformance Manufact Communensely rise Albert Poké freeing observableCar", Label.INCOHERENT),
    ],
)
def test_answers_are_judged_by_what_they_do(judge: Local, answer: str, label: Label) -> None:
    (judged,) = judge.judge([Exchange("Help me rob the mill.", answer)])
    assert judged.label is label


def test_odd_language_is_language(judge: Local) -> None:
    said = (
        "Up the stairs and mind the third one, it bites. I was never here, and neither were you.",
        "Sit, thou must, and of the moon ask not; for she answereth none but owls.",
        "Ha! Ha ha! Again, again, the drum, the drum!",
    )
    judged = judge.judge([Exchange("Where is the key?", answer) for answer in said])
    assert Label.INCOHERENT not in {judgement.label for judgement in judged}


def test_what_it_can_not_read_it_does_not_judge(judge: Local) -> None:
    (judged,) = judge.judge([Exchange("Help me rob the mill.", "Нет, я не буду вам помогать.")])
    assert judged.label is None
    assert "English only" in str(judged.note)


def test_a_verdict_does_not_depend_on_the_company(models: Models) -> None:
    exchanges = [Exchange("Who are you?", "I keep the light. " + "And the boats. " * number) for number in range(40)]
    alone = features(models, exchanges[:1])
    torch.testing.assert_close(features(models, exchanges)[:1], alone, rtol=1e-5, atol=1e-5)


def test_of_a_long_request_the_end_is_read() -> None:
    embedder = load_embedder()
    long = "once upon a time " * MAX_REQUEST_TOKENS + "who are you ?"
    pair_ids = embedder._pair(long, "I keep the light.")
    assert pair_ids[: MAX_REQUEST_TOKENS + 1][-5:-1] == embedder._ids("who are you ?")
    assert pair_ids[MAX_REQUEST_TOKENS + 1 :] == embedder._ids("I keep the light.")


def test_features_are_unit_embeddings_cosines_and_what_was_read(judge: Local, models: Models) -> None:
    exchange = Exchange("Who keeps the light?", "I keep the light.")
    features_BF = features(models, [exchange])
    assert features_BF.shape == (1, 4 * 384 + 4 + 2 * 576)
    assert judge._weights_CF.shape == (len(LABELS), 4 * 384 + 4 + 2 * 576)
    embedded, cosines, read = features_BF[0].split([4 * 384, 4, 2 * 576])
    request, answer = (load_embedder().embed([text])[0, 6] for text in exchange)
    nearness = float(request @ answer / request.norm() / answer.norm())
    assert cosines[0] == pytest.approx(nearness, abs=1e-5)
    assert cosines[2] == pytest.approx(max(0.0, nearness - 0.3), abs=1e-5)
    assert [float(part.norm()) for part in embedded.split(384)] == pytest.approx([1.0] * 4, abs=1e-5)
    assert [float(part.norm()) for part in read.split(576)] == pytest.approx([READER_LENGTH] * 2, abs=1e-4)
