"""SFT and GRPO of the embedded critic, an ordinary Qwen3-VL directory: a few updates, through TRL."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")
pytest.importorskip("peft")
pytest.importorskip("datasets")

from interleave_rt.train.grpo import train_grpo  # noqa: E402
from interleave_rt.train.recipe import SftRecipe  # noqa: E402
from interleave_rt.train.sets import read_rows  # noqa: E402
from interleave_rt.train.sft import train_sft  # noqa: E402
from interleave_rt.train.tune import _no_room  # noqa: E402
from safetensors import SafetensorError  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from small_recipes import grpo_recipe, sft_recipe  # noqa: E402
from transformers import AutoModelForImageTextToText  # noqa: E402
from tuned import curve, equal, weights  # noqa: E402

from interleave_rt.cli import main, train_tune  # noqa: E402
from interleave_rt.errors import BackendFailedError, BadRequestError  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
torch.set_num_threads(1)


def tower(found):
    return {name: value for name, value in found.items() if "visual" in name}


def resumed(place, out, again, train, recipe, last):
    """The run in `again`, which goes on from `out` without its last checkpoint, of which a half is left."""
    shutil.copytree(out, again)
    (again / "checkpoints" / f"checkpoint-{last}" / "trainer_state.json").write_text('{"torn')
    (again / "model.safetensors").unlink()
    train(recipe, again, resume=True)
    return weights(again)


def test_sft_learns_the_tower_stays_and_a_killed_run_goes_on_to_the_same_bits(place, tmp_path):
    recipe, base = sft_recipe(place), weights(place / "base" / "critic")
    train_sft(recipe, tmp_path / "a")
    made = weights(tmp_path / "a")
    losses = [float(line["loss"]) for line in curve(tmp_path / "a")]
    assert losses[-1] < losses[0]
    assert equal(tower(made), tower(base))
    assert sum(not torch.equal(made[name], base[name]) for name in made) == len(base) - len(tower(base))
    often = sft_recipe(place, save_every=1)
    again = resumed(place, tmp_path / "a", tmp_path / "b", train_sft, often, 3)
    assert equal(made, again)
    assert curve(tmp_path / "a") == curve(tmp_path / "b")
    with pytest.raises(BadRequestError, match="holds a run already"):
        train_sft(recipe, tmp_path / "a")
    with pytest.raises(BadRequestError, match="begun with another data"):
        train_sft(sft_recipe(place, data="data/sets/trl_critic_rl.jsonl"), tmp_path / "a", resume=True)
    with pytest.raises(BadRequestError, match="begun with another learning_rate"):
        train_sft(sft_recipe(place, learning_rate=1e-3), tmp_path / "a", resume=True)
    told = json.loads((tmp_path / "b" / "record" / "config.json").read_text())
    assert told["start"] == 2
    assert len(told["arguments"]["data sha256"]) == len(told["arguments"]["base sha256"]) == 64
    assert (tmp_path / "b" / "record" / "curve.png").is_file() or "matplotlib" not in sys.modules


def published(source, folder):
    """A checkpoint in the shape of the published ones: shards of bfloat16, as its text part says, an image processor that needs torchvision."""
    model = AutoModelForImageTextToText.from_pretrained(source, dtype=torch.bfloat16)
    model.generation_config.update(do_sample=True, temperature=0.7, top_k=20, top_p=0.8)
    model.save_pretrained(folder, max_shard_size="2MB")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(source / name, folder / name)
    told = json.loads((source / "preprocessor_config.json").read_text())
    told["image_processor_type"] = "Qwen2VLImageProcessorFast"
    (folder / "preprocessor_config.json").write_text(json.dumps(told))
    told = json.loads((folder / "config.json").read_text())
    told["text_config"]["dtype"] = told.pop("dtype")  # where the published ones say it
    (folder / "config.json").write_text(json.dumps(told))
    return folder


def test_a_checkpoint_as_they_are_published_keeps_its_kind(place, tmp_path):
    base = published(place / "base" / "critic", tmp_path / "base")
    assert len(list(base.glob("*.safetensors"))) > 1
    train_sft(sft_recipe(place, base=str(base), steps=1), tmp_path / "a")
    one, other = (
        AutoModelForImageTextToText.from_pretrained(folder, dtype="auto").state_dict()
        for folder in (base, tmp_path / "a")
    )
    assert equal(tower(one), tower(other))
    assert not equal(one, other)
    assert {value.dtype for value in other.values()} == {torch.bfloat16}
    for name in (
        "tokenizer.json",
        "chat_template.jinja",
        "preprocessor_config.json",
        "generation_config.json",
    ):
        assert (tmp_path / "a" / name).read_bytes() == (base / name).read_bytes()
    train_grpo(grpo_recipe(place, base=str(tmp_path / "a"), steps=1, temperature=1.0), tmp_path / "b")
    assert float(curve(tmp_path / "b")[0]["reward form"]) > 0


def test_a_lora_learns_the_language_model_alone_and_is_merged(place, tmp_path):
    train_sft(sft_recipe(place, lora={"rank": 4}, steps=2, learning_rate=5e-3), tmp_path)
    made, base = weights(tmp_path), weights(place / "base" / "critic")
    assert made.keys() == base.keys()
    moved = {name for name in made if not torch.equal(made[name], base[name])}
    assert moved
    assert all("language_model.layers" in name and "_proj" in name for name in moved)
    adapter = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert adapter
    assert not any("visual" in name for name in adapter)


def test_grpo_of_a_lora_has_the_base_for_its_reference(place, tmp_path):
    train_grpo(grpo_recipe(place, lora={"rank": 4}, learning_rate=5e-3), tmp_path)
    made, base = weights(tmp_path), weights(place / "base" / "critic")
    moved = {name for name in made if not torch.equal(made[name], base[name])}
    assert moved
    assert all("language_model.layers" in name for name in moved)
    first, second = (float(line["kl"]) for line in curve(tmp_path))
    assert first == 0 < second


def test_grpo_moves_the_critic_by_rewards_and_goes_on_to_the_same_bits(place, tmp_path):
    recipe, base = grpo_recipe(place), weights(place / "base" / "critic")
    train_grpo(recipe, tmp_path / "a")
    made = weights(tmp_path / "a")
    assert equal(tower(made), tower(base))
    assert not equal(made, base)
    lines = curve(tmp_path / "a")
    assert len(lines) == 2
    assert float(lines[0]["kl"]) == 0
    parts = sum(float(lines[0][f"reward {name}"]) for name in ("form", "accuracy", "semantics", "quality"))
    assert float(lines[0]["reward"]) == pytest.approx(parts, abs=1e-4)
    for name in ("entropy", "length", "accepted", "dropped"):
        assert lines[0][name]
    again = resumed(place, tmp_path / "a", tmp_path / "b", train_grpo, grpo_recipe(place, scorer=SCORER), 2)
    assert equal(made, again)
    for name, value in (("group", 2), ("scorer", {"model": "another"})):
        with pytest.raises(BadRequestError, match=f"begun with another {name}"):
            train_grpo(grpo_recipe(place, **{name: value}), tmp_path / "a", resume=True)


def test_a_dropped_answer_leaves_its_group_and_the_token_count(place, tmp_path, monkeypatch):
    from interleave_rt.train import grpo, scorer

    seen = []
    score, make = scorer.Scorer.__call__, grpo._Trainer._generate_and_score_completions

    def some(self, *args, **columns):
        rewards = score(self, *args, **columns)
        return [None if place % 4 == 0 else 0.1 * place for place in range(len(rewards))]

    def kept(self, inputs):
        made = make(self, inputs)
        seen.append(made)
        return made

    monkeypatch.setattr(scorer.Scorer, "__call__", some)
    monkeypatch.setattr(grpo._Trainer, "_generate_and_score_completions", kept)
    train_grpo(grpo_recipe(place, steps=1), tmp_path)
    mask, advantages = seen[0]["completion_mask"], seen[0]["advantages"]
    assert mask[::4].sum() == 0
    assert (mask.sum(1) > 0).sum() == 6
    assert seen[0]["num_items_in_batch"] == mask.sum()
    assert torch.equal(advantages[::4], torch.zeros(2))
    assert advantages[1:4].sum() == pytest.approx(0, abs=1e-5)


def test_bad_sets_are_refused_before_a_step(place, tmp_path):
    sets = place / "data" / "sets"
    lines = (sets / "trl_critic_sft.jsonl").read_text().splitlines()

    def refused(match, *rows, recipe=None):
        (sets / "bad.jsonl").write_text("\n".join(rows) + "\n")
        with pytest.raises(BadRequestError, match=match):
            train_sft(recipe or sft_recipe(place, data="data/sets/bad.jsonl"), tmp_path)

    item = json.loads(lines[0])
    refused(
        "line 2: evaluation.semantics",
        lines[0],
        json.dumps({**item, "evaluation": {**item["evaluation"], "semantics": 11}}),
    )
    refused("line 1: the line: Invalid JSON", "{")
    refused(
        "1 pictures of .* are missing",
        *lines,
        json.dumps({**item, "images": [item["images"][0], "pictures/x.png"]}),
    )
    accepted = [line for line in lines if json.loads(line)["evaluation"]["success"]]
    refused("verdicts", *accepted)
    refused("more than max_tokens 60", *lines, recipe=sft_recipe(place, max_tokens=60))
    with pytest.raises(BadRequestError, match="a batch of 3 cannot be shared"):
        train_sft(sft_recipe(place, batch=3), tmp_path)
    with pytest.raises(BadRequestError, match="wants 2 processes, here are 1"):
        train_sft(sft_recipe(place, processes=2), tmp_path)
    with pytest.raises(BadRequestError, match="no item of a critic"):
        read_rows(sets / "trl_planner_sft.jsonl", critic=True)
    (sets / "bad.jsonl").write_text(json.dumps({**item, "rewritten_prompt": None}))
    with pytest.raises(BadRequestError, match="no item of a critic"):
        read_rows(sets / "bad.jsonl", critic=True)
    (sets / "bad.jsonl").write_text(json.dumps({**item, "call": None}))
    with pytest.raises(BadRequestError, match="where its seeds come from"):
        train_grpo(grpo_recipe(place, data="data/sets/bad.jsonl"), tmp_path)
    (sets / "bad.jsonl").write_text(json.dumps({**item, "origin_prompt": "a\u2028b"}, ensure_ascii=False))
    assert read_rows(sets / "bad.jsonl")[0].origin_prompt == "a\u2028b"
    with pytest.raises(BadRequestError, match="is the base itself"):
        train_sft(sft_recipe(place), place / "base" / "critic")


def test_a_picture_that_ends_too_soon_is_named(place, tmp_path):
    sets = tmp_path / "sets"
    shutil.copytree(place / "data" / "sets", sets)
    data = sets / "trl_critic_sft.jsonl"
    first = {sets / name for name in json.loads(data.read_text().split("\n")[0])["images"]}
    for files in (set(sets.rglob("*.png")) - first, first):  # the first item is looked at sooner
        for file in files:
            file.write_bytes(file.read_bytes()[:-40])  # its header is whole
        with pytest.raises(BadRequestError, match=r"a picture of .*trl_critic_sft.jsonl cannot be read"):
            train_sft(sft_recipe(place, data=str(data)), tmp_path / "out")


def test_a_loss_that_is_no_number_ends_the_run(place, tmp_path):
    with pytest.raises(BackendFailedError, match="the loss of update 2 is (nan|inf)"):
        train_sft(sft_recipe(place, batch=2, learning_rate=1e30), tmp_path)


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(28, "No space left on device"), True),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), True),
        (OSError("image file is truncated (3 bytes not processed)"), False),
        (FileNotFoundError(2, "No such file or directory"), False),
    ],
)
def test_a_full_disk_is_told_from_other_errors(error, full):
    assert _no_room(error) == full


def test_the_commands(place, tmp_path, capsys):
    told = sft_recipe(place, steps=1, batch=2).model_dump(mode="json", exclude={"lora"})
    places = {
        "base": str(place / "base" / "critic"),
        "data": str(place / "data" / "sets" / "trl_critic_sft.jsonl"),
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in {**told, **places}.items()]
    file = tmp_path / "my.toml"
    file.write_text("\n".join(lines))
    assert main(["train", "sft", "--recipe", str(file), "--out", str(tmp_path / "out")]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] > 0
    for more, said in (("batches = 3", "batches: Extra inputs"), ('base = "x"', "is no TOML")):
        file.write_text("\n".join([*lines, more]))
        assert main(["train", "sft", "--recipe", str(file), "--out", str(tmp_path / "out")]) == 2
        assert said in capsys.readouterr().err
    file.write_text("\n".join(lines).replace("base/critic", "base/nobody"))
    assert main(["train", "sft", "--recipe", str(file), "--out", str(tmp_path / "new")]) == 2
    assert "the base" in capsys.readouterr().err
    assert main(["train", "grpo", "--recipe", str(file), "--out", str(tmp_path / "new")]) == 2
    assert "generator: Field required" in capsys.readouterr().err


SCORER = {"model": "shapes-oracle", "give_up_after": 2}


def test_a_dead_scorer_and_a_full_disk_end_the_run_and_it_goes_on(place, tmp_path, monkeypatch):
    from interleave_rt.train.data import oracle

    def dead(*_):
        raise BackendFailedError("[teacher] connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(oracle.Oracle, "chat", dead)
        with pytest.raises(BackendFailedError, match="2 pictures in a row .*connection refused"):
            train_grpo(grpo_recipe(place, steps=1, scorer=SCORER), tmp_path / "g")
    train_grpo(grpo_recipe(place, steps=1), tmp_path / "g", resume=True)
    assert (tmp_path / "g" / "model.safetensors").is_file()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(BadRequestError, match="No space left"):
            train_sft(sft_recipe(place), tmp_path / "s")
    assert not (tmp_path / "s" / "model.safetensors").exists()


@pytest.mark.slow
def test_two_processes_and_a_sharded_model_learn_what_one_does(place, tmp_path):
    recipe = {
        "name": "t",
        "base": str(place / "base" / "critic"),
        "data": str(place / "data" / "sets" / "trl_critic_sft.jsonl"),
        "batch": 4,
        "per_device": 2,
        "steps": 2,
        "learning_rate": 5e-4,
        "processes": 2,
    }
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in recipe.items())
    (tmp_path / "two.toml").write_text(text)
    told = subprocess.run(
        [sys.executable, "-P", str(Path(__file__).with_name("two_processes.py")), "two.toml", "two"],
        check=False,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=290,
    )
    assert told.returncode == 0, told.stderr
    train_sft(SftRecipe(**{**recipe, "processes": 1}, folder=Path()), tmp_path / "one")
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-5
    assert (
        json.loads((tmp_path / "two" / "record" / "config.json").read_text())["arguments"]["processes"] == 2
    )
    sharded = json.loads((tmp_path / "two" / "sharded.json").read_text())
    assert sharded["processes"] == 2
    assert sharded["difference"] < 1e-5
    assert set(one) - set(tower(one)) == set(sharded["moved"]) - {"lm_head.weight"}  # which is tied


@pytest.mark.parametrize(
    ("verb", "recipe"), [("sft", "paper-8b-critic"), ("sft", "paper-8b-planner"), ("grpo", "paper-8b-rl")]
)
def test_the_papers_recipes_are_dry_run(verb, recipe, monkeypatch, capsys):
    from interleave_rt.train import dry_run

    told = []
    look = dry_run.dry_run
    monkeypatch.setattr(dry_run, "dry_run", lambda *given: told.append(look(*given)) or told[0])
    assert main(["train", verb, "--recipe", recipe, "--dry-run", "--config", "qwen3-vl-8b"]) == 0
    (found,) = told
    sizes, frozen = found["parameters"], found["frozen"]
    assert sum(sizes.values()) == pytest.approx(8.77e9, rel=0.01)
    assert all(name.startswith("model.visual.") for name in frozen)
    assert bool(frozen) == (verb == "sft")
    assert any("merger" in name for name in frozen) == (verb == "sft")
    learned = sizes["decayed"] + sizes["not decayed"]
    reference = 4 * sum(sizes.values()) * (verb == "grpo")
    assert found["bytes"] == (16 * learned + 4 * sizes["frozen"] + reference) // 8
    assert "GiB" in capsys.readouterr().out


def test_a_dry_run_of_the_embedded_models_and_of_a_lora(place, capsys):
    from interleave_rt.train.dry_run import config_of, dry_run

    assert main(["train", "sft", "--recipe", "shapes-critic", "--dry-run"]) == 0
    assert "each of 1 processes that share it out" in capsys.readouterr().out
    recipe = sft_recipe(place, lora={"rank": 4}, processes=2)
    said = []
    told = dry_run(recipe, config_of(recipe, ""), said.append)
    sizes = told["parameters"]
    learned = sizes["decayed"] + sizes["not decayed"]
    assert 0 < learned < sizes["frozen"]
    assert told["bytes"] == 16 * learned + 4 * sizes["frozen"]
    assert "2 processes with a whole model each" in said[1]


def test_what_cannot_be_tuned_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "grpo", "--recipe", "shapes-rl", "--dry-run"]) == 2
    assert "make the base first" in capsys.readouterr().err
    assert main(["train", "sft", "--recipe", "shapes-critic", "--config", "qwen3-vl-8b"]) == 2
    assert "--config is for --dry-run alone" in capsys.readouterr().err
    monkeypatch.setattr(train_tune, "sys", SimpleNamespace(version_info=(3, 10, 12)))
    assert main(["train", "sft", "--recipe", "shapes-critic", "--dry-run"]) == 2
    assert "tuning needs Python 3.11" in capsys.readouterr().err


def test_recipes_and_launch_files_that_come_along_fit_each_other():
    from interleave_rt.train.recipe import PRESETS, load_grpo, load_sft

    names = {file.stem for file in PRESETS.glob("*.toml")}
    assert names == {
        "paper-8b-critic",
        "paper-8b-planner",
        "paper-8b-rl",
        "shapes-critic",
        "shapes-planner",
        "shapes-rl",
    }
    for name in names:
        told = load_grpo(name) if name.endswith("-rl") else load_sft(name)
        rows = told.batch * getattr(told, "group", 1)
        assert rows % (told.per_device * max(1, told.processes)) == 0
    yaml = pytest.importorskip("yaml")
    for file in (PRESETS.parent / "launch").glob("*.yaml"):
        assert yaml.safe_load(file.read_text())["num_processes"] == load_sft("paper-8b-critic").processes
