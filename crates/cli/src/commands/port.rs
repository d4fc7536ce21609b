//! `hull port`, and what changes ports.

pub(crate) mod add;
pub(crate) mod rm;

use crate::command::{NoFlags, Operands, command};
use crate::complain::{Complaint, DONE, Outcome};
use crate::output;
use crate::session::Session;
use crate::values::ports;
use hull_api::wire::Set;
use hull_api::wire::container::ContainerInspect;
use hull_api::wire::network::{PortBinding, PortMap, PortsRequest};

command! {
    names: ["container port", "port"], about: "Show where a container's ports are published",
    usage: "CONTAINER [PRIVATE_PORT[/PROTO]]", operands: Operands::Between(1, 2), flags: NoFlags
}

async fn run(_: NoFlags, operands: Vec<String>, session: Session) -> Outcome {
    let client = session.connect().await?;
    let container: ContainerInspect = client.get(["containers", &operands[0], "json"]).read().await?;
    let ports = &container.network_settings.ports;
    let Some(asked) = operands.get(1) else {
        let mut lines: Vec<String> = ports
            .iter()
            .flat_map(|(port, list)| {
                list.iter().flatten().map(move |at| format!("{port} -> {}", address(at)))
            })
            .collect();
        lines.sort_by_key(|line| line.split('/').next().and_then(|port| port.parse::<u16>().ok()));
        lines.iter().try_for_each(|line| output::line(line))?;
        return Ok(DONE);
    };
    let key = if asked.contains('/') { asked.clone() } else { format!("{asked}/tcp") };
    match ports.get(&key) {
        Some(Some(list)) => {
            list.iter().try_for_each(|at| output::line(&address(at)))?;
            Ok(DONE)
        }
        _ => Err(Complaint::new(format!("Error: No public port '{asked}' published for {}", operands[0]))),
    }
}

/// What the specifications of a change say, as those of `-p`.
fn request(specs: &[String]) -> Result<PortsRequest, Complaint> {
    let (mut port_bindings, mut exposed) = (PortMap::new(), Set::new());
    for spec in specs {
        ports::publish(spec, &mut port_bindings, &mut exposed).map_err(Complaint::new)?;
    }
    Ok(PortsRequest { port_bindings })
}

fn address(binding: &PortBinding) -> String {
    match binding.host_ip.contains(':') {
        true => format!("[{}]:{}", binding.host_ip, binding.host_port),
        false => format!("{}:{}", binding.host_ip, binding.host_port),
    }
}
