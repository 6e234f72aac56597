"""`interleave-rt pack`: packs that name models where they lie."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interleave_rt import Engine, load_pack
from interleave_rt.cli import main

SCRIPTED = "scripted,seed=3,min_steps=1,max_steps=2"


def new(out: Path, *more: str, critic: str = SCRIPTED) -> int:
    return main(
        ["pack", "new", str(out), "--planner", SCRIPTED, "--generator", SCRIPTED, "--critic", critic, *more]
    )


def test_a_pack_of_roles_is_written_shown_verified_and_run(tmp_path, capsys):
    out, shapes = tmp_path / "mine", load_pack().path
    assert new(out, "--name", "my models", "--json", critic=f"native:{shapes}") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["name"] == "my models"
    assert said["roles"]["critic"]["runtime"] == "native"
    assert main(["pack", "show", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "planner   scripted,seed=3" in shown
    assert f"critic    native:{shapes}" in shown
    assert main(["pack", "verify", str(out)]) == 0
    assert "0 files and 1 folders" in capsys.readouterr().out
    with Engine.load(out) as engine:
        assert engine.run("Draw a red circle.", t_max=2).outcome == "finished"


def test_the_embedded_pack_is_shown_with_its_graphs(capsys):
    assert main(["pack", "show", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["lossless"] == "bitwise"
    assert said["roles"]["generator"]["family"] == "flux2"
    assert main(["pack", "show"]) == 0
    assert "native:qwen3_vl (decoder" in capsys.readouterr().out
    assert main(["pack", "verify", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verified"] is True


def test_prompts_of_ones_own_are_copied_and_checked(tmp_path, capsys):
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    (prompts / "narrative.txt").write_text("Plan this: {text_input}\n", encoding="utf-8")
    assert new(tmp_path / "a", "--prompts", str(prompts)) == 0
    assert (tmp_path / "a" / "prompts" / "narrative.txt").exists()
    assert main(["pack", "verify", str(tmp_path / "a")]) == 0
    (tmp_path / "a" / "prompts" / "narrative.txt").write_text("Plan that: {text_input}\n", encoding="utf-8")
    assert main(["pack", "verify", str(tmp_path / "a")]) == 3
    (prompts / "narrative.txt").write_text("Plan.", encoding="utf-8")
    capsys.readouterr()
    assert new(tmp_path / "b", "--prompts", str(prompts)) == 3
    assert "{text_input}" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--critic", "vllm:x"], 2, "names no runtime"),
        (["--critic", "torch:nowhere"], 3, "no files in"),
        (["--critic", "openai:http://h/v1"], 2, "names no model"),
    ],
)
def test_a_role_that_cannot_be_is_refused_and_nothing_is_written(tmp_path, capsys, arguments, code, said):
    out = tmp_path / "mine"
    base = ["pack", "new", str(out), "--planner", SCRIPTED, "--generator", SCRIPTED]
    assert main([*base, *arguments]) == code
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_a_missing_role_and_a_full_folder_are_refused(tmp_path, capsys):
    assert main(["pack", "new", str(tmp_path / "x"), "--planner", SCRIPTED]) == 2
    assert "no generator is given" in capsys.readouterr().err
    (tmp_path / "file").write_bytes(b"")
    assert new(tmp_path) == 2
    assert "is not empty" in capsys.readouterr().err


def test_models_that_have_changed_are_found(tmp_path, capsys):
    models = tmp_path / "models"
    models.mkdir()
    (models / "config.json").write_text("{}", encoding="utf-8")
    assert new(tmp_path / "mine", critic=f"torch:{models}") == 0
    assert main(["pack", "verify", str(tmp_path / "mine")]) == 0
    (models / "config.json").write_text("{ }", encoding="utf-8")
    assert main(["pack", "verify", str(tmp_path / "mine")]) == 3
    assert "critic's folder" in capsys.readouterr().err


def test_a_run_with_roles_elsewhere_is_recorded_and_checked(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    roles = ["--planner", SCRIPTED, "--generator", f"{SCRIPTED},generator_ms=30", "--critic", SCRIPTED]
    asked = ["run", "a house", *roles, "--record", "calls", "--check", "replay", "--speculation", "depth=2"]
    assert main([*asked, "--out", "first"]) == 0
    assert "gives the same result" in capsys.readouterr().out
    recorded = sorted(file.name for file in Path("calls").iterdir())
    assert any(name.endswith(".png") for name in recorded)
    assert main([*asked, "--out", "second", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["pack"]["generator runs on"].startswith("scripted")
    first = json.loads(Path("first/result.json").read_text(encoding="utf-8"))
    assert [step["attempts"] for step in said["steps"]] != []
    hashes = [[one["image_hash"] for one in step["attempts"]] for step in first["steps"]]
    assert [[one["image_hash"] for one in step["attempts"]] for step in said["steps"]] == hashes
    assert sorted(file.name for file in Path("calls").iterdir()) == recorded


def test_a_measurement_of_models_that_do_not_repeat_themselves_holds_each_run_to_its_own_answers(
    capsys, monkeypatch
):
    from interleave_rt.roles.scripted import ScriptedRole

    asked = iter(range(10**6))

    def info(self):
        return {"name": "fickle", "lossless": "replay", "capacity": "2"}

    def judge(self, *arguments, cancelled):
        return self._roles.judge(*arguments[:4], next(asked), arguments[5])

    monkeypatch.setattr(ScriptedRole, "info", info)
    monkeypatch.setattr(ScriptedRole, "judge", judge)
    roles = ["--planner", SCRIPTED, "--generator", SCRIPTED, "--critic", SCRIPTED]
    load = ["--num-requests", "4", "--warmup", "0", "--threads", "1+1", "--arms", "sequential,speculative"]
    assert main(["bench", *roles, *load, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["lossless"]["requests"], said["lossless"]["equal"]) == (4, 4)
    monkeypatch.setattr("interleave_rt.engine.replay", lambda *_: {})
    assert main(["bench", *roles, *load, "--json"]) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--check", "twice"], 2, "it is replay"),
        (["--planner", "vllm:x"], 2, "names no runtime"),
        (["--record", "file/calls"], 2, "cannot be used"),
        (["--prompts", "nowhere"], 3, "no prompts in"),
    ],
)
def test_wrong_flags_of_a_run_are_refused_with_one_line(tmp_path, capsys, monkeypatch, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    Path("file").write_bytes(b"")
    assert main(["run", "a house", "--critic", SCRIPTED, *arguments]) == code
    assert said in "".join(capsys.readouterr())
