"""What must hold in every spec, whatever it is about?"""

import pytest

from domain.errors import NotFound, Refused


@pytest.fixture(autouse=True)
def i18_every_refusal_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal says the rule in a sentence, and what is missing; only what one may not see is not told."""
    begin = Refused.__init__

    def told(self: Refused, detail: str, *missing: str) -> None:
        assert isinstance(detail, str) and detail.endswith(".") and len(detail.split()) > 2, f"no sentence: {detail!r}"
        assert missing or isinstance(self, NotFound), f"nothing is missing: {detail}"
        assert all(isinstance(what, str) and what for what in missing), f"not in words: {missing}"
        begin(self, detail, *missing)

    monkeypatch.setattr(Refused, "__init__", told)
