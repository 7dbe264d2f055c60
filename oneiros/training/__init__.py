"""The training loop: data, steps, and the trainer."""
