"""healthagent: whether this MariaDB node may take writes, reads or nothing."""

__version__ = "0.1.0"
