//! The machine: what it is, what memory and time this process takes of it, and
//! what others do with it meanwhile.
//!
//! Linux tells all of this under `/proc`; elsewhere most figures are `None`,
//! which a report prints as "unknown".

use crate::record::Machine;
use sillage_kernels::Compute;
use std::fs;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Ticks of a second in `/proc`: `USER_HZ`, which is 100 on every architecture
/// that Sillage runs on.
const TICKS: f64 = 100.0;

/// What a field says that the system does not tell.
const UNKNOWN: &str = "unknown";

impl Machine {
    /// The machine that this process runs on.
    #[must_use]
    pub fn here(cx: &Compute) -> Self {
        let mut machine = Self {
            id: String::new(),
            cpu: cpu_name(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory: total_memory().unwrap_or(0),
            isa: cx.isa.name().to_owned(),
            system: system_name(),
            sillage: env!("CARGO_PKG_VERSION").to_owned(),
        };
        machine.id = machine.print();
        machine
    }

    /// The short print of what makes figures comparable. Memory counts in
    /// quarters of a GiB: the kernel keeps a little more or less for itself at
    /// every start. The kernel's version is no part of it: a run that takes a
    /// night goes on after an update.
    fn print(&self) -> String {
        let quarters = (self.memory + (1 << 27)) >> 28;
        let all = format!(
            "{}\n{}\n{quarters}\n{}\n{}",
            self.cpu, self.cores, self.isa, self.sillage
        );
        blake3::hash(all.as_bytes()).to_hex()[..12].to_owned()
    }
}

fn cpu_name() -> String {
    let from_cpuinfo = || {
        let text = fs::read_to_string("/proc/cpuinfo").ok()?;
        let name = ["model name", "Model", "Hardware"]
            .iter()
            .find_map(|field| cpuinfo_field(&text, field))?;
        Some(name + &generation(&text).unwrap_or_default())
    };
    let from_tree = || {
        let name = fs::read_to_string("/sys/firmware/devicetree/base/model").ok()?;
        Some(name.trim_end_matches('\0').trim().to_owned())
    };
    from_cpuinfo()
        .or_else(from_tree)
        .or_else(|| sysctl("machdep.cpu.brand_string"))
        .or_else(|| std::env::var("PROCESSOR_IDENTIFIER").ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| format!("{UNKNOWN} ({})", std::env::consts::ARCH))
}

/// Virtual machines call processors of very different years by one name; what
/// tells them apart, in brackets.
fn generation(cpuinfo: &str) -> Option<String> {
    let family = cpuinfo_field(cpuinfo, "cpu family")?;
    let model = cpuinfo_field(cpuinfo, "model")?;
    Some(format!(" (family {family}, model {model})"))
}

fn cpuinfo_field(text: &str, field: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == field && !value.trim().is_empty()).then(|| value.trim().to_owned())
    })
}

/// A figure of macOS, which has no `/proc`.
fn sysctl(name: &str) -> Option<String> {
    if !cfg!(target_os = "macos") {
        return None;
    }
    let output = std::process::Command::new("/usr/sbin/sysctl")
        .args(["-n", name])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned())
}

fn system_name() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")
        .ok()
        .or_else(|| sysctl("kern.osrelease"));
    match release {
        Some(release) => format!("{} {}", std::env::consts::OS, release.trim()),
        None => std::env::consts::OS.to_owned(),
    }
}

/// Bytes of memory that this process may have in all.
#[must_use]
pub fn total_memory() -> Option<u64> {
    let machine = kibibytes("/proc/meminfo", "MemTotal:")
        .or_else(|| sysctl("hw.memsize").and_then(|text| text.parse().ok()))?;
    Some(cgroup().map_or(machine, |(limit, _)| limit.min(machine)))
}

/// Bytes of memory that could be had now without swapping: what the system has
/// and what the control group still allows.
#[must_use]
pub fn free_memory() -> Option<u64> {
    let machine = kibibytes("/proc/meminfo", "MemAvailable:")?;
    let allowed = cgroup().map(|(limit, used)| limit.saturating_sub(used));
    Some(allowed.map_or(machine, |allowed| allowed.min(machine)))
}

/// Limit and use of the control group, of either version, in bytes.
fn cgroup() -> Option<(u64, u64)> {
    let read = |path: &str| -> Option<u64> { fs::read_to_string(path).ok()?.trim().parse().ok() };
    let root = "/sys/fs/cgroup";
    let (limit, used) = read(&format!("{root}/memory.max"))
        .zip(read(&format!("{root}/memory.current")))
        .or_else(|| {
            read(&format!("{root}/memory/memory.limit_in_bytes"))
                .zip(read(&format!("{root}/memory/memory.usage_in_bytes")))
        })?;
    // Version 1 writes a huge number for "no limit".
    (limit < 1 << 60).then_some((limit, used))
}

/// Bytes of memory that this process holds.
#[must_use]
pub fn resident_memory() -> Option<u64> {
    kibibytes("/proc/self/status", "VmRSS:")
}

/// The most bytes that this process ever held, or held since
/// [`reset_peak_memory`].
#[must_use]
pub fn peak_memory() -> Option<u64> {
    kibibytes("/proc/self/status", "VmHWM:")
}

