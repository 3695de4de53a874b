"""The HTTP edge of the pipeline. Rooms, each of which imports only what is below it:

app, __main__    put everything together
api              /api/v1, health and metrics: one face
http             what every answer shares, whatever its face
upkeep           loops beside requests, and shutdown
core             the way in and the way out; knows no HTTP
"""
