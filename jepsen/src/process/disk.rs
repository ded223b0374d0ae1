//! Disks of our own: ext4 on an image file, mounted through a loop device; made to be cut off
//! from power, and to be filled.
//!
//! ```text
//! <run>/disk.img             the platter: what a power cut leaves is a copy of it
//! <run>/platter              its mount; what is cached for it is the disk's own, volatile cache
//! <run>/platter/disk.img     what the disk shows
//! <run>/disk                 its mount: the product's data
//! ```
//! Why a disk within a disk: a loop device hands each write on to its file at once, so a copy of
//! that file has also what was written and never flushed, as no disk with a cache would. Here a
//! write stops in the cache of the outer file system until the inner one sends a flush.
//! Holds: dropped, all is unmounted, innermost first, and the loop devices go with the mounts
//! (the kernel's autoclear). Nothing that we did not mount is touched.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::time::sleep;

const MIB: u64 = 1 << 20;
const UNMOUNT_TIME: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);
const REST_TIME: Duration = Duration::from_secs(30);
const COPY_TRIALS: u32 = 20;
/// What is needed, and the Debian package that has it.
const TOOLS: [(&str, &str); 4] = [
    ("mkfs.ext4", "e2fsprogs"),
    ("mount", "mount"),
    ("umount", "mount"),
    ("cp", "coreutils"),
];
const PLACES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
const IMAGE: &str = "disk.img";

/// Says what is missing where no disk can be made here.
pub(crate) fn must_be_possible(parent: &Path) -> anyhow::Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "disks cannot be made here: mounting needs root"
    );
    ensure!(
        Path::new("/dev/loop-control").exists(),
        "disks cannot be made here: there are no loop devices (/dev/loop-control)"
    );
    TOOLS
        .iter()
        .try_for_each(|(name, _)| tool(name).map(drop))?;
    let trial = tempfile::Builder::new()
        .prefix("jepsen-")
        .tempdir_in(parent)?;
    let disk = Disk::plain(trial.path(), 8);
    disk.context("disks cannot be made here").map(drop)
}

/// A mounted disk of ours. Dropped, it is unmounted.
#[derive(Debug)]
pub(crate) struct Disk {
    /// Innermost first: the order in which they must go.
    volumes: Vec<Volume>,
}

impl Disk {
    /// One image, one mount.
    pub(crate) fn plain(run: &Path, mib: u64) -> anyhow::Result<Self> {
        let image = run.join(IMAGE);
        format(&image, mib)?;
        let volume = Volume::mount(&image, &run.join("disk"))?;
        Ok(Self {
            volumes: vec![volume],
        })
    }

    /// One with a cache that a power cut empties.
    pub(crate) fn cached(run: &Path, mib: u64) -> anyhow::Result<Self> {
        // Room for what the outer file system keeps for itself.
        format(&run.join(IMAGE), mib + mib / 8 + 32)?;
        let outer = Volume::mount(&run.join(IMAGE), &run.join("platter"))?;
        let image = outer.at.join(IMAGE);
        format(&image, mib)?;
        // The making of the disk is not what is cut.
        let file = std::fs::OpenOptions::new().write(true).open(&image)?;
        file.sync_all()?;
        let inner = Volume::mount(&image, &run.join("disk"))?;
        Ok(Self {
            volumes: vec![inner, outer],
        })
    }

    /// What `copy` has left in `run`: mounted, so that both journals are replayed.
    pub(crate) fn of_copy(run: &Path) -> anyhow::Result<Self> {
        let outer = Volume::mount(&run.join(IMAGE), &run.join("platter"))?;
        let inner = Volume::mount(&outer.at.join(IMAGE), &run.join("disk"))?;
        Ok(Self {
            volumes: vec![inner, outer],
        })
    }

    /// Where the product may write.
    pub(crate) fn root(&self) -> &Path {
        self.volumes
            .first()
            .map_or(Path::new(""), |volume| &volume.at)
    }

    /// Copies the platter, as it is at one instant, into `run`. Whoever writes is stopped
    /// before; the kernel's own writing may go on, so a copy during which the platter was
    /// written to is thrown away. Answers how many copies it took.
    pub(crate) async fn copy(&self, run: &Path) -> anyhow::Result<u32> {
        let platter = self.volumes.last().context("no disk")?;
        for trial in 1..=COPY_TRIALS {
            let before = platter.rest().await?;
            let mut copy = tokio::process::Command::new(tool("cp")?);
            copy.args(["--sparse=always", "--reflink=auto", "--"]);
            copy.arg(platter.image())
                .arg(run.join(IMAGE))
                .kill_on_drop(true);
            ensure!(copy.status().await?.success(), "cp of the disk fails");
            if platter.traffic()? == before {
                return Ok(trial);
            }
        }
        bail!("the disk is written to in each of {COPY_TRIALS} copies")
    }
}

