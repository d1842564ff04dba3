"""What is known of a model before torch is imported: its class, its checkpoint, its tokenizer."""
