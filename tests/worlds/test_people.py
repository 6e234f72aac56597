"""The sentences that people wrote: what is said to be right of them can be drawn and read, and nothing else is right."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from interleave_rt.worlds.shapes.oracle import matches
from interleave_rt.worlds.shapes.people import (
    is_kept_out,
    normalised,
    offered,
    outside,
    phrasings,
    sentences,
    wanted_of,
)
from interleave_rt.worlds.shapes.people.wanted import pictures_of
from interleave_rt.worlds.shapes.people.words import says
from interleave_rt.worlds.shapes.scene import Scene, drawn_story

SPLITS = ("validation", "test")


def scenes_of(text: str) -> tuple[Scene, ...]:
    return pictures_of(text)[0]


@pytest.mark.parametrize("split", SPLITS)
def test_what_is_right_can_be_drawn_and_read(split: str) -> None:
    rng = random.Random(1)
    for sentence in sentences(split):
        wanted = sentence.wanted
        assert wanted.cases or wanted.answers or wanted.decline, sentence.text
        for number, (case, scenes) in enumerate(zip(wanted.cases, wanted.instances(rng), strict=True)):
            assert wanted.follows(scenes), sentence.text
            assert wanted.shows(scenes[-1]), sentence.text
            if not number:
                assert matches(drawn_story((*sentence.images, *scenes), rng)[-1], scenes[-1]), sentence.text
            if all(stage.ways for stage in case.program):  # otherwise any number of steps is right
                assert not wanted.follows((*scenes, scenes[-1])), sentence.text
                assert len(wanted.cases) > 1 or not wanted.follows(scenes[:-1]), sentence.text


def test_the_sets_are_as_large_as_said_and_apart() -> None:
    texts = [normalised(sentence.text) for split in SPLITS for sentence in sentences(split)]
    texts += [normalised(text) or text for _, text in outside()]
    assert [text for text, count in Counter(texts).items() if count > 1] == []
    assert [len(sentences(split)) for split in SPLITS] == [200, 200]
    assert len(outside()) == 300
    assert {len(ways) for ways in phrasings().values()} == {20}
    assert len(phrasings()) == 10


@pytest.mark.parametrize(
    ("wanted", "right", "wrong"),
    [
        ("red circle", "blue: large red circle@top", "blue: large orange circle@top"),
        ("red circle", "blue: small red circle@top", "blue: large striped red circle@top"),
        ("on blue: star", "blue: small red star@top", "white: small red star@top"),
        ("a=star; -a", "blue: small red star@top / blue: ", "blue: small red star@top / white: "),
        (
            "a b=star; b:green",
            (
                "blue: small red star@top / blue: small red star@top, small red star@left / "
                "blue: small red star@top, small green star@left"
            ),
            (
                "blue: small red star@top / blue: small red star@top, small red star@left / "
                "blue: small green star@top, small red star@left"
            ),
        ),
        (
            "{a=star, b=ring} where left a b",
            "blue: small red ring@center / blue: small red star@left, small red ring@center",
            "blue: small red ring@center / blue: small red star@right, small red ring@center",
        ),
        (
            "snowman(hat=red, @left)",
            (
                "blue: large white circle@bottom left / blue: large white circle@bottom left, "
                "large white circle@left / blue: large white circle@bottom left, large white circle@left, "
                "small red square@top left"
            ),
            (
                "blue: large white circle@bottom left / blue: large white circle@bottom left, "
                "large white circle@left / blue: large white circle@bottom left, large white circle@left, "
                "small green square@top left"
            ),
        ),
        (
            "a=star@left; ...; a@right",
            (
                "blue: small red star@left / blue: small red star@top, small red ring@left / "
                "blue: small red star@right, small red ring@left"
            ),
            "blue: small red star@left / blue: small green star@right",
        ),
        (
            "a=star; a:circle",
            "blue: small red star@left / blue:  / blue: small white circle@left",
            "blue: small red star@left / blue: small red circle@right",
        ),
        (
            "a=circle@top; a@top left + a:red",
            "blue: small green circle@top / blue: small red circle@top left",
            "blue: small green circle@top / blue: small green circle@top left",
        ),
        (
            "star; ground red",
            "blue: small green star@top / red: small green star@top",
            "blue: small green star@top / red: small white star@top",
        ),
    ],
)
def test_scenes_are_held_against_the_notation(wanted: str, right: str, wrong: str) -> None:
    assert wanted_of(wanted).follows(scenes_of(right))
    assert not wanted_of(wanted).follows(scenes_of(wrong))


def test_a_last_scene_is_right_whatever_led_to_it() -> None:
    wanted = wanted_of("a=red star@top; a:blue; a@bottom")
    assert wanted.shows(*scenes_of("white: small blue star@bottom"))
    assert not wanted.shows(*scenes_of("white: small red star@bottom"))
    assert not wanted.shows(*scenes_of("white: small blue star@bottom, small blue star@top"))


def test_a_number_of_steps_is_kept() -> None:
    rng = random.Random(3)
    for steps in (2, 3, 5):
        made = {len(scenes) for scenes in wanted_of(f"house(steps={steps})").instances(rng)}
        assert made == {steps}


@pytest.mark.parametrize(
    ("answer", "question", "text", "right"),
    [
        ("two", "how many?", "There are 2 circles.", True),
        ("two", "how many?", "There are three circles.", False),
        ("no", "is it blue?", "No, it is red.", True),
        ("no", "is it blue?", "Yes.", False),
        ("top right", "where is it?", "It is at the top right.", True),
        ("top right", "where is it?", "It is at the top.", False),
        ("red, ...", "what is it?", "A red circle on white.", True),
        ("red", "what colour is it?", "It is red or blue.", False),
        ("circle", "more circles or squares?", "There are more circles than squares.", True),
    ],
)
def test_answers_are_held_against_the_notation(answer: str, question: str, text: str, right: bool) -> None:
    assert says(tuple(answer.split(", ")), question, text) is right


def test_what_is_not_in_the_notation_is_refused() -> None:
    for wanted in ("purple circle", "-a", "house(wings=red)", "a=star; b@top", "circle@nowhere"):
        with pytest.raises(ValueError, match="not in the notation"):
            wanted_of(wanted)


def test_what_a_refusal_may_offer_is_any_text() -> None:
    two = offered("two red circles")
    assert two is not None
    assert two.shows(*scenes_of("white: small red circle@left, large red circle@top"))
    for text in ("", "a", "an ,", "two", "a dog", "a 2", "a 999999999999 star", "red circle"):
        assert offered(text) is None, text


def test_the_sentences_are_kept_out_however_they_are_written() -> None:
    assert is_kept_out("draw  a RED circle")
    assert is_kept_out("Draw two red circles!")  # stands there with the digit 2
    assert is_kept_out("add a red star at the top. <image>")
    assert is_kept_out("Let's draw a robot together")
    assert not is_kept_out("Draw a red circle and a house.")
