"""The restart-policy laboratory: what a policy will do, tried in virtual time on the very code that
runs in production.

    faults      what goes wrong and when, and how processes behave: values
    trace       what has happened, simulated or real
    script      faults as flags and as TOML files
    timeline    a trace as a picture; `summary` as figures; `invariants` as what must hold

Law: nothing here decides what a supervisor does. The tree, its supervisors and the services' state
machines are the real ones; only their processes and their clock are not.
"""
