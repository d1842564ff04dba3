"""What a training run is made of: optimizers and schedules, snapshots, logs, and the loop."""
