# A load balancer before HAProxy nodes: one writer at a time in Galera. See haproxy-nodes.sh for the same by hand. They
# listen on 3306 (writer) and 3307 (reader), and say on 9200 whether they have one: haproxy-node.cfg.
terraform {
  required_providers {
    hcloud = {
      source = "hetznercloud/hcloud"
    }
  }
}

# The HAProxy servers' ids: hcloud server list
variable "servers" {
  type = set(number)
}

# The private network's id: hcloud network list
variable "network" {
  type = number
}

resource "hcloud_load_balancer" "mariadb" {
  name               = "mariadb"
  load_balancer_type = "lb11"
  network_zone       = "eu-central"

  algorithm {
    # suits sessions that last; the other choice is round_robin. There are no weights.
    type = "least_connections"
  }
}

resource "hcloud_load_balancer_network" "mariadb" {
  load_balancer_id        = hcloud_load_balancer.mariadb.id
  network_id              = var.network
  enable_public_interface = false
}

resource "hcloud_load_balancer_service" "writer" {
  load_balancer_id = hcloud_load_balancer.mariadb.id
  protocol         = "tcp"
  listen_port      = 3306
  destination_port = 3306

  health_check {
    # never tcp to 3306: HAProxy accepts a connect without a writer, too
    protocol = "http"
    port     = 9200
    # seconds: out after 12 at worst
    interval = 4
    timeout  = 1
    retries  = 2

    http {
      path         = "/writer"
      status_codes = ["200"]
    }
  }
}

resource "hcloud_load_balancer_service" "reader" {
  load_balancer_id = hcloud_load_balancer.mariadb.id
  protocol         = "tcp"
  listen_port      = 3307
  destination_port = 3307

  health_check {
    protocol = "http"
    port     = 9200
    interval = 4
    timeout  = 1
    retries  = 2

    http {
      path         = "/reader"
      status_codes = ["200"]
    }
  }
}

resource "hcloud_load_balancer_target" "mariadb" {
  for_each         = toset([for id in var.servers : tostring(id)])
  load_balancer_id = hcloud_load_balancer.mariadb.id
  type             = "server"
  server_id        = tonumber(each.value)
  use_private_ip   = true

  # A target gets traffic before its first check, and a service has a check by connect until it is made.
  depends_on = [
    hcloud_load_balancer_network.mariadb,
    hcloud_load_balancer_service.writer,
    hcloud_load_balancer_service.reader,
  ]
}
