"""YAML as text: read strictly, edited in place, written in kin's own layout, merged key by key."""
