"""The models of genai_decoder.py: one Qwen3 decoder with seeded weights, three times over.

`build` writes into a folder: `qwen3` (transformers), `genai` (onnxruntime-genai's model builder) and `ours` (our export
of the same weights as the language model of a Qwen3-VL: the prompt graph and the decode graph).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SEED = 20261121
VOCAB, HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM = 8192, 512, 8, 8, 4, 64
CACHE = 256
EOS = 2
DECODE = "decode_graph.onnx"


def build(work: Path) -> None:
    """Weights, genai's model and our two graphs, each from the same numbers; takes about a minute."""
    import torch
    from interleave_rt.export.families.qwen3_decode import export_decode_graph
    from interleave_rt.export.families.qwen3_vl import decoder_spec, decoder_trace
    from interleave_rt.export.graph import export_graph
    from tokenizers import Tokenizer, models
    from transformers import (
        PreTrainedTokenizerFast,
        Qwen3Config,
        Qwen3ForCausalLM,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
    )

    torch.manual_seed(SEED)
    rope = {"rope_type": "default", "rope_theta": 10000.0}
    sizes = {
        "vocab_size": VOCAB,
        "hidden_size": HIDDEN,
        "intermediate_size": 3 * HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": EOS,
    }
    with torch.no_grad():
        plain = Qwen3ForCausalLM(Qwen3Config(**sizes, rope_parameters=rope)).eval()
        for weight in plain.parameters():
            if weight.dim() > 1:  # larger than the library's: tokens must not depend on the last bit
                weight.normal_(std=1.5 / weight.shape[1] ** 0.5)
            weight.copy_(weight.half().float())
        plain.save_pretrained(work / "qwen3")
        words = {f"t{i}": i for i in range(VOCAB)}
        tokenizer = Tokenizer(models.WordLevel(words, unk_token="t0"))
        PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(work / "qwen3")
        text = sizes | {"rope_parameters": rope | {"mrope_section": [12, 10, 10], "mrope_interleaved": True}}
        vision = {
            "depth": 1,
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 8,
            "out_hidden_size": HIDDEN,
            "num_position_embeddings": 36,
            "deepstack_visual_indexes": [0],
        }
        special = dict(
            zip(
                ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"),
                range(VOCAB - 4, VOCAB),
                strict=True,
            )
        )
        config = Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False, **special)
        ours = Qwen3VLForConditionalGeneration(config).eval()
        ours.model.language_model.load_state_dict(plain.model.state_dict())
        ours.lm_head.load_state_dict(plain.lm_head.state_dict())
    with decoder_trace(ours):
        export_graph(decoder_spec(ours), work / "ours" / "decoder.onnx")
    export_decode_graph(ours, work / "ours" / DECODE, CACHE)

    command = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
    command += ["-i", str(work / "qwen3"), "-o", str(work / "genai"), "-p", "fp32", "-e", "cpu"]
    subprocess.run([*command, "-c", str(work / "cache")], check=True, capture_output=True)
    path = work / "genai" / "genai_config.json"
    settings = json.loads(path.read_text())
    settings["model"]["decoder"]["session_options"] |= {"intra_op_num_threads": 1, "inter_op_num_threads": 1}
    path.write_text(json.dumps(settings))
