"""The data pipeline against a teacher in a server with faults, and what it says where it cannot go on."""

import errno
import json
import os
import threading
import time
from contextlib import contextmanager

import data_storm
import pytest
from interleave_rt.train.data import serve
from interleave_rt.train.data.estimate import estimate
from interleave_rt.train.data.journal import key_of
from interleave_rt.train.data.oracle import DrawnGenerator, Oracle
from interleave_rt.train.data.recipe import Recipe, load_recipe
from interleave_rt.train.data.run import Run
from interleave_rt.train.data.serve import Faults, OracleServer
from interleave_rt.train.data.teacher import BudgetSpentError
from small_recipes import SMALL

from interleave_rt.errors import BackendFailedError, BadRequestError

TEACHER = {**SMALL["teacher"], "concurrency": 4, "backoff_s": 0.01, "tries": 4}


def recipe(url="", **changes):
    teacher = {**TEACHER, "url": url, **changes.pop("teacher", {})}
    return Recipe(**{**SMALL, **changes, "teacher": teacher})


def hash_of(chosen, out):
    with Run(chosen, out) as run:
        return run.run()["card"]["hash"]


@contextmanager
def served(**settings):
    server = OracleServer(**settings)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return hash_of(recipe(), tmp_path_factory.mktemp("undisturbed"))


def lines_of(path):
    return [json.loads(line.partition(" ")[2]) for line in path.read_text().splitlines()]


def test_faults_that_clear_change_nothing(undisturbed, tmp_path):
    with served(faults=Faults(error=0.15, garbage=0.15)) as server:
        assert hash_of(recipe(server.url), tmp_path) == undisturbed
        assert max(server.asked.values()) > 1  # there were faults
    keys = [line["key"] for line in lines_of(tmp_path / "replies.log")]
    assert len(keys) == len(set(keys))


def test_the_storm_leaves_the_same_sets(tmp_path, monkeypatch, capsys):
    drawn = ["--strong", "drawn,success=0.9", "--weak", "drawn,success=0.6", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["storm", "--prompts", "3", "--kills", "2", "--restarts", "1", *drawn])
    data_storm.main()
    told = json.loads(capsys.readouterr().out)
    assert told["same sets"]
    assert not told["keys twice"]


def test_lasting_faults_are_counted_by_rule(tmp_path):
    with served(faults=Faults(lasting=0.2, seed=3)) as server:
        chosen = recipe(server.url, prompts={**SMALL["prompts"], "count": 12}, teacher={"retries": 0})
        with Run(chosen, tmp_path) as run:
            counts = run.run()["counts"]
        lost = counts["trajectories"]["in"] - counts["trajectories"]["kept"]
        assert (
            lost == counts["trajectories"].get("unreadable", 0) + counts["trajectories"].get("failed", 0) > 0
        )
        assert counts["scores"].get("unreadable", 0) + counts["scores"].get("failed", 0) > 0
        # What failed is made by the next run; what could not be read is not.
        server.faults = Faults()
        with Run(chosen, tmp_path) as run:
            again = run.run()["counts"]
    assert "failed" not in {**again["trajectories"], **again["scores"]}


def test_a_budget_stops_between_two_items_and_a_raised_one_goes_on(undisturbed, tmp_path):
    with pytest.raises(BudgetSpentError, match="of 20 calls") as told:
        hash_of(recipe(budget={"calls": 20}), tmp_path)
    assert told.value.exit_code == 8
    assert 20 <= len(lines_of(tmp_path / "replies.log")) < 80
    price = {"shapes-oracle": {"input": 1e6, "output": 1e6}}
    with pytest.raises(BudgetSpentError, match="of 1 money"):
        hash_of(recipe(prices=price, budget={"money": 1}), tmp_path)
    assert hash_of(recipe(), tmp_path) == undisturbed


