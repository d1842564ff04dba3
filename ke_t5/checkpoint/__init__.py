"""Checkpoints of a run: serialization, folders on disk, verification."""
