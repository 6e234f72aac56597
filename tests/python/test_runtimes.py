"""Roles that run elsewhere: how they are written, opened, mixed, recorded and gone through again."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from interleave_rt import (
    BackendFailedError,
    BadPackError,
    BadRequestError,
    CancelledError,
    Engine,
    InterleaveError,
    Options,
    Request,
    load_pack,
)
from interleave_rt.backends.outside import OutsideBackend
from interleave_rt.backends.record import Calls, CallStore, DroppedPicture, WrittenPlan, call_key, hash_of
from interleave_rt.backends.scripted import Script, ScriptedBackend
from interleave_rt.config import EngineConfig
from interleave_rt.pack import Pack, choose_pack
from interleave_rt.pack.spec import RoleSpec
from interleave_rt.result import Result
from interleave_rt.roles.reference import run_reference
from interleave_rt.roles.replay import replay
from interleave_rt.roles.scripted import ScriptedRoles
from interleave_rt.runtimes import open_backend
from interleave_rt.wire import PlanStep, Verdict

SCRIPTED = "scripted,seed=3,min_steps=1,accept_prob=0.5"


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("torch:a/b", RoleSpec(runtime="torch", place="a/b")),
        ("torch:a,dtype=bf16", RoleSpec(runtime="torch", place="a", options={"dtype": "bf16"})),
        (
            "openai:http://h:1/v1#org/model,timeout_s=2.5,stream=false,retries=3",
            RoleSpec(
                runtime="openai",
                place="http://h:1/v1#org/model",
                options={"timeout_s": 2.5, "stream": False, "retries": 3},
            ),
        ),
        ("scripted", RoleSpec(runtime="scripted")),
    ],
)
def test_a_role_is_one_line(text, spec):
    assert RoleSpec.parse(text) == spec
    assert str(spec) == text
    assert RoleSpec.model_validate(json.loads(spec.model_dump_json())) == spec


def test_lora_files_of_a_role_are_named_by_whole_paths(tmp_path):
    spec = RoleSpec.parse("torch:m,lora=a.safetensors:0.5,dtype=float32,lora=/b/c")
    assert spec.options == {"lora": ("a.safetensors:0.5", "/b/c"), "dtype": "float32"}
    there = spec.within(tmp_path)
    assert there.loras == (f"{tmp_path}/a.safetensors:0.5", "/b/c")
    assert RoleSpec.parse(str(there)) == there == RoleSpec.model_validate_json(there.model_dump_json())
    assert RoleSpec.parse("torch:m").loras == ()


def test_a_planner_elsewhere_declines_in_its_words_or_in_those_of_the_one_that_it_stands_for():
    spec = RoleSpec.parse("scripted,declines=I cannot draw,seed=2,declines=Sorry")
    assert spec.options == {"declines": ("I cannot draw", "Sorry"), "seed": 2}
    assert RoleSpec.parse(str(spec)) == spec == RoleSpec.model_validate_json(spec.model_dump_json())
    own = load_pack().manifest.roles.planner.declines
    assert own
    others = {"generator": "scripted", "critic": "scripted"}
    for pack, declines in (
        (load_pack().with_roles(planner="scripted"), own),
        (load_pack().with_roles(planner="scripted").with_roles(critic="scripted"), own),
        (load_pack().with_roles(planner=spec), ("I cannot draw", "Sorry")),
        (Pack.of_roles(planner="scripted,declines=Sorry", **others), ("Sorry",)),
        (Pack.of_roles(planner="scripted", **others), ()),
    ):
        backend = open_backend(pack)
        assert tuple(backend.declines) == declines
        backend.detach()
    with pytest.raises(BadRequestError, match="no option 'declines'"):
        open_backend(Pack.of_roles(planner="scripted", **others | {"critic": spec}))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("torch:m,dtype=float32,dtype=float16", "gives dtype twice"),
        ("", "names no runtime"),
        ("vllm:here", "names no runtime"),
        ("torch", "says no place"),
        ("native:", "says no place"),
        ("openai:http://h/v1", "names no model"),
    ],
)
def test_a_role_that_cannot_be_read_is_refused(text, said):
    with pytest.raises(BadRequestError, match=said) as caught:
        RoleSpec.parse(text)
    assert caught.value.hint


def test_folders_of_roles_are_taken_from_where_they_are_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pack = Pack.of_roles(planner="torch:p", generator=SCRIPTED, critic="native:/elsewhere/pack")
    roles = pack.manifest.roles
    assert roles.planner.place == str(tmp_path / "p")
    assert roles.critic.place == "/elsewhere/pack"
    with pytest.raises(BadRequestError, match="no critic is given"):
        Pack.of_roles(planner="torch:p", generator=SCRIPTED)
    with pytest.raises(BadRequestError, match="'judge' is no role"):
        pack.with_roles(judge=SCRIPTED)
    manifest = json.loads(pack.manifest.model_dump_json(exclude_none=True))
    manifest["roles"]["planner"]["place"] = "p"
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / "pack.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert load_pack(folder).manifest.roles.planner.place == str(folder / "p")


def test_a_role_that_nobody_can_run_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(BadRequestError, match="no option 'acept_prob'"):
        Engine.load(planner="scripted,acept_prob=1", generator=SCRIPTED, critic=SCRIPTED)
    with pytest.raises(BadPackError, match="is not a directory"):
        Engine.load(planner=f"native:{tmp_path / 'none'}", generator=SCRIPTED, critic=SCRIPTED)
    loop = tmp_path / "loop"
    loop.mkdir()
    pack = Pack.of_roles(planner=f"native:{loop}", generator=SCRIPTED, critic=SCRIPTED)
    (loop / "pack.json").write_text(pack.manifest.model_dump_json(exclude_none=True), encoding="utf-8")
    with pytest.raises(BadPackError, match="runs elsewhere again"):
        open_backend(pack)


NATIVE = "native"
COMBINATIONS = [roles for roles in itertools.product((NATIVE, SCRIPTED), repeat=3) if set(roles) != {NATIVE}]


@pytest.mark.parametrize("roles", COMBINATIONS, ids=lambda roles: "-".join(r[:4] for r in roles))
def test_every_mixture_runs_reports_and_equals_the_loop_over_its_answers(roles, tmp_path):
    own = dict(zip(("planner", "generator", "critic"), roles, strict=True))
    pack = choose_pack(None, **{role: None if spec == NATIVE else spec for role, spec in own.items()})
    with Engine(open_backend(pack)) as engine:
        for seed in range(2):
            options = Options(seed=seed, t_max=2, speculation="depth=2", max_steps=3)
            result = engine.run("Draw a red circle.", options=options)
            assert result.outcome == "finished"
            assert engine.replay(result) == result.canonical()
            assert result.save(tmp_path / str(seed)).joinpath("report.html").exists()
    told = {name: said for name, said in result.pack.items() if name.endswith(" runs on")}
    assert told == {f"{role} runs on": spec for role, spec in own.items() if spec != NATIVE}


class Fickle(ScriptedRoles):
    """Never answers twice alike."""

    def info(self) -> dict[str, str]:
        return {"identity": "fickle"}

    def __init__(self) -> None:
        super().__init__(Script(min_steps=1, max_steps=4, accept_prob=0.5, seed=1))
        self._asked = itertools.count()
        self._lock = threading.Lock()

    def _next(self) -> int:
        with self._lock:
            return next(self._asked)

    def generate(self, prompt: str, source: Any, seed: int, options: Options) -> Any:
        return super().generate(f"{prompt} {self._next()}", source, seed, options)

    def judge(self, *arguments: Any) -> Verdict | None:
        return super().judge(*arguments[:4], self._next(), arguments[5])


@pytest.mark.parametrize("speculation", ["off", "depth=3"])
def test_a_backend_that_does_not_repeat_itself_still_does_what_the_loop_does(speculation):
    with Engine(OutsideBackend(Fickle(), capacity=3, lossless="replay")) as engine:
        handles = [engine.submit(f"request {i}", seed=1, speculation=speculation) for i in range(12)]
        results = [handle.result() for handle in handles]
    assert all(replay(result) == result.canonical() for result in results)
    assert len({json.dumps(result.canonical()["steps"][0]["attempts"]) for result in results}) > 1


def test_a_call_that_is_run_again_does_not_contradict_what_was_heard_of_it():
    """Each planner and critic tells something, loses its lane, and would say something else the second time."""
    lost = {"planner": threading.Event(), "critic": threading.Event()}

    class Losing(Fickle):
        def _lose(self, role: str, cancelled: Any) -> None:
            if not lost[role].is_set():
                lost[role].set()
                while not cancelled():
                    time.sleep(0.005)

        def plan(self, *arguments: Any, cancelled: Any, on_step: Any) -> Any:
            plan = super().plan(*arguments[:2], self._next(), arguments[3])
            on_step(plan.steps[0])
            self._lose("planner", cancelled)
            return plan

        def judge(self, *arguments: Any, cancelled: Any, on_verdict: Any) -> Any:
            verdict = super().judge(*arguments)
            on_verdict(False, 0.25)
            self._lose("critic", cancelled)
            return verdict

    backend = OutsideBackend(Losing(), capacity=2, lossless="replay", lease_s=0.4, longest_call_s=0.05)
    with Engine(backend) as engine:
        result = engine.run("x", seed=1, t_max=2, speculation="depth=2")
        assert engine.counters()["lanes_lost"] >= 2
        assert replay(result) == result.canonical()
        first = result.steps[0].attempts[0].verdict
        assert (first.accepted, first.p_success) == (False, 0.25)


def test_attempts_whose_calls_are_equal_get_one_answer():
    """The seeds of the official demo repeat within a step: without a new prompt the next attempt is the same call."""

    class Refusing(Fickle):
        def judge(self, *arguments: Any) -> Verdict:
            self._next()
            return Verdict(accepted=False, p_success=0.25)

    with Engine(OutsideBackend(Refusing(), lossless="replay")) as engine:
        for speculation in ("off", "depth=2"):
            result = engine.run("x", seed=1, t_max=3, seeds="reference", speculation=speculation)
            assert replay(result) == result.canonical()
            assert len({attempt.image_hash for attempt in result.steps[0].attempts}) == 1


def test_what_a_role_gives_too_much_of_or_uses_again_is_cut_and_copied():
    class Loose(ScriptedRoles):
        buffer = np.zeros((8, 8, 3), np.uint8)

        def plan(self, request: Any, max_steps: int, seed: int, retry: int) -> Any:
            return super().plan(request, 25, seed, retry)

        def generate(self, *arguments: Any) -> Any:
            self.buffer += 1
            return self.buffer

    script = Script(min_steps=4, max_steps=4, accept_prob=0.5)
    with Engine(OutsideBackend(Loose(script))) as engine:
        result = engine.run("x", seed=1, max_steps=2)
        assert (len(result.steps), result.plan_truncated) == (2, True)
        assert result.pack["lossless"] == "replay"
        assert engine.replay(result) == result.canonical()
    Loose.buffer = np.zeros((1, 8, 8, 3), np.uint8)
    with (
        Engine(OutsideBackend(Loose(script))) as engine,
        pytest.raises(BackendFailedError, match="height x width x 3"),
    ):
        engine.run("x", seed=1)


class Storied(ScriptedRoles):
    """Draws from the last three pictures of the story; every one of them counts."""

    def __init__(self, references: int = 3) -> None:
        super().__init__(Script(min_steps=5, max_steps=5, accept_prob=0.5, seed=4))
        self.references = references
        self.seen: list[int] = []

    def generate(self, prompt: str, source: Any, seed: int, options: Options) -> Any:
        story = source if isinstance(source, list) else [] if source is None else [source]
        self.seen.append(len(story))
        before = "".join(f"{self.hash_of(picture):x} " for picture in story)
        return super().generate(before + prompt, None, seed, options)


@pytest.mark.parametrize("given", [0, 1, 4])
def test_a_step_starts_from_the_last_pictures_of_the_story(given):
    pictures = [np.full((8, 8, 3), shade, np.uint8) for shade in range(given)]
    request = Request("a story", tuple(pictures))
    for references in (1, 2, 3):
        plain = Storied(references)
        wanted = run_reference(request, Options(seed=7), plain)
        assert max(plain.seen) == references
        assert given + 1 >= min(plain.seen) == min(given, references)
        for speculation in ("off", "auto", "depth=3"):
            with Engine(OutsideBackend(Storied(references), capacity=3, lossless="bitwise")) as engine:
                result = engine.run(request, seed=7, speculation=speculation)
                assert engine.counters()["generator"]["speculated"] > 0 or speculation != "depth=3"
                assert engine.replay(result) == result.canonical() == wanted
            assert result.pack.get("references", "1") == str(references)


def test_a_generator_that_would_not_see_the_pictures_refuses_them_before_anything_is_planned():
    roles = Storied(references=0)
    with Engine(OutsideBackend(roles)) as engine:
        with pytest.raises(
            BadRequestError, match="draws from the text alone: .* would not see the request's pictures"
        ):
            engine.run("more", [np.zeros((8, 8, 3), np.uint8)] * 2)
        assert engine.counters()["requests_accepted"] == 0
        result = engine.run("a story", seed=7)
        assert engine.replay(result) == result.canonical()
        assert result.pack["references"] == "0"
    with pytest.raises(BadRequestError, match=r"references is 17: give a whole number from 0 to 16"):
        OutsideBackend(Storied(references=17))


@pytest.mark.parametrize("critic", [None, SCRIPTED])
def test_a_record_that_is_too_big_loses_its_oldest_pictures_and_is_replayed_all_the_same(critic):
    pack = choose_pack(None, generator="scripted,seed=1", critic=critic)
    with Engine(open_backend(pack), EngineConfig(record_bytes=1000)) as engine:
        result = engine.run("Draw a snowman.", seed=1, width=96, height=96)
        pictures = [one for one in result.calls.values() if isinstance(one, np.ndarray | DroppedPicture)]
        assert [isinstance(one, DroppedPicture) for one in pictures] == [*[True] * (len(pictures) - 1), False]
        assert len(pictures) > 1
        assert engine.replay(result) == result.canonical()


def test_a_picture_that_was_dropped_and_made_again_otherwise_is_named():
    class Refusing(Fickle):
        def judge(self, *arguments: Any) -> Verdict:
            self._next()
            return Verdict(accepted=False, p_success=0.25)

    with Engine(OutsideBackend(Refusing(), lossless="replay"), EngineConfig(record_bytes=0)) as engine:
        result = engine.run("x", seed=1, t_max=3, max_steps=3, speculation="off")
        assert replay(result) == result.canonical()
        dropped = next(one for one in result.calls.values() if isinstance(one, DroppedPicture))
        dropped.again = True
        with pytest.raises(InterleaveError, match=r"lacks the picture of step 1, attempt 1: it was dropped"):
            replay(result)
    calls = Calls(max_bytes=0)
    first, second, third = (np.full((2, 2, 3), shade, np.uint8) for shade in range(3))
    assert calls.first(1, "a", first, "step 1, attempt 1") is first
    calls.first(1, "b", second, "step 2, attempt 1")
    assert calls.find(1, "a") is None
    assert calls.first(1, "a", first.copy(), "step 1, attempt 1") is not first
    kept = calls._of[1]["a"]
    assert (kept.hash, kept.again) == (hash_of(first), False)
    assert calls.first(1, "a", third, "step 1, attempt 1") is third
    assert kept.again


def test_replays_at_once_and_replays_of_nothing(tmp_path):
    pack = choose_pack(None, critic=SCRIPTED)
    with Engine(open_backend(pack)) as engine:
        result = engine.run("Draw a red circle.", seed=1, t_max=2)
        with ThreadPoolExecutor(4) as pool:
            again = list(pool.map(lambda _: engine.replay(result), range(4)))
    assert all(one == result.canonical() for one in again)
    saved = json.loads(result.save(tmp_path).joinpath("result.json").read_text(encoding="utf-8"))
    with pytest.raises(BadRequestError, match="carries no answers"):
        replay(Result.from_dict(saved))
    with Engine(ScriptedBackend(Script())) as engine:
        result = engine.run("x")
        assert engine.replay(result) == result.canonical()


@pytest.mark.parametrize(
    "critic",
    [
        "scripted,critic_ms=fast",
        "scripted,accept_prob=7",
        "scripted,capacity=two",
        "scripted,lease_s=0",
        "scripted,role=critic",
        "openai:http://127.0.0.1:9/v1#m,model=x",
        "openai:http://127.0.0.1:9/v1#m,timeout_s=soon",
        "torch:.,directory=x",
    ],
)
def test_wrong_options_are_one_clear_error(critic):
    pytest.importorskip("httpx")
    with pytest.raises((BadRequestError, BadPackError)) as caught:
        open_backend(Pack.of_roles(planner=SCRIPTED, generator=SCRIPTED, critic=critic))
    assert "critic" in str(caught.value) or "openai" in str(caught.value)


def test_a_role_in_a_manifest_is_looked_at_as_one_in_a_line(tmp_path):
    raw = json.loads(
        Pack.of_roles(planner=SCRIPTED, generator=SCRIPTED, critic=SCRIPTED).manifest.model_dump_json(
            exclude_none=True
        )
    )
    for role, said in (
        ({"runtime": "openai", "place": "http://h/v1"}, "names no model"),
        ({"runtime": "torch"}, "says no place"),
    ):
        (tmp_path / "pack.json").write_text(json.dumps(raw | {"roles": raw["roles"] | {"critic": role}}))
        with pytest.raises(BadPackError, match=said):
            load_pack(tmp_path)


def test_a_folder_of_answers_asks_whose_they_are(tmp_path):
    store = CallStore(tmp_path)
    with pytest.raises(BadRequestError, match="does not say what its answers depend on"):
        OutsideBackend(ScriptedRoles(Script()), store=store)


def test_a_record_that_lacks_a_call_is_said_so():
    with Engine(OutsideBackend(Fickle(), lossless="replay")) as engine:
        result = engine.run("x", seed=1)
        cut = dict(list(result.calls.items())[:-1])
        object.__setattr__(result, "calls", cut)
        with pytest.raises(
            InterleaveError, match="a call of the (generator|critic) that the run did not make"
        ):
            replay(result)
        handle = engine.submit("y")
        handle.cancel()
        with pytest.raises(BadRequestError, match="is cancelled"):
            replay(handle.finished().result)


def test_what_is_recorded_in_a_folder_is_not_asked_again(tmp_path):
    asked = []

    class Counting(Fickle):
        def generate(self, *arguments: Any, on_cut: Callable[[], None]) -> Any:
            asked.append("generate")
            if len(asked) == 1:
                on_cut()
            return super().generate(*arguments)

    def run(seed: int) -> Any:
        store = CallStore(tmp_path / "calls")
        with Engine(OutsideBackend(Counting(), lossless="replay", store=store)) as engine:
            result = engine.run("again", seed=seed, speculation="off")
        cut = [attempt.prompt_cut for step in result.steps for attempt in step.attempts]
        return result.canonical(), cut

    first = run(1)
    made = len(asked)
    assert made > 1
    assert first[1] == [True] + [False] * (made - 1)
    assert run(1) == first
    assert len(asked) == made
    run(2)
    assert len(asked) > made


def wanted() -> bool:
    return False


def test_the_folder_is_read_with_care_and_bounded(tmp_path):
    store = CallStore(tmp_path, max_bytes=4000)
    plan = WrittenPlan((PlanStep(1, "a", prompt="ü \ud800"),), truncated=True)
    picture = np.random.default_rng(0).integers(0, 255, (9, 7, 3), np.uint8)
    answers = {"a" * 32: plan, "b" * 32: picture, "c" * 32: Verdict(False, 0.25, "more"), "d" * 32: None}
    for key, answer in answers.items():
        assert store.begin(key, wanted) is None
        store.end(key, wanted, (answer, key[0] == "b"))
    again = CallStore(tmp_path)
    assert again.begin("a" * 32, wanted)[0].steps[0].prompt == "ü ?"
    read, cut = again.begin("b" * 32, wanted)
    assert np.array_equal(read, picture)
    assert cut is True
    assert again.begin("c" * 32, wanted) == (Verdict(False, 0.25, "more"), False)
    assert again.begin("d" * 32, wanted) == (None, False)
    (tmp_path / f"{'b' * 32}.png").write_bytes(b"half")
    (tmp_path / f"{'c' * 32}.json").write_text("{}", encoding="utf-8")
    assert again.begin("b" * 32, wanted) is None
    assert again.begin("c" * 32, wanted) is None
    with pytest.raises(CancelledError):  # given up while another is at it
        again.begin("c" * 32, lambda: True)
    hung = threading.Event()
    assert again.begin("e" * 32, hung.is_set) is None
    hung.set()  # the maker has lost its lease: nobody waits for it, and its end frees nothing of the next maker's
    assert again.begin("e" * 32, wanted) is None
    again.end("e" * 32, hung.is_set, None)
    with pytest.raises(CancelledError):
        again.begin("e" * 32, lambda: True)
    for index in range(60):
        store.end(f"{index:032x}", wanted, (plan, False))
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 4000
    file = tmp_path / "file"
    file.write_bytes(b"")
    with pytest.raises(BadRequestError, match="cannot be used"):
        CallStore(file)


def test_equal_calls_have_equal_names():
    told = {"prompt": "p", "seed": 2**63 - 1, "width": 0, "height": 0, "denoising_steps": 0}
    picture = np.zeros((2, 3, 3), np.uint8)
    names = {
        call_key("generator", [image], **{**told, **change})
        for image in (None, picture, picture.reshape(3, 2, 3))
        for change in ({}, {"prompt": "q"}, {"seed": 1}, {"width": 16})
    }
    assert len(names) == 12
    assert call_key("generator", [picture.copy()], **told) in names
    assert asdict(Script())["seed"] == 0
