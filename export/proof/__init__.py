"""Proofs about exported graphs: parity with what they came from, and independence of the batch."""
