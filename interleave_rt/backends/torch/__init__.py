"""Roles in PyTorch: planner and critic from any transformers model of pictures and text, the generator from any
diffusers pipeline, both read from directories on disk.

They run behind `interleave_rt.backends.outside.OutsideBackend`. The libraries (the extra `[torch]`) are imported when a
model is opened, not before.
"""

from __future__ import annotations

from .families import FAMILIES, FamilySettings
from .generator import TorchGenerator
from .sharing import Opened, Sharing, share
from .together import TorchRoles
from .vlm import TorchVlm

__all__ = [
    "FAMILIES",
    "FamilySettings",
    "Opened",
    "Sharing",
    "TorchGenerator",
    "TorchRoles",
    "TorchVlm",
    "share",
]
