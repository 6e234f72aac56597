"""What a pack of the shapes world can do, judged by the oracle through the native engine; needs no torch.

`settings` says what is measured, `run` measures it row by row, `page` shows it. Every row has a module of its own and
takes what it needs from `samples`, which makes plans and sequences once for all rows.
"""

from __future__ import annotations

from .run import Evaluation, evaluate
from .settings import ROWS, Settings

__all__ = ["ROWS", "Evaluation", "Settings", "evaluate"]
