#!/usr/bin/env bash
# Neither the databases nor the agents are for the internet.
#
# A Hetzner firewall filters a server's public address and lets the private network be. What no rule lets in stays out:
# one rule for ssh, and 3306, 9200 and Galera's ports are reached through the private network alone. There, bind the
# agent to the private address: http: {listen: ["10.0.0.11:9200"]}.
set -euo pipefail

administrators=203.0.113.0/24
servers=(db1 db2 db3)

hcloud firewall create --name mariadb
hcloud firewall add-rule mariadb --direction in --protocol tcp --port 22 --source-ips "$administrators" \
    --description "ssh, from where we work"
for server in "${servers[@]}"; do
    hcloud firewall apply-to-resource mariadb --type server --server "$server"
done
