"""Constrained decoding: grammars, the library, what it changes and what it must not."""

from __future__ import annotations

import importlib.util
import json
from functools import partial

import constrained
import lossless
import pytest
from helpers import edit_pack, refused
from tokenizers import Tokenizer

from interleave_rt import BadPackError, Engine, _core, load_pack
from interleave_rt.backends import constrain
from interleave_rt.backends.constrain import Constraint, find_constraint
from interleave_rt.backends.native import vlm_config
from interleave_rt.config import EngineConfig
from interleave_rt.pack.grammar import SCHEMAS, answer_grammar
from interleave_rt.roles.native import NativeRoles

SEED = 20261121
needs_llguidance = pytest.mark.skipif(
    importlib.util.find_spec("llguidance") is None, reason="llguidance is not installed"
)


# ---- grammars as text ------------------------------------------------------------------------


def schema_in(text: str) -> dict:
    return json.loads(text.split("answer: %json ", 1)[1])


def test_steps_are_numbered_and_strings_shrink_with_the_role():
    plan = schema_in(answer_grammar("narrative", max_new_tokens=512).whole)["properties"]["execution_plan"]
    assert len(plan["prefixItems"]) == 25
    assert plan["items"] is False
    numbers = [
        one["properties"]["step_number"]["const"] for item in plan["prefixItems"] for one in item["anyOf"]
    ]
    assert numbers == sorted([*range(1, 26), *range(1, 26)])
    fields = plan["prefixItems"][0]["anyOf"][0]["properties"]
    assert list(fields) == ["step_number", "step_name", "instruction", "prompt", "auxiliary_text"]
    assert fields["prompt"]["maxLength"] == 250
    full = schema_in(answer_grammar("guidance").whole)["properties"]["execution_plan"]["items"]
    assert full["properties"]["step_name"]["maxLength"] == 400
    assert "x-numbered" not in answer_grammar("narrative").whole


def test_frames():
    written, opened, none = (
        answer_grammar("critic", reasoning=kind) for kind in ("written", "opened", "none")
    )
    assert "/<think>" in written.whole
    assert "/<think>" not in opened.whole
    assert "think" not in none.whole
    assert none.closing == ""
    assert written.closing == opened.closing


def test_the_schemas_are_the_readers_fields():
    assert {path.stem for path in SCHEMAS.glob("*.json")} == {"narrative", "guidance", "critic"}
    for path in SCHEMAS.glob("*.json"):
        assert json.loads(path.read_text())["x-guidance"]["whitespace_flexible"] is False


@pytest.mark.parametrize("text", ["{", "[1]", '{"items": {}, "x-numbered": {}}', None])
def test_a_file_that_is_no_schema_is_named(tmp_path, text):
    path = tmp_path / "verdict.json"
    if text is not None:
        path.write_text(text)
    with refused(BadPackError, "verdict.json") as caught:
        answer_grammar("critic", path)
    assert caught.value.hint


def test_a_packs_own_schema_is_used_as_it_is(tmp_path):
    path = tmp_path / "own.json"
    path.write_text('{"type": "string", "maxLength": 5000}')
    assert schema_in(answer_grammar("critic", path, max_new_tokens=64).whole)["maxLength"] == 5000
    lark = tmp_path / "own.lark"
    lark.write_text('answer: "{\'previous_step_success\': " ("True" | "False") "}"\n')
    assert "'previous_step_success'" in answer_grammar("critic", lark).whole


# ---- which library ---------------------------------------------------------------------------


def test_off_and_missing():
    assert find_constraint("off") == Constraint(None)
    assert find_constraint("auto", version=lambda: None) == Constraint(None)
    assert str(Constraint(None)) == "off"
    with refused(BadPackError, "not installed", hint="pip install"):
        find_constraint("on", version=lambda: None)


@pytest.mark.parametrize("version", ["1.6.9", "2.0.0", "0.7", "nonsense"])
def test_versions_that_are_not_known(version, caplog):
    with refused(BadPackError, version, hint=">=1.7,<2"):
        find_constraint("on", version=lambda: version)
    assert find_constraint("auto", version=lambda: version) == Constraint(None)
    assert version in caplog.text


