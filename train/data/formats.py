"""The files to train with: TRL, ShareGPT (LLaMA-Factory), the official RL lines and records, interleaved exports."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from interleave_rt.request import IMAGE_MARK

from .items import WHITE, Item

__all__ = [
    "BLANK",
    "dataset_info",
    "easy",
    "execution_record",
    "official_rl",
    "reflection",
    "sharegpt",
    "trl",
]

_OFFICIAL = ("origin_prompt", "rewritten_prompt", "origin_image_path", "edited_image_path", "evaluation")

BLANK = "pictures/data/interleave/white.png"
"""Where the blank picture lies in a set: the official reward knows it by the end of this path."""

PathOf = Callable[[str], str]


def trl(item: Item, path_of: PathOf) -> dict[str, Any]:
    """A line for TRL: `prompt` and `completion` as messages of parts in their order, `images` as paths.

    As parts, because TRL puts the pictures of a message that is one string in front of its text. The columns of the RL
    set stand beside them, for reward functions; so does `call`, from which the engine's seeds follow: the request's seed,
    the step (from 0) and the attempt (from 1).
    """
    asked = [{"type": "text", "text": part.text} if part.text else {"type": "image"} for part in item.asked]
    told = [{"type": "text", "text": item.answer}]
    return {
        "prompt": [{"role": "user", "content": asked}],
        "completion": [{"role": "assistant", "content": told}],
        "images": [path_of(name) for name in item.pictures],
        **official_rl(item, path_of),
        **({"call": item.more["call"]} if "call" in item.more else {}),
    }


def sharegpt(item: Item, path_of: PathOf) -> dict[str, Any] | None:
    """An entry for LLaMA-Factory; None where a text holds the mark that stands for pictures there."""
    texts = [part.text for part in item.asked if part.text]
    if any(IMAGE_MARK in text for text in [*texts, item.answer]):
        return None
    asked = "".join(part.text or IMAGE_MARK for part in item.asked)
    return _messages(asked, item.answer, [path_of(name) for name in item.pictures])


def _messages(asked: str, answer: str, images: Sequence[str]) -> dict[str, Any]:
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "images": list(images)}


def dataset_info(names: Iterable[str]) -> dict[str, Any]:
    """`dataset_info.json` of LLaMA-Factory for sets of these names."""
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    columns = {"messages": "messages", "images": "images"}
    return {
        name: {"file_name": f"{name}.json", "formatting": "sharegpt", "columns": columns, "tags": tags}
        for name in names
    }


def official_rl(item: Item, path_of: PathOf) -> dict[str, Any]:
    """The fields that the official loader and reward read; none of an item that is not the critic's."""
    return {
        name: path_of(item.more[name]) if name.endswith("_path") else item.more[name]
        for name in _OFFICIAL
        if name in item.more
    }


def execution_record(line: Mapping[str, Any], path_of: PathOf) -> dict[str, Any]:
    """A trajectory under the official names: one entry of `steps` an attempt."""
    steps = []
    before = WHITE
    for step in line["steps"]:
        for attempt in step["attempts"]:
            verdict = attempt["verdict"] or {}
            steps.append(
                {
                    "step": line["plan"][step["index"]]["step_number"],
                    "prompt": attempt["prompt"],
                    "refine_prompt": verdict.get("refine_prompt") or "",
                    "source_img": path_of(before),
                    "target_img": path_of(attempt["picture"]),
                    "success": bool(verdict.get("previous_step_success", False)),
                    "reasoning": verdict.get("reasoning") or "",
                }
            )
        if step["attempts"]:
            before = step["attempts"][-1]["picture"]
    context = {"reasoning": line["reasoning"], "execution_plan": line["plan"]}
    return {"user_input": line["text"], "global_context": context, "steps": steps}


_SLOT = "<image><img_token></image>"


def _open(line: Mapping[str, Any]) -> str:
    return f"<gthink>{_plain(line['reasoning'])}</gthink>"


def _plan(step: Mapping[str, Any]) -> str:
    return f"<plan>{_plain(step['prompt'] or '')}</plan>"


def _info(step: Mapping[str, Any]) -> str:
    told = step["auxiliary_text"]
    return f"<info>{_plain(told)}</info>" if told and told != "None" else ""


def _plain(text: str) -> str:
    """A text that cannot be taken for one of the tags."""
    return re.sub(r"<(?=/?(?:gthink|plan|image|img_token|info|critic|think)\b)", "&lt;", text)


def easy(line: Mapping[str, Any], path_of: PathOf) -> dict[str, Any] | None:
    """The passed pictures of a trajectory in one message, each after its plan; None where a step did not pass."""
    told, images = _open(line), []
    for number, step in enumerate(line["plan"]):
        attempts = line["steps"][number]["attempts"] if number < len(line["steps"]) else []
        if not attempts or not (attempts[-1]["verdict"] or {}).get("previous_step_success"):
            return None
        told += _plan(step) + _SLOT + _info(step)
        images.append(path_of(attempts[-1]["picture"]))
    return _messages(_plain(line["text"]), told, images)


def reflection(line: Mapping[str, Any], path_of: PathOf) -> dict[str, Any] | None:
    """Every attempt of a trajectory in one message, each followed by its verdict; None where one was not judged."""
    told, images = _open(line), []
    for done in line["steps"]:
        step = line["plan"][done["index"]]
        told += _plan(step)
        for attempt in done["attempts"]:
            verdict = attempt["verdict"]
            if verdict is None:
                return None
            body = {
                "success": verdict["previous_step_success"],
                "refine_prompt": verdict["refine_prompt"] or "",
            }
            said = json.dumps(body, ensure_ascii=False)
            told += f"{_SLOT}<critic><think>{_plain(verdict['reasoning'])}</think>{_plain(said)}</critic>"
            images.append(path_of(attempt["picture"]))
        told += _info(step)
    return _messages(_plain(line["text"]), told, images) if images else None
