#!/usr/bin/env bash
# A load balancer before HAProxy nodes: one writer at a time in Galera.
#
# The HAProxys choose the writer (`healthagent config haproxy`, or haproxy-examples); the load balancer only needs to know
# which of them has one. They say so on port 9200: haproxy-node.cfg. They must bind their frontends to the private address,
# ports 3306 (writer) and 3307 (reader).
set -euo pipefail

balancer=mariadb
network=private
zone=eu-central
servers=(lb1 lb2)

hcloud load-balancer create --name "$balancer" --type lb11 --network-zone "$zone" --algorithm-type least_connections
hcloud load-balancer attach-to-network --network "$network" "$balancer"
hcloud load-balancer disable-public-interface "$balancer"

# The load balancer sends to both HAProxys, each decides by itself where writes go: let them share their table (the
# section `peers` of that file), so that they agree.
hcloud load-balancer add-service "$balancer" --protocol tcp --listen-port 3306 --destination-port 3306
hcloud load-balancer update-service "$balancer" --listen-port 3306 \
    --health-check-protocol http --health-check-port 9200 \
    --health-check-http-path /writer --health-check-http-status-codes 200 \
    --health-check-interval 4s --health-check-timeout 1s --health-check-retries 2

hcloud load-balancer add-service "$balancer" --protocol tcp --listen-port 3307 --destination-port 3307
hcloud load-balancer update-service "$balancer" --listen-port 3307 \
    --health-check-protocol http --health-check-port 9200 \
    --health-check-http-path /reader --health-check-http-status-codes 200 \
    --health-check-interval 4s --health-check-timeout 1s --health-check-retries 2

for server in "${servers[@]}"; do
    hcloud load-balancer add-target "$balancer" --server "$server" --use-private-ip
done