def test_without_llguidance_the_engine_says_so(monkeypatch):
    monkeypatch.setattr(constrain.find_constraint, "__kwdefaults__", {"version": lambda: None})
    with refused(BadPackError, "not installed"):
        Engine.load(constrained="on")
    with Engine.load() as engine:
        assert engine.run("Draw a flag step by step.").pack["constrained"] == "off"


@needs_llguidance
def test_a_library_that_fails_its_self_test_is_not_used(monkeypatch, caplog):
    assert find_constraint("on").version
    assert _core.llguidance_version()
    monkeypatch.setattr(constrain, "_loaded", [])
    monkeypatch.setattr(constrain, "_library", lambda: "/nowhere/_lib.so")
    assert find_constraint("auto") == Constraint(None)
    assert "nowhere" in caplog.text
    with refused(BadPackError, "cannot be used", "nowhere", hint="--force-reinstall"):
        find_constraint("on")
    with Engine.load(constrained="auto") as engine:
        assert engine.backend.info()["constrained"] == "off"


# ---- answers ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trio():
    return constrained.Trio()


ROLES = pytest.mark.parametrize("role", ["planner", "critic"])


def first(trio, role, count):
    source, _ = constrained.ROLES[role]
    return [question for question, _ in zip(source(trio, SEED), range(count), strict=False)]


@needs_llguidance
@ROLES
def test_answers_that_conform_are_not_changed(trio, role):
    print("seed", SEED)
    questions = first(trio, role, 24)
    on, off = (
        trio.model(role, setting, temperature=0.0, slots=8).answers(questions) for setting in ("on", "off")
    )
    assert [list(a.tokens) for a in on] == [list(a.tokens) for a in off]
    # p(success) comes from the logits as the model gave them.
    assert [list(a.verdict_p) for a in on] == [list(a.verdict_p) for a in off]
    assert {a.stop for a in on} == {"end_of_text"}


@needs_llguidance
@ROLES
def test_sampled_answers_can_be_read_and_batches_change_nothing(trio, role):
    print("seed", SEED)
    questions = first(trio, role, 20)  # at temperature 2.6 many of them would be unreadable
    read = constrained.ROLES[role][1]
    batched, alone, free = (
        trio.model(role, setting, temperature=2.6, slots=slots)
        for setting, slots in (("on", 8), ("on", 1), ("off", 8))
    )
    together, without = batched.answers(questions), free.answers(questions)
    assert all(read(q, a.text)[0] for q, a in zip(questions, together, strict=True))
    assert sum(read(q, a.text)[0] for q, a in zip(questions, without, strict=True)) < len(questions)
    counters = batched.counters()
    assert counters["constrained_tokens"] == counters["tokens"]
    assert counters["corrected_tokens"] >= 30, "the grammar was hardly needed: this test proves little"
    for question, one, other in zip(questions, together, without, strict=True):
        corrected = alone.counters()["corrected_tokens"]
        tokens = list(alone.answer(*question).tokens)
        assert tokens == list(one.tokens)
        if alone.counters()["corrected_tokens"] == corrected:  # then the grammar was not felt
            assert tokens == list(other.tokens)


@needs_llguidance
@ROLES
def test_hot_answers_end_in_time(trio, role):
    """At temperature 3 the models babble: the think part is ended for them, and what follows is still readable."""
    questions = first(trio, role, 24)
    read = constrained.ROLES[role][1]
    answers = trio.model(role, "on", temperature=3.0, slots=8).answers(questions)
    texts = [a.text.decode("utf-8", "replace") for a in answers]
    assert all("</think>" in text and "<answer>" in text for text in texts)
    assert all(read(q, a.text)[0] for q, a in zip(questions, answers, strict=True))
    table = Tokenizer.from_file(str(trio.pack.path / "tokenizer" / "tokenizer.json"))
    special = {
        id_
        for id_, token in table.get_added_tokens_decoder().items()
        if token.content.startswith("<|")  # of the chat and of pictures, not <think> and <answer>
    }
    assert len(special) == 7
    assert not any(special & set(a.tokens) for a in answers)


