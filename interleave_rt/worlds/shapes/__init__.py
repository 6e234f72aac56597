"""The shapes world: scenes and their pictures, the language about them, the oracle that reads them, and evaluation."""
