"""What a study talks to when it is not offline, on loopback: a STAC API, a server of byte ranges, a giver of tokens."""
