"""The commands of `ke-t5`, a module each, with `parser()` and `main(flags)`."""
