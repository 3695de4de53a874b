"""What models do with texts: one module for each task, all behind the `Task` protocol."""
