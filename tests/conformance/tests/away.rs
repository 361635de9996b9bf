//! What is away is named, soon, and by the same exit code in every language.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::process::{Command, Stdio};
use std::time::Instant;

use headwater_testkit::{KAFKA, REGISTRY, free_port, require, unique};
use support::{AWAITED_MAX, Language, Topic};

const PROGRAMS: [&str; 2] = ["headwater-produce-transactions", "headwater-consume-transactions"];

#[test]
fn a_broker_a_registry_a_topic_or_a_subject_that_is_away_is_named() {
    let topic = Topic::make("away");
    let nobody = format!("127.0.0.1:{}", free_port().unwrap());
    let (kafka, registry, missing) = (require(KAFKA), require(REGISTRY), unique("missing"));
    let nowhere = format!("http://{nobody}");
    // Broker, registry, topic, and what must be named.
    let cases = [
        [&nobody, &registry, &topic.name, &nobody],
        [&kafka, &nowhere, &topic.name, &nobody],
        [&kafka, &registry, &missing, &missing],
    ];
    std::thread::scope(|scope| {
        for (language, program) in
            Language::ALL.into_iter().flat_map(|language| PROGRAMS.map(|program| (language, program)))
        {
            let cases = &cases;
            scope.spawn(move || {
                for [broker, registry, topic, named] in cases {
                    let mut command = Command::new(language.program(program));
                    command.args(["-b", broker, "-s", registry, "-t", topic, "--timeout", "5"]).stdin(Stdio::null());
                    if program == PROGRAMS[1] {
                        command.args(["-g", topic]);
                    }
                    let began = Instant::now();
                    let output = command.output().unwrap();
                    let said = String::from_utf8_lossy(&output.stderr);
                    assert_eq!(output.status.code(), Some(3), "{command:?}: {said}");
                    assert!(said.contains(named.as_str()), "{command:?}: {said}");
                    assert!(began.elapsed() < AWAITED_MAX, "{command:?} took {:?}", began.elapsed());
                }
            });
        }
    });
}
