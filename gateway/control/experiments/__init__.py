"""Experiments: several versions of a model at once, each for its share of subjects, and what came of it.

Pure: `assignment` (who gets which version), `statistics` (what a difference is worth) and `summary` (the results).
"""
