"""The way in (an order is resolved, checked, published, waited for) and the way out (predictions are found and read).

It knows no HTTP: it imports no aiohttp, and nothing of the rooms above. What it refuses is in `errors`.
"""