/// Lets [`peak_memory`] begin anew. False where the system cannot: the peak
/// then is that of the whole process and must not be given as that of a part.
#[must_use]
pub fn reset_peak_memory() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// The figure of a line `name 123 kB`, in bytes.
fn kibibytes(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib = line.split_whitespace().next()?.parse::<u64>().ok()?;
    kib.checked_mul(1024)
}

/// CPU seconds of this process and of those children that have ended, user and
/// system, in steps of 10 ms.
#[must_use]
pub fn cpu_seconds() -> Option<f64> {
    own_ticks(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// `utime + stime + cutime + cstime` of a line of `/proc/PID/stat`.
fn own_ticks(stat: &str) -> Option<f64> {
    // The name in brackets may hold anything, spaces and brackets included.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = |n: usize| fields.split_whitespace().nth(n)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)? + ticks(13)? + ticks(14)?) / TICKS)
}

/// CPU seconds of the whole system: user, nice, system, interrupts and what a
/// hypervisor took.
fn system_seconds() -> Option<f64> {
    let seconds = all_ticks(&fs::read_to_string("/proc/stat").ok()?)?;
    // Sandboxes show a line of zeros.
    (seconds > 0.0).then_some(seconds)
}

fn all_ticks(stat: &str) -> Option<f64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<f64> = line
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    let field = |n: usize| ticks.get(n).copied().unwrap_or(0.0);
    // 3 is idle and 4 waits for disks; 8 and 9 (guests) are counted in 0 and 1.
    Some([0, 1, 2, 5, 6, 7].iter().map(|&n| field(n)).sum::<f64>() / TICKS)
}

/// The load average of the last minute: how many programs, this one included,
/// wanted a core.
#[must_use]
pub fn load_average() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// How busy others keep the machine while something is measured.
pub struct Others {
    start: Instant,
    own: f64,
    all: f64,
}

impl Others {
    /// Begins to count; none where the system does not tell.
    #[must_use]
    pub fn watch() -> Option<Self> {
        Some(Self {
            own: cpu_seconds()?,
            all: system_seconds()?,
            start: Instant::now(),
        })
    }

    /// Cores that other programs kept busy since, on average.
    #[must_use]
    pub fn cores(&self) -> Option<f64> {
        let wall = self.start.elapsed().as_secs_f64();
        let own = cpu_seconds()? - self.own;
        let all = system_seconds()? - self.all;
        (wall > 0.0).then(|| ((all - own) / wall).max(0.0))
    }
}

/// The time in UTC, as `2026-11-26T17:30:00Z`.
#[must_use]
pub fn now() -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    utc(since.as_secs())
}

/// Seconds since 1970 as date and time, by the rules of the Gregorian calendar.
fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days are counted from a 1st of March, so that leap days come last; an era
    // is 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = era * 400 + year_of_era + next;
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_name_that_stays() {
        let cx = Compute::new(1);
        let machine = Machine::here(&cx);
        assert_eq!(machine, Machine::here(&cx));
        assert_eq!(machine.id.len(), 12);
        assert!(!machine.cpu.is_empty() && machine.cores > 0);
        let mut other = machine.clone();
        other.cores += 1;
        assert_ne!(other.print(), machine.id);
        let mut rebooted = machine.clone();
        rebooted.memory = 8 << 30;
        let before = rebooted.print();
        rebooted.memory += 1 << 12;
        rebooted.system += ".1";
        assert_eq!(rebooted.print(), before);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(951_868_799), "2000-02-29T23:59:59Z");
        assert_eq!(utc(1_709_210_096), "2024-02-29T12:34:56Z");
        assert_eq!(utc(1_735_689_599), "2024-12-31T23:59:59Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn fields_of_proc_are_found() {
        let stat = "42 (a b) c) R 1 1 1 0 -1 4194304 1 2 3 4 150 50 20 30 20 0 1 0 99 9";
        assert_eq!(own_ticks(stat), Some(2.5));
        assert_eq!(own_ticks("42 (short) R 1"), None);
        let stat = "cpu  100 20 30 5000 7 4 3 43 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(all_ticks(stat), Some(2.0));
        assert_eq!(all_ticks("cpu0 1 2"), None);
        let text = "processor : 0\nmodel name\t: Fast CPU @ 2 GHz\n";
        assert_eq!(
            cpuinfo_field(text, "model name").as_deref(),
            Some("Fast CPU @ 2 GHz")
        );
        assert_eq!(generation(text), None);
        let text = "cpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n";
        assert_eq!(generation(text).as_deref(), Some(" (family 26, model 2)"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_tells() {
        let resident = resident_memory().unwrap();
        assert!(resident > 100_000 && peak_memory().unwrap() >= resident / 2);
        assert!(free_memory().unwrap() <= total_memory().unwrap());
        let before = cpu_seconds().unwrap();
        let start = Instant::now();
        while start.elapsed().as_millis() < 60 || cpu_seconds().unwrap() <= before {
            assert!(start.elapsed().as_secs() < 60, "CPU time stands still");
        }
        assert!(load_average().unwrap() >= 0.0);
        if let Some(others) = Others::watch() {
            assert!(others.cores().is_none_or(|cores| cores >= 0.0));
        }
    }
}
