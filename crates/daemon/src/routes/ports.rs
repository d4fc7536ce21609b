//! Published ports of a container that come and go, also while it runs. Docker has no such requests.
//!
//! Both take `{"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}}`, as a request for a container has it, and
//! answer `{"Ports": {…}}`, what is published then, as the inspection of a container has it. To a removal an empty address
//! or port means any, and no list at all everything of that port.

use std::sync::Arc;

use hull_api::wire::network::{PortsAnswer, PortsRequest};
use hull_engine::model::Container;

use http::StatusCode;

use crate::Daemon;
use crate::call::{Call, Outcome, json};
use crate::{parse, render};

pub(super) async fn add(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let name = call.param("id").to_owned();
    let bindings = parse::port_bindings(call.json::<PortsRequest>().await?.port_bindings)?;
    answer(&*daemon.engine.publish_ports(&name, bindings).await?)
}

pub(super) async fn remove(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let name = call.param("id").to_owned();
    let bindings = parse::port_bindings(call.json::<PortsRequest>().await?.port_bindings)?;
    answer(&*daemon.engine.withdraw_ports(&name, bindings).await?)
}

fn answer(container: &Container) -> Outcome {
    json(StatusCode::OK, &PortsAnswer { ports: render::ports(&container.network) })
}
