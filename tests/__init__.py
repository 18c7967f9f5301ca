"""Each test reads as the rule it tests; the folders mirror the source."""
