//! Opening a page, where there is somebody to see it.

use std::io::IsTerminal;
use std::path::Path;
use std::process::{Command, Stdio};

/// Opens a file in the browser if a person sits at a desktop; says nothing if
/// that fails, since the path has been printed.
pub(super) fn open(page: &Path) {
    let Some((program, first)) = opener() else {
        return;
    };
    if !std::io::stdout().is_terminal() {
        return;
    }
    let page = std::path::absolute(page).unwrap_or_else(|_| page.into());
    let child = Command::new(program)
        .args(first)
        .arg(page)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Ok(mut child) = child {
        // It hands over to the browser and ends.
        let _ = child.wait();
    }
}

/// What opens pages here, and its first arguments; none without a desktop.
fn opener() -> Option<(&'static str, &'static [&'static str])> {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if cfg!(target_os = "macos") {
        Some(("open", &[]))
    } else if cfg!(windows) {
        // The empty argument is the window's title.
        Some(("cmd", &["/C", "start", ""]))
    } else if set("DISPLAY") || set("WAYLAND_DISPLAY") {
        Some(("xdg-open", &[]))
    } else {
        None
    }
}
