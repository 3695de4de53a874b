"""`make dashboards-preview`: every panel of the dashboards, fed by a real stack under load and faults, as pictures."""
