"""One model over HTTP from one process, for who writes it: `python -m inference_worker.dev my_models/iris.py:Iris`.

The paths, the checks and the children are those of a deployment, put together from the code of the gateway and of the
worker. In the place of Redis and Postgres stands `memory`: nothing is stored.
"""
