"""Artifacts in buckets: fetched once into a folder of this machine, which several workers may share.

`store` has them at hand for who loads; `cache` is that folder, with its locks and its bound; `bucket` reads a bucket
and has the words for what goes wrong; `manifest` says which files an artifact has. `trying` is for who tries
a model without a stack.
"""