# ---- packs -----------------------------------------------------------------------------------


def name_grammar(role: str, name: str, path: str, roles: dict) -> None:
    roles[role]["grammar"] = {"files": {name: path}}


def own_grammar(pack, role, name, path, text):
    """A pack whose role has a grammar of its own."""
    return edit_pack(pack, lambda raw: name_grammar(role, name, path, raw["roles"]), {path: text.encode()})


@needs_llguidance
@pytest.mark.parametrize("text", ['{"type": "no such type"}', "{"])
def test_a_bad_schema_of_a_pack_is_named(copied, text):
    own_grammar(copied, "critic", "critic", "own.json", text)
    with refused(BadPackError, "own.json"):
        Engine.load(copied)
    with refused(BadPackError, "own.json"):
        NativeRoles(load_pack(copied))
    with Engine.load(copied, constrained="off") as engine:
        assert engine.backend.info()["constrained"] == "off"


def test_a_grammar_that_no_file_entry_lists(copied):
    edit_pack(copied, lambda raw: name_grammar("planner", "narrative", "nowhere.json", raw["roles"]))
    with refused(BadPackError, "grammar"):
        load_pack(copied)


@needs_llguidance
def test_a_packs_own_dialect(copied, trio):
    own = 'answer: "{\'previous_step_success\': " ("True" | "False") ", \'refine_prompt\': None}"\n'
    loaded = load_pack(own_grammar(copied, "critic", "critic", "own.lark", own))
    model = _core.NativeVlm(vlm_config(loaded, loaded.manifest.roles.critic, EngineConfig(constrained="on")))
    for question in first(trio, "critic", 6):
        answer = model.answer(*question)
        assert b"{'previous_step_success': " in answer.text
        assert constrained.read_verdict(question, answer.text)[0]


@needs_llguidance
def test_a_role_that_is_never_constrained(copied):
    loaded = load_pack(
        edit_pack(copied, lambda raw: raw["roles"]["critic"].update(grammar={"constrain": False}))
    )
    config = EngineConfig(constrained="on")
    assert vlm_config(loaded, loaded.manifest.roles.critic, config)["grammars"] == []
    names = [text["name"] for text in vlm_config(loaded, loaded.manifest.roles.planner, config)["grammars"]]
    assert names == ["narrative", "guidance"]


# ---- law 1 -----------------------------------------------------------------------------------


def heat(manifest) -> None:
    """Sampled first answers: unreadable ones come up, and are sampled again at 0.7."""
    for role in ("planner", "critic"):
        manifest["roles"][role]["generation"]["temperature"] = 2.6


@needs_llguidance
@pytest.mark.parametrize("setting", ["on", "off"])
def test_law_1_holds_with_either_setting(copied, setting, monkeypatch):
    print(f"14 requests, seed {SEED}")
    pack = load_pack(edit_pack(copied, heat))
    cases = lossless.draw_cases(14, SEED)
    retries, plan = set(), NativeRoles.plan

    def noted(roles, request, steps, seed, retry):
        retries.add(retry)
        return plan(roles, request, steps, seed, retry)

    monkeypatch.setattr(NativeRoles, "plan", noted)
    monkeypatch.setattr(lossless, "NativeRoles", partial(NativeRoles, constrained=setting))
    wanted = lossless.references(pack, cases)
    # Without the grammar some answers cannot be read and are sampled again; with it none.
    assert (1 in retries) is (setting == "off")
    with Engine.load(pack, constrained=setting, max_live=16) as engine:
        for name, concurrency in (("auto", 8), ("depth=3", 2)):
            arm = next(arm for arm in lossless.ARMS if arm.name == name)
            row = lossless.compare(engine, arm, cases, wanted, concurrency)
            print(row)
            assert row["first_difference"] is None
            assert row["equal"] == 14
        result = engine.run("Draw a flag step by step.")
        assert (result.pack["constrained"] == "off") is (setting == "off")
