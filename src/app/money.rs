//! Numbers that are sums of fractions, as answers show them.

use serde::{Serialize, Serializer};

/// Decimals that are told. The CLI reports costs by the token, some of them in millionths of a dollar.
const UNIT: f64 = 1e6;

/// A sum without the dust that adding up leaves (0.79243 instead of 0.7924300000000001).
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
pub(super) fn rounded<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    tidy(*value).serialize(serializer)
}

/// US dollars, if there are any.
#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
pub(super) fn usd<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    value.map(tidy).serialize(serializer)
}

fn tidy(value: f64) -> f64 {
    (value * UNIT).round() / UNIT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_told_without_dust() {
        for (sum, told) in [(0.1 + 0.2, "0.3"), (0.792_430_000_000_000_1, "0.79243"), (0.000_001_4, "1e-6"), (12.0, "12.0")] {
            assert_eq!(serde_json::to_string(&tidy(sum)).expect("JSON"), told);
        }
    }
}
