"""What a training run is made of: optimizers and schedules, checkpoints, logs, and the loop."""
