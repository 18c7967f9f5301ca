"""Everything that touches the outside: the log, the clock, Postgres, HTTP and the command line."""