/// One image, mounted.
#[derive(Debug)]
struct Volume {
    image: PathBuf,
    at: PathBuf,
}

/// What has ever been asked of a disk, other than reading.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Traffic {
    under_way: u64,
    /// Writes, sectors written, discards, flushes.
    done: [u64; 4],
}

impl Volume {
    fn mount(image: &Path, at: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(at)?;
        let (image, at) = (image.to_owned(), at.to_owned());
        // Guarded before it is there; not a future, which could be dropped half done.
        let volume = Self { image, at };
        let mut mount = Command::new(tool("mount")?);
        mount.args(["-t", "ext4", "-o", "loop,nodev,nosuid"]);
        mount.arg(&volume.image).arg(&volume.at);
        done(&mut mount)?;
        ensure!(volume.is_mounted(), "mount has mounted nothing");
        Ok(volume)
    }

    fn image(&self) -> &Path {
        &self.image
    }

    fn is_mounted(&self) -> bool {
        let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev());
        match (device(&self.at), device(&self.at.join(".."))) {
            (Ok(own), Ok(above)) => own != above,
            _ => false,
        }
    }

    /// Waits until nothing is under way.
    async fn rest(&self) -> anyhow::Result<Traffic> {
        let end = Instant::now() + REST_TIME;
        while Instant::now() < end {
            let traffic = self.traffic()?;
            if traffic.under_way == 0 {
                return Ok(traffic);
            }
            sleep(Duration::from_millis(1)).await;
        }
        bail!("the disk does not come to rest")
    }

    fn traffic(&self) -> anyhow::Result<Traffic> {
        let device = std::fs::metadata(&self.at)?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let path = format!("/sys/dev/block/{major}:{minor}/stat");
        let text = std::fs::read_to_string(&path);
        let text = text.with_context(|| format!("cannot read {path}"))?;
        traffic(&text).with_context(|| format!("no counts in {path}: {text}"))
    }
}

/// From a disk's `stat`, as the kernel's documentation orders it.
fn traffic(stat: &str) -> Option<Traffic> {
    let fields = stat
        .split_whitespace()
        .map(|field| field.parse().ok())
        .collect::<Option<Vec<u64>>>()?;
    let field = |place: usize| fields.get(place).copied();
    Some(Traffic {
        under_way: field(8)?,
        done: [field(4)?, field(6)?, field(11)?, field(15)?],
    })
}

impl Drop for Volume {
    /// A product that was just killed may hold it for a moment.
    fn drop(&mut self) {
        let Ok(umount) = tool("umount") else { return };
        let end = Instant::now() + UNMOUNT_TIME;
        while self.is_mounted() {
            let is_late = Instant::now() > end;
            let mut command = Command::new(&umount);
            // Lazily at last: it is out of sight at once and goes with its last user.
            command.args(is_late.then_some("--lazy")).arg(&self.at);
            if command.output().is_err() || is_late {
                return;
            }
            if self.is_mounted() {
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// No blocks held back for root: the product may run as root, and full must mean full.
fn format(image: &Path, mib: u64) -> anyhow::Result<()> {
    let mut open = std::fs::OpenOptions::new();
    let file = open.create_new(true).write(true).open(image)?;
    file.set_len(mib * MIB)?;
    let mut mkfs = Command::new(tool("mkfs.ext4")?);
    mkfs.args(["-q", "-F", "-m", "0"]).arg(image);
    done(&mut mkfs)
}

fn tool(name: &str) -> anyhow::Result<PathBuf> {
    let mut places = PLACES.iter().map(|place| Path::new(place).join(name));
    let found = places.find(|path| path.is_file());
    found.with_context(|| {
        let package = TOOLS.iter().find(|(tool, _)| *tool == name);
        let package = package.map_or(name, |(_, package)| package);
        format!("disks cannot be made here: no {name}; Debian has it in {package}")
    })
}

fn done(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output()?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.success(),
        "{} fails: {}",
        command.get_program().display(),
        words.trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::traffic;

    #[test]
    fn what_is_under_way_and_done_is_read_from_the_kernels_counts() {
        let text = "59 0 2110 2 23 15 622 14 3 8 23 7 0 0 0 11 6\n";
        let traffic = traffic(text).unwrap();
        assert_eq!((traffic.under_way, traffic.done), (3, [23, 622, 7, 11]));
        assert!(super::traffic("1 2 3").is_none());
    }
}
