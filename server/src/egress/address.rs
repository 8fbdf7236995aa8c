//! Which addresses a request may reach: public ones, private ones where an operator says so, and
//! those that no request ever reaches.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is to a client that speaks for a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Anybody's.
    Public,
    /// This machine's or its network's: only where the operator names the host.
    Private,
    /// Metadata services, link-local, multicast, reserved and translated addresses.
    Never,
}

/// Returns what an address is. A v4 address inside a v6 one is judged as what it is; forms that
/// carry a v4 address to a translator (NAT64, 6to4, Teredo) are never reached.
///
/// # Source
/// IANA IPv4 and IPv6 Special-Purpose Address Registries; RFC 4291, 6052, 6598, 6890.
pub fn reach(address: IpAddr) -> Reach {
    match address.to_canonical() {
        IpAddr::V4(v4) => reach_v4(v4),
        IpAddr::V6(v6) => reach_v6(v6),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    let [a, b, c, d] = address.octets();
    match (a, b, c, d) {
        // A cloud's metadata service inside the shared range.
        (100, 100, 100, 200) => Reach::Never,
        (10 | 127, ..) | (172, 16..=31, ..) | (192, 168, ..) | (100, 64..=127, ..) => {
            Reach::Private
        }
        (0 | 224..=255, ..)
        | (169, 254, ..)
        | (192, 0, 0 | 2, _)
        | (192, 88, 99, _)
        | (198, 18..=19, ..)
        | (198, 51, 100, _)
        | (203, 0, 113, _) => Reach::Never,
        _ => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    let s = address.segments();
    match s {
        [0, 0, 0, 0, 0, 0, 0, 1] => Reach::Private,
        [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254] => Reach::Never,
        [first, ..] if first & 0xfe00 == 0xfc00 => Reach::Private,
        // Teredo, benchmarking, ORCHID and the other assignments of 2001::/23.
        [0x2001, second, ..] if second < 0x0200 => Reach::Never,
        [0x2001, 0x0db8, ..] | [0x2002, ..] | [0x3fff, 0..=0x0fff, ..] => Reach::Never,
        // Global unicast is 2000::/3; all else is reserved, local or a translation.
        [first, ..] if first & 0xe000 == 0x2000 => Reach::Public,
        _ => Reach::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_range_is_told_from_the_public_ones() {
        let cases: [(Reach, &[&str]); 3] = [
            (
                Reach::Public,
                &[
                    "1.1.1.1",
                    "8.8.8.8",
                    "172.32.0.1",
                    "100.128.0.1",
                    "2606:4700::1111",
                    "::ffff:8.8.8.8",
                ],
            ),
            (
                Reach::Private,
                &[
                    "127.0.0.1",
                    "127.255.255.254",
                    "10.1.2.3",
                    "172.16.0.1",
                    "172.31.255.255",
                    "192.168.1.1",
                    "100.64.0.1",
                    "::1",
                    "fc00::1",
                    "fd12::1",
                    "::ffff:127.0.0.1",
                    "::ffff:10.0.0.1",
                ],
            ),
            (
                Reach::Never,
                &[
                    "0.0.0.0",
                    "0.1.2.3",
                    "169.254.169.254",
                    "100.100.100.200",
                    "192.0.0.1",
                    "192.0.2.1",
                    "192.88.99.1",
                    "198.18.0.1",
                    "198.19.255.255",
                    "198.51.100.1",
                    "203.0.113.1",
                    "224.0.0.1",
                    "240.0.0.1",
                    "255.255.255.255",
                    "::",
                    "fe80::1",
                    "fec0::1",
                    "ff02::1",
                    "2001:db8::1",
                    "2001::1",
                    "2002:7f00:1::",
                    "3fff::1",
                    "64:ff9b::7f00:1",
                    "64:ff9b:1::1",
                    "100::1",
                    "5f00::1",
                    "fd00:ec2::254",
                    "::127.0.0.1",
                    "::ffff:169.254.169.254",
                    "::ffff:0:127.0.0.1",
                ],
            ),
        ];
        for (expected, addresses) in cases {
            for address in addresses {
                assert_eq!(reach(address.parse().unwrap()), expected, "{address}");
            }
        }
    }
}
