"""What a benchmark is compared with, replays, and says of where it ran."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from interleave_rt.measure.arms import ARMS
from interleave_rt.measure.compare import check_comparison, compare, read_baseline
from interleave_rt.measure.environment import _revision, describe_environment
from interleave_rt.measure.runner import Plan
from interleave_rt.measure.requests import read_trace
from interleave_rt.errors import BadRequestError
from interleave_rt.request import Options


def result(mean: float | None = 100.0, throughput: float = 10.0, equal: int = 4) -> dict:
    return {
        "format_version": 1,
        "scenario": {"name": "server", "target": "scripted", "concurrency": 1, "request_rate": 2.0},
        "arms": {"sequential": {"e2e_latency_ms": {"mean": mean}, "request_throughput": throughput}},
        "speedup": {"speculative_vs_sequential": {"ratio": 1.5, "median": {"ratio": 0.1}}},
        "lossless": {"requests": 4, "equal": equal, "arms": ["sequential", "speculative"]},
        "environment": {},
    }


def test_what_falls():
    assert compare(result(), result(), 0.0) == []
    assert compare(result(), result(mean=109.0), 10.0) == []
    (fall,) = compare(result(), result(mean=120.0), 10.0)
    assert str(fall) == "arms.sequential.e2e_latency_ms.mean: 100 -> 120 (20.0 % worse)"
    (fall,) = compare(result(), result(throughput=8.0), 10.0)
    assert (fall.key, fall.percent) == ("arms.sequential.request_throughput", pytest.approx(25.0))
    with pytest.raises(BadRequestError, match="no figure in common"):
        compare({**result(), "arms": {}, "speedup": {}}, result(), 10.0)


def test_figures_that_are_gone_fall():
    (fall,) = compare(result(), result(mean=None), 10.0)
    assert str(fall) == "arms.sequential.e2e_latency_ms.mean: 100 -> none (nothing was measured)"
    (fall,) = compare(result(), result(throughput=0.0), 1e6)
    assert (fall.key, fall.now) == ("arms.sequential.request_throughput", 0.0)
    falls = compare(result(), {**result(), "arms": {}, "speedup": {}}, 10.0)
    assert {fall.key for fall in falls} == {
        "arms.sequential.e2e_latency_ms.mean",
        "arms.sequential.request_throughput",
        "speedup.speculative_vs_sequential.ratio",
    }
    # Only what this run was asked for.
    now = {**result(), "speedup": {}, "lossless": {"arms": ["sequential"]}}
    assert compare(result(), now, 10.0) == []


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("name", "offline", "--scenario is offline, this run's is server"),
        ("target", "shapes", "target is shapes"),
        ("concurrency", 8, "--concurrency is 8"),
        ("request_rate", 4.0, "--request-rate is 4.0"),
    ],
)
def test_baselines_of_another_kind(key: str, value: object, says: str):
    before = result()
    before["scenario"][key] = value
    plan = Plan("server", [ARMS["sequential"]], request_rate=2.0)
    for check in (
        lambda: check_comparison(before, plan, "scripted"),
        lambda: compare(before, result(), 10.0),
    ):
        with pytest.raises(BadRequestError) as caught:
            check()
        assert says in caught.value.message
    check_comparison(result(), plan, "scripted")
    with pytest.raises(BadRequestError, match="no figure in common"):
        check_comparison(result(), replace(plan, arms=[ARMS["sequential-es"]]), "scripted")


def test_room_is_made_for_loops_only():
    arms = [ARMS["sequential"]]
    assert Plan("server", arms, max_queued=1).engine_config().max_queued == 1
    assert Plan("offline", arms, max_queued=1).engine_config().max_queued == 8
    assert Plan("closed-loop", arms, concurrency=9, max_queued=1).engine_config().max_queued == 9


def test_revision_is_this_repositorys(tmp_path: Path):
    """From an environment inside another project's checkout the commit would be that project's."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "a"], check=True)
    file = tmp_path / ".venv" / "interleave_rt" / "bench" / "environment.py"
    assert _revision(file) is None
    (tmp_path / "interleave_rt").mkdir()
    (tmp_path / "interleave_rt" / "_core.pyi").touch()
    assert _revision(file)


def test_command_line_that_is_no_text(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["bench", "a\udcff"])
    assert describe_environment(gpu=False)["command"].encode()


DEEP = pytest.param("[" * 100_000, id="deep")
SIMULATED = {
    "format_version": 1,
    "scenario": {},
    "arms": {},
    "speedup": {},
    "speculation": None,
    "source": {},
}


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", json.dumps({**result(), "format_version": 99}), json.dumps(SIMULATED), DEEP],
)
def test_baselines_that_are_none(tmp_path: Path, text: str):
    path = tmp_path / "b.json"
    path.write_text(text)
    with pytest.raises(BadRequestError, match="b.json"):
        read_baseline(path)


def test_replayed_requests(tmp_path: Path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": "a", "seed": 3, "options": {"t_max": 2}}\n\n{"text": "b"}\n{"text": "c"}\n')
    cases = read_trace(path, 2, Options(seed=9, max_steps=4))
    assert [case.request.text for case in cases] == ["a", "b"]
    assert [(case.options.seed, case.options.t_max, case.options.max_steps) for case in cases] == [
        (3, 2, 4),
        (9, 5, 4),
    ]


def test_replayed_requests_hold_any_text(tmp_path: Path):
    path = tmp_path / "t.jsonl"
    text = "a\u2028b\u2029c\u0085d"
    path.write_bytes(f'{{"text": "{text}"}}\r\n\r\n{{"text": "e"}}\r\n'.encode())
    assert [case.request.text for case in read_trace(path, None, Options())] == [text, "e"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2"),
        ('"text"', "an object"),
        ('{"seed": 1}', "field 'text' is missing"),
        ('{"text": 5}', "'text' is not a string"),
        ('{"text": "a", "images": "a.png"}', "'images' is not a list of strings"),
        ('{"text": "a", "images": [1]}', "'images' is not a list of strings"),
        ('{"text": "a", "images": ["no.png"]}', "no.png cannot be read"),
        ('{"text": "a", "options": [["t_max", 2]]}', "'options' is not an object"),
        pytest.param("[" * 100_000, "nested too deeply", id="deep"),
        ('{"text": ""}', "the text is empty"),
        ('{"text": "a", "sead": 1}', "unknown field 'sead'"),
        ('{"text": "a", "options": {"t_max": 0}}', "t_max is 0"),
        ('{"text": "a", "options": {"speculation": "off"}}', "'speculation' is the arm's"),
    ],
)
def test_replayed_requests_that_are_wrong(tmp_path: Path, line: str, says: str):
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": "a"}\n' + line + "\n")
    with pytest.raises(BadRequestError, match="line 2 of .*t.jsonl") as caught:
        read_trace(path, None, Options())
    assert says in caught.value.message
