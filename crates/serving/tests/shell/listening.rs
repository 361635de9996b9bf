use headwater_serving::{Listeners, Metrics, Readiness, Services, Settings, Shell, ShellError};
use tokio_util::sync::CancellationToken;

use crate::echo;

fn anywhere() -> Settings {
    let mut settings = Settings::default();
    settings.listen.grpc = "127.0.0.1:0".parse().unwrap();
    settings.listen.http = "127.0.0.1:0".parse().unwrap();
    settings
}

#[tokio::test]
async fn a_port_in_use_is_told_with_its_setting_and_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut settings = anywhere();
    settings.listen.grpc = address;
    let text = Listeners::bind(&settings.listen).await.unwrap_err().to_string();
    assert!(text.contains(&format!("listen.grpc = {address}: the port is in use")), "{text}");
    assert!(text.contains("--listen-grpc or HEADWATER_LISTEN_GRPC"), "{text}");
    assert!(!text.contains("listen.http"), "{text}");

    settings.listen.http = address;
    let errors = Listeners::bind(&settings.listen).await.unwrap_err();
    assert_eq!(errors.0.iter().map(|error| error.key).collect::<Vec<_>>(), ["listen.grpc", "listen.http"]);
}

#[tokio::test]
async fn an_address_of_another_machine_is_told() {
    let mut settings = anywhere();
    settings.listen.http = "192.0.2.1:0".parse().unwrap();
    let text = Listeners::bind(&settings.listen).await.unwrap_err().to_string();
    assert!(text.contains("listen.http = 192.0.2.1:0: no interface of this machine has the address"), "{text}");
}

#[tokio::test]
async fn a_service_without_descriptors_is_not_served() {
    let settings = anywhere();
    for (descriptors, expected) in [(Vec::new(), "does not declare the service"), (vec![0xff], "cannot be decoded")] {
        let drain = CancellationToken::new();
        let shell = Shell::new(&settings, &Metrics::new().unwrap(), &Readiness::new(), drain.clone());
        let listeners = Listeners::bind(&settings.listen).await.unwrap();
        let mut services = Services::new(descriptors);
        services.add(echo::Echo::new(drain));
        let error: ShellError = shell.serve(listeners, services, axum::Router::new()).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}
