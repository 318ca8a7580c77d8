//! Watches how much of the memory limit of its control groups the process uses, and says so before the kernel does.
//!
//! `app` runs it on the control thread. What the kernel can take back at once, the file cache, does not count as used.
//! Without a limit, or where it cannot be read, nothing is held back: this is a precaution, never a reason to stop.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntGauge;
use tokio::time::{MissedTickBehavior, interval};

use crate::net::{MemoryLevel, MemoryPressure};

/// Sets the level, about once a second, for as long as it is polled. `folder` is where control groups are mounted.
pub async fn watch_memory(folder: PathBuf, pressure: Arc<MemoryPressure>, gauge: IntGauge) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut level = MemoryLevel::Enough;
    loop {
        ticks.tick().await;
        // The kernel answers these small files from memory, so reading them may block the control thread.
        let own = fs::read_to_string(OWN_GROUPS).unwrap_or_default();
        let usage = fullest(&folder, &own);
        let next = after(level, usage);
        if next == level {
            continue;
        }
        level = next;
        pressure.set(level);
        gauge.set(level as i64);
        let Usage { used, limit } = usage.unwrap_or_default();
        match level {
            MemoryLevel::Enough => tracing::info!(used, limit, "memory: enough; requests are served again"),
            MemoryLevel::Short => tracing::warn!(used, limit, "memory: short; new requests are refused"),
            MemoryLevel::Out => {
                tracing::error!(
                    used,
                    limit,
                    "memory: almost out; no connection or request is taken on"
                );
            }
        }
    }
}

/// What a control group uses, and may use. In bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Usage {
    used: u64,
    limit: u64,
}

impl Usage {
    /// Whether this part of the limit is used, or more.
    fn is_at(self, percent: u8) -> bool {
        u128::from(self.used) * 100 >= u128::from(self.limit) * u128::from(percent)
    }
}

/// The level that follows on `level`. What has begun ends a little below where it began, so that it does not flicker.
fn after(level: MemoryLevel, usage: Option<Usage>) -> MemoryLevel {
    let Some(usage) = usage else {
        return MemoryLevel::Enough;
    };
    match level {
        _ if usage.is_at(OUT_AT) => MemoryLevel::Out,
        MemoryLevel::Out if usage.is_at(OUT_AT - EASES_BELOW) => MemoryLevel::Out,
        _ if usage.is_at(SHORT_AT) => MemoryLevel::Short,
        MemoryLevel::Out | MemoryLevel::Short if usage.is_at(SHORT_AT - EASES_BELOW) => MemoryLevel::Short,
        _ => MemoryLevel::Enough,
    }
}

/// The usage of that group, of those with a limit which the process is in, which has the least left in proportion.
/// `own` is what `/proc/self/cgroup` says (cgroups(7)); in a container it may name folders that cannot be seen there,
/// where the root of what is mounted is the group of the container.
fn fullest(folder: &Path, own: &str) -> Option<Usage> {
    let mut fullest: Option<Usage> = None;
    for line in own.lines().chain(["0::/", ":memory:/"]) {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (root, files) = if controllers.is_empty() {
            (folder.to_path_buf(), &VERSION_2)
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (folder.join("memory"), &VERSION_1)
        } else {
            continue;
        };
        let path = Path::new(path.trim_start_matches('/'));
        if path.components().any(|part| part.as_os_str() == "..") {
            continue;
        }
        for group in path.ancestors() {
            let usage = files.read(&root.join(group));
            let more = |a: Usage, b: Usage| {
                u128::from(a.used) * u128::from(b.limit) > u128::from(b.used) * u128::from(a.limit)
            };
            fullest = match (fullest, usage) {
                (Some(known), Some(found)) if more(found, known) => Some(found),
                (known, found) => known.or(found),
            };
        }
    }
    fullest
}

/// What the files of a memory controller are called.
struct Files {
    limit: &'static str,
    used: &'static str,
    inactive_file: &'static str,
}

impl Files {
    /// `None` where the group has no limit or cannot be read.
    fn read(&self, group: &Path) -> Option<Usage> {
        let number =
            |name: &str| -> Option<u64> { fs::read_to_string(group.join(name)).ok()?.trim().parse().ok() };
        let limit = number(self.limit).filter(|limit| (1..NO_LIMIT).contains(limit))?;
        let charged = number(self.used)?;
        let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let inactive_file = stat.lines().find_map(|line| {
            let (name, value) = line.split_once(' ')?;
            (name == self.inactive_file).then(|| value.trim().parse::<u64>().ok())?
        });
        Some(Usage {
            used: charged.saturating_sub(inactive_file.unwrap_or(0)),
            limit,
        })
    }
}

const VERSION_2: Files = Files {
    limit: "memory.max",
    used: "memory.current",
    inactive_file: "inactive_file",
};
const VERSION_1: Files = Files {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    inactive_file: "total_inactive_file",
};

