"""The closed *shapes* world: scenes, their pictures, their language, and the models that live in it.

`world`, `render`, `oracle`, `grammar`, `composites`, `requests` and `teacher` need numpy only; everything
that needs torch is imported by the training modules.
"""

from __future__ import annotations

__all__: list[str] = []
