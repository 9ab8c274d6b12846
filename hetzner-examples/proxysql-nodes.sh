#!/usr/bin/env bash
# A load balancer before ProxySQL nodes, which choose the writer themselves.
#
# ProxySQL has no page that says whether it has a writer, so a connect to its own port, 6033, is all that can be asked:
# it finds a ProxySQL that is gone. Unlike MariaDB's 3306 that port does not count connects without a login.
set -euo pipefail

balancer=mariadb
network=private
zone=eu-central
servers=(proxysql1 proxysql2)

hcloud load-balancer create --name "$balancer" --type lb11 --network-zone "$zone" --algorithm-type least_connections
hcloud load-balancer attach-to-network --network "$network" "$balancer"
hcloud load-balancer disable-public-interface "$balancer"

hcloud load-balancer add-service "$balancer" --protocol tcp --listen-port 3306 --destination-port 6033
hcloud load-balancer update-service "$balancer" --listen-port 3306 \
    --health-check-protocol tcp --health-check-port 6033 \
    --health-check-interval 4s --health-check-timeout 1s --health-check-retries 2

for server in "${servers[@]}"; do
    hcloud load-balancer add-target "$balancer" --server "$server" --use-private-ip
done
