"""Roles on servers that speak the OpenAI API: planner and critic by chat, the generator by pictures, chat or responses."""

from __future__ import annotations

from .chat import OpenAiVlm
from .images import OpenAiGenerator

__all__ = ["OpenAiGenerator", "OpenAiVlm"]
