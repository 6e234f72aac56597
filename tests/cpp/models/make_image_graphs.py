"""Writes the tiny image graphs that test_vision.cpp, test_flux2.cpp and test_qwen_image.cpp run.

    python tests/cpp/models/make_image_graphs.py OUT_DIR

Each keeps its contract of export/README.md, and is simple enough for the tests to state what it
computes: the runtime's part (shapes, order, ids, schedule) shows in the numbers.
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx

HEADER = '<ir_version: 11, opset_import: ["": 24]>'


def vision(hidden: int, scale: list[str], places: list[str]) -> str:
    """Every patch value averaged over a merge block, times `scale` per channel; the grid is added."""
    return f"""
vision (float[patches, 24] pixel_values, int64[1, 3] grid_thw)
    => (float[tokens, {hidden}] embeds, float[1, tokens, {hidden}] deepstack)
    <int64[2] block = {{-1, 96}}, int64[1] one = {{1}}, int64[1] zero = {{0}},
     float[1, {hidden}] scale = {{{", ".join(scale)}}}, float[3, {hidden}] places = {{{", ".join(places)}}}> {{
    blocks = Reshape(pixel_values, block)
    mean = ReduceMean<keepdims: int = 1>(blocks, one)
    scaled = Mul(mean, scale)
    grid = Cast<to: int = 1>(grid_thw)
    where = MatMul(grid, places)
    embeds = Add(scaled, where)
    double = Add(embeds, embeds)
    deepstack = Unsqueeze(double, zero)
}}"""


def small_vision() -> str:
    places = [0.0, 0.0, 0.0, 0.0, 100.0, 0.0, 0.0, 0.0, 0.0, 1000.0, 0.0, 0.0]
    return vision(4, ["1.0", "2.0", "3.0", "4.0"], [str(place) for place in places])


def wide_vision(hidden: int) -> str:
    """A vision graph whose features the tiny decoder of make_graphs.py takes."""
    scale = [f"{0.5 + i / hidden:.4f}" for i in range(hidden)]
    return vision(hidden, scale, [f"{0.01 * (i % 7):.2f}" for i in range(3 * hidden)])


def endless_vision(hidden: int) -> str:
    """The same, but for more than one token it turns for hours between two nodes, unless somebody ends the run."""
    turning = """row = MatMul(grid, places)
    patches = ReduceProd<keepdims: int = 0>(grid_thw)
    more = Sub(patches, four)
    turns = Mul(more, many)
    where = Loop<body = turn (int64 i, bool go, float[1, w] x) => (bool on, float[1, w] y) {
        on = Identity(go)
        y = Neg(x)
    }>(turns, always, row)"""
    text = wide_vision(hidden).replace("where = MatMul(grid, places)", turning)
    return text.replace(
        "<int64[2] block", "<int64 many = {10000000000}, int64 four = {4}, bool always = {1}, int64[2] block"
    )


TEXT_ENCODER = """
text_encoder (int64[b, t] input_ids, int64[b, t] attention_mask) => (float[b, t, 6] prompt_embeds)
    <int64[1] last = {2}, float[1, 1, 6] scale = {0.01, 0.02, 0.03, 0.04, 0.05, 0.06}> {
    seen = Mul(input_ids, attention_mask)
    real = Cast<to: int = 1>(seen)
    deep = Unsqueeze(real, last)
    prompt_embeds = Mul(deep, scale)
}"""

# velocity = hidden / 2 + last token + time + one weighted word + weighted positions of this and of
# the last token. Means would not do: ONNX Runtime's reductions give other bits in a batch.
TRANSFORMER = """
transformer (float[b, n, 48] hidden_states, float[b, t, 6] encoder_hidden_states, float[b] timestep,
             int64[n, 4] img_ids%s) => (float[b, n, 48] velocity)
    <float half = {0.5}, int64[2] ends = {1, 2}, int64[1] last = {-1}, int64[1] third = {2}, int64[1] fifth = {4},
     float[4, 1] places = {1.0, 0.1, 0.01, 0.001}, float[4, 1] places_text = {7.0, 7.0, 7.0, 1.0}> {
    own = Mul(hidden_states, half)
    end = Gather<axis: int = 1>(hidden_states, last)
    time = Unsqueeze(timestep, ends)
%s
    word = Gather<axis: int = 1>(weighted, third)
    text = Gather<axis: int = 2>(word, fifth)
    image_ids = Cast<to: int = 1>(img_ids)
    position = MatMul(image_ids, places)
    a = Add(own, end)
    c = Add(a, time)
    d = Add(c, text)
    e = Add(d, position)
    end_position = Gather<axis: int = 0>(position, last)
    velocity = Add(e, end_position)
}"""
WITH_IDS = """
    text_ids = Cast<to: int = 1>(txt_ids)
    index = MatMul(text_ids, places_text)
    weighted = Mul(encoder_hidden_states, index)
