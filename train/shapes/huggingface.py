"""The classes of diffusers and transformers that are used here, untyped: their own annotations are incomplete."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = [
    "AutoencoderKLFlux2",
    "FlowMatchEulerDiscreteScheduler",
    "Flux2KleinPipeline",
    "Flux2Transformer2DModel",
    "Qwen2TokenizerFast",
    "Qwen3Config",
    "Qwen3ForCausalLM",
    "Qwen3VLConfig",
    "Qwen3VLForConditionalGeneration",
    "qwen3_vl",
]

_diffusers: Any = importlib.import_module("diffusers")
_transformers: Any = importlib.import_module("transformers")
qwen3_vl: Any = importlib.import_module("transformers.models.qwen3_vl.modeling_qwen3_vl")

AutoencoderKLFlux2 = _diffusers.AutoencoderKLFlux2
FlowMatchEulerDiscreteScheduler = _diffusers.FlowMatchEulerDiscreteScheduler
Flux2KleinPipeline = _diffusers.Flux2KleinPipeline
Flux2Transformer2DModel = _diffusers.Flux2Transformer2DModel
Qwen2TokenizerFast = _transformers.Qwen2TokenizerFast
Qwen3Config = _transformers.Qwen3Config
Qwen3ForCausalLM = _transformers.Qwen3ForCausalLM
Qwen3VLConfig = _transformers.Qwen3VLConfig
Qwen3VLForConditionalGeneration = _transformers.Qwen3VLForConditionalGeneration
