"""Is a request's address taken from proxies of ours, and from nobody who only says so?"""

from ipaddress import ip_network

import pytest

from services.http.sources import Sources, household_of
from services.settings import read_settings

OURS = Sources((ip_network("10.0.0.0/24"), ip_network("fd00::1")))
CALLER = b"203.0.113.7"


@pytest.mark.parametrize(
    ("header", "value", "source"),
    [
        ("x-forwarded-for", "203.0.113.7", "203.0.113.7"),
        ("x-forwarded-for", "198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("x-forwarded-for", "198.51.100.1,203.0.113.7 , 10.0.0.9", "203.0.113.7"),
        ("x-forwarded-for", "10.0.0.8, 10.0.0.9", "10.0.0.8"),
        ("x-forwarded-for", "203.0.113.7:4711", "203.0.113.7"),
        ("x-forwarded-for", "[2001:db8::1]:4711, fd00::1", "2001:db8::1"),
        ("x-forwarded-for", "::ffff:203.0.113.7", "203.0.113.7"),
        ("x-forwarded-for", "203.0.113.7, unknown", "10.0.0.1"),
        ("x-forwarded-for", "203.0.113.7, nonsense, 10.0.0.9", "10.0.0.9"),
        ("x-forwarded-for", "203.0.113.7,", "10.0.0.1"),
        ("x-forwarded-for", "", "10.0.0.1"),
        ("forwarded", "for=203.0.113.7", "203.0.113.7"),
        ("forwarded", 'for=198.51.100.1, For="203.0.113.7:4711";proto=https;by=10.0.0.1', "203.0.113.7"),
        ("forwarded", 'proto=https; for="[2001:db8::1]:4711"', "2001:db8::1"),
        ("forwarded", "for=203.0.113.7, for=_hidden", "10.0.0.1"),
        ("forwarded", "for=203.0.113.7, proto=https", "10.0.0.1"),
        ("x-real-ip", "203.0.113.7", "10.0.0.1"),
    ],
)
def test_of_what_our_proxies_say_the_last_address_that_is_none_of_them_counts(
    header: str, value: str, source: str
) -> None:
    assert OURS.of("10.0.0.1", [(header.encode(), value.encode())]) == source


def test_whoever_is_no_proxy_of_ours_is_not_believed() -> None:
    for header in (b"x-forwarded-for", b"forwarded"):
        assert OURS.of("192.0.2.1", [(header, b"10.0.0.1"), (header, CALLER)]) == "192.0.2.1"
    assert Sources(()).of("127.0.0.1", [(b"x-forwarded-for", CALLER)]) == "127.0.0.1"
    assert not Sources(())


def test_of_several_lines_the_last_was_written_last() -> None:
    assert OURS.of("10.0.0.1", [(b"x-forwarded-for", b"198.51.100.1"), (b"x-forwarded-for", CALLER)]) == "203.0.113.7"


def test_where_two_headers_differ_one_of_them_is_somebody_elses() -> None:
    said = (b"x-forwarded-for", CALLER)
    assert OURS.of("10.0.0.1", [said, (b"forwarded", b"for=198.51.100.1")]) == "10.0.0.1"
    assert OURS.of("10.0.0.1", [said, (b"forwarded", b"for=203.0.113.7")]) == "203.0.113.7"


def test_who_has_one_address_of_ipv6_has_its_neighbours_too() -> None:
    assert household_of("2001:db8::1") == household_of("2001:db8::ffff:1") != household_of("2001:db8:0:1::1")
    assert household_of("203.0.113.7") != household_of("203.0.113.8")
    assert household_of("::ffff:203.0.113.7") == household_of("203.0.113.7")
    assert household_of("") == ""


def test_proxies_are_addresses_and_networks() -> None:
    found = read_settings({"ASSENT_PROXIES": "10.0.0.7, fd00::/64"}).proxies
    assert found == (ip_network("10.0.0.7"), ip_network("fd00::/64"))
