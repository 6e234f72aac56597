"""A pack: models, tokenizers and templates in one directory, described and verified by its manifest."""

from .load import EMBEDDED, Pack, choose_pack, load_pack

__all__ = ["EMBEDDED", "Pack", "choose_pack", "load_pack"]
