"""The files of a set, as those read them who train: TRL's collator, LLaMA-Factory's converter, and by plain looks.

The first needs the package trl; the second an environment of its own: IRT_LLAMAFACTORY_PYTHON is its interpreter. Both
are left out where that is missing. IRT_DATA_PROMPTS: prompts of the run that they read (400 give 500 items and more).
"""

import json
import os
import re
import subprocess

import pytest
from interleave_rt.train.data.formats import BLANK, easy, reflection, sharegpt, trl
from interleave_rt.train.data.items import Item, Part

from interleave_rt.pack import load_pack


@pytest.fixture(scope="module")
def sets(all_sets):
    return all_sets


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("name", ["planner_sft", "critic_sft", "critic_rl"])
def test_trl_and_sharegpt_say_the_same(sets, name):
    entries = json.loads((sets / f"{name}.json").read_text())
    items = lines(sets / f"trl_{name}.jsonl")
    assert len(entries) == len(items) > 0
    for entry, item in zip(entries, items, strict=True):
        parts = item["prompt"][0]["content"]
        joined = "".join(part["text"] if part["type"] == "text" else "<image>" for part in parts)
        told = item["completion"][0]["content"][0]["text"]
        assert [message["content"] for message in entry["messages"]] == [joined, told]
        assert entry["images"] == item["images"]
        assert joined.count("<image>") == len(item["images"])
        assert all((sets / path).is_file() for path in item["images"])
    info = json.loads((sets / "dataset_info.json").read_text())
    assert (sets / info[name]["file_name"]).is_file()


def test_the_rl_set_has_the_official_fields(sets):
    items = lines(sets / "critic_rl.jsonl")
    for item in items:
        assert set(item) == {
            "origin_prompt",
            "rewritten_prompt",
            "origin_image_path",
            "edited_image_path",
            "evaluation",
        }
        assert set(item["evaluation"]) == {"semantics", "quality", "success"}
        assert 0 <= item["evaluation"]["semantics"] <= 10
        assert isinstance(item["evaluation"]["success"], bool)
    assert any(item["origin_image_path"].endswith("data/interleave/white.png") for item in items)
    assert [item["origin_prompt"] for item in items] == [
        one["origin_prompt"] for one in lines(sets / "trl_critic_rl.jsonl")
    ]


def test_records_have_an_entry_an_attempt(sets):
    for record in lines(sets / "execution_records.jsonl"):
        assert set(record) == {"user_input", "global_context", "steps"}
        assert set(record["global_context"]) == {"reasoning", "execution_plan"}
        shown = BLANK
        for step, after in zip(record["steps"], [*record["steps"][1:], None], strict=True):
            assert step["source_img"] == shown  # every retry starts from the picture before the step
            assert (sets / step["target_img"]).is_file()
            assert step["success"] == (not step["refine_prompt"])
            if after is None or after["step"] != step["step"]:
                shown = step["target_img"]


def tags(text):
    """The tags of an interleaved export, which must nest."""
    open_tags = []
    found = re.findall(r"<(/?)(gthink|plan|image|info|critic|think)>", text)
    for closing, name in found:
        if closing:
            assert open_tags.pop() == name, text
        else:
            open_tags.append(name)
    assert not open_tags
    return [name for closing, name in found if not closing]


@pytest.mark.parametrize("name", ["easy", "reflection"])
def test_interleaved_exports_are_well_formed(sets, name):
    entries = json.loads((sets / f"interleaved_{name}.json").read_text())
    assert entries
    for entry in entries:
        told = entry["messages"][1]["content"]
        found = tags(told)
        assert found[0] == "gthink"
        assert found.count("image") == told.count("<img_token>") == len(entry["images"])
        if name == "easy":
            assert found.count("plan") == len(entry["images"])
        else:
            assert found.count("critic") == len(entry["images"]) >= found.count("plan")


def test_texts_that_look_like_marks_break_nothing():
    plan = [{"prompt": "a </plan><image> b", "auxiliary_text": "</info>"}]
    verdict = {"previous_step_success": True, "refine_prompt": None, "reasoning": "</think>"}
    attempt = {"prompt": "p", "picture": "x", "verdict": verdict}
    line = {
        "text": "<image>",
        "reasoning": "</gthink>",
        "plan": plan,
        "steps": [{"index": 0, "attempts": [attempt]}],
    }
    for made in (easy(line, str), reflection(line, str)):
        assert "<image>" not in made["messages"][0]["content"]
        tags(made["messages"][1]["content"])
    item = Item("k", "text", (Part(text="what does <image> mean"),), "{}")
    assert sharegpt(item, str) is None
    assert trl(item, str)["images"] == []


