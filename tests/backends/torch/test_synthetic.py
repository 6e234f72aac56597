"""Models of published shapes with random weights: they are what they claim to be, and every part of the bench runs."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from interleave_rt import BadRequestError
from interleave_rt.backends.torch.fp8 import Fp8Linear, to_fp8
from interleave_rt.backends.torch.step import Step
from interleave_rt.backends.torch.turns import never
from interleave_rt.cli import main
from interleave_rt.placement import MODELS
from interleave_rt.synthetic import limits
from interleave_rt.synthetic.catalogue import entry, parse_names
from interleave_rt.synthetic.parts import Report
from interleave_rt.synthetic.roles import MadeModel, Script, made_pictures


@pytest.fixture(scope="module")
def small():
    torch.set_num_threads(1)
    made = MadeModel("tiny-vl", "cpu")
    made.model.float()
    return made


def written(decoder, prompt, tokens):
    """Logits of an answer that says these tokens."""
    found = []
    with torch.inference_mode():
        writing = decoder.write(prompt, len(tokens) + 1, never)
        found.append(next(writing).clone())
        found += [writing.send(token).clone() for token in tokens]
    return torch.stack(found)


def test_a_step_gives_the_logits_of_the_model_behind_pictures_too(small):
    tokens = [5, 77, 900, 3]
    stepped = copy.copy(small.decoder)
    stepped._compile()
    for pictures in ([], made_pictures(64, 2)):
        prompt = small.prompt(pictures)
        prompt.inputs.update({k: v.float() for k, v in prompt.inputs.items() if v.is_floating_point()})
        expected = written(small.decoder.apart(), prompt, tokens)
        assert expected.std() > 0.1
        torch.testing.assert_close(written(stepped.apart(), prompt, tokens), expected, atol=2e-4, rtol=2e-4)
    assert len(stepped._idle_steps) == 1  # the second answer was written in the first one's place


def test_answers_at_once_are_those_alone_and_weights_are_not_doubled(small):
    linear = small.model.model.language_model.layers[0].self_attn.k_proj
    before = linear.weight.clone()
    alone = [Step(small.model, 256, compile=False) for _ in range(2)]
    both = Step(small.model, 256, sequences=2, compile=False)
    told = torch.tensor([[4], [9]])
    for place in range(3):
        rows = [step(int(token), place, place).clone() for step, token in zip(alone, told, strict=True)]
        torch.testing.assert_close(both(told, place, place), torch.cat(rows), atol=1e-5, rtol=1e-5)
    assert torch.equal(linear.weight, before)
    assert alone[0]._weights[0]["qkv"].data_ptr() == both._weights[0]["qkv"].data_ptr()
    assert linear.weight.untyped_storage().data_ptr() == both._weights[0]["qkv"].untyped_storage().data_ptr()


def test_rows_of_fp8_keep_a_product_within_its_rounding():
    torch.manual_seed(3)
    linear = torch.nn.Linear(64, 48).to(torch.bfloat16)
    values = torch.randn(5, 64, dtype=torch.bfloat16)
    small = Fp8Linear(linear)
    assert small.weight.dtype == torch.float8_e4m3fn
    expected = linear(values).float()
    assert (small(values).float() - expected).norm() < 0.05 * expected.norm()
    model = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.Linear(32, 8), torch.nn.Linear(32, 32))
    assert to_fp8(model, lambda name, _: name != "2") == 1
    assert [type(layer).__name__ for layer in model] == ["Fp8Linear", "Linear", "Linear"]


@pytest.mark.parametrize("name", list(MODELS))
def test_configurations_are_those_that_the_placement_table_counts(name):
    import diffusers
    import transformers

    raw, said = entry(name), MODELS[name]
    with torch.device("meta"):
        if raw["kind"] == "vlm":
            config = getattr(transformers, raw["config_class"])(**raw["config"])
            model = getattr(transformers, raw["class"])(config)
            vision = sum(one.numel() for one in model.model.visual.parameters())
            whole = sum(one.numel() for one in model.parameters())
            assert (whole - vision, vision) == (said.large, said.rest)
        else:
            parts = [getattr(diffusers, raw[f"{part}_class"])(**raw[part]) for part in ("transformer", "vae")]
            denoiser, codec = (sum(one.numel() for one in part.parameters()) for part in parts)
            config = getattr(transformers, raw["text_encoder_config_class"])(**raw["text_encoder"])
            encoder = getattr(transformers, raw["text_encoder_class"])(config)
            text = sum(one.numel() for one in encoder.parameters())
            head = config.get_text_config()
            whole = denoiser + codec + text
            unused = head.hidden_size * head.vocab_size  # the table leaves out a head that is not tied
            assert said.large + said.rest in (whole, whole - unused)


def test_operations_are_those_that_a_pass_makes():
    import diffusers
    import transformers

    raw = {**entry("klein-4b")["transformer"], "num_layers": 2, "num_single_layers": 3}
    with torch.device("meta"):
        denoiser = diffusers.Flux2Transformer2DModel(**raw)
        tokens, text = 1024, 256
        told = {
            "hidden_states": torch.empty(1, tokens, raw["in_channels"]),
            "encoder_hidden_states": torch.empty(1, text, raw["joint_attention_dim"]),
            "timestep": torch.empty(1),
            "img_ids": torch.empty(1, tokens, 4),
            "txt_ids": torch.empty(1, text, 4),
            "guidance": None,
        }
        with FlopCounterMode(display=False) as counter:
            denoiser(**told)
    assert counter.get_total_flops() == pytest.approx(limits.block_flop(raw, tokens + text), rel=0.03)

    config = transformers.Qwen3Config(**{**entry("klein-4b")["text_encoder"], "num_hidden_layers": 3})
    config._attn_implementation = "eager"
    with torch.device("meta"):
        encoder = transformers.Qwen3Model(config)
    counted = 2.0 * sum(
        one.numel() for layer in encoder.layers for one in layer.parameters() if one.dim() > 1
    )
    raw = {**entry("klein-4b")["text_encoder"], "num_hidden_layers": 3}
    assert limits.text_flop(raw, 1) == pytest.approx(counted, rel=1e-3)
    read = 2.0 * (counted / 2 + raw["vocab_size"] * raw["hidden_size"])
    assert limits.decode_bytes(raw, 4, 0) == pytest.approx(read)
    assert limits.decode_bytes(raw, 4, 10) - read == 4 * 10 * 3 * 2 * 8 * 128 * 2


def test_refusals_are_dealt_evenly_and_do_not_depend_on_pictures():
    script = Script()
    first = [script.refuses(f"request {number // 5}, picture {number % 5}") for number in range(100)]
    assert sum(first) == 20
    assert all(sum(first[number : number + 5]) == 1 for number in range(0, 100, 5))
    second = [script.refuses(f"request {number}, picture 2 again") for number in range(100)]
    assert sum(second) == 20
    assert not any(Script(accept=1.0).refuses(f"request {number}, picture 1") for number in range(20))


def test_an_error_of_a_piece_is_written_down_and_the_rest_goes_on():
    seen = []
    report = Report(
        lambda found: seen.append(copy.deepcopy(found)), limits.card_of("NVIDIA H100 80GB HBM3"), "cpu"
    )

    def fails():
        raise RuntimeError("no kernel")

    report.attempt("one", fails)
    report.row("product", "bf16", 2.0, flop=989e9)
    report.row("read", "bf16", 1.0, read=3.35e9)
    assert seen[-1]["errors"] == {"one": "RuntimeError: no kernel"}
    assert [row["of_peak"] for row in seen[-1]["rows"]] == [0.5, 1.0]
    assert limits.card_of("NVIDIA GH200 480GB").memory == 4.0
    assert limits.card_of("some card") is None


def test_names_that_are_not_known_are_refused(capsys):
    assert parse_names("tiny, klein-4b") == ["tiny-vl", "tiny-klein", "klein-4b"]
    for wrong in ("", "klein-4b,klein-4b"):
        with pytest.raises(BadRequestError, match="--synthetic is"):
            parse_names(wrong)
    assert main(["bench", "--synthetic", "sdxl"]) == 2
    assert "there is no configuration of 'sdxl'" in capsys.readouterr().err
    assert main(["bench", "--synthetic", "tiny", "--precision", "int3"]) == 2


def test_every_part_runs_and_what_is_complete_is_not_run_again(tmp_path, capsys):
    folder, file = tmp_path / "parts", tmp_path / "all.json"
    told = ["bench", "--synthetic", "tiny", "--device", "cpu", "--steps", "2", "--num-requests", "1"]
    told += ["--parts", str(folder), "--output", str(file)]
    assert main(told) == 0, capsys.readouterr().err
    found = json.loads(file.read_text())
    assert found["card"] is None
    parts = found["parts"]
    assert [name for name, part in parts.items() if part.get("errors")] == []
    assert set(parts) == {
        "device", "tiny-vl-bf16", "tiny-klein-bf16",
        "overlap-tiny-klein-tiny-vl-bf16", "loop-tiny-klein-tiny-vl-bf16",
    }  # fmt: skip
    rows = {(row["what"], row["how"]) for row in parts["tiny-klein-bf16"]["rows"]}
    for what in ("denoising step from text", "denoising step from a picture", "codec, decode"):
        assert {(what, "eager"), (what, "compiled")} <= rows
    tokens = {row["what"] for row in parts["tiny-vl-bf16"]["rows"] if row["how"] == "graph, compiled, tuned"}
    assert tokens == {"a token, 1 answer", "a token, 4 answers"}
    beside = parts["overlap-tiny-klein-tiny-vl-bf16"]["kinds"]
    assert beside["priority"]["s_c"] > 0
    assert "not available" in beside.values()
    loop = parts["loop-tiny-klein-tiny-vl-bf16"]
    assert loop["lossless"]["equal"] == loop["lossless"]["requests"] == 1
    assert set(loop["arms"]) == {"sequential", "sequential-es", "speculative"}
    assert np.isfinite(loop["arms"]["speculative"]["e2e_latency_ms"]["mean"])

    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    kept = folder / "device.json"
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "complete": False}))
    capsys.readouterr()
    assert main([*told, "--json"]) == 0
    said = capsys.readouterr()
    assert said.err.count("already there") == 4
    assert json.loads(said.out)["parts"]["device"]["complete"]
    assert {path.name for path in folder.iterdir()} == set(before)


def test_fp8_runs_where_it_is_asked_for(tmp_path, capsys):
    told = ["bench", "--synthetic", "tiny-vl", "--device", "cpu", "--precision", "fp8"]
    assert main([*told, "--parts", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "tiny-vl-fp8.json").read_text())
    assert found.get("errors") is None
    assert "a token, 1 answer" in {row["what"] for row in found["rows"]}
