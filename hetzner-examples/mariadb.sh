#!/usr/bin/env bash
# A load balancer before the databases themselves: writes on port 3306, reads on 3307.
#
# Right for a replicating pair, where only the primary answers 200 to /writer. In Galera every healthy node does, and
# gets writes: see haproxy-nodes.sh for one writer at a time.
set -euo pipefail

# Adapt these: the names that `hcloud server list` and `hcloud network list` show.
balancer=mariadb
network=private
zone=eu-central
servers=(db1 db2 db3)

# least_connections suits database sessions, which last; the other choice is round_robin. There are no weights.
hcloud load-balancer create --name "$balancer" --type lb11 --network-zone "$zone" --algorithm-type least_connections
hcloud load-balancer attach-to-network --network "$network" "$balancer"
# Applications come through the private network, too.
hcloud load-balancer disable-public-interface "$balancer"

# TCP is passed on as it is; whether a target is asked at all decides the health check, on the agent's port.
# interval 4s, retries 2: out after 12 s at worst. timeout 1s: the agent answers from memory, in a millisecond.
hcloud load-balancer add-service "$balancer" --protocol tcp --listen-port 3306 --destination-port 3306
hcloud load-balancer update-service "$balancer" --listen-port 3306 \
    --health-check-protocol http --health-check-port 9200 \
    --health-check-http-path /writer --health-check-http-status-codes 200 \
    --health-check-interval 4s --health-check-timeout 1s --health-check-retries 2

hcloud load-balancer add-service "$balancer" --protocol tcp --listen-port 3307 --destination-port 3306
hcloud load-balancer update-service "$balancer" --listen-port 3307 \
    --health-check-protocol http --health-check-port 9200 \
    --health-check-http-path /reader --health-check-http-status-codes 200 \
    --health-check-interval 4s --health-check-timeout 1s --health-check-retries 2

# The targets last. Until update-service a service is checked by a connect to 3306, and MariaDB counts connects that do
# not log in. And a target gets traffic before its first check: add a node only when it is well.
# --use-private-ip: both ports are open in the private network alone.
for server in "${servers[@]}"; do
    hcloud load-balancer add-target "$balancer" --server "$server" --use-private-ip
done
