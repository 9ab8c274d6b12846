"""`make demo`: a real Galera cluster, an agent beside each node, HAProxy with the example configuration, and a tour."""
