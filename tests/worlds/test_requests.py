"""Seeded requests: their plans are right, the same for the same seed, and written in the official form."""

from __future__ import annotations

import json
import random
import re
from collections import Counter, defaultdict

import pytest

from interleave_rt.worlds.shapes import requests
from interleave_rt.worlds.shapes.language import Request, grammar, stories, teacher
from interleave_rt.worlds.shapes.scene import COLOURS, SHAPES, Scene


@pytest.fixture(scope="module")
def drawn() -> list[Request]:
    rng = random.Random(1)
    return [requests.any_request(rng) for _ in range(6000)]


def test_plans_lead_to_their_scenes(drawn: list[Request]) -> None:
    for request in drawn:
        scene = request.images[-1] if request.images else None
        assert len(request.scenes) in (0, len(request.steps))
        for step, target in zip(request.steps, request.scenes, strict=False):
            assert step.prompt is not None
            scene = grammar.apply(scene, step.prompt)
            assert scene == target


def test_what_is_answered_in_words_has_one_step_without_a_picture(drawn: list[Request]) -> None:
    for request in drawn:
        in_words = request.kind in ("question", "about", "outside")
        assert in_words == (not request.scenes)
        if in_words:
            (step,) = request.steps
            assert step.prompt is None
            assert step.instruction is None
            assert step.auxiliary_text


def test_every_given_picture_has_its_marker(drawn: list[Request]) -> None:
    for request in drawn:
        assert request.text.count("<image>") == len(request.images)
        assert request.mode == ("guidance" if request.images else "narrative")
        assert request.first_number == len(request.images) + 1


def test_plans_are_short(drawn: list[Request]) -> None:
    assert {len(request.steps) for request in drawn} == {1, 2, 3, 4, 5, 6}


def test_training_meets_every_kind(drawn: list[Request]) -> None:
    kinds = Counter(request.kind for request in drawn)
    assert set(kinds) == {
        "composite",
        "pair",
        "story",
        "wish",
        "continue-wish",
        "continue-place",
        "continue-drawing",
        "question",
        "about",
        "outside",
    }
    assert min(kinds.values()) > 50


def test_words_and_pictures_have_one_right_plan(drawn: list[Request]) -> None:
    plans = defaultdict(set)
    for request in drawn:
        if request.kind != "outside":
            plans[request.text, request.images].add(request.plan_key)
    assert all(len(keys) == 1 for keys in plans.values())


def test_samples_repeat_and_differ_by_seed() -> None:
    assert requests.sample("test", 50, 1) == requests.sample("test", 50, 1)
    assert requests.sample("test", 50, 1) != requests.sample("test", 50, 2)
    assert requests.sample("test", 50, 1) != requests.sample("validation", 50, 1)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("mode", ["narrative", "guidance"])
def test_samples_are_of_their_split_without_repeats(split: requests.Split, mode: requests.Mode) -> None:
    found = requests.sample(split, 100, 3, mode)
    assert {request.split for request in found} == {split}
    assert len({(request.text, request.images) for request in found}) == 100


def test_grounded_prompts_are_common_but_first_steps_are_explicit() -> None:
    later = grounded = 0
    for request in requests.sample("train", 400, 5):
        scene = None
        for number, (step, target) in enumerate(zip(request.steps, request.scenes, strict=True)):
            assert step.prompt is not None
            transition = grammar.parse(scene, step.prompt)
            assert transition is not None
            if number == 0:
                assert step.prompt == grammar.explicit(transition)
            else:
                later += 1
                grounded += grammar.style_of(transition, step.prompt) is None
            scene = target
    assert 0.7 < grounded / later < 0.95


def test_prompts_name_places_in_the_plain_style(drawn: list[Request]) -> None:
    for request in drawn:
        for step in request.steps:
            assert step.prompt is None or not re.search(r"\b(corner|edge|row|middle)\b", step.prompt)


def test_places_are_asked_for_in_every_style(drawn: list[Request]) -> None:
    texts = [request.text for request in drawn if request.kind == "wish"]
    for words in ("at the top left", "in the upper left corner", "in row 1 column 1"):
        assert any(words in text for text in texts)


def test_explained_steps_have_a_text_each(drawn: list[Request]) -> None:
    for request in drawn:
        if request.kind in ("composite", "wish"):
            asked = any(
                words in request.text for words in ("Explain each", "Say what each", "With a short text")
            )
            assert all((step.auxiliary_text is not None) == asked for step in request.steps)


