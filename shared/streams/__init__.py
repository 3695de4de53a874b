"""Everything that touches Redis, made from a `Shard`: streams, states, dead letters, heartbeats, and their Lua scripts.

Only here is the Redis client imported. Both sides of a script stand together, even if one service alone uses one.
"""
