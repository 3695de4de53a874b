"""The HTTP gateway of the pipeline. Each package imports only those listed below it:

app, __main__    put everything together, with components and loops
api              the operations: /api/v1, health and metrics
http             what all HTTP APIs share
upkeep           background loops, and shutdown
core             accepting requests and reading predictions; knows no HTTP
"""
