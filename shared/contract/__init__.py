"""The contract between the services: messages, ids, keys, tasks, options, the catalogue, errors.

Pure: no I/O, no clock, no driver. It imports no other package of the project.
"""
