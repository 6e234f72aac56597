"""Prompt templates are filled in literally; pictures stand where the marks are."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from helpers import refused

from interleave_rt.errors import BadPackError, BadRequestError
from interleave_rt.pack.templates import ImagePart, Templates, TextPart, mode_for

SEED = 20260613
IMAGE = ImagePart()
TEMPLATES = Templates(
    narrative="Plan {this}:\n{text_input}\nNow.",
    guidance="Go on:\n{text_input}\nNow.",
    critic="<image><image>Wanted: {original_instruction}\nUsed: {rewritten_prompt}",
)


def spell(parts):
    return "".join("<image>" if isinstance(part, ImagePart) else part.text for part in parts)


def test_values_are_never_looked_at_again():
    nasty = "{text_input} {0} {original_instruction} {{x}} %s \\1 \\g<0>"
    assert spell(TEMPLATES.render_plan("narrative", nasty, 0)) == f"Plan {{this}}:\n{nasty}\nNow."
    swapped = TEMPLATES.render_critic("{rewritten_prompt}", "{original_instruction} <image>")
    assert swapped == [
        IMAGE,
        IMAGE,
        TextPart("Wanted: {rewritten_prompt}\nUsed: {original_instruction} <image>"),
    ]


@pytest.mark.parametrize(
    ("template", "text", "count", "parts"),
    [
        ("On:\n{text_input}.", "a <image><image> b", 2, [TextPart("On:\na "), IMAGE, IMAGE, TextPart(" b.")]),
        # Unmarked pictures come first, as in a marked request.
        ("{text_input}", "more", 2, [IMAGE, TextPart(" "), IMAGE, TextPart(" more")]),
        ("{text_input}", "<image> <image> more", 2, [IMAGE, TextPart(" "), IMAGE, TextPart(" more")]),
        # Marks of the template take pictures too.
        ("<image>{text_input}", "x", 1, [IMAGE, TextPart("x")]),
        ("<image>{text_input}", "x <image>", 2, [IMAGE, TextPart("x "), IMAGE]),
    ],
)
def test_pictures_stand_where_the_marks_are(template, text, count, parts):
    assert Templates(guidance=template).render_plan("guidance", text, count) == parts


@pytest.mark.parametrize(("text", "count"), [("<image>", 2), ("<image> <image>", 1), ("a <image>", 0)])
def test_a_mismatch_says_both_counts(text, count):
    marks = text.count("<image>")
    with refused(
        BadRequestError, f"{marks} <image> mark", f" {count} image", hint="one <image> for each image"
    ):
        TEMPLATES.render_plan("guidance", text, count)


def test_a_template_with_more_marks_than_pictures_is_a_mismatch():
    with pytest.raises(BadRequestError, match="template's: 2"):
        Templates(guidance="<image><image>{text_input}").render_plan("guidance", "x", 1)


def test_narrative_mode_refuses_pictures():
    with refused(BadRequestError, "2 came along"):
        TEMPLATES.render_plan("narrative", "a cat", 2)


def test_the_phrase_that_the_demos_cut_is_cut():
    text = "Show a cat both visually and textually, both visually and textually"
    assert spell(TEMPLATES.render_plan("narrative", text, 0)) == "Plan {this}:\nShow a cat,\nNow."
    assert "visually" in spell(TEMPLATES.render_critic(text, "x"))


@pytest.mark.parametrize(
    ("critic", "parts"),
    [
        ("{rewritten_prompt}|{original_instruction}", [IMAGE, IMAGE, TextPart("r|p")]),
        (
            "B <image> A <image> {original_instruction}{rewritten_prompt}",
            [TextPart("B "), IMAGE, TextPart(" A "), IMAGE, TextPart(" pr")],
        ),
    ],
)
def test_the_critic_sees_two_pictures_where_its_template_says_or_first(critic, parts):
    assert Templates(critic=critic).render_critic("p", "r") == parts


def test_random_values_come_out_as_they_went_in():
    print("seed", SEED)
    rng = random.Random(SEED)
    marks = ["{text_input}", "{rewritten_prompt}", "{original_instruction}", "<imag", "e>"]
    pool = [*marks, "<image>", "{", "}", "\n", "é", ""]
    for _ in range(500):
        original, used = ("".join(rng.choices(pool, k=rng.randrange(6))) for _ in range(2))
        expected = f"<image><image>Wanted: {original}\nUsed: {used}"
        assert spell(TEMPLATES.render_critic(original, used)) == expected
        parts = TEMPLATES.render_plan("narrative", original, 0)
        assert parts == [TextPart(f"Plan {{this}}:\n{original}\nNow.")]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"narrative": "no place"}, "narrative template holds {text_input} 0 times"),
        ({"guidance": "{text_input}{text_input}"}, "guidance template holds {text_input} 2 times"),
        ({"narrative": "<image>{text_input}"}, "that mode has no pictures"),
        ({"critic": "{rewritten_prompt}"}, "has no {original_instruction}"),
        ({"critic": "{original_instruction}"}, "has no {rewritten_prompt}"),
        ({"critic": "<image>{original_instruction}{rewritten_prompt}"}, "holds <image> 1 times"),
    ],
)
def test_a_template_that_cannot_work_is_refused_when_it_is_loaded(fields, said):
    with refused(BadPackError, said) as caught:
        Templates(**fields)
    assert caught.value.hint


def test_templates_are_read_byte_for_byte(tmp_path: Path):
    file = tmp_path / "narrative.txt"
    file.write_bytes("é\r\n{text_input}\n".encode())
    assert Templates.load({"narrative": file}).narrative == "é\r\n{text_input}\n"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    path = tmp_path / "critic.txt"
    with refused(BadPackError, "critic.txt cannot be read"):
        Templates.load({"critic": path})
    path.write_bytes(b"\xff")
    with refused(BadPackError, "critic.txt cannot be read"):
        Templates.load({"critic": path})
    with refused(BadPackError, "no template 'judge'"):
        Templates.load({"judge": path})


def test_a_template_that_is_absent_is_missed_only_when_it_is_needed():
    templates = Templates(narrative="{text_input}")
    assert spell(templates.render_plan("narrative", "x", 0)) == "x"
    with pytest.raises(BadPackError, match="no guidance template"):
        templates.render_plan("guidance", "x", 1)
    with pytest.raises(BadPackError, match="no critic template"):
        templates.render_critic("p", "r")


def test_pictures_decide_the_mode():
    assert [mode_for(count) for count in (0, 1, 5)] == ["narrative", "guidance", "guidance"]