def test_a_wrong_key_and_a_teacher_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("WRONG", "abc-secret")
    with served(key="right") as server:
        with pytest.raises(BadRequestError, match="401.*not the key") as told:
            hash_of(recipe(server.url, teacher={"key_env": "WRONG"}), tmp_path)
        assert "abc-secret" not in str(told.value)
    with pytest.raises(BackendFailedError, match="cannot be reached"):
        hash_of(recipe(server.url, teacher={"retries": 0}), tmp_path)


def test_a_teacher_that_dies_ends_the_run_and_nothing_is_lost(undisturbed, tmp_path):
    with served() as server:
        chosen = recipe(server.url, teacher={"retries": 0, "give_up_after": 2, "concurrency": 1})
        with Run(chosen, tmp_path) as run:
            run.run(["taxonomy", "banks", "prompts"])
            server.faults = Faults(lasting=1.0)
            server.oracle.chat = lambda _: (_ for _ in ()).throw(ConnectionError)
            with pytest.raises(BackendFailedError, match="times in a row"):
                run.run(["trajectories"])
    assert hash_of(recipe(), tmp_path) == undisturbed


def test_a_generator_that_dies_ends_the_run_before_all_plans_are_paid_for(undisturbed, tmp_path, monkeypatch):
    def broken(*_args):
        raise RuntimeError("no more pictures")

    chosen = recipe(teacher={"give_up_after": 2, "concurrency": 1})
    with monkeypatch.context() as patched:
        patched.setattr(DrawnGenerator, "generate", broken)
        with pytest.raises(BackendFailedError, match=r"generator weak.*no more pictures") as told:
            hash_of(chosen, tmp_path)
    assert told.value.exit_code == 5
    assert [line["outcome"] for line in lines_of(tmp_path / "trajectories.log")] == ["failed"] * 2
    words = len(lines_of(tmp_path / "banks.log"))
    assert len(lines_of(tmp_path / "replies.log")) <= words + 3  # a plan of each, and of one under way
    assert hash_of(recipe(), tmp_path) == undisturbed


def test_a_question_that_is_refused_is_a_failure_of_its_item_alone(tmp_path, monkeypatch):
    read, refused = serve._content, []

    def choosy(raw):
        content = read(raw)
        asks = any("naturalness" in piece for piece in content if isinstance(piece, str))
        if asks and len(refused) < 2:  # with and without the field that may be missed
            refused.append(content)
            raise ValueError("this picture is not wanted")
        return content

    with served() as server, monkeypatch.context() as patched:
        patched.setattr(serve, "_content", choosy)
        chosen = recipe(server.url, teacher={"concurrency": 1}, prompts={"count": 1, "words": 5})
        with Run(chosen, tmp_path) as run:
            counts = run.run()["counts"]["scores"]
            assert (counts["failed"], counts["kept"]) == (1, counts["in"] - 1)
            assert "is not wanted" in (tmp_path / "scores.log").read_text()
            assert run.run()["counts"]["scores"]["kept"] == counts["in"]


def test_a_model_that_is_not_listed_is_asked_for_a_token(tmp_path):
    with served() as server:
        hash_of(recipe(server.url, teacher={"model": "another"}, prompts={"count": 1, "words": 5}), tmp_path)
        assert server.asked[key_of([{"role": "user", "content": "Say yes."}])] == 1


def test_a_trajectory_ends_with_its_last_picture_that_is_allowed(tmp_path, monkeypatch):
    drawn, draw, chat = [], DrawnGenerator.generate, Oracle.chat

    def counted(self, prompt, source, seed, options):
        drawn.append(prompt)
        return draw(self, prompt, source, seed, options)

    def slow(self, content, seed=0, retry=0):
        if any("You check the work" in piece for piece in content if isinstance(piece, str)):
            time.sleep(0.2)  # as servers are: the engine is told to stop before it knows the verdict
        return chat(self, content, seed, retry)

    monkeypatch.setattr(DrawnGenerator, "generate", counted)
    monkeypatch.setattr(Oracle, "chat", slow)
    hash_of(recipe(trajectories={"generations": 3}), tmp_path)
    lines = lines_of(tmp_path / "trajectories.log")
    attempts = [[one for step in line["steps"] for one in step["attempts"]] for line in lines]
    assert [line["generations"] for line in lines] == [len(made) for made in attempts]
    assert len(drawn) == sum(map(len, attempts))
    stopped = [line for line in lines if line["ending"] == "generations"]
    assert {line["generations"] for line in stopped} == {3}
    assert all(one["verdict"] is not None for made in attempts for one in made)


