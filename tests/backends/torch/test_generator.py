"""Diffusers pipelines as generators: what they are called with, repeatable bits, cancelling, and early refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from interleave_rt import BadPackError, BadRequestError, Engine, Options, load_pack
from interleave_rt.backends.torch import FAMILIES, FamilySettings, TorchGenerator
from interleave_rt.backends.torch.compiled import _Recorded
from interleave_rt.backends.torch.cuts import Cuts
from interleave_rt.errors import CancelledError, LimitExceededError
from interleave_rt.pack.compose import check_places, write_pack
from interleave_rt.reports.trace import chrome_trace

SMALL = Options()


@pytest.fixture(scope="module")
def generator(klein: Path) -> TorchGenerator:
    return TorchGenerator(klein)


def test_equal_calls_give_equal_bits_and_every_argument_counts(generator: TorchGenerator) -> None:
    first = generator.generate("a red circle", None, 7, SMALL)
    assert first.dtype == np.uint8
    assert first.shape == (64, 64, 3)
    made = [
        first,
        generator.generate("a red circle", None, 8, SMALL),
        generator.generate("a blue square", None, 7, SMALL),
        generator.generate("a red circle", first, 7, SMALL),
        generator.generate("a red circle", None, 7, Options(denoising_steps=2)),
    ]
    assert len({picture.tobytes() for picture in made}) == len(made)
    assert np.array_equal(first, generator.generate("a red circle", None, 7, SMALL))


def test_the_size_is_asked_for_or_inherited(generator: TorchGenerator) -> None:
    unit = generator.settings.multiple_of
    wide = generator.generate("x", None, 1, Options(width=64 + unit, height=64, denoising_steps=1))
    assert wide.shape == (64, 64 + unit, 3)
    assert generator.generate("x", wide, 1, Options(denoising_steps=1)).shape == wide.shape
    with pytest.raises(BadRequestError, match=r"width is 65: .* multiples of"):
        generator.generate("x", None, 1, Options(width=65))
    with pytest.raises(BadRequestError, match="up to 128"):
        generator.generate("x", None, 1, Options(height=256))


def test_a_prompt_that_is_too_long_is_told_and_the_picture_is_the_same(generator: TorchGenerator) -> None:
    told: list[str] = []
    for prompt in ("a red circle", "a red circle " * 40, "a red circle"):
        picture = generator.generate(prompt, None, 7, SMALL, on_cut=lambda said=prompt: told.append(said))
        assert np.array_equal(picture, generator.generate(prompt, None, 7, SMALL))
    assert told == ["a red circle " * 40]


def test_of_two_tokenizers_one_must_read_the_prompt_to_its_end() -> None:
    def tokenizer(longest: int) -> Any:
        made = Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))  # noqa: S106
        made.pre_tokenizer = pre_tokenizers.Whitespace()
        return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=longest, pad_token="?")  # noqa: S106

    class Pictures:
        """As the autoencoders of diffusers: it can be called, and encodes."""

        def encode(self) -> None: ...
        def __call__(self) -> None: ...

    short, long, pictures = tokenizer(3), tokenizer(5), Pictures()
    cuts = Cuts([short, SimpleNamespace(tokenizer=long), pictures, None, "no part"])
    assert type(pictures) is Pictures
    for words, whole in ((2, True), (4, True), (6, False)):
        cuts.begin()
        for one in (short, long):
            one(["a"], truncation=True)
            one(["a " * words], truncation=True)
        assert cuts.whole == whole


@pytest.mark.parametrize("steps_wanted", [0, 1, 2])
def test_a_cancelled_call_ends_within_a_denoising_step(generator: TorchGenerator, steps_wanted: int) -> None:
    passes: list[int] = []
    hook = generator.pipeline.transformer.register_forward_pre_hook(lambda *_: passes.append(1))
    try:
        with pytest.raises(CancelledError):
            generator.generate("x", None, 1, SMALL, cancelled=lambda: len(passes) >= steps_wanted)
    finally:
        hook.remove()
    assert len(passes) == steps_wanted


def test_several_references_where_the_pipeline_takes_them(generator: TorchGenerator, klein: Path) -> None:
    two = [np.full((64, 64, 3), shade, np.uint8) for shade in (10, 240)]
    made = generator.generate("x", two, 1, Options(denoising_steps=1))
    assert not np.array_equal(made, generator.generate("x", two[1], 1, Options(denoising_steps=1)))
    with pytest.raises(BadRequestError, match="5 pictures"):
        generator.generate("x", two * 2 + two[:1], 1, SMALL)


def test_sources_are_the_settings_word(generator: TorchGenerator, klein: Path) -> None:
    assert generator.references == 1
    everything = TorchGenerator(klein, sources="all")
    assert everything.references == FAMILIES["Flux2KleinPipeline"].references == 4
    none = TorchGenerator(klein, sources="none")
    assert none.references == 0
    one = np.zeros((64, 64, 3), np.uint8)
    assert np.array_equal(none.generate("x", one, 1, SMALL), none.generate("x", None, 1, SMALL))
    assert len({made.info()["identity"] for made in (generator, everything, none)}) == 3
    with pytest.raises(BadPackError, match="sources says sources = 'some'"):
        TorchGenerator(klein, sources="some")


def test_qwen_image_edit_sees_its_source_and_has_a_canvas_without(
    qwen_edit: Path, small_sources: None
) -> None:
    generator = TorchGenerator(qwen_edit)
    assert generator.settings.true_cfg_scale == 4.0  # the family's, beside the directory's own steps
    assert generator.settings.steps == 2
    passes: list[int] = []
    hook = generator.pipeline.transformer.register_forward_pre_hook(lambda *_: passes.append(1))
    places: list[Any] = []
    generator.pipeline.text_encoder.model.language_model.register_forward_pre_hook(
        lambda _module, _given, told: places.append(told["position_ids"]), with_kwargs=True
    )
    first = generator.generate("a red circle", None, 3, SMALL)
    hook.remove()
    assert len(passes) == 4  # two steps, each with and without the prompt
    assert len(places) == 2
    assert all(not torch.equal(one[0], one[1]) for one in places)  # rows of the picture, not lines of text
    assert np.array_equal(first, generator.generate("a red circle", np.full_like(first, 255), 3, SMALL))
    second = generator.generate("a blue square", first, 4, SMALL)
    assert not np.array_equal(second, generator.generate("a blue square", None, 4, SMALL))


def test_info_follows_the_content(klein: Path, tmp_path: Path) -> None:
    told = TorchGenerator(klein).info()
    assert told["lossless"] == "bitwise"
    assert told["name"].startswith("Flux2KleinPipeline")
    copy = tmp_path / "copy"
    shutil.copytree(klein, copy)
    assert TorchGenerator(copy).info()["version"] == told["version"]
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps({**index, "note": 1}))
    assert TorchGenerator(copy).info()["version"] != told["version"]


@pytest.mark.skipif(__import__("importlib").util.find_spec("peft") is None, reason="needs peft")
def test_lora_changes_the_picture_by_its_scale(klein: Path, tmp_path: Path) -> None:
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    plain = TorchGenerator(klein)
    before = plain.generate("x", None, 1, SMALL)
    transformer = plain.pipeline.transformer
    transformer.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k"], init_lora_weights=False))
    type(plain.pipeline).save_lora_weights(
        tmp_path, transformer_lora_layers=get_peft_model_state_dict(transformer), weight_name="l.safetensors"
    )
    file = tmp_path / "l.safetensors"
    full = TorchGenerator(klein, lora=[file])
    assert not np.array_equal(before, full.generate("x", None, 1, SMALL))
    none = TorchGenerator(klein, lora=[f"{file}:0"])
    assert np.array_equal(before, none.generate("x", None, 1, SMALL))
    assert full.info()["lora"].startswith("l.safetensors:1:")
    identities = {one.info()["identity"] for one in (plain, full, none)}
    assert len(identities) == 3  # so records of one are not taken for another's

    script = "scripted,min_steps=1,max_steps=1,accept_prob=1"
    line = f"torch:{klein},lora={file}:0.5,lora={file}"
    with Engine.load(planner=script, critic=script, generator=line) as engine:
        result = engine.run("x", seed=1)
    half, whole = result.pack["generator lora"].split()
    assert half.startswith("l.safetensors:0.5:") and whole.startswith("l.safetensors:1:")
    assert chrome_trace(result)["otherData"]["pack"]["generator lora"] == f"{half} {whole}"
    saved = json.loads(result.save(tmp_path / "out").joinpath("result.json").read_text())
    assert saved["pack"]["generator lora"] == f"{half} {whole}"
    pack = write_pack(
        tmp_path / "pack", {"planner": script, "critic": script, "generator": line}, name="mine"
    )
    check_places(load_pack(pack.path))
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(BadPackError, match="generator's folder .* has changed"):
        check_places(load_pack(pack.path))


def edited(klein: Path, folder: Path, **changes: Any) -> Path:
    """A pipeline's directory with another index and nothing else: whatever is refused needs no weights."""
    index = json.loads((klein / "model_index.json").read_text())
    folder.mkdir(exist_ok=True)
    (folder / "model_index.json").write_text(json.dumps({**index, **changes}))
    return folder


