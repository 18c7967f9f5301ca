"""The rule book of Assent: pure, standard library only.

The words of the field, each settled once:

organization  a provider (releases models), an agency (signs off), a customer (asks for access), or `assent` itself
person        someone who acts; authenticated outside, authorised by appointments recorded in the log
appointment   a person holds a role in an organization, from a date until a date
release       one model release of a provider, with tiers and ordered rollout phases
policy        the versioned review rule: whose sign-offs are needed, the clocks, what silence and refusal mean
request       one customer asks to use one release and tier: the application under review
sign-off      an agency's position on one revision of a request, or on a phase change
grant         the authorization that an approved request yields: scope, conditions, validity
condition     a proviso that an agency attached; it changes only with that agency's concurrence
incident      something went wrong with a release; at or above its threshold it holds the rollout
directive     an order that stops access across customers, apart from any grant
stream        the life of one organization, policy, release, request, grant, directive, calendar or log: `<kind>-<id>`
fact          an event as the log holds it: with its position, its times and who did it
rollback      the log is shorter, or other, than what was signed; an operator may accept it, and that is recorded
position      a fact's place in the log: 0, 1, 2, … without gaps
occurred      when it happened in the world; `recorded` is when the log took it in
refusal       an error: the command leaves no trace. An agency's "no" is an event.

Every stream has one file with the same sections in the same order: events, state, commands, decide, evolve.
`rulebook.py` lists them all and decides any command; `access.py` answers "may they use it now?". What is marked
`unguarded` is frozen all the same, for mypy sees to it (`values.py`).
"""