def test_the_collator_of_trl_gives_the_token_ids_of_the_runtime(sets, tmp_path):
    pytest.importorskip("trl")
    from interleave_rt.train.shapes.from_pack import write_checkpoints
    from PIL import Image
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    from interleave_rt.backends.torch.processors import load_processor
    from interleave_rt.pack.tokens import TextEncoder

    pack = load_pack()
    write_checkpoints(pack, tmp_path)
    texts = TextEncoder.of_pack(pack.path, pack.manifest)
    pad = pack.manifest.roles.critic.architecture.image_token_id
    checked = {"text first": 0, "several pictures": 0}
    for name, role in (("planner_sft", "planner"), ("critic_sft", "critic"), ("critic_rl", "critic")):
        collate = DataCollatorForVisionLanguageModeling(
            load_processor(tmp_path / role), completion_only_loss=True
        )
        for item in lines(sets / f"trl_{name}.jsonl"):
            content = item["prompt"][0]["content"]
            images = [Image.open(sets / path).convert("RGB") for path in item["images"]]
            example = {"prompt": item["prompt"], "completion": item["completion"], "images": images}
            if not images:
                continue  # TRL's collator takes batches with pictures; those without are compared as texts below
            made = collate([example])
            prompt = once_a_picture(made["input_ids"][0][made["labels"][0] == -100].tolist(), pad, 9)
            assert prompt == list(asked(texts, item, content)), item
            checked["text first"] += content[0]["type"] == "text"
            checked["several pictures"] += len(images) > 1
    assert min(checked.values()) > 0, checked
    print(checked)


def once_a_picture(ids, pad, many):
    """The ids with one place for each picture, as the runtime writes them before it puts in `many` a picture."""
    kept, runs = [], []
    for i, token in enumerate(ids):
        if token == pad and i and ids[i - 1] == pad:
            runs[-1] += 1
            continue
        kept.append(token)
        runs += [1] if token == pad else []
    assert set(runs) <= {many}
    return kept


def asked(texts, item, content):
    """The token ids that the runtime makes of the same question."""
    if "origin_prompt" in item:
        return texts.judge(item["origin_prompt"], item["rewritten_prompt"])
    joined = "".join(part["text"] if part["type"] == "text" else "<image>" for part in content)
    from interleave_rt.worlds.shapes.language import template

    head, tail = template("guidance.txt").split("{text_input}")
    text = joined.removeprefix(head).removesuffix(tail)
    return texts.plan("guidance", text, len(item["images"]))


CONVERT = """
import json, sys, types
from llamafactory.data.converter import SharegptDatasetConverter
from llamafactory.data.parser import get_dataset_list
folder = sys.argv[1]
for attr in get_dataset_list(sys.argv[2:], folder):
    convert = SharegptDatasetConverter(attr, types.SimpleNamespace(media_dir=folder))
    kept = pictures = 0
    items = json.load(open(folder + "/" + attr.dataset_name))
    for item in items:
        made = convert(item)
        kept += len(made["_prompt"]) == 1 and len(made["_response"]) == 1
        pictures += sum(path.startswith(folder) for path in made["_images"] or ())
    print(json.dumps([len(items), kept, pictures, sum(len(item["images"]) for item in items)]))
"""


def test_the_converter_of_llamafactory_keeps_every_item(sets):
    python = os.environ.get("IRT_LLAMAFACTORY_PYTHON")
    if not python:
        pytest.skip("IRT_LLAMAFACTORY_PYTHON names no interpreter")
    names = list(json.loads((sets / "dataset_info.json").read_text()))
    environment = {**os.environ, "DISABLE_VERSION_CHECK": "1"}
    command = [python, "-P", "-c", CONVERT, str(sets), *names]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(rows) == len(names)
    for items, kept, found, pictures in rows:
        assert items == kept
        assert found == pictures
    print(dict(zip(names, rows, strict=True)))
