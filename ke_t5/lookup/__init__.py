"""Looks up a model's class, checkpoint and tokenizer without importing torch."""
