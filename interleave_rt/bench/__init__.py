"""Measures what the latency devices bring: the same requests in several arms, taking turns."""

from __future__ import annotations

from .arms import ARMS, Arm, PackTarget, ScriptedTarget, Threads
from .document import document
from .environment import describe_environment
from .load import Block, Record
from .runner import Measurement, Plan, Progress, measure
from .workload import Case, arrivals, numbered_cases, read_trace, world_cases

__all__ = [
    "ARMS",
    "Arm",
    "Block",
    "Case",
    "Measurement",
    "PackTarget",
    "Plan",
    "Progress",
    "Record",
    "ScriptedTarget",
    "Threads",
    "arrivals",
    "describe_environment",
    "document",
    "measure",
    "numbered_cases",
    "read_trace",
    "world_cases",
]