def test_what_cannot_work_is_refused_before_weights_are_read(
    klein: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def message(directory: Path, **told: Any) -> str:
        with pytest.raises((BadPackError, LimitExceededError)) as caught:
            TorchGenerator(directory, **told)
        return caught.value.message

    from diffusers import DiffusionPipeline

    monkeypatch.setattr(DiffusionPipeline, "from_pretrained", None)
    assert "there is no directory" in message(tmp_path / "no")
    assert "has no model_index.json" in message(tmp_path)
    unknown = edited(klein, tmp_path / "a", _class_name="NoSuchPipeline")
    assert "is a NoSuchPipeline, which diffusers" in message(unknown)
    xl = edited(klein, tmp_path / "b", _class_name="StableDiffusionXLPipeline")
    assert "takes no picture" in message(xl, settings={"sources": "previous"})
    assert "has no weights" in message(xl)
    assert "no setting 'stepz'" in message(klein, settings={"stepz": 3})
    assert "says steps = 'many'" in message(klein, settings={"steps": "many"})
    assert "no argument 'flavour'" in message(klein, settings={"arguments": {"flavour": 1}})
    assert "'tpu' is no device" in message(klein, device="tpu")
    assert "there is no cuda:9" in message(klein, device="cuda:9")
    assert "'int3' is no type" in message(klein, dtype="int3")
    assert "no LoRA file" in message(klein, lora=["gone.safetensors:2"])
    from interleave_rt.backends.torch import sharing

    monkeypatch.setattr(sharing, "free_bytes", lambda *_: 1000)
    assert "0 MB may be used" in message(klein)
    monkeypatch.setattr(sharing, "free_bytes", lambda *_: None)
    cut = tmp_path / "cut"
    shutil.copytree(klein, cut)
    weights = next(cut.rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "is cut off" in message(cut)
    (cut / "extra.safetensors").write_bytes(b"a copy in one file, which diffusers does not read")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (cut / "text_encoder" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model-00001-of-00002.safetensors is missing" in message(cut)
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    assert "diffusers is not installed" in message(klein) or "cannot be used" in message(klein)


def test_every_family_is_a_pipeline_that_takes_what_its_entry_says() -> None:
    import inspect

    import diffusers

    for name, settings in FAMILIES.items():
        parameters = inspect.signature(getattr(diffusers, name).__call__).parameters
        told = {
            "num_inference_steps": settings.steps,
            "guidance_scale": settings.guidance_scale,
            "true_cfg_scale": settings.true_cfg_scale,
            "negative_prompt": settings.negative_prompt,
        }
        missing = [
            argument for argument, value in told.items() if value is not None and argument not in parameters
        ]
        assert not missing, name
        assert ("image" in parameters) == (settings.sources != "none"), name
        assert settings.width % settings.multiple_of == settings.height % settings.multiple_of == 0
        assert "callback_on_step_end" in parameters


def test_a_text_only_pipeline_draws_each_step_from_its_text() -> None:
    settings = FAMILIES["StableDiffusionXLPipeline"]
    assert settings.sources == "none"
    assert FamilySettings().changed({"steps": 3}, "here").steps == 3


def test_the_mask_of_a_recorded_text_encoder_hides_what_the_encoders_own_hides(klein: Path) -> None:
    encoder = TorchGenerator(klein, dtype="float32").pipeline.text_encoder
    ids, seen = torch.arange(3, 15)[None], torch.ones(1, 12, dtype=torch.long)
    seen[:, 9:] = 0
    recorded = _Recorded(torch, encoder, lambda: True)
    with torch.no_grad():
        own = encoder(input_ids=ids, attention_mask=seen, output_hidden_states=True).hidden_states[-1]
        same = encoder(
            input_ids=ids, attention_mask=recorded._mask(seen), output_hidden_states=True
        ).hidden_states[-1]
        other = encoder(
            input_ids=ids, attention_mask=recorded._mask(torch.ones_like(seen)), output_hidden_states=True
        ).hidden_states[-1]
    assert torch.allclose(own, same, atol=1e-5)
    assert not torch.allclose(own, other, atol=1e-3)
