"""Map IP addresses to clients: an IPv6 network of /64 is one client."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, IPv6Network, ip_address

#: Networks that providers give to one customer: RFC 6177.
_IPV6_PREFIX = 64

_WITH_PORT = re.compile(r"\[(?P<six>[^\]]+)\](?::[0-9]{1,5})?|(?P<four>[0-9.]+):[0-9]{1,5}")


def client_of(address: str) -> str:
    """Return the client behind an address: the IPv4 address, or the /64 network of an IPv6 address.

    Args:
        address: as proxies and frontends write it: `203.0.113.8`, `203.0.113.8:40001`, `2001:db8::1`,
            `[2001:db8::1]:443`, `::ffff:203.0.113.8`.

    Raises:
        ValueError: `address` is not an IP address.
    """
    match = _WITH_PORT.fullmatch(address.strip())
    parsed = ip_address((match["six"] or match["four"]) if match else address.strip())
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((int(parsed), _IPV6_PREFIX), strict=False))
