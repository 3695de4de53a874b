"""What Millstream is measured against: other ways to do the same, each as a server that answers POST /predict.

`queues`: job queues over Redis, behind the same aiohttp handler. `models`: model servers with the same weights.
`packages` installs them, each into a folder of its own. They are tuned as their figures became best, which each says.
"""
