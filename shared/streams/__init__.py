"""All access to Redis, created from a `Shard`: streams, states, dead letters, heartbeats, and their Lua scripts.

No other package of the services imports the Redis client. Both sides of a script are here, even if only one service
uses them.
"""
