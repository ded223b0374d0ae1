//! Any bytes as a command, as a WAL record: a value or an error, never a panic, never much memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use storage::{count_wal_records, decode_command, encode_command};
use storage_fuzz::mend_records;

fuzz_target!(|data: &[u8]| {
    if let Ok(command) = decode_command(data) {
        // What was understood is written and understood again as the same.
        let bytes = encode_command(&command);
        assert_eq!(
            decode_command(&bytes).expect("what we write decodes"),
            command
        );
    }
    let mut mended = data.to_vec();
    mend_records(&7_u64.to_le_bytes(), &mut mended);
    assert!(count_wal_records(7, data) <= data.len() / 32);
    assert!(count_wal_records(7, &mended) <= data.len() / 32);
});
