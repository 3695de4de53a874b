"""The console at `/`: a page for people, made of static files, which uses the HTTP API as any client does.

It imports `gateway.http` alone. What the page shows and does is in `static/`; here is how it is served.
"""
