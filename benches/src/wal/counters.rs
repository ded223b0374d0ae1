//! What others counted: the kernel for the device and for this process, the log in its metrics.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The device under a folder, where the kernel counts for it.
#[derive(Debug)]
pub(crate) struct Device {
    folder: PathBuf,
}

/// What the kernel counted on a device since it was started, for everybody on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceCounts {
    pub(crate) flushes: u64,
    pub(crate) written_bytes: u64,
}

impl Device {
    /// `None` where the folder lies on nothing that is counted: memory, an overlay, a network.
    pub(crate) fn of(folder: &Path) -> Option<Self> {
        let id = std::fs::metadata(folder).ok()?.dev();
        let (major, minor) = (rustix::fs::major(id), rustix::fs::minor(id));
        let link = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
        let mut folder = std::fs::canonicalize(link).ok()?;
        // Flushes are counted by the whole disk, not by its parts.
        if folder.join("partition").exists() {
            folder.pop();
        }
        let device = Self { folder };
        device.counts().map(|_| device)
    }

    pub(crate) fn name(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// What the kernel believes of its cache: `write back` needs flushes, `write through` does not.
    pub(crate) fn cache(&self) -> String {
        let cache = std::fs::read_to_string(self.folder.join("queue/write_cache"));
        cache.map_or_else(|_| "unknown".to_owned(), |cache| cache.trim().to_owned())
    }

    pub(crate) fn counts(&self) -> Option<DeviceCounts> {
        counts_in(&std::fs::read_to_string(self.folder.join("stat")).ok()?)
    }
}

/// A block device's `stat`: the 7th number is sectors written, the 16th flushes.
fn counts_in(stat: &str) -> Option<DeviceCounts> {
    let number = |at| stat.split_whitespace().nth(at)?.parse::<u64>().ok();
    Some(DeviceCounts {
        flushes: number(15)?,
        written_bytes: number(6)? * 512,
    })
}

/// The most memory this process has had since [`forget_peak`], in bytes.
pub(crate) fn peak_rss() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    peak_in(&status).context("no VmHWM in /proc/self/status")
}

/// Begins a new peak. Where the kernel refuses, the peak stays that of the whole run.
pub(crate) fn forget_peak() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

fn peak_in(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The value of a sample without labels in a text of metrics.
pub(crate) fn sample(text: &str, name: &str) -> Result<u64> {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = value.with_context(|| format!("no sample {name}"))?;
    Ok(value.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_devices_stat_tells_flushes_and_bytes() {
        let stat = " 1330625 31136 59137058 9964300 6880808 321425 1000 1652914 0 571060 11833299 477536 126 194014808 83317 1965982 132766\n";
        let counts = DeviceCounts {
            flushes: 1_965_982,
            written_bytes: 512_000,
        };
        assert_eq!(Some(counts), counts_in(stat));
        let before_flushes_were_counted = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15";
        assert_eq!(None, counts_in(before_flushes_were_counted));
    }

    #[test]
    fn what_lies_on_no_device_is_not_counted() {
        assert!(Device::of(Path::new("/proc")).is_none());
    }

    #[test]
    fn the_peak_is_read_in_bytes() {
        let status = "Name:\tbenches\nVmPeak:\t 9 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n";
        assert_eq!(Some(2 << 20), peak_in(status));
        assert!(0 < peak_rss().unwrap());
    }

    #[test]
    fn a_sample_is_found_by_its_whole_name() {
        let text = "# HELP a_total All.\na_total_more 9\na_total 7\n# EOF\n";
        assert_eq!(7, sample(text, "a_total").unwrap());
        assert!(sample(text, "a").is_err());
    }
}
