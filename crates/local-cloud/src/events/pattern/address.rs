//! IP addresses and CIDR blocks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range of addresses.
#[derive(Debug)]
pub(super) struct Block {
    first: IpAddr,
    last: IpAddr,
}

/// True for text that event-ruler regards as an address: four numbers with dots, or hexadecimal digits with colons.
fn is_candidate(text: &str) -> bool {
    let mut parts = 0;
    let four = text.split('.').all(|part| {
        parts += 1;
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
    });
    let six = text.contains(':')
        && text
            .bytes()
            .all(|byte| byte == b':' || byte.is_ascii_hexdigit());
    four && parts == 4 || six
}

/// An address in any spelling; an IPv4 address that is written as an IPv6 address is an IPv4 address.
pub(super) fn parse(text: &str) -> Option<IpAddr> {
    if !is_candidate(text) {
        return None;
    }
    if text.contains(':') {
        let address: Ipv6Addr = text.parse().ok()?;
        return Some(match address.to_ipv4_mapped() {
            Some(address) => address.into(),
            None => address.into(),
        });
    }
    // Numbers can have leading zeros, which are decimal.
    let mut bytes = [0; 4];
    for (byte, part) in bytes.iter_mut().zip(text.split('.')) {
        *byte = part.parse::<u64>().ok()?.try_into().ok()?;
    }
    Some(Ipv4Addr::from(bytes).into())
}

impl Block {
    /// Parses `ADDRESS/BITS`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let malformed = |reason: &str| Err(format!("Malformed CIDR, {reason}"));
        let Some((given, bits)) = text
            .split_once('/')
            .filter(|(_, bits)| !bits.is_empty() && !bits.contains('/'))
        else {
            return malformed("one '/' required");
        };
        let Ok(bits) = bits.parse::<i32>() else {
            return malformed("mask bits must be an integer");
        };
        let Ok(bits) = u32::try_from(bits) else {
            return malformed("mask bits must not be negative");
        };
        let Some(address) = parse(given) else {
            return Err(if is_candidate(given) {
                format!("Invalid IP address: {given}")
            } else {
                format!("Nonstandard IP address: {given}")
            });
        };
        let (first, last) = match address {
            IpAddr::V4(_) if bits > 31 => return Err("IPv4 mask bits must be < 32".to_owned()),
            IpAddr::V6(_) if bits > 127 => return Err("IPv6 mask bits must be < 128".to_owned()),
            IpAddr::V4(address) => {
                let rest = u32::MAX >> bits;
                let number = u32::from(address);
                let ends = [number & !rest, number | rest].map(Ipv4Addr::from);
                (ends[0].into(), ends[1].into())
            }
            IpAddr::V6(address) => {
                let rest = u128::MAX >> bits;
                let number = u128::from(address);
                let ends = [number & !rest, number | rest].map(Ipv6Addr::from);
                (ends[0].into(), ends[1].into())
            }
        };
        Ok(Self { first, last })
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && self.first <= address && address <= self.last
    }
}
