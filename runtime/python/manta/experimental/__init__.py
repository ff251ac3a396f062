"""What Ray has under `ray.experimental` and programs use every day."""
