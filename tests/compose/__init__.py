"""The stack in containers, broken under load: `make chaos-compose`, on a stack that `docker compose up --wait` started.

    load ──HTTP──▶ gateway     kill: SIGKILL to each service's first process in turn; restarts are compose's to do
                               stop: SIGTERM to each of our services in turn; each must drain and end with 0
                               scale: two workers of a model share its work, and Prometheus sees both
    load ──▶ ledger ──┐
    history ──────────┴──▶ verdict: nothing lost, nothing double, nothing wrong

`tests/chaos` breaks the same services as bare processes, more often and in more ways. Nobody else may use the stack
meanwhile, since the history is counted.
"""
