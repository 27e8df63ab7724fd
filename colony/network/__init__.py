"""A colony's network as people ask for it: ports on the host, names, neighbours, what listens.

`netns` makes namespaces and `proxy` leads HTTP into them. Here is decided who may reach what, and
here are the actors that keep it so.

    forms      niso's words for ports, read and checked              pure
    splice     bytes from one socket to another                      mechanism
    named      networks with a subnet of their own                   actor, one per instance
    audit      which connections are begun, as events                actor, one per instance
    watching   what listens in a colony; the way to ::1              actor, one per colony
"""
