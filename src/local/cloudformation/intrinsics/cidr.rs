//! `Fn::Cidr`: cutting a block of addresses.

use std::net::Ipv4Addr;

/// The IPv4 blocks of `bits` host bits, from the start of `block`.
pub(super) fn subnets(block: &str, count: &str, bits: &str) -> Option<Vec<String>> {
    let (address, prefix) = block.split_once('/')?;
    let address = u32::from(address.parse::<Ipv4Addr>().ok()?);
    let prefix: u32 = prefix.parse().ok()?;
    let (count, bits): (u32, u32) = (count.parse().ok()?, bits.parse().ok()?);
    let room = 32_u32.checked_sub(prefix)?.checked_sub(bits)?;
    if !(1..=256).contains(&count) || bits == 0 || u64::from(count) > 1 << room {
        return None;
    }
    let first = u64::from(address) >> (32 - prefix) << (32 - prefix);
    (0..u64::from(count))
        .map(|index| {
            let start = u32::try_from(first + (index << bits)).ok()?;
            Some(format!("{}/{}", Ipv4Addr::from(start), 32 - bits))
        })
        .collect()
}
