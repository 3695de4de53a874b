"""End to end against a stack that runs already, over HTTP alone: `make e2e URL=http://localhost:8000`.

The stack may run natively, in containers or in a cluster, with the shipped catalogue. The tests leave predictions in
its history. They are no part of `make test`: they fail where no URL is given.
"""