"""
WITHOUT_IDS = "    weighted = Identity(encoder_hidden_states)"

# 4 x 4 pixels of three channels are the 48 channels of a token, so that decoding inverts encoding.
VAE_ENCODER = """
vae_encoder (float[b, 3, H, W] image) => (float[b, rows, columns, 48] latents) {
    deep = SpaceToDepth<blocksize: int = 4>(image)
    latents = Transpose<perm: ints = [0, 2, 3, 1]>(deep)
}"""
VAE_DECODER = """
vae_decoder (float[b, rows, columns, 48] latents) => (float[b, 3, H, W] image) {
    deep = Transpose<perm: ints = [0, 3, 1, 2]>(latents)
    image = DepthToSpace<blocksize: int = 4>(deep)
}"""

# A word's number and place, and the last feature of the last picture.
QWEN_TEXT_ENCODER = """
text_encoder (int64[b, t] input_ids, int64[3, b, t] position_ids, float[m, 6] image_embeds)
    => (float[b, t, 6] prompt_embeds)
    <float small = {0.001}, int64[1] zero = {0}, int64[1] two = {2}, int64[1] last = {-1},
     float[3, 1, 1] places = {100.0, 10.0, 1.0}> {
    where = Cast<to: int = 1>(position_ids)
    weighted = Mul(where, places)
    place = ReduceSum<keepdims: int = 0>(weighted, zero)
    word = Cast<to: int = 1>(input_ids)
    number = Mul(word, small)
    both = Add(place, number)
    deep = Unsqueeze(both, two)
    seen = Gather<axis: int = 0>(image_embeds, last)
    prompt_embeds = Add(deep, seen)
}"""

# It fails when it runs: a reshape that does not fit for more than one row.
BROKEN = "broken (float[b, 4] x) => (float[1, 4] y) <int64[2] shape = {1, 4}> { y = Reshape(x, shape) }"


def qwen_transformer() -> str:
    """The same with positions of three numbers."""
    text = TRANSFORMER % (", int64[t, 3] txt_ids", WITH_IDS)
    for one, other in (
        ("int64[n, 4] img_ids", "int64[n, 3] img_ids"),
        ("float[4, 1] places = {1.0, 0.1, 0.01, 0.001}", "float[3, 1] places = {1.0, 0.1, 0.01}"),
        ("float[4, 1] places_text = {7.0, 7.0, 7.0, 1.0}", "float[3, 1] places_text = {0.1, 0.1, 0.1}"),
    ):
        assert one in text
        text = text.replace(one, other)
    return text


GRAPHS = {
    "broken": BROKEN,
    "vision": small_vision(),
    "vision_wide": wide_vision(32),
    "vision_endless": endless_vision(32),
    "text_encoder": TEXT_ENCODER,
    "transformer": TRANSFORMER % (", int64[t, 4] txt_ids", WITH_IDS),
    "transformer_without_ids": TRANSFORMER % ("", WITHOUT_IDS),
    "qwen_vision": vision(6, ["0.5"] * 6, ["0.1"] * 18),
    "qwen_text_encoder": QWEN_TEXT_ENCODER,
    "qwen_transformer": qwen_transformer(),
    "vae_encoder": VAE_ENCODER,
    "vae_decoder": VAE_DECODER,
}


def write_image_graphs(out: Path) -> None:
    """Write and check every graph."""
    out.mkdir(parents=True, exist_ok=True)
    for name, text in GRAPHS.items():
        model = onnx.parser.parse_model(HEADER + text)
        onnx.checker.check_model(model)
        onnx.save(model, out / f"{name}.onnx")


if __name__ == "__main__":
    write_image_graphs(Path(sys.argv[1]))
