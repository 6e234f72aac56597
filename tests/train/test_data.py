"""The data pipeline: journals, rules, and a whole small run of the shapes world."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from interleave_rt.train.data.journal import Journal, count
from interleave_rt.train.data.recipe import PRESETS, Recipe, load_recipe
from interleave_rt.train.data.run import STAGES, Run
from small_recipes import SMALL

from interleave_rt.cli import train_data
from interleave_rt.errors import BadRequestError, InterleaveError

TWO = {
    **SMALL,
    "generators": [
        {"name": "strong", "spec": "drawn,success=0.9"},
        {"name": "weak", "spec": "drawn,success=0.5"},
    ],
    "prompts": {"count": 12, "words": 20, "near": 1.0},
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A whole small run: its folder and its card."""
    out = tmp_path_factory.mktemp("small")
    with Run(Recipe(**TWO), out) as run:
        return out, run.run()["card"]


def test_a_journal_drops_a_torn_end_and_refuses_a_damaged_middle(tmp_path):
    path = tmp_path / "a.log"
    journal = Journal(path)
    for name in "abc":
        journal.add(name, "kept", value=name)
    journal.close()
    whole = path.read_bytes()
    for cut in range(len(whole) - 20, len(whole)):
        path.write_bytes(whole[:cut])
        again = Journal(path)
        assert list(again.lines) == ["a", "b"]
        again.add("d", "kept")
        again.close()
        assert path.read_bytes().count(b"\n") == 3
    path.write_bytes(whole.replace(b'"value":"a"', b'"value":"x"'))
    with pytest.raises(BadRequestError, match="line 1, is damaged"):
        Journal(path)


def test_a_journal_takes_a_key_once_and_one_process_at_a_time(tmp_path):
    journal = Journal(tmp_path / "a.log")
    journal.add("a", "failed", error="x")
    journal.add("a", "kept")
    with pytest.raises(InterleaveError, match="already"):
        journal.add("a", "kept")
    with pytest.raises(BadRequestError, match="another run"):
        Journal(tmp_path / "a.log")
    counts = count(["a", "b"], journal.lines)
    with pytest.raises(InterleaveError, match="add up"):
        counts.check("test")
    journal.close()


def test_a_small_run_makes_all_sets_and_its_counts_add_up(small):
    out, card = small
    assert card["sets"]["planner_sft"]["sources"] == {"text": 12, "cut": 12}
    assert card["sets"]["critic_sft"]["items"] > 0
    assert card["sets"]["critic_rl"]["items"] > 0
    steps = dict(card["selection"]["steps"])
    assert steps.pop("in") == sum(steps.values())
    for line in (out / "sets" / "trl_critic_sft.jsonl").read_text().splitlines():
        item = json.loads(line)
        assert all((out / "sets" / path).is_file() for path in item["images"])
        marks = [part["type"] for part in item["prompt"][0]["content"]]
        assert marks == ["text", "image", "image"]  # the text stays in front
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["counts"]["trajectories"] == {"in": 12, "kept": 12}


def test_a_run_that_is_killed_goes_on_to_the_same_sets(small, tmp_path):
    recipe = tmp_path / "small.json"
    recipe.write_text(json.dumps(TWO))
    code = (
        "import sys, json, pathlib\n"
        "from interleave_rt.train.data.recipe import Recipe\n"
        "from interleave_rt.train.data.run import Run\n"
        f"with Run(Recipe(**json.loads(pathlib.Path({str(recipe)!r}).read_text())), pathlib.Path({str(tmp_path / 'out')!r})) as run:\n"
        "    print(run.run()['card']['hash'])\n"
    )
    log = tmp_path / "out" / "trajectories.log"
    process = subprocess.Popen([sys.executable, "-P", "-c", code], stdout=subprocess.DEVNULL, cwd=tmp_path)
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        if log.exists() and log.read_bytes().count(b"\n") >= 4:
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.005)
    process.wait()
    assert not (tmp_path / "out" / "sets").exists()
    with Run(Recipe(**TWO), tmp_path / "out") as run:
        assert run.run()["card"]["hash"] == small[1]["hash"]


def test_a_recipe_names_its_wrong_field_and_where_its_files_lie(tmp_path):
    (tmp_path / "r.toml").write_text('name = "x"\nlicence = "y"\n[teacher]\nmodle = "z"\n')
    with pytest.raises(BadRequestError, match=r"teacher\.model"):
        load_recipe(str(tmp_path / "r.toml"))
    assert load_recipe("shapes").folder == Path.cwd()
    (tmp_path / "r.toml").write_text((PRESETS / "shapes.toml").read_text())
    assert load_recipe(str(tmp_path / "r.toml")).folder == tmp_path


def test_the_commands(tmp_path, capsys):
    from interleave_rt.cli import main

    assert main(["train", "data", "plan", "--recipe", "paper", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["targets"]["critic_sft"] == 112_000
    path = tmp_path / "r.toml"
    path.write_text(
        'name = "x"\nlicence = "y"\nworld = "shapes"\n[teacher]\nmodel = "shapes-oracle"\n[prompts]\ncount = 2\nwords = 5\n'
        '[[generators]]\nname = "weak"\nspec = "drawn"\n[budget]\ncalls = 3\n'
    )
    run = ["train", "data", "run", "--recipe", str(path), "--out", str(tmp_path / "out")]
    assert main(run) == 8
    assert "the budget is spent" in capsys.readouterr().err
    path.write_text(path.read_text().replace("calls = 3", "calls = 0"))
    assert main([*run, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["trajectories"] == {"in": 2, "kept": 2}
    assert main(["train", "data", "stage", "bank", "--recipe", str(path)]) == 2
    assert train_data._STAGES == STAGES
    assert (tmp_path / "out" / "sets" / "samples.html").exists()
    prompts = [json.loads(line) for line in (tmp_path / "out" / "prompts.jsonl").read_text().splitlines()]
    assert [one["outcome"] for one in prompts].count("kept") == 2
    old = tmp_path / "out" / "sets" / "pictures" / "old.png"
    used = len(list(old.parent.rglob("*.png")))
    old.touch()
    assert main(["train", "data", "stage", "build", *run[3:]]) == 0
    assert not old.exists()
    assert len(list(old.parent.rglob("*.png"))) == used
