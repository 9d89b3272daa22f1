//! Energy: counters where the machine has them, else a model that says so.
//!
//! Intel and AMD processors count the joules of a package (RAPL), and Linux
//! shows the counters under `/sys/class/powercap`; since 2020 only root may
//! read them unless a rule of udev allows it. Energy of graphics cards (NVML)
//! is not read: Sillage computes on the CPU. Where nothing is counted, a figure
//! may be modelled from CPU time and stated watts per core ([`Model`]), and
//! must be marked as modelled wherever it is printed.

use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

const POWERCAP: &str = "/sys/class/powercap";

/// One counter.
struct Domain {
    name: String,
    counter: PathBuf,
    /// The counter begins anew after this many microjoules.
    range: u64,
    last: u64,
    /// Microjoules since the meter was opened.
    total: u64,
}

impl Domain {
    fn open(folder: &Path) -> Option<Self> {
        let name = fs::read_to_string(folder.join("name")).ok()?;
        let counter = folder.join("energy_uj");
        let range = number(&folder.join("max_energy_range_uj"))?;
        let last = number(&counter)?;
        Some(Self {
            name: name.trim().to_owned(),
            counter,
            range,
            last,
            total: 0,
        })
    }

    fn update(&mut self) -> Option<()> {
        let now = number(&self.counter)?;
        self.total += if now >= self.last {
            now - self.last
        } else {
            // It went past its range, once; 43 minutes at 100 W is the shortest
            // that this takes, so ask more often than that.
            self.range.saturating_sub(self.last) + now
        };
        self.last = now;
        Some(())
    }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A meter over all packages of this machine and their memory. It counts what
/// the whole machine takes, other programs included.
pub struct Energy {
    domains: Vec<Domain>,
}

impl Energy {
    /// Opens the counters; none where there are none or they may not be read
    /// ([`Energy::why_not`]).
    #[must_use]
    pub fn open() -> Option<Self> {
        Self::open_at(Path::new(POWERCAP))
    }

    fn open_at(root: &Path) -> Option<Self> {
        let mut folders: Vec<PathBuf> = fs::read_dir(root)
            .ok()?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                let name = path.file_name().and_then(|name| name.to_str());
                // `intel-rapl-mmio` counts the same packages once more.
                name.is_some_and(|name| name.starts_with("intel-rapl:"))
            })
            .collect();
        folders.sort();
        let domains: Vec<Domain> = folders
            .iter()
            .filter_map(|folder| Domain::open(folder))
            // Cores and graphics are parts of a package; memory is not.
            .filter(|domain| domain.name.starts_with("package") || domain.name == "dram")
            .collect();
        let packages = |domain: &Domain| domain.name.starts_with("package");
        domains.iter().any(packages).then_some(Self { domains })
    }

    /// Why there is no meter, and what to do about it.
    #[must_use]
    pub fn why_not() -> String {
        if Path::new(POWERCAP).join("intel-rapl:0").exists() {
            format!(
                "the energy counters may be read by root only; `sudo chmod a+r {POWERCAP}/intel-rapl:*/energy_uj` opens them until the next start"
            )
        } else {
            "this machine shows no energy counters (a virtual machine, or no RAPL); energy is modelled from CPU time".to_owned()
        }
    }

    /// Joules since the meter was opened; none if a counter has gone away.
    pub fn joules(&mut self) -> Option<f64> {
        for domain in &mut self.domains {
            domain.update()?;
        }
        let total: u64 = self.domains.iter().map(|domain| domain.total).sum();
        Some(total as f64 / 1e6)
    }

    /// What it counts, such as `package-0 + dram`.
    #[must_use]
    pub fn what(&self) -> String {
        let names: Vec<&str> = self.domains.iter().map(|d| d.name.as_str()).collect();
        names.join(" + ")
    }
}

/// Energy from CPU time: every second of a core costs so many joules.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Watts of one busy core, with its share of all else that it keeps awake.
    pub watts_per_core: f64,
}

impl Default for Model {
    /// 6 W: a server core of 2023 at full load (350 W for 56 cores), or one of a
    /// laptop of 15 W whose other core is idle, within a factor of two.
    fn default() -> Self {
        Self {
            watts_per_core: 6.0,
        }
    }
}

impl Model {
    /// Joules of so many CPU seconds.
    #[must_use]
    pub fn joules(&self, cpu_seconds: f64) -> f64 {
        self.watts_per_core * cpu_seconds
    }

    /// What to print beside every figure that it gave.
    #[must_use]
    pub fn mark(&self) -> String {
        format!("modelled at {} W per busy core", self.watts_per_core)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(root: &Path, folder: &str, name: &str, at: u64) -> PathBuf {
        let folder = root.join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("name"), format!("{name}\n")).unwrap();
        fs::write(folder.join("max_energy_range_uj"), "1000000000\n").unwrap();
        let counter = folder.join("energy_uj");
        fs::write(&counter, format!("{at}\n")).unwrap();
        counter
    }

    #[test]
    fn packages_and_memory_are_counted_past_the_end_of_the_range() {
        let root = tempfile::tempdir().unwrap();
        let package = domain(root.path(), "intel-rapl:0", "package-0", 999_000_000);
        let core = domain(root.path(), "intel-rapl:0:0", "core", 5);
        let memory = domain(root.path(), "intel-rapl:0:1", "dram", 10);
        domain(root.path(), "intel-rapl-mmio:0", "package-0", 0);
        let mut meter = Energy::open_at(root.path()).unwrap();
        assert_eq!(meter.what(), "package-0 + dram");
        assert_eq!(meter.joules(), Some(0.0));
        fs::write(&package, "2000000").unwrap();
        fs::write(&core, "900").unwrap();
        fs::write(&memory, "500010").unwrap();
        assert_eq!(meter.joules(), Some(3.5));
        fs::write(&package, "4000000").unwrap();
        assert_eq!(meter.joules(), Some(5.5));
        fs::remove_file(&package).unwrap();
        assert_eq!(meter.joules(), None);
    }

    #[test]
    fn no_counter_is_no_meter() {
        let root = tempfile::tempdir().unwrap();
        assert!(Energy::open_at(root.path()).is_none());
        assert!(Energy::open_at(&root.path().join("none")).is_none());
        let unreadable = domain(root.path(), "intel-rapl:0", "package-0", 0);
        fs::remove_file(unreadable).unwrap();
        assert!(Energy::open_at(root.path()).is_none());
        assert!(!Energy::why_not().is_empty());
    }

    #[test]
    fn a_model_says_that_it_is_one() {
        let model = Model::default();
        assert_eq!(model.joules(2.0), 12.0);
        assert!(model.mark().starts_with("modelled"));
    }
}
