"""Accepting orders (resolve, validate, publish, wait) and reading predictions.

It knows no HTTP: it imports neither aiohttp nor the packages above. `errors` lists what it refuses.
"""
