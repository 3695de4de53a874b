"""Job queues over Redis. Each module runs as `gateway PORT REDIS_URL` or as `worker REDIS_URL`.

The gateway is the same for all: it validates the body as ours does, submits the text and waits for the result.
"""
