"""The embedded planner and critic as ordinary Qwen3-VL directories: what they write there is what the pack writes.

IRT_BASE_ITEMS: questions to each of them (100 take a minute).
"""

import os
import random

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("diffusers")
pytest.importorskip("onnx")

from interleave_rt.train.shapes.from_pack import write_checkpoints  # noqa: E402
from PIL import Image  # noqa: E402

from interleave_rt.backends.torch.processors import load_processor  # noqa: E402
from interleave_rt.pack import load_pack  # noqa: E402
from interleave_rt.roles.native import NativeRoles  # noqa: E402
from interleave_rt.roles.prompts import Prompts  # noqa: E402
from interleave_rt.worlds.shapes.language import TEMPLATES, corrupt, explicit  # noqa: E402
from interleave_rt.worlds.shapes.requests import narrative  # noqa: E402
from interleave_rt.worlds.shapes.scene import random_layout, random_transition, render  # noqa: E402

ITEMS = int(os.environ.get("IRT_BASE_ITEMS", "6"))
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def pack():
    return load_pack()


@pytest.fixture(scope="module")
def folder(pack, tmp_path_factory):
    out = tmp_path_factory.mktemp("base")
    write_checkpoints(pack, out)
    return out


def written(folder, questions, at_once=10):
    """What the library writes to questions of (message content, pictures), greedily."""
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    processor = load_processor(folder)
    processor.tokenizer.padding_side = "left"
    told = []
    for start in range(0, len(questions), at_once):
        batch = questions[start : start + at_once]
        texts = [
            processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
            for content, _ in batch
        ]
        shown = [[Image.fromarray(picture) for picture in pictures] for _, pictures in batch]
        given = {"images": shown} if any(shown) else {}
        inputs = processor(text=texts, padding=True, return_tensors="pt", **given)
        with torch.inference_mode():
            made = model.generate(**inputs, max_new_tokens=700)
        told += processor.tokenizer.batch_decode(
            made[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
    return told


def chat(message):
    return [
        {"type": "image"} if isinstance(part, int) else {"type": "text", "text": part}
        for part in message["content"]
    ]


def test_the_critics_greedy_answers_are_the_packs(pack, folder):
    rng = random.Random(11)
    prompts, roles = Prompts.from_folder(TEMPLATES), NativeRoles(pack, ["critic"], constrained="off")
    ours, questions = [], []
    for _ in range(ITEMS):
        step = random_transition(rng, every=True)
        after = step.after if rng.random() < 0.5 else corrupt(step, rng)
        picture = render(after, random_layout(after, rng))
        before = (
            np.full_like(picture, 255)
            if step.before is None
            else render(step.before, random_layout(step.before, rng))
        )
        wish = explicit(step)
        (message,) = prompts.judge(wish, wish)
        questions.append((chat(message), [before, picture]))
        ours.append(
            roles._critic.answer(roles._texts.judge(wish, wish), [before, picture], 0, 0).text.decode()
        )
    assert written(folder / "critic", questions) == ours
    assert all("previous_step_success" in answer for answer in ours)


def test_the_planners_greedy_answers_are_the_packs(pack, folder):
    rng = random.Random(12)
    prompts, roles = Prompts.from_folder(TEMPLATES), NativeRoles(pack, ["planner"], constrained="off")
    texts = [narrative(rng).text for _ in range(ITEMS)]
    questions = []
    for text in texts:
        parts = prompts.templates.render_plan("narrative", text, 0)
        questions.append(([{"type": "text", "text": part.text} for part in parts], []))
    ours = [
        roles._planner.answer(roles._texts.plan("narrative", text, 0), [], 0, 0).text.decode()
        for text in texts
    ]
    assert written(folder / "planner", questions) == ours
    assert all("execution_plan" in answer for answer in ours)