def test_a_full_disk_is_said_and_leaves_whole_lines(undisturbed, tmp_path, monkeypatch):
    from interleave_rt.train.data import journal

    left = [30]
    write = os.write

    def some(file, data):
        left[0] -= 1
        if left[0] >= 0:
            return write(file, data)
        write(file, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(journal.os, "write", some)
        with pytest.raises(BadRequestError, match="No space left") as told:
            hash_of(recipe(teacher={"concurrency": 1}), tmp_path)
    assert told.value.exit_code == 2
    assert hash_of(recipe(), tmp_path) == undisturbed


def test_a_missing_picture_is_named(tmp_path):
    hash_of(recipe(), tmp_path)
    name = lines_of(tmp_path / "trajectories.log")[0]["steps"][0]["attempts"][0]["picture"]
    lost = tmp_path / "pictures" / name[:2] / f"{name}.png"
    kept = lost.read_bytes()
    lost.unlink()
    (tmp_path / "sets" / "pictures" / name[:2] / f"{name}.png").unlink()
    with Run(recipe(), tmp_path) as run, pytest.raises(BadRequestError, match=f"{name}.png is missing"):
        run.run(["build"])
    lost.write_bytes(kept)


def test_a_dry_run_reckons_the_published_sizes_without_a_network():
    told = estimate(load_recipe("paper"))
    assert told["targets"] == {"planner": 80_000, "critic_sft": 112_000, "critic_rl": 13_000}
    assert all(told["items before targets"][name] >= most for name, most in told["targets"].items())
    assert told["calls"]["verdicts"] == told["pictures"]
    assert told["cost"]["teacher"] > 0 < told["hours"]


def test_files_that_a_recipe_names_lie_beside_it_and_their_mistakes_are_named(tmp_path):
    (tmp_path / "my.toml").write_text("[[domain]\n")
    with pytest.raises(BadRequestError, match=r"my\.toml is no TOML: .*line 1"):
        Run(recipe(world="my.toml", folder=tmp_path), tmp_path / "out")
    (tmp_path / "test.jsonl").write_text('{"id": "z"}\n{"id": \n')
    prompts = {**SMALL["prompts"], "exclude": ["test.jsonl"]}
    with (
        Run(recipe(prompts=prompts, folder=tmp_path), tmp_path / "out") as run,
        pytest.raises(BadRequestError, match=r"\[exclude\] .*test\.jsonl, line 2, is no JSON"),
    ):
        run.run(["banks", "prompts"])


def test_what_overlaps_a_benchmark_is_left_out(tmp_path):
    from PIL import Image

    Image.new("RGB", (32, 32), "red").save(tmp_path / "a.png")
    sequence = {
        "text": "How to tie a knot",
        "steps": [{"text": "one", "image": "a.png"}, {"text": "two", "image": "a.png"}],
    }
    lines = [{**sequence, "id": name} for name in ("x", "y", "z")]
    lines[1]["text"] = "How to BAKE bread?"
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "test.jsonl").write_text('{"id": "z"}\nhow to bake bread\n')
    chosen = recipe(
        imports=[{"path": "set.jsonl", "name": "other", "licence": "CC"}],
        prompts={**SMALL["prompts"], "count": 2, "exclude": ["test.jsonl"]},
        folder=tmp_path,
    )
    with Run(chosen, tmp_path / "out") as run:
        card = run.run()["card"]
    assert dict(card["stages"]["other"])["dropped: benchmark"] == 2
    assert card["sets"]["planner_sft"]["sources"]["other"] == 1
