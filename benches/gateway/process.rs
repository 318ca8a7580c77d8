//! Processes in a role, and the CPU time that they have used.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A process that says where it listens, and is ended when it is dropped.
pub(crate) struct Child {
    process: std::process::Child,
    pub(crate) address: String,
}

impl Child {
    /// This binary again, with these arguments, on one core where that can be had: processes that wander between cores
    /// find their caches cold, and what is measured is the wandering.
    pub(crate) fn start(core: &str, arguments: &[&str]) -> Self {
        let ourselves = std::env::current_exe().expect("our own path");
        let spawn = |mut command: Command| command.args(arguments).stdout(Stdio::piped()).spawn();
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", core]).arg(&ourselves);
        let mut process = spawn(pinned)
            .or_else(|_| spawn(Command::new(&ourselves)))
            .expect("a process");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("its output"))
            .read_line(&mut line)
            .expect("an address");
        assert!(!line.trim().is_empty(), "{arguments:?} did not start");
        Self {
            process,
            address: line.trim().to_owned(),
        }
    }

    /// CPU time of each of its threads since its start, by its number, to the nanosecond: the kernel's scheduler
    /// statistics.
    pub(crate) fn cpu_of_threads(&self) -> HashMap<String, Duration> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).expect("its threads");
        let cpu = threads.filter_map(|thread| {
            let thread = thread.ok()?;
            let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            let nanoseconds = text.split(' ').next()?.parse().ok()?;
            Some((
                thread.file_name().into_string().ok()?,
                Duration::from_nanos(nanoseconds),
            ))
        });
        cpu.collect()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
