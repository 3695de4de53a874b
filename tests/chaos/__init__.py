"""The chaos suite: a load of mixed requests while a seeded schedule breaks things; at the end every answer is checked.

    schedule ──▶ faults ──▶ system (gateways, workers, persisters, Redis, Postgres, a proxy before each store)
                               ▲
    load ──HTTP────────────────┘        load ──▶ ledger ─┐
                                 survey of both stores ──┴──▶ verdict ──▶ report

`schedule`, `ledger`, `verdict` and `report` are pure, so what counts as lost, double or wrong is tested without any
process. Run it with `make chaos`.
"""
