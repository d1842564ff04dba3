"""Fine-tuning, testing and exporting models on Korean tasks."""

__version__ = "0.2.0"
