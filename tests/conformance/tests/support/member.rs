use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value as Json;
use tempfile::TempDir;

use super::{Topic, until};

/// A program that runs beside the test, killed when the handle is dropped.
pub(crate) struct Member {
    child: Child,
    folder: TempDir,
}

impl Member {
    pub(super) fn start(program: PathBuf, topic: &Topic, folder: &Path, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir_in(folder).unwrap();
        let child = Command::new(program)
            .args(["-b", &topic.kafka, "-s", &topic.registry, "-t", &topic.name])
            .args(arguments)
            .arg("--summary")
            .arg(folder.path().join("summary"))
            .stdin(Stdio::null())
            .stdout(File::create(folder.path().join("stdout")).unwrap())
            .stderr(File::create(folder.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    /// How many records it has said to be counted: a line `(account, sum)` each.
    pub(crate) fn counted(&self) -> usize {
        self.said("stdout").lines().filter(|line| line.starts_with('(')).count()
    }

    /// Whether it goes on.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until something holds of it; it must not end before.
    pub(crate) fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        until(what, || {
            let holds = holds(self);
            assert!(holds || self.runs(), "{what}: it has ended:\n{}", self.said("stderr"));
            holds.then_some(())
        });
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(mut self) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self
    }

    /// Ends it as Ctrl-C does; its summary. It must end in order.
    pub(crate) fn stop(mut self) -> Json {
        let pid = self.child.id().to_string();
        assert!(Command::new("/bin/sh").args(["-c", "kill -s INT \"$0\"", &pid]).status().unwrap().success());
        let status = until("it ends", || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}:\n{}", self.said("stderr"));
        serde_json::from_str(&self.said("summary")).unwrap()
    }

    fn said(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.path().join(name)).unwrap()).into_owned()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
