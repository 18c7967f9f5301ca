"""The log: every act of Assent, in order, once, provably. `docs/log.md` tells how it works."""
