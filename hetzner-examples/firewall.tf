# Neither the databases nor the agents are for the internet: see firewall.sh. The firewall filters the public address
# and lets the private network be, so one rule for ssh is all there is to let in.
variable "administrators" {
  type    = list(string)
  default = ["203.0.113.0/24"]
}

variable "firewalled_servers" {
  type = set(number)
}

resource "hcloud_firewall" "mariadb" {
  name = "mariadb"

  rule {
    description = "ssh, from where we work"
    direction   = "in"
    protocol    = "tcp"
    port        = "22"
    source_ips  = var.administrators
  }
}

resource "hcloud_firewall_attachment" "mariadb" {
  firewall_id = hcloud_firewall.mariadb.id
  server_ids  = var.firewalled_servers
}
