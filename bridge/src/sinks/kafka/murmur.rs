//! Which partition a key belongs to, as Kafka's own Java clients choose it.
//!
//! Holds: the same key and count give the same partition as `DefaultPartitioner` of the Java client,
//! Kafka Streams and Kafka Connect, so topics written by us can be joined with theirs.

/// The partition of `key` in a topic of `count` partitions.
pub(super) fn partition(key: &[u8], count: i32) -> i32 {
    let positive = i32::try_from(hash(key) & 0x7fff_ffff).unwrap_or(0);
    positive.checked_rem(count).unwrap_or(0)
}

/// Murmur2, 32 bits, with the seed that Kafka uses.
fn hash(key: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const MIX: u32 = 0x5bd1_e995;
    // The length is mixed in modulo 2^32, as in Java.
    let len = u32::try_from(key.len() & 0xffff_ffff).unwrap_or(0);
    let mut h = SEED ^ len;
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        let mut k = word
            .iter()
            .rev()
            .fold(0u32, |k, &byte| (k << 8) | u32::from(byte));
        k = k.wrapping_mul(MIX);
        k ^= k >> 24;
        h = h.wrapping_mul(MIX) ^ k.wrapping_mul(MIX);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        h ^= rest
            .iter()
            .rev()
            .fold(0u32, |k, &byte| (k << 8) | u32::from(byte));
        h = h.wrapping_mul(MIX);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(MIX);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hash_as_in_java() {
        // From Kafka's own UtilsTest.
        let known: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ];
        for (key, expected) in known {
            assert_eq!(hash(key.as_bytes()).cast_signed(), expected, "{key}");
        }
    }

    #[test]
    fn every_key_has_a_partition() {
        for key in ["", "a", "student-data"] {
            assert_eq!(partition(key.as_bytes(), 1), 0);
            assert!((0..7).contains(&partition(key.as_bytes(), 7)));
        }
    }
}
