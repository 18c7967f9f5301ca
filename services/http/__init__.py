"""How does the world talk to Assent? Commands, queries, checks and the log's proofs over HTTP (DESIGN §7)."""
