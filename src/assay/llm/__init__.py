"""Open-weight language models as exact counts: parameters, operators, caches, sharding."""
