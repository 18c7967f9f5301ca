"""Whatever happens in a thousand random worlds, does the log alone show that every invariant held?"""
