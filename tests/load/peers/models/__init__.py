"""Model servers with the sentiment model that Millstream ships, by our own code. Each module runs with a port.

Tuned alike: two workers of one thread each (better than one of two threads for all four), batches of at most 16 texts,
of which the first waits at most 5 ms.
"""
