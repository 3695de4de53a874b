"""What a model does with a text: one module a task, all behind the `Task` protocol."""
