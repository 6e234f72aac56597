"""Engines of TensorRT and TensorRT-RTX from a pack, built without a card where the library can; none was ever run."""
