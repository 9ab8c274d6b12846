"""Where things are unless somebody says otherwise."""

CONFIG_FILE = "/etc/healthagent/healthagent.yaml"
CONTROL_SOCKET = "/run/healthagent/control.sock"
