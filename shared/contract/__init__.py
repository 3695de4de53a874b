"""What goes between the services, and what it is called: messages, ids, keys, tasks, options, the catalogue, errors.

Pure: no I/O, no clock, no driver. It stands below all other packages and imports none of them.
"""
