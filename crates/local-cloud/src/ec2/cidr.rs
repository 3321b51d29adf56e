//! IPv4 address ranges.

use std::fmt;
use std::net::Ipv4Addr;

use crate::api::{ApiError, ApiResult};

/// A range of addresses, such as `10.0.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cidr {
    first: u32,
    prefix: u8,
}

impl Cidr {
    /// Parses a range; clears the bits below the mask, as EC2 does.
    pub(super) fn parse(text: &str) -> ApiResult<Self> {
        let invalid = || {
            ApiError::new(
                "InvalidParameterValue",
                format!(
                    "Value ({text}) for parameter cidrBlock is invalid. This is not a valid CIDR block."
                ),
            )
        };
        let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let address: Ipv4Addr = address.parse().map_err(|_| invalid())?;
        let prefix: u8 = prefix.parse().map_err(|_| invalid())?;
        if prefix > 32 {
            return Err(invalid());
        }
        Ok(Self {
            first: u32::from(address) & mask(prefix),
            prefix,
        })
    }

    /// Parses the range of a VPC or subnet: /16 to /28.
    pub(super) fn network(text: &str, code: &str) -> ApiResult<Self> {
        let cidr = Self::parse(text)?;
        if (16..=28).contains(&cidr.prefix) {
            Ok(cidr)
        } else {
            Err(ApiError::new(
                code,
                format!("The CIDR '{text}' is invalid."),
            ))
        }
    }

    /// True if every address of `other` is in this range.
    pub(super) fn contains(self, other: Self) -> bool {
        self.prefix <= other.prefix && other.first & mask(self.prefix) == self.first
    }

    /// True if the ranges share an address.
    pub(super) fn overlaps(self, other: Self) -> bool {
        self.contains(other) || other.contains(self)
    }

    /// The number of addresses for instances: EC2 reserves five in each subnet.
    pub(super) fn usable(self) -> u64 {
        (1_u64 << (32 - self.prefix)).saturating_sub(5)
    }

    /// An address in the middle of the range.
    pub(super) fn middle(self) -> Ipv4Addr {
        Ipv4Addr::from(self.first | (!mask(self.prefix) >> 1))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.first), self.prefix)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_contain_and_overlap() {
        let cidr = |text| Cidr::parse(text).unwrap();
        let vpc = cidr("10.0.0.0/16");
        assert!(vpc.contains(cidr("10.0.255.0/24")));
        assert!(!vpc.contains(cidr("10.1.0.0/24")));
        assert!(cidr("10.0.0.0/25").overlaps(cidr("10.0.0.64/26")));
        assert!(!cidr("10.0.0.0/25").overlaps(cidr("10.0.0.128/25")));
        assert!(cidr("0.0.0.0/0").contains(vpc));
        assert_eq!(cidr("10.0.1.7/24").to_string(), "10.0.1.0/24");
        assert_eq!(cidr("10.0.1.0/24").usable(), 251);
        for bad in ["10.0.0.0", "10.0.0/16", "10.0.0.0/33", "x/16"] {
            assert!(Cidr::parse(bad).is_err(), "{bad}");
        }
        assert!(Cidr::network("10.0.0.0/8", "InvalidVpc.Range").is_err());
    }
}
