//! `Fn::Cidr`: splits a block of addresses into blocks of one size.
//!
//! Source: the `CloudFormation` Template Reference, `Fn::Cidr`: 1 to 256 blocks, each of `bits` host
//! bits ("the inverse of the subnet mask"), in IPv4 and IPv6. Unverified against AWS
//! [cfn-cidr-wording]: the wording of the errors.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Maximum number of blocks that AWS returns.
const MAX_BLOCKS: u32 = 256;

/// The blocks of `bits` host bits from the start of `block`, or the reason why there are none.
pub(super) fn subnets(block: &str, count: &str, bits: &str) -> Result<Vec<String>, String> {
    let (address, prefix) = block.split_once('/').ok_or("it has no prefix length")?;
    let address: IpAddr = address
        .parse()
        .map_err(|_| "it is neither an IPv4 nor an IPv6 block")?;
    let (size, start) = match address {
        IpAddr::V4(address) => (32, u128::from(u32::from(address))),
        IpAddr::V6(address) => (128, u128::from(address)),
    };
    let number = |text: &str, what: &str| {
        text.parse::<u32>()
            .map_err(|_| format!("the {what} `{text}` is not an integer"))
    };
    let prefix = number(prefix, "prefix length")?;
    let count = number(count, "count")?;
    let bits = number(bits, "number of host bits")?;
    if prefix > size {
        return Err(format!("its prefix length is over {size}"));
    }
    if !(1..=MAX_BLOCKS).contains(&count) {
        return Err(format!(
            "the count must be from 1 to {MAX_BLOCKS}, not {count}"
        ));
    }
    let room = (size - prefix)
        .checked_sub(bits)
        .filter(|_| (1..size).contains(&bits))
        .ok_or_else(|| format!("blocks of {bits} host bits do not fit into it"))?;
    // More than 256 blocks cannot be requested.
    if room < 8 && count > 1 << room {
        return Err(format!(
            "it has room for {} blocks of {bits} host bits, not for {count}",
            1 << room
        ));
    }
    let host = size - prefix;
    // A shift by all bits overflows.
    let first = start
        .checked_shr(host)
        .and_then(|network| network.checked_shl(host))
        .unwrap_or(0);
    Ok((0..u128::from(count))
        .map(|index| {
            let start = first + (index << bits);
            let length = size - bits;
            match address {
                IpAddr::V4(_) => {
                    // In range: the block's own bits are 32.
                    let start = u32::try_from(start).unwrap_or(u32::MAX);
                    format!("{}/{length}", Ipv4Addr::from(start))
                }
                IpAddr::V6(_) => format!("{}/{length}", Ipv6Addr::from(start)),
            }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issue_8_3_6_blocks_of_both_families_are_cut() {
        for (block, count, bits, expected) in [
            (
                "10.0.0.0/16",
                "3",
                "8",
                "10.0.0.0/24,10.0.1.0/24,10.0.2.0/24",
            ),
            ("10.0.5.7/16", "1", "8", "10.0.0.0/24"),
            ("0.0.0.0/0", "2", "24", "0.0.0.0/8,1.0.0.0/8"),
            (
                "2001:db8::/56",
                "2",
                "64",
                "2001:db8::/64,2001:db8:0:1::/64",
            ),
            (
                "2600:1f14:abc:de00::/56",
                "3",
                "64",
                "2600:1f14:abc:de00::/64,2600:1f14:abc:de01::/64,2600:1f14:abc:de02::/64",
            ),
            (
                "2001:db8::/64",
                "2",
                "8",
                "2001:db8::/120,2001:db8::100/120",
            ),
            ("2001:db8::/32", "2", "80", "2001:db8::/48,2001:db8:1::/48"),
            ("::/0", "2", "64", "::/64,0:0:0:1::/64"),
        ] {
            let found = subnets(block, count, bits).map(|blocks| blocks.join(","));
            assert_eq!(found, Ok(expected.to_owned()), "{block} {count} {bits}");
        }
        assert_eq!(subnets("2001:db8::/56", "256", "64").unwrap().len(), 256);
        for (block, count, bits, why) in [
            ("2001:db8::/60", "17", "64", "room for 16 blocks"),
            ("2001:db8::/64", "1", "65", "do not fit"),
            ("10.0.0.0/24", "3", "8", "room for 1 blocks"),
            ("10.0.0.0/24", "1", "0", "do not fit"),
            ("10.0.0.0/33", "1", "8", "over 32"),
            ("2001:db8::/129", "1", "8", "over 128"),
            ("10.0.0.0/16", "257", "4", "from 1 to 256"),
            ("10.0.0.0/16", "0", "4", "from 1 to 256"),
            ("10.0.0.0", "1", "4", "no prefix length"),
            ("ten/8", "1", "4", "neither an IPv4 nor an IPv6 block"),
            ("10.0.0.0/16", "x", "4", "`x` is not an integer"),
        ] {
            let error = subnets(block, count, bits).unwrap_err();
            assert!(error.contains(why), "{block} {count} {bits}: {error}");
        }
    }
}
