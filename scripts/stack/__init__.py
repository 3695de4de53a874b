"""The local stack without Docker: Postgres, Redis and the services as one supervised process tree."""
