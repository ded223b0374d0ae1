//! Trials at real brokers, without a product: the instruments see what they must, and a run that
//! cannot be done says so.

use std::path::Path;

use crate::Trial;

const CANARY: [&str; 5] = ["kafka", "--faults", "canary", "--brokers", "1"];

/// How many failed.
pub(crate) fn trials(trial: &Trial<'_>) -> u32 {
    let mut failed = 0;
    let nowhere = [&CANARY[..], &["--libraries", "/no/such/libraries"]].concat();
    failed += u32::from(!trial.run(&nowhere, 3, "deploy/dev/setup.sh kafka installs it"));
    let net = ["kafka", "--faults", "leader-isolated"];
    failed += u32::from(!trial.run(&net, 3, "need --net"));
    let few = ["kafka", "--faults", "broker-killed", "--brokers", "1"];
    failed += u32::from(!trial.run(&few, 3, "need --brokers 3"));

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let libraries = root.join("target/peers/kafka");
    if !libraries.is_dir() {
        println!("jepsen kafka ... ok, as far as can be seen here: no Kafka in target/peers");
        return failed;
    }
    let libraries = libraries.display().to_string();
    let whole = [&CANARY[..], &["--libraries", &libraries]].concat();
    failed + u32::from(!trial.run(&whole, 0, "both readers see what is committed"))
}
