"""What models really write, read as the official code reads it: json_repair, and the shape that it asks for.

Where json_repair is installed its reading is made again; it is what `official` says (by default what is read here).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from interleave_rt.roles.answers import read_plan, read_verdict

Step = tuple[str | None, str | None, str | None]  # instruction, prompt, auxiliary_text
Plan = list[Step]
Verdict = tuple[bool, str | None]
SAME: Any = object()
PLAN: Plan = [("Fill the bowl", "a bowl of soup", None), ("Add a spoon", "put a spoon beside it", "Eat!")]
ONE, TWO = PLAN
REFUSED: Verdict = (False, "move the lamp to the left")


@dataclass(frozen=True)
class Form:
    """An answer; what is read of it, and what the official code reads (None: nothing usable)."""

    name: str
    text: str
    read: Any
    official: Any = SAME


def tagged(body: str) -> str:
    return f"<think>Two steps.</think>\n<answer>{body}</answer>"


def plan(first: str, second: str) -> str:
    return tagged("{'execution_plan': [" + first + ", " + second + "]}")


def named(prompt: str, quote: str = "'") -> str:
    """A step around a prompt that stands between the quotes."""
    return (
        f"{{'step_number': 2, 'step_name': 'b', 'instruction': 'Add a spoon', 'prompt': {quote}{prompt}{quote}, "
        "'auxiliary_text': 'Eat!'}"
    )


A = "{'step_number': 1, 'step_name': 'a', 'instruction': 'Fill the bowl', 'prompt': 'a bowl of soup', 'auxiliary_text': None}"
B = named("put a spoon beside it")
BODY = "{'execution_plan': [" + A + ", " + B + "]}"
JSON_BODY = """{
  "execution_plan": [
    {"step_number": 1, "step_name": "a", "instruction": "Fill the bowl", "prompt": "a bowl of soup", "auxiliary_text": null},
    {"step_number": 2, "step_name": "b", "instruction": "Add a spoon", "prompt": "put a spoon beside it", "auxiliary_text": "Eat!"}
  ]
}"""


def prompts(second: str) -> Plan:
    return [ONE, (TWO[0], second, TWO[2])]


def curly(text: str) -> str:
    """With typographic quotes where the double ones were."""
    turns = iter("“”" * text.count('"'))
    return "".join(next(turns) if letter == '"' else letter for letter in text)


PLANS = [
    # frames
    Form("a Python dict between tags", tagged(BODY), PLAN),
    Form("JSON between tags", tagged(JSON_BODY), PLAN),
    Form("no thoughts", f"<answer>{BODY}</answer>", PLAN),
    Form("no tags", BODY, PLAN),
    Form("thoughts and no answer tags", f"<think>Two steps.</think>\n{JSON_BODY}", PLAN),
    Form("a fence alone", f"```json\n{JSON_BODY}\n```", PLAN),
    Form("a fence of Python", f"```python\n{BODY}\n```", PLAN),
    Form("a fence between the tags", tagged(f"\n```json\n{JSON_BODY}\n```\n"), PLAN),
    Form("a sentence before it", f"Here is the plan that you asked for:\n\n{JSON_BODY}", PLAN),
    Form("a sentence before and after it", f"Sure!\n{JSON_BODY}\nTell me if it should be longer.", PLAN),
    Form("a sentence between the tags", tagged(f"My plan: {BODY}"), PLAN),
    Form("thoughts that never end", f"<think>Two steps. <answer>{BODY}</answer>", PLAN),
    Form("thoughts that never end, no tags", f"<think>Two steps, then done.\n{JSON_BODY}", PLAN),
    Form("the answer among the thoughts", f"<think>Two. <answer>{BODY}</answer></think>", PLAN),
    Form("tags in capitals", f"<THINK>Two.</THINK><Answer>{BODY}</Answer>", PLAN),
    Form("the answer's tag never ends", f"<think>Two.</think><answer>{BODY}", PLAN),
    Form("a byte order mark", "\ufeff" + tagged(BODY), PLAN),
    Form("spaces in a tag", f"<think>Two.</think>< answer >{BODY}</ answer >", PLAN),
    # numbers
    Form("numbers as strings", plan(A.replace("1", "'1'"), B.replace("2", "'2'")), PLAN),
    Form("numbers as floats", plan(A.replace("1", "1.0"), B.replace("2", "2.0")), PLAN),
    Form("numbers from 0", plan(A.replace("1", "0"), B.replace("2", "1")), PLAN),
    Form("a gap", plan(A, B.replace("2", "4")), PLAN),
    Form("one number twice", plan(A, B.replace("2", "1")), PLAN),
    Form("numbers with zeros before them", plan(A.replace("1", "01"), B.replace("2", "02")), PLAN),
    Form("no numbers", plan(A.replace("'step_number': 1, ", ""), B.replace("'step_number': 2, ", "")), PLAN),
    Form("numbers as words", plan(A.replace("1", "'Step 1'"), B.replace("2", "'Step 2'")), PLAN),
    # texts
    Form("an apostrophe", plan(A, named("fill the dog's bowl")), prompts("fill the dog's bowl")),
    Form("two apostrophes", plan(A, named("Tom's and Ann's bowls")), prompts("Tom's and Ann's bowls")),
    Form("an apostrophe at a word's end", plan(A, named("the boys' bowls")), prompts("the boys' bowls")),
    Form("a word in quotes", plan(A, named('a sign "OPEN" above', '"')), prompts('a sign "OPEN" above')),
    Form("a word in single quotes", plan(A, named("a sign 'OPEN' above")), prompts("a sign 'OPEN' above")),
    Form("a quote at the end", plan(A, named('a sign "OPEN"', '"')), prompts('a sign "OPEN"')),
    Form(
        "a list of quotes",
        plan(A, named("'red', 'blue' and 'green' cups")),
        prompts("'red', 'blue' and 'green' cups"),
        [ONE, ("Add a spoon", "red", None)],
    ),
    Form("escaped quotes", plan(A, named(r"the dog\'s \"big\" bowl")), prompts('the dog\'s "big" bowl')),
    Form("the other quotes", plan(A, named("the dog's bowl", '"')), prompts("the dog's bowl")),
    Form("an inch sign", plan(A, named('a 12" plate', '"')), prompts('a 12" plate')),
    Form("a new line", plan(A, named("a spoon\nand a fork")), prompts("a spoon\nand a fork")),
    Form("braces", plan(A, named("the letters {a} and [b]")), prompts("the letters {a} and [b]")),
    Form("tags", plan(A, named("the sign <b>OPEN</b>")), prompts("the sign <b>OPEN</b>")),
    Form(
        "a colon behind a word in quotes", plan(A, named("write 'Menu': soup")), prompts("write 'Menu': soup")
    ),
    Form("typographic apostrophes", plan(A, named("the dog’s bowl")), prompts("the dog’s bowl")),
    Form(
        "escapes", plan(A, named(r"caf\u00e9 \ud83d\ude00")), prompts("café 😀"), prompts("café \ud83d\ude00")
    ),
    Form(
        "a web address",
        plan(A, named("as on https://example.org/a#b")),
        prompts("as on https://example.org/a#b"),
    ),
    # delimiters and separators
    Form("typographic quotes around all", tagged(curly(JSON_BODY)), PLAN),
    Form("a comma behind the last of all", tagged(BODY.replace("}", ",}").replace("]", ",]")), PLAN),
    Form("no comma between steps", plan(A, B).replace("}, {", "} {"), PLAN),
    Form("no comma between fields", tagged(JSON_BODY.replace('",', '"\n')), PLAN),
    Form("no comma behind a number", tagged(JSON_BODY.replace("1,", "1").replace("2,", "2")), PLAN),
    Form("two commas", plan(A, ", " + B), PLAN),
    Form(
        "line comments",
        tagged(JSON_BODY.replace("[", "[  // the steps").replace('"Eat!"', '"Eat!"  # last\n')),
        PLAN,
    ),
    Form("block comments", tagged(JSON_BODY.replace("},", "}, /* then */")), PLAN),
    Form("a comment with an apostrophe", tagged(JSON_BODY.replace('soup",', "soup\",  // it's hot\n")), PLAN),
    Form("keys without quotes", tagged(re.sub(r'"(\w+)":', r"\1:", JSON_BODY)), PLAN),
    Form("no-break spaces", tagged(JSON_BODY.replace(": ", ":\u00a0")), PLAN),
    Form("wide spaces", tagged(JSON_BODY.replace("  ", "\u3000")), PLAN),
    Form("words in capitals", tagged(JSON_BODY.replace("null", "NULL")), PLAN),
    Form(
        "NaN in a field that nobody reads",
        plan(A.replace("'step_name'", "'score': NaN, 'step_name'"), B),
        PLAN,
    ),
    Form(
        "a field that nobody reads",
        plan(A.replace("'step_name'", "'mood': ['calm', {'a': 1}], 'step_name'"), B),
        PLAN,
    ),
    Form(
        "fields before and after the list", tagged("{'title': 'Soup', " + BODY[1:-1] + ", 'steps': 2}"), PLAN
    ),
    Form("escaped underscores", tagged(JSON_BODY.replace("step_n", r"step\\_n")), PLAN),
    # ends
    Form("no closing bracket", tagged("{'execution_plan': [" + A + ", " + B), PLAN),
    Form("no closing brace", tagged(BODY[:-1]), PLAN),
    Form("no brace behind the last step", tagged(BODY[:-3]), PLAN),
    Form("cut between steps", "<answer>" + BODY[: -len(B) - 2], [ONE]),
    Form(
        "cut in a text", "<answer>" + BODY[:-30], [ONE], [ONE, ("Add a spoon", "put a spoon beside it", None)]
    ),
]


def verdict(refine: str, quote: str = "'", success: str = "False") -> str:
    return f"<think>Not yet.</think><answer>{{'previous_step_success': {success}, 'refine_prompt': {quote}{refine}{quote}}}</answer>"


SAID = verdict("move the lamp to the left")
BARE = SAID.partition("<answer>")[2].removesuffix("</answer>")
JSON_SAID = '{"previous_step_success": false, "refine_prompt": "move the lamp to the left"}'
VERDICTS = [
    Form("a refusal", SAID, REFUSED),
    Form("an acceptance", verdict("as it is", success="True"), (True, None)),
    Form("JSON", f"<answer>{JSON_SAID}</answer>", REFUSED),
    Form("no tags", BARE, REFUSED),
    Form("a fence", f"```json\n{JSON_SAID}\n```", REFUSED),
    Form("a sentence before it", f"The lamp has not moved. {JSON_SAID}", REFUSED),
    Form("thoughts that never end", f"<think>Not yet. <answer>{BARE}</answer>", REFUSED),
    Form("thoughts that never end, no tags", f"<think>Not yet.\n{JSON_SAID}", REFUSED),
    Form(
        "the prompt first",
        f"<answer>{{{BARE[1:-1].split(', ')[1]}, {BARE[1:-1].split(', ')[0]}}}</answer>",
        REFUSED,
    ),
    Form(
        "an apostrophe",
        verdict("move the cat's bowl left"),
        (False, "move the cat's bowl left"),
        (False, "move the cat's bowl left'"),
    ),
    Form("a word in quotes", verdict('paint "OPEN" on it', '"'), (False, 'paint "OPEN" on it')),
    Form("a quote at the end", verdict('paint the word "OPEN"', '"'), (False, 'paint the word "OPEN"')),
    Form("a quote before a comma", verdict("from 'red', to 'blue'"), (False, "from 'red', to 'blue'")),
    Form("typographic quotes", curly(JSON_SAID), REFUSED),
    Form("no comma", SAID.replace(", 'refine", "\n'refine"), REFUSED),
    Form("a comma at the end", SAID.replace("'}", "',}"), REFUSED),
    Form("keys without quotes", re.sub(r'"(\w+)":', r"\1:", JSON_SAID), REFUSED),
    Form("a comment", SAID.replace("False,", "False,  # it's off\n"), REFUSED),
    Form("a word in capitals", SAID.replace("False", "FALSE"), REFUSED),
    Form("no closing brace", SAID.replace("'}", "'"), REFUSED),
    Form("no prompt", "<answer>{'previous_step_success': False}</answer>", (False, None)),
    Form("a prompt that is none", SAID.replace("'move the lamp to the left'", "None"), (False, None)),
    Form("an empty prompt", verdict(""), (False, None)),
    Form("a field more", SAID.replace("{", "{'score': 0.25, "), REFUSED),
    Form("cut in the prompt", SAID.partition(" to the left")[0], (False, None), (False, "move the lamp")),
    Form("no boolean", SAID.replace("False", "None"), None),
    Form("only words", "<think>It is fine.</think>The step has worked.", None),
]


def official(text: str) -> Any:
    """The object as the official code gets it."""
    json_repair = pytest.importorskip("json_repair")
    found = re.search(r"<answer>(.*?)</answer>", text, re.DOTALL)
    return json_repair.loads((found[1] if found else text).strip())


def official_plan(text: str) -> Plan | None:
    value = official(text)
    steps = value.get("execution_plan") if isinstance(value, dict) else None
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        return None
    return [(step.get("instruction"), step.get("prompt"), step.get("auxiliary_text")) for step in steps]


def official_verdict(text: str) -> Verdict | None:
    value = official(text)
    accepted = value.get("previous_step_success") if isinstance(value, dict) else None
    if not isinstance(accepted, bool):
        return None
    return accepted, None if accepted else value.get("refine_prompt") or None


def by_name(form: Form) -> str:
    return form.name


@pytest.mark.parametrize("form", PLANS, ids=by_name)
def test_a_plan_is_read_whole(form: Form) -> None:
    steps = read_plan(form.text.encode(), "narrative", 25).steps
    assert [(step.instruction, step.prompt, step.auxiliary_text) for step in steps] == form.read
    assert [step.step_number for step in steps] == [1, 2][: len(steps)]


@pytest.mark.parametrize("form", VERDICTS, ids=by_name)
def test_a_verdict_is_read_whole(form: Form) -> None:
    found = read_verdict(form.text.encode())
    assert (None if found is None else (found.accepted, found.refined)) == form.read


@pytest.mark.parametrize("form", PLANS, ids=by_name)
def test_json_repair_reads_a_plan_so(form: Form) -> None:
    assert official_plan(form.text) == (form.read if form.official is SAME else form.official)


@pytest.mark.parametrize("form", VERDICTS, ids=by_name)
def test_json_repair_reads_a_verdict_so(form: Form) -> None:
    assert official_verdict(form.text) == (form.read if form.official is SAME else form.official)
