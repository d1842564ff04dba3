"""What a training run is made of: optimizers, schedules, logs and the loop."""
