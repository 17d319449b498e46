"""The works, one module each: `NAME`, and `run(stage)`, which measures and returns the table."""
