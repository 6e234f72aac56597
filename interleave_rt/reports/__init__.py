"""What a result looks like on disk: pictures, JSON, a self-contained page, a trace for Perfetto."""

from __future__ import annotations

from .save import ResultFolder, save_result
from .trace import chrome_trace, save_trace

__all__ = ["ResultFolder", "chrome_trace", "save_result", "save_trace"]
