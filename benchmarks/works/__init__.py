"""The works: one module each, with `NAME` and `run(stage) -> Table`."""
