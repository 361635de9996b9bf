use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;

use super::platform::EVENT;
use super::{Language, Topic, evolution, shipped, summary};

/// Programs that are built from the contract that has a field more.
pub(crate) struct Newer {
    /// The contracts, as an own one among them would be written.
    contracts: PathBuf,
    folder: PathBuf,
}

impl Newer {
    /// Makes the contracts and the programs of every language from them, in the folder of what is built.
    pub(crate) fn build() -> Self {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("newer");
        let contracts = target.join("proto");
        let _ = fs::remove_dir_all(&contracts);
        copy(&shipped(), &contracts);
        fs::copy(evolution("newer").join(EVENT), contracts.join(EVENT)).unwrap();
        let newer = Self { contracts, folder: target };
        newer.build_python();
        newer.build_scala();
        newer
    }

    pub(crate) fn produce(&self, language: Language, topic: &Topic, more: &[&str]) -> Json {
        summary(self.program(language, "headwater-produce-transactions"), topic, more)
    }

    pub(crate) fn consume(&self, language: Language, topic: &Topic, more: &[&str]) -> Json {
        let mut command = self.program(language, "headwater-consume-transactions");
        command.args(["-g", &format!("{}-newer-{}", topic.name, language.name())]).arg("--quiet");
        summary(command, topic, more)
    }

    fn program(&self, language: Language, name: &str) -> Command {
        let mut command = Command::new(language.program(name));
        match language {
            Language::Rust => command.arg("--contracts").arg(evolution("newer")),
            // It goes before what is installed.
            Language::Python => command.env("PYTHONPATH", self.folder.join("python")),
            Language::Scala => command.env("HEADWATER_SCALA_HOME", self.folder.join("scala")),
        };
        command
    }

    /// The client's package with generated code of its own.
    fn build_python(&self) {
        let client = shipped().join("../clients/python");
        let package = self.folder.join("python");
        let _ = fs::remove_dir_all(&package);
        copy(&client.join("src/headwater"), &package.join("headwater"));
        let mut codegen = Command::new(Language::Python.program("python"));
        codegen.arg(client.join("codegen.py")).arg("--proto").arg(&self.contracts).arg("--out").arg(&package);
        succeeds(&mut codegen);
    }

    /// The client's jar, once: it takes most of a minute.
    fn build_scala(&self) {
        let client = shipped().join("../clients/scala");
        let mut sources = vec![client.join("pom.xml"), self.contracts.clone(), client.join("src/main")];
        let (mut hash, mut at) = (DefaultHasher::new(), 0);
        while let Some(path) = sources.get(at).cloned() {
            at += 1;
            if path.is_dir() {
                let mut inside: Vec<PathBuf> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
                inside.sort();
                sources.append(&mut inside);
            } else {
                (path.file_name(), fs::read(&path).unwrap()).hash(&mut hash);
            }
        }
        let (stamp, of_these) = (self.folder.join("scala.stamp"), hash.finish().to_string());
        if fs::read_to_string(&stamp).is_ok_and(|built| built == of_these) {
            return;
        }
        let property = |name: &str, path: &Path| format!("-D{name}={}", path.display());
        succeeds(
            Command::new("mvn")
                .args(["--batch-mode", "--quiet", "package", "-Dmaven.test.skip=true"])
                .arg(property("headwater.proto", &self.contracts))
                .arg(property("headwater.build", &self.folder.join("scala")))
                .current_dir(client),
        );
        fs::write(stamp, of_these).unwrap();
    }
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap();
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat();
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
}

/// Copies a folder into one that is there or not.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}