/// Version 1 says "no limit" by the largest number of pages; version 2 says `max`.
const NO_LIMIT: u64 = 1 << 60;
const OWN_GROUPS: &str = "/proc/self/cgroup";
const EVERY: Duration = Duration::from_secs(1);
/// In per cent of the limit.
const SHORT_AT: u8 = 90;
const OUT_AT: u8 = 95;
const EASES_BELOW: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn group(folder: &Path, path: &str, files: &[(&str, &str)]) {
        let group = folder.join(path);
        fs::create_dir_all(&group).unwrap();
        for (name, text) in files {
            fs::write(group.join(name), text).unwrap();
        }
    }

    fn version_2<'a>(limit: &'a str, used: &'a str, stat: &'a str) -> [(&'a str, &'a str); 3] {
        [
            ("memory.max", limit),
            ("memory.current", used),
            ("memory.stat", stat),
        ]
    }

    fn usage(used: u64, limit: u64) -> Option<Usage> {
        Some(Usage { used, limit })
    }

    #[test]
    fn what_begins_ends_a_little_below() {
        use MemoryLevel::{Enough, Out, Short};
        for (level, percent, next) in [
            (Enough, 89, Enough),
            (Enough, 90, Short),
            (Enough, 94, Short),
            (Enough, 95, Out),
            (Enough, 200, Out),
            (Short, 87, Short),
            (Short, 86, Enough),
            (Short, 95, Out),
            (Out, 92, Out),
            (Out, 91, Short),
            (Out, 87, Short),
            (Out, 86, Enough),
        ] {
            assert_eq!(
                after(level, usage(percent, 100)),
                next,
                "{level:?} at {percent} %"
            );
        }
        for level in [Enough, Short, Out] {
            assert_eq!(after(level, None), Enough);
            assert_eq!(after(level, usage(u64::MAX, u64::MAX)), Out);
        }
    }

    #[test]
    fn version_2_without_the_file_cache() {
        let folder = tempfile::tempdir().unwrap();
        let stat = "anon 500\nfile 400\ninactive_file 300\nactive_file 100\n";
        group(folder.path(), "", &version_2("1000\n", "900\n", stat));
        assert_eq!(fullest(folder.path(), "0::/\n"), usage(600, 1_000));
        // A container sees its own group as the root, whatever its path is outside.
        for own in [
            "",
            "0::/../../other\n",
            "0::/kubepods/pod1/2\n",
            "nonsense",
            "1:cpu:/",
        ] {
            assert_eq!(fullest(folder.path(), own), usage(600, 1_000), "{own}");
        }
        group(folder.path(), "", &[("memory.stat", "inactive_file 1000")]);
        assert_eq!(fullest(folder.path(), ""), usage(0, 1_000));
    }

    #[test]
    fn the_limit_of_a_group_around_it_counts() {
        let folder = tempfile::tempdir().unwrap();
        group(folder.path(), "a/b", &version_2("1000", "500", ""));
        group(folder.path(), "a", &version_2("2000", "1900", ""));
        group(folder.path(), "other", &version_2("10", "10", ""));
        assert_eq!(fullest(folder.path(), "0::/a/b\n"), usage(1_900, 2_000));
        group(folder.path(), "a", &[("memory.max", "max\n")]);
        assert_eq!(fullest(folder.path(), "0::/a/b\n"), usage(500, 1_000));
    }

    #[test]
    fn version_1() {
        let folder = tempfile::tempdir().unwrap();
        let own = "5:cpu,cpuacct:/x\n4:hugetlb,memory:/docker/1\n0::/y\n";
        let files = [
            ("memory.limit_in_bytes", "1000\n"),
            ("memory.usage_in_bytes", "950\n"),
            ("memory.stat", "inactive_file 1\ntotal_inactive_file 50\n"),
        ];
        group(folder.path(), "memory", &files);
        assert_eq!(fullest(folder.path(), own), usage(900, 1_000));
        group(folder.path(), "memory/docker/1", &files);
        group(
            folder.path(),
            "memory",
            &[("memory.limit_in_bytes", "9223372036854771712")],
        );
        assert_eq!(fullest(folder.path(), own), usage(900, 1_000));
    }

    #[test]
    fn off_without_a_limit_or_without_sense() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(fullest(folder.path(), "0::/\n"), None);
        for (limit, used) in [
            ("max\n", "900"),
            ("0", "900"),
            ("", "900"),
            ("-1", "900"),
            ("1000", ""),
            ("1000", "many"),
        ] {
            group(folder.path(), "", &version_2(limit, used, ""));
            assert_eq!(fullest(folder.path(), "0::/\n"), None, "{limit:?} {used:?}");
        }
    }
}
