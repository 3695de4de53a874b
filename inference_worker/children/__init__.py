"""Where models compute: child processes of the worker, so that no model can stop the worker or another model.

In the worker: `engine` (the children of one version), `process` (one child), `forkserver` (how children begin).
In a child: `child` (its loops), `guard` (calls that cannot do harm), `answers` (what may leave it), `isolation`.
Both: `wire` (what they say to each other). Nothing that a child sends is unpickled or run by the worker.
"""