def test_plan_answer_is_json_with_the_official_fields(drawn: list[Request]) -> None:
    for request in drawn[:500]:
        answer = teacher.plan_answer(request)
        plan = json.loads(answer.partition("<answer>")[2].partition("</answer>")[0])["execution_plan"]
        first = len(request.images) + 1
        assert [step["step_number"] for step in plan] == [*range(first, first + len(request.steps))]
        for step in plan:
            assert list(step) == ["step_number", "step_name", "instruction", "prompt", "auxiliary_text"]


# ---- stories


def _told(make: object, seed: int) -> tuple[str, list[Scene], list[str]]:
    """(what it is about, scenes, sentences) of one story on a black background."""
    about, told = make(random.Random(seed), COLOURS.index("black"))  # type: ignore[operator]
    return about, [step.after for step, _, _ in told], [sentence for _, sentence, _ in told]


def test_every_step_of_a_story_has_its_sentence() -> None:
    rng = random.Random(2)
    for _ in range(300):
        request = stories.story(rng)
        assert 3 <= len(request.steps) <= 4
        sentences = [step.auxiliary_text for step in request.steps]
        assert all(sentence and sentence.endswith(".") for sentence in sentences)
        assert len(set(sentences)) == len(sentences)
        assert f"on a{'n' * (COLOURS[request.scenes[0].background] == 'orange')} " in request.text
        assert f"{COLOURS[request.scenes[0].background]} background" in request.text


@pytest.mark.parametrize("make", stories._STORIES)
def test_stories_repeat_with_their_seed(make: object) -> None:
    assert _told(make, 3) == _told(make, 3)
    assert len({_told(make, seed)[0] for seed in range(30)}) > 3


@pytest.mark.parametrize("seed", range(5))
def test_the_ball_rolls_the_way_that_is_told(seed: int) -> None:
    about, scenes, sentences = _told(stories._rolls, seed)
    columns = [scene.occupied[0] % 3 for scene in scenes]
    assert columns == ([0, 1, 2] if about.endswith("right") else [2, 1, 0])
    assert sentences[1] == f"It rolls to the {about.split()[-1]}."
    assert ("ball" in about) == (SHAPES[scenes[0].at(scenes[0].occupied[0]).shape] == "circle")


@pytest.mark.parametrize("seed", range(5))
def test_the_shape_changes_its_colour_as_told(seed: int) -> None:
    about, scenes, _ = _told(stories._changes, seed)
    words = [COLOURS[scene.at(4).colour] for scene in scenes]
    assert about.endswith(f"that is first {words[0]}, then {words[1]} and then {words[2]}")
    assert words[0] != words[1] != words[2]


@pytest.mark.parametrize("seed", range(5))
def test_the_friend_comes_and_goes(seed: int) -> None:
    _, scenes, _ = _told(stories._vanishes, seed)
    assert [len(scene.occupied) for scene in scenes] == [1, 2, 1]
    assert scenes[0] == scenes[2]


@pytest.mark.parametrize("seed", range(5))
def test_the_balloon_flies_up(seed: int) -> None:
    _, scenes, _ = _told(stories._flies, seed)
    assert [scene.occupied[0] // 3 for scene in scenes] == [2, 1, 0]


@pytest.mark.parametrize("seed", range(5))
def test_the_snowman_loses_its_hat(seed: int) -> None:
    about, scenes, _ = _told(stories._melts, seed)
    assert scenes[3] == scenes[1]
    assert f"{COLOURS[scenes[2].at(1).colour]} hat" in about


@pytest.mark.parametrize("seed", range(5))
def test_the_sun_rises(seed: int) -> None:
    about, scenes, _ = _told(stories._rises, seed)
    assert scenes[2].at(1) == scenes[1].at(3)
    assert f"{COLOURS[scenes[1].at(3).colour]} sun" in about


@pytest.mark.parametrize("seed", range(5))
def test_the_plant_grows_out_of_its_seed(seed: int) -> None:
    _, scenes, _ = _told(stories._grows, seed)
    assert [scene.occupied for scene in scenes] == [(7,), (4, 7), (1, 4, 7)]
    assert scenes[2].at(4).colour == scenes[2].at(7).colour
