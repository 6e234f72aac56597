"""Memory of published models: the parameters are those of the classes, the arithmetic is plain."""

from __future__ import annotations

import pytest

from interleave_rt import BadRequestError
from interleave_rt.placement import (
    CARDS,
    GIB,
    MODELS,
    PRECISIONS,
    RESIDENCIES,
    Demand,
    Part,
    arrange,
    bytes_of,
    fits,
    need,
    peak,
    table,
)

VISION_SMALL = (1024, 24, 4096)


def counted(build):
    torch = pytest.importorskip("torch")
    with torch.device("meta"):
        return build()


def total(model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "heads", "tied", "vision"),
    [
        ("qwen3-vl-2b", 16, True, VISION_SMALL),
        ("qwen3-vl-4b", 32, True, VISION_SMALL),
        ("qwen3-vl-8b", 32, False, (1152, 27, 4304)),
    ],
)
def test_the_sizes_of_vlms_are_those_of_their_class(name, heads, tied, vision):
    transformers = pytest.importorskip("transformers")
    said, (width, depth, inner) = MODELS[name], vision
    config = transformers.Qwen3VLConfig(
        text_config={
            "hidden_size": said.hidden, "num_hidden_layers": said.layers, "num_attention_heads": heads,
            "num_key_value_heads": said.kv_heads, "head_dim": said.head_dim, "intermediate_size": said.feed_forward,
            "vocab_size": 151936, "tie_word_embeddings": tied,
        },
        vision_config={
            "hidden_size": width, "depth": depth, "intermediate_size": inner, "num_heads": 16,
            "out_hidden_size": said.hidden, "deepstack_visual_indexes": [1, 2, 3],
        },
        tie_word_embeddings=tied,
    )  # fmt: skip
    model = counted(lambda: transformers.Qwen3VLForConditionalGeneration(config))
    assert (total(model) - total(model.model.visual), total(model.model.visual)) == (said.large, said.rest)


def test_the_sizes_of_generators_are_those_of_their_parts():
    diffusers, transformers = pytest.importorskip("diffusers"), pytest.importorskip("transformers")

    def klein(double: int, single: int, heads: int) -> int:
        return total(
            counted(
                lambda: diffusers.Flux2Transformer2DModel(
                    num_layers=double, num_single_layers=single, attention_head_dim=128, num_attention_heads=heads,
                    joint_attention_dim=heads * 128 * 3 if heads == 32 else 7680, guidance_embeds=False,
                )
            )
        )  # fmt: skip

    def text(hidden: int, inner: int) -> int:
        config = transformers.Qwen3Config(
            hidden_size=hidden, num_hidden_layers=36, num_attention_heads=32, num_key_value_heads=8, head_dim=128,
            intermediate_size=inner, vocab_size=151936,
        )  # fmt: skip
        return total(counted(lambda: transformers.Qwen3Model(config)))

    assert MODELS["klein-4b"].large == klein(5, 20, 24) + text(2560, 9728)
    assert MODELS["klein-9b"].large == klein(8, 24, 32) + text(4096, 12288)
    assert MODELS["klein-4b"].rest == total(counted(diffusers.AutoencoderKLFlux2))
    edit = total(counted(diffusers.QwenImageTransformer2DModel))
    assert MODELS["qwen-image-edit-2511"].large - edit == 7_615_616_512


def test_less_precision_needs_less_and_a_larger_card_holds_more():
    for name, model in MODELS.items():
        needs = [need(name, precision) for precision in PRECISIONS]
        assert needs == sorted(needs, reverse=True)
        held = [fits({name: "bf16"}, card) for card in CARDS]
        assert held == sorted(held)
        assert need(name, "bf16") > 2 * (model.large + model.rest)
    assert need("qwen3-vl-8b", "bf16", context=8192) - need("qwen3-vl-8b", "bf16", context=0) > 8192 * 147_456
    assert need("qwen3-vl-2b", "fp8", sequences=4) > need("qwen3-vl-2b", "fp8")


def test_the_table_names_the_smallest_card():
    rows = {(row["model"], row["precision"]): row for row in table()}
    assert len(rows) == len(MODELS) * len(PRECISIONS)
    assert rows["klein-4b", "fp8"]["card"] == 12
    assert rows["klein-9b", "bf16"]["with_critic"] == 48
    assert rows["qwen3-vl-8b", "bf16"]["need_gib"] == pytest.approx(
        need("qwen3-vl-8b", "bf16") / GIB, abs=0.05
    )
    with pytest.raises(BadRequestError, match="nothing is known of 'sdxl'"):
        need("sdxl", "bf16")


PLANNER = Demand(("planner",), (Part(5e9, state=1e9, workspace=0.5e9),))
CRITIC = Demand(("critic",), (Part(4e9, workspace=0.5e9, layers=3e9, layer=0.5e9),))
GENERATOR = Demand(
    ("generator",),
    (Part(8e9, layers=8e9, layer=0.8e9), Part(8e9, workspace=1e9, layers=7e9, layer=0.1e9)),
)
TRIO = (PLANNER, CRITIC, GENERATOR)


def test_what_each_way_of_sharing_a_device_needs():
    sizes = {name: peak(TRIO, name) for name in RESIDENCIES}
    assert sizes == {
        "keep": 6.5e9 + 4.5e9 + 17e9,
        "release": 4.5e9 + 17e9,
        "encoder": 6.5e9 + 4.5e9 + 9e9,
        "swap": 17e9,
        "parts": 9e9,
        "stream": 9e9,
    }
    assert peak(TRIO, "stream", frozenset({"generator"})) == 6.5e9
    assert peak(TRIO, "stream", frozenset({"generator", "critic", "planner"})) == 6.5e9


@pytest.mark.parametrize(
    ("limit", "residency", "streamed"),
    [
        (28e9, "keep", ()),
        (22e9, "release", ()),
        (20.5e9, "encoder", ()),
        (12e9, "parts", ()),
        (7e9, "stream", ("generator",)),
    ],
)
def test_the_quickest_arrangement_is_chosen(limit, residency, streamed):
    chosen = arrange(TRIO, None, limit)
    assert (chosen.residency, chosen.streamed) == (residency, frozenset(streamed))
    assert chosen.peak <= limit
    assert chosen.overlaps == (residency in ("keep", "release", "encoder"))
    assert arrange(TRIO, "keep", 27e9) is None
    assert arrange(TRIO, None, 1e9) is None


@pytest.mark.parametrize("text", ["", "12 parsecs", "0", "-1GB", "iB", 0, 1.5])
def test_what_is_no_size_is_refused(text):
    assert bytes_of("512MiB") == 512 << 20
    with pytest.raises(BadRequestError, match="is no size"):
        bytes_of(text)
